"""What the command-line programs share: exit codes, the standard streams, and how every error is reported.

A program is a function of a `Terminal` that returns its exit code, run by `run_program`. Whatever goes wrong is one
line on stderr that begins with the program's name.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import Final, TextIO

from wstpserver.cli.options import UsageError
from wstpserver.client import KernelMessage, LinkSyntaxError
from wstpserver.wire.errors import WSTPError
from wstpserver.wire.values import Expression

_RED: Final = "\x1b[31m"
_PLAIN: Final = "\x1b[0m"
_CONTINUE: Final = "c"


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
        terminal.error(f"Try {program} {help_option}.")
        return ExitCode.USAGE
    except ProgramError as error:
        if isinstance(error, OutputError):
            terminal.abandon()
        terminal.complain(str(error))
        return error.code
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
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError(error) from None
        if text:
            self._at_line_start = text.endswith("\n")

    def begin_line(self) -> None:
        """End a line that is not ended yet."""
        if not self._at_line_start:
            self.write("\n")

    def result(self, label: str, text: str) -> None:
        """Write a labelled result as an interactive session shows it, after an empty line."""
        self.begin_line()
        self.write(f"\n{label}{text}\n")

    def value(self, label: str, value: Expression) -> None:
        """Write a labelled result as it comes over a link."""
        self.result(label, value if isinstance(value, str) else str(value))

    def line_was_read(self) -> None:
        """Note that the user has ended a line, which the terminal has shown."""
        self._at_line_start = True

    def message(self, message: KernelMessage) -> None:
        """Write a kernel's message to stderr, on lines of its own, in colour where the terminal shows colours."""
        text = message.text.strip("\r\n") or f"{message.symbol}::{message.tag}"
        self.error(f"{_RED}{text}{_PLAIN}" if self._colour else text)

    def complain(self, text: str) -> None:
        """Write a line of the program itself to stderr, after the program's name."""
        self.error(f"{self.program}: {text}")

    def error(self, text: str) -> None:
        """Write a line to stderr; what was written to stdout before comes out before it."""
        if sys.stdout.isatty() and sys.stderr.isatty():
            self.begin_line()
        sys.stdout.flush()
        sys.stderr.write(text + "\n")
        sys.stderr.flush()

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
        line = sys.stdin.readline()
        if not line:
            raise EOFError
        return line.rstrip("\r\n")

    def abandon(self) -> None:
        """Send what is left for stdout nowhere, so that the interpreter does not fail to write it at its end."""
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


def shows_colour(stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether `stream` is a terminal that shows colours, and the user allows them (``NO_COLOR``)."""
    return stream.isatty() and environ.get("TERM", "") not in ("", "dumb") and not environ.get("NO_COLOR")
