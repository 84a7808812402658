"""Where wstpscript writes and reads: output at once, messages apart from it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import Final, TextIO

from wstpserver.client import KernelMessage
from wstpserver.wire.values import Expression

_RED: Final = "\x1b[31m"
_PLAIN: Final = "\x1b[0m"
_CONTINUE: Final = "c"


class Terminal:
    """The standard streams. BrokenPipeError comes through: the caller ends then."""

    def __init__(self) -> None:
        for stream in (sys.stdout, sys.stderr):
            # A character the terminal cannot show must not end the program.
            reconfigure = getattr(stream, "reconfigure", None)
            if reconfigure is not None:
                reconfigure(errors="backslashreplace")
        self._colour = shows_colour(sys.stderr)
        self._at_line_start = True
        #: Reads a line for `Input` and the like, with a prompt; EOFError at the end of all input.
        self.read_line: Callable[[str], str] = self._read_plain_line

    def write(self, text: str) -> None:
        """To stdout, and out at once."""
        sys.stdout.write(text)
        sys.stdout.flush()
        if text:
            self._at_line_start = text.endswith("\n")

    def begin_line(self) -> None:
        """End a line that is not ended yet."""
        if not self._at_line_start:
            self.write("\n")

    def result(self, label: str, text: str) -> None:
        """A labelled result as an interactive session shows it, after an empty line."""
        self.begin_line()
        self.write(f"\n{label}{text}\n")

    def value(self, label: str, value: Expression) -> None:
        """A labelled result as it comes over a link."""
        self.result(label, value if isinstance(value, str) else str(value))

    def line_was_read(self) -> None:
        """The user has ended a line, which the terminal has shown."""
        self._at_line_start = True

    def message(self, message: KernelMessage) -> None:
        """A kernel's message, on stderr, on lines of its own, in colour where there is any."""
        text = message.text.strip("\r\n") or f"{message.symbol}::{message.tag}"
        self.error(f"{_RED}{text}{_PLAIN}" if self._colour else text)

    def error(self, text: str) -> None:
        """To stderr; what comes out on stdout before it stays before it."""
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
        """The user's answer to the menu of an interrupted kernel; where there is no user it is to continue."""
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
        """Nobody reads stdout any more: keep the interpreter from complaining about it at its end."""
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


def shows_colour(stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether `stream` is a terminal that shows colours, and the user has nothing against it."""
    return stream.isatty() and environ.get("TERM", "") not in ("", "dumb") and not environ.get("NO_COLOR")
