"""Reading inputs at a prompt: with prompt_toolkit where it is installed, else with readline, else plainly.

An input continues over several lines as long as it is incomplete (a bracket, string or comment is open, or an operator
ends it); an empty line sends it as it is. Inputs are remembered in a file, and names are completed by the kernel.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Final, Protocol

from wstpserver.cli.script.interrupts import Attention
from wstpserver.client.interactive import is_incomplete

_NAME: Final = re.compile(r"[$`\w]+$")


# The history


#: Inputs kept; the file is cut to them when it has grown to twice as many.
HISTORY_LENGTH: Final = 1000


class InputHistory:
    """Kept in the file `path`; without one for this session only. A file that fails costs the history, no more."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        read = self._read()
        #: The oldest first.
        self.entries: list[str] = read[-HISTORY_LENGTH:]
        if len(read) >= 2 * HISTORY_LENGTH:
            self._rewrite()

    def append(self, entry: str) -> bool:
        """Remember an input; False if it is the same as the one before."""
        if self.entries and self.entries[-1] == entry:
            return False
        self.entries.append(entry)
        self._write(json.dumps(entry) + "\n", os.O_APPEND)
        return True

    def _read(self) -> list[str]:
        if self._path is None:
            return []
        try:
            lines = self._path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return []
        entries = [_history_entry(line) for line in lines]
        return [entry for entry in entries if entry]

    def _rewrite(self) -> None:
        self._write("".join(json.dumps(entry) + "\n" for entry in self.entries), os.O_TRUNC)

    def _write(self, text: str, flag: int) -> None:
        if self._path is None:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | flag, 0o600)
            with open(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
        except OSError:
            self._path = None


def _history_entry(line: str) -> str | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, str) else None


# The readers


#: Gets the beginning of a symbol's name, gives the names that begin so.
Completer = Callable[[str], list[str]]


class InputReader(Protocol):
    """Reads what the user types."""

    def read(self, prompt: str) -> str:
        """A whole input, without its last line end. EOFError for Ctrl-D, KeyboardInterrupt for Ctrl-C."""

    def read_line(self, prompt: str) -> str:
        """One line, such as the answer to `Input`; errors as `read`."""


def make_reader(history: InputHistory, complete: Completer) -> InputReader:
    """The best one there is. A terminal that can do nothing gets the plain one."""
    if sys.platform == "win32" or os.environ.get("TERM", "dumb") != "dumb":
        try:
            return _toolkit_reader(history, complete)
        except ImportError:  # without the extra [repl]
            pass
    return LineReader(history, complete)


_NOT_IN_NAMES: Final = " \t\n\"\\'@><=;|&{}()[],+-*/^!?:~#%."


def _forget(entry: str) -> None:
    """Where there is no readline."""


class LineReader:
    """Lines by the built-in `input`, which readline improves where it exists."""

    def __init__(self, history: InputHistory, complete: Completer) -> None:
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
        """As `InputReader.read`."""
        lines = [self.read_line(prompt)]
        while lines[-1].strip() and is_incomplete("\n".join(lines)):
            lines.append(self.read_line(" " * len(prompt)))
        text = "\n".join(lines).rstrip()
        if text and self._history.append(text):
            self._remember(text)
        return text

    def read_line(self, prompt: str) -> str:
        """As `InputReader.read_line`."""
        with self._reading():
            return input(prompt)


def _toolkit_reader(history: InputHistory, complete: Completer) -> InputReader:
    """A reader that edits several lines at once, searches the history, and completes names in a menu.

    Raises:
        ImportError: prompt_toolkit is not installed.
    """
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import CompleteEvent, Completion
    from prompt_toolkit.completion import Completer as ToolkitCompleter
    from prompt_toolkit.document import Document
    from prompt_toolkit.history import InMemoryHistory
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

    class NameCompleter(ToolkitCompleter):
        """Completes the name before the cursor by what the kernel knows."""

        def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
            match = _NAME.search(document.text_before_cursor)
            for name in complete(match[0]) if match is not None else ():
                yield Completion(name, start_position=-len(match[0]) if match is not None else 0)

    bindings = KeyBindings()

    @bindings.add("enter")
    def enter(event: KeyPressEvent) -> None:
        """Send an input that is complete or ends with an empty line; begin a line otherwise."""
        buffer = event.current_buffer
        last_line = buffer.text.rpartition("\n")[2]
        if is_incomplete(buffer.text) and last_line.strip():
            buffer.newline(copy_margin=False)
        else:
            buffer.validate_and_handle()

    inputs: PromptSession[str] = PromptSession(
        history=InMemoryHistory(history.entries),
        completer=NameCompleter(),
        complete_while_typing=False,
        enable_history_search=True,
        multiline=True,
        key_bindings=bindings,
        prompt_continuation=lambda width, line_number, wrap_count: " " * width,
    )
    lines: PromptSession[str] = PromptSession()
    return _ToolkitReader(history, inputs.prompt, lines.prompt)


class _ToolkitReader:
    """An `InputReader` of prompt_toolkit's."""

    def __init__(
        self, history: InputHistory, prompt: Callable[[str], str], prompt_line: Callable[[str], str]
    ) -> None:
        self._history = history
        self._prompt = prompt
        self._prompt_line = prompt_line

    def read(self, prompt: str) -> str:
        """As `InputReader.read`."""
        text = self._prompt(prompt).rstrip()
        if text:
            self._history.append(text)
        return text

    def read_line(self, prompt: str) -> str:
        """As `InputReader.read_line`."""
        return self._prompt_line(prompt)
