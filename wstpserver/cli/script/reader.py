"""Reading inputs at a prompt: with prompt_toolkit where it is installed, else with readline, else plainly.

An input continues over several lines as long as it is incomplete (a bracket, string or comment is open, or an operator
ends it); an empty line sends it as it is. Inputs are remembered in a file, and names are completed by the kernel.

Ctrl-C at the prompt discards what was typed; in an evaluation it aborts. Python's readline module does not hear it at
two moments. It waits for a key with select() and looks for signals only when one interrupts that. A Ctrl-C that comes
while readline draws, or between two looks, would have no effect until the next key. And a terminal discards at Ctrl-C
what was typed: if that happens when select() has announced a key, readline waits for it in a read that goes on through
all signals, and no further Ctrl-C is heard. `Attention` mends both.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, Protocol

from wstpserver.cli.terminal import Terminal
from wstpserver.client import LinkError, Session
from wstpserver.client.interactive import is_incomplete

if TYPE_CHECKING:
    from pathlib import Path

try:
    import termios
except ImportError:  # Windows, which has no readline either
    pass

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
        self._write([entry], os.O_APPEND)
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
        self._write(self.entries, os.O_TRUNC)

    def _write(self, entries: Iterable[str], flag: int) -> None:
        if self._path is None:
            return
        import json  # which takes a while, and sessions on a pipe remember nothing

        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | flag, 0o600)
            with open(descriptor, "w", encoding="utf-8") as file:
                file.write("".join(json.dumps(entry) + "\n" for entry in entries))
        except OSError:
            self._path = None


def _history_entry(line: str) -> str | None:
    import json

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
    """The best one there is. A terminal that can do nothing gets the plain one, as files and pipes do."""
    at_terminal = sys.stdin is not None and sys.stdin.isatty()
    if at_terminal and (sys.platform == "win32" or os.environ.get("TERM", "dumb") != "dumb"):
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


# Ctrl-C


#: The Ctrl-C, counted from the first of an evaluation, that leaves without waiting for the kernel.
_LEAVING: Final = 3


class Interrupts:
    """A context in which it has Ctrl-C for itself. For the main thread.

    From the first prompt to the last there is a handler that knows what to do. Where the user is `asked` for something
    Ctrl-C raises KeyboardInterrupt; everywhere else, also between an evaluation and the prompt after it, it aborts what
    `session` evaluates, if anything, and disturbs nothing. The second Ctrl-C says that the third one leaves: that
    raises KeyboardInterrupt, too, and `leave` is true.
    """

    def __init__(self, session: Session, terminal: Terminal) -> None:
        self._session = session
        self._terminal = terminal
        self._count = 0
        self._former: Any = None
        #: Whether the user wants to leave a kernel that does not obey.
        self.leave = False

    def __enter__(self) -> None:
        self._former = signal.signal(signal.SIGINT, self._pressed)

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._former)

    @contextmanager
    def asked(self) -> Iterator[None]:
        """Inside, the user is asked for something, which Ctrl-C ends by KeyboardInterrupt."""
        # By Python's own handler: `input` calls one for a second Ctrl-C when that of the first has raised, and then
        # nothing that is written in Python may run.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            self._count = 0
            yield
        finally:
            self.leave = False
            signal.signal(signal.SIGINT, self._pressed)

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Inside, a kernel evaluates. The user may be in the middle of being asked: names are completed so."""
        former = signal.signal(signal.SIGINT, self._pressed)
        try:
            self._count = 0
            self.leave = False
            yield
        finally:
            signal.signal(signal.SIGINT, former)

    def _pressed(self, number: int, frame: FrameType | None) -> None:
        self._count += 1
        if self._count >= _LEAVING:
            self.leave = True
            raise KeyboardInterrupt
        # Not here: this thread may be in the middle of writing, and hold what abort() needs.
        threading.Thread(target=self._abort, args=(self._count,), daemon=True).start()

    def _abort(self, count: int) -> None:
        try:
            told = self._session.abort()
            if count == _LEAVING - 1:
                done = "the kernel was told to abort" if told else "nothing is being evaluated"
                self._terminal.complain(f"{done}; once more Ctrl-C leaves it")
        except (LinkError, OSError):
            pass  # the thread that waits hears of it


#: Seconds after which a Ctrl-C that has had no effect is looked after, again and again.
_INTERVAL: Final = 0.02
#: Wakes readline as if the window had been resized. It has no handler in Python, which matters: `input` looks for
#: signals once more after a KeyboardInterrupt, and cannot bear that one is handled then.
_WAKE: Final = getattr(signal, "SIGWINCH", None)
_LOCAL_MODES: Final = 3  # in what termios.tcgetattr gives


class Attention:
    """Watches for Ctrl-C from now on as long as the program lives, if the main thread makes it.

    Python notes a signal at once, wherever it comes; but its handler runs when the main thread looks. A thread hears
    of the note, and wakes that thread until it has looked.
    """

    def __init__(self) -> None:
        #: Counts up at the beginning and at the end of each reading, so that it is odd inside.
        self._reading = 0
        if threading.current_thread() is not threading.main_thread():
            return
        receive, send = os.pipe()
        os.set_blocking(send, False)
        signal.set_wakeup_fd(send, warn_on_full_buffer=False)
        threading.Thread(target=self._watch, args=(receive, threading.get_ident()), daemon=True).start()

    def _watch(self, receive: int, main_thread: int) -> None:
        while numbers := os.read(receive, 512):
            if signal.SIGINT not in numbers:
                continue
            reading = self._reading
            while reading % 2:
                time.sleep(_INTERVAL)
                if self._reading != reading:
                    break
                assert _WAKE is not None, "systems with readline have it"
                signal.pthread_kill(main_thread, _WAKE)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """For what reads a line, and ends with KeyboardInterrupt at Ctrl-C.

        Inside, a terminal on standard input keeps what was typed before Ctrl-C; readline throws it away.
        """
        changed = _discard_input(wanted=False)
        self._reading += 1
        try:
            yield
        finally:
            self._reading += 1
            if changed:
                _discard_input(wanted=True)


def _discard_input(*, wanted: bool) -> bool:
    """Whether the terminal is to throw away what was typed at Ctrl-C; False if it is none, or did so before."""
    try:
        terminal = sys.stdin.fileno()
        modes = termios.tcgetattr(terminal)
        if wanted == (not modes[_LOCAL_MODES] & termios.NOFLSH):
            return False
        modes[_LOCAL_MODES] ^= termios.NOFLSH
        termios.tcsetattr(terminal, termios.TCSADRAIN, modes)
    except (OSError, ValueError, termios.error):
        return False
    return True
