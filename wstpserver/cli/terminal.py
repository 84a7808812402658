"""What the command-line programs share: exit codes, the standard streams, and how errors and waiting are reported.

A program is a function of a `Terminal` that returns its exit code, run by `run_program`. Whatever goes wrong is one
line on stderr that begins with the program's name. Whatever takes longer than a second is announced (`WaitNotice`).
"""

from __future__ import annotations

import errno
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import Final, TextIO

from wstpserver.cli.options import UsageError
from wstpserver.client import KernelMessage, LinkSyntaxError
from wstpserver.client.deadline import Deadline
from wstpserver.client.evaluation import NOTICE_PREFIX
from wstpserver.wire.errors import WSTPError
from wstpserver.wire.values import Expression, Symbol, wolfram_text

_RED: Final = "\x1b[31m"
_PLAIN: Final = "\x1b[0m"
_CLEAR_LINE: Final = "\r\x1b[K"
_CONTINUE: Final = "c"
#: Seconds until a wait is announced, and between two updates of the announcement on a terminal.
_SILENCE: Final = 0.8
_UPDATE: Final = 1.0


class ExitCode(IntEnum):
    """The exit codes of wstpserver, wstpscript and wstpserver-admin; those from 64 to 78 are those of sysexits.h."""

    OK = 0
    #: wstpscript: the evaluation failed. wstpserver-admin: the server refuses.
    FAILED = 1
    USAGE = 64
    #: No server, or no kernel.
    UNAVAILABLE = 69
    INTERNAL = 70
    #: A file or a stream cannot be read or written.
    IO = 74
    TIMED_OUT = 75
    CONFIGURATION = 78
    #: Ended by Ctrl-C, as by the signal.
    INTERRUPTED = 130
    #: Nobody reads the output, as by the signal SIGPIPE.
    CLOSED_PIPE = 141


class ProgramError(WSTPError):
    """Ends the program with the exit code `code`, after its text was written to stderr."""

    def __init__(self, text: str, code: int = ExitCode.FAILED) -> None:
        super().__init__(text)
        self.code = code


class OutputError(ProgramError):
    """Standard output cannot be written, for another reason than that nobody reads it."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"cannot write standard output: {error.strerror}", ExitCode.IO)


def run_program(program: str, help_option: str, body: Callable[[Terminal], int]) -> int:
    """Run `body` and report what it raises.

    Args:
        program: Name of the program, with which each error line begins.
        help_option: The option that prints the help, to which usage errors refer.
        body: Returns the exit code. May raise UsageError, LinkSyntaxError, ProgramError, KeyboardInterrupt and
            BrokenPipeError.

    Returns:
        The exit code.
    """
    terminal = Terminal(program)
    try:
        return body(terminal)
    except (UsageError, LinkSyntaxError) as error:
        terminal.complain(str(error))
        terminal.error(f"Try '{program} {help_option}'.")
        return ExitCode.USAGE
    except ProgramError as error:
        if isinstance(error, OutputError):
            terminal.abandon()
        terminal.complain(str(error))
        return error.code
    except WSTPError as error:
        terminal.complain(one_line(str(error)))
        return ExitCode.FAILED
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        terminal.abandon()
        return ExitCode.CLOSED_PIPE


class Terminal:
    """The standard streams of a program. Output is written at once; messages go to stderr.

    Raises (from every method that writes to stdout):
        BrokenPipeError: Nobody reads stdout any more.
        OutputError: Another error, such as a full disk.
    """

    def __init__(self, program: str = "wstpscript") -> None:
        for stream in (sys.stdout, sys.stderr):
            # A character the terminal cannot show must not end the program.
            reconfigure = getattr(stream, "reconfigure", None)
            if reconfigure is not None:
                reconfigure(errors="backslashreplace")
        self.program = program
        self._colour = shows_colour(sys.stderr)
        self._at_line_start = True
        #: Reads a line for `Input` and the like, with a prompt; EOFError at the end of all input.
        self.read_line: Callable[[str], str] = self._read_plain_line

    def write(self, text: str) -> None:
        """Write to stdout."""
        if sys.stdout is None:
            raise OutputError(OSError(errno.EBADF, "it is closed"))
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError(error) from None
        if text:
            self._at_line_start = text.endswith("\n")

    def write_bytes(self, data: bytes) -> None:
        """Write to stdout what is no text."""
        self.write("")
        try:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError(error) from None
        self._at_line_start = True

    def begin_line(self) -> None:
        """End a line that is not ended yet."""
        if not self._at_line_start:
            self.write("\n")

    def result(self, label: str, text: str) -> None:
        """Write a labelled result as an interactive session shows it, after an empty line.

        A text of several lines, such as a matrix, begins on a line of its own, so that its columns stay aligned.
        """
        self.begin_line()
        own_line = label and "\n" in text.strip("\n")
        lines = f"{label.rstrip()}\n{text.rstrip()}" if own_line else f"{label}{text}"
        self.write(f"\n{lines}\n")

    def value(self, label: str, value: Expression) -> None:
        """Write a labelled result as it comes over a link."""
        self.result(label, text_of(value))

    def line_was_read(self) -> None:
        """Note that the user has ended a line, which the terminal has shown."""
        self._at_line_start = True

    def message(self, message: KernelMessage) -> None:
        """Write a kernel's message to stderr, on lines of its own, in colour where the terminal shows colours."""
        text = message.text.strip("\r\n") or f"{message.symbol}::{message.tag}"
        self.error(f"{_RED}{text}{_PLAIN}" if self._colour else text)

    def notice(self, text: str) -> None:
        """Write to stderr what a server says about itself."""
        self.complain(one_line(text.removeprefix(NOTICE_PREFIX)))

    def complain(self, text: str) -> None:
        """Write a line of the program itself to stderr, after the program's name."""
        self.error(f"{self.program}: {text}")

    def error(self, text: str) -> None:
        """Write a line to stderr; what was written to stdout before comes out before it."""
        try:
            if sys.stdout is not None:
                if sys.stdout.isatty() and sys.stderr is not None and sys.stderr.isatty():
                    self.begin_line()
                sys.stdout.flush()
        except (OSError, OutputError):
            pass  # the next write to stdout reports it
        self._write_stderr(text + "\n")

    def _write_stderr(self, text: str) -> None:
        """An error that cannot be told is not told."""
        try:
            if sys.stderr is not None:
                sys.stderr.write(text)
                sys.stderr.flush()
        except OSError:
            _discard(sys.stderr)

    @property
    def updates_lines(self) -> bool:
        """Whether stderr is a terminal on which a line can be replaced."""
        return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM", "") not in ("", "dumb")

    def show_status(self, text: str) -> None:
        """Show a line on stderr that the next call replaces; "" takes it away. Only where it `updates_lines`."""
        self._write_stderr(_CLEAR_LINE + text)

    def ask(self, prompt: str) -> str:
        """A line from the user; at the end of all input what a kernel gives there."""
        try:
            line = self.read_line(prompt)
        except EOFError:
            return "EndOfFile"
        self.line_was_read()
        return line

    def choose(self, prompt: str) -> str:
        """The user's answer to the menu of an interrupted kernel; "c" (continue) where there is no user."""
        try:
            line = self.read_line(prompt)
        except EOFError:
            return _CONTINUE
        self.line_was_read()
        return line

    def _read_plain_line(self, prompt: str) -> str:
        self.write(prompt)
        try:
            line = "" if sys.stdin is None else sys.stdin.readline()
        except OSError:
            line = ""
        if not line:
            raise EOFError
        return line.rstrip("\r\n")

    def abandon(self) -> None:
        """Send what is left for stdout nowhere, so that the interpreter does not fail to write it at its end."""
        _discard(sys.stdout)


