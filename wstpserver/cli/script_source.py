"""Reading a script, from a file or from standard input."""

from __future__ import annotations

import sys
from pathlib import Path

from wstpserver.cli.options import UsageError


def read_source(path: str) -> str:
    """The text of a script file, of standard input for ``-``; UsageError if it cannot be read or is no text.

    A byte order mark goes, and so does the content of a first line that names the interpreter (``#!``): the line
    itself stays, so that line numbers in messages are right.
    """
    name = "standard input" if path == "-" else path
    try:
        data = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {name}: {error.strerror}") from None
    text = _decoded(data, name)
    if not text.startswith("#!"):
        return text
    _, newline, rest = text.partition("\n")
    return newline + rest


def _decoded(data: bytes, name: str) -> str:
    if b"\0" in data:
        raise UsageError(f"cannot read {name}: it is no text (a zero byte in line {_line(data, data.index(0))})")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = _line(data, error.start)
        raise UsageError(f"cannot read {name}: line {line} is not UTF-8 ({error.reason})") from None


def _line(data: bytes, offset: int) -> int:
    return data.count(b"\n", 0, offset) + 1
