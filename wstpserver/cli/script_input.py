"""Reading inputs at a prompt: with prompt_toolkit where it is installed, else with readline, else plainly.

An input goes on over several lines as long as it is incomplete; an empty line sends it as it is.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Final, Protocol

from wstpserver.cli.script_completeness import is_incomplete
from wstpserver.cli.script_history import History

#: Gets the beginning of a symbol's name, gives the names that begin so.
Completer = Callable[[str], list[str]]


class InputReader(Protocol):
    """Reads what the user types."""

    def read(self, prompt: str) -> str:
        """A whole input, without its last line end. EOFError for Ctrl-D, KeyboardInterrupt for Ctrl-C."""

    def read_line(self, prompt: str) -> str:
        """One line, such as the answer to `Input`; errors as `read`."""


def make_reader(history: History, complete: Completer) -> InputReader:
    """The best one there is. A terminal that can do nothing gets the plain one."""
    if sys.platform == "win32" or os.environ.get("TERM", "dumb") != "dumb":
        try:
            from wstpserver.cli.script_toolkit import ToolkitReader
        except ImportError:  # without the extra [repl]
            pass
        else:
            return ToolkitReader(history, complete)
    return LineReader(history, complete)


_NOT_IN_NAMES: Final = " \t\n\"\\'@><=;|&{}()[],+-*/^!?:~#%."


def _forget(entry: str) -> None:
    """Where there is no readline."""


class LineReader:
    """Lines by the built-in `input`, which readline improves where it exists."""

    def __init__(self, history: History, complete: Completer) -> None:
        self._history = history
        self._complete = complete
        self._names: list[str] = []
        self._remember: Callable[[str], object] = _forget
        self._reading: Callable[[], AbstractContextManager[None]] = nullcontext
        try:
            import readline
        except ImportError:
            return
        readline.set_completer_delims(_NOT_IN_NAMES)
        readline.set_completer(self._next_name)
        editline = "libedit" in (readline.__doc__ or "")
        readline.parse_and_bind("bind ^I rl_complete" if editline else "tab: complete")
        readline.set_auto_history(False)
        for entry in history.entries:
            readline.add_history(entry)
        self._remember = readline.add_history
        from wstpserver.cli.script_attention import Attention  # for the systems that have readline

        self._reading = Attention().reading

    def _next_name(self, beginning: str, state: int) -> str | None:
        """What readline calls for the names that begin so, one after the other."""
        if state == 0:
            try:
                self._names = self._complete(beginning) if beginning else []
            except Exception:  # readline would print nothing, and lose it
                self._names = []
        return self._names[state] if state < len(self._names) else None

    def read(self, prompt: str) -> str:
        lines = [self.read_line(prompt)]
        while lines[-1].strip() and is_incomplete("\n".join(lines)):
            lines.append(self.read_line(" " * len(prompt)))
        text = "\n".join(lines).rstrip()
        if text and self._history.append(text):
            self._remember(text)
        return text

    def read_line(self, prompt: str) -> str:
        with self._reading():
            return input(prompt)