def _discard(stream: TextIO | None) -> None:
    """From now on what is written to `stream`, or is in its buffer, goes nowhere."""
    if stream is not None:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


class WaitNotice:
    """Tells the user what is waited for, from about one second on, as long as the context is entered.

    On a terminal one line is kept up to date, with the time left or else passed, and taken away at the end. Elsewhere a
    line is written at the beginning, and again when what it says has changed.

    Args:
        terminal: Where to tell it.
        describe: What is waited for, without the program's name: a text, or a function that is called in a thread of
            its own, may take its time, and returns "" if there is nothing to tell (yet).
        deadline: When the wait ends at the latest.
    """

    def __init__(self, terminal: Terminal, describe: str | Callable[[], str], deadline: Deadline | None = None) -> None:
        self._terminal = terminal
        self._describe = describe
        self._deadline = deadline
        self._over = threading.Event()
        self._lock = threading.Lock()  # held while something is written, so that nothing comes after the end
        self._shown = ""
        self._begin = time.monotonic()

    def __enter__(self) -> WaitNotice:
        threading.Thread(target=self._run, name="WaitNotice", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        with self._lock:
            if self._shown and self._terminal.updates_lines:
                self._terminal.show_status("")

    def _run(self) -> None:
        pause = _SILENCE
        while not self._over.wait(pause):
            pause = _UPDATE
            text = self._describe if isinstance(self._describe, str) else self._describe()
            with self._lock:
                if text and not self._over.is_set():
                    self._tell(text)

    def _tell(self, text: str) -> None:
        remaining = None if self._deadline is None else self._deadline.remaining()
        left = "" if remaining is None else f"; {remaining:.0f} s left"
        if self._terminal.updates_lines:
            left = left or f"; {time.monotonic() - self._begin:.0f} s"
            import shutil  # which takes a while, and most runs show no such line

            # A line that wraps could not be replaced.
            room = shutil.get_terminal_size().columns - 1 - len(left)
            line = f"{self._terminal.program}: {text}"
            self._terminal.show_status((line if len(line) <= room else line[: max(0, room - 1)] + "…") + left)
        elif text != self._shown:
            self._terminal.complain(text + left)
        self._shown = text


def text_of(value: Expression) -> str:
    """A value as Wolfram Language text, such as ``Plus[a, {1, "b"}]``; a string as it is."""
    if isinstance(value, str):
        return value
    if isinstance(value, Symbol):
        return value.name.removeprefix("System`").removeprefix("Global`")
    return wolfram_text(value)


def one_line(text: str) -> str:
    """A text of several lines, such as the last output of a kernel, as one."""
    return "; ".join(line.strip() for line in text.splitlines() if line.strip())


def shows_colour(stream: TextIO | None, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether `stream` is a terminal that shows colours, and the user allows them (``NO_COLOR``)."""
    if stream is None:
        return False
    return stream.isatty() and environ.get("TERM", "") not in ("", "dumb") and not environ.get("NO_COLOR")
