"""Where wstpscript writes and reads: output at once, messages apart from it."""

from __future__ import annotations

import os
import sys

from wstpserver.client import KernelMessage


class Terminal:
    """The standard streams. BrokenPipeError comes through: the caller ends then."""

    def __init__(self) -> None:
        for stream in (sys.stdout, sys.stderr):
            # A character the terminal cannot show must not end the program.
            reconfigure = getattr(stream, "reconfigure", None)
            if reconfigure is not None:
                reconfigure(errors="backslashreplace")

    def write(self, text: str) -> None:
        """To stdout, and out at once."""
        sys.stdout.write(text)
        sys.stdout.flush()

    def message(self, message: KernelMessage) -> None:
        """A kernel's message, on stderr, on lines of its own."""
        text = message.text.strip("\r\n") or f"{message.symbol}::{message.tag}"
        self.error(text)

    def error(self, text: str) -> None:
        """To stderr; what comes out on stdout before it stays before it."""
        sys.stdout.flush()
        sys.stderr.write(text + "\n")
        sys.stderr.flush()

    def ask(self, prompt: str) -> str:
        """A line from stdin; at its end what a kernel gives there."""
        self.write(prompt)
        line = sys.stdin.readline()
        return line.rstrip("\r\n") if line else "EndOfFile"

    def abandon(self) -> None:
        """Nobody reads stdout any more: keep the interpreter from complaining about it at its end."""
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
