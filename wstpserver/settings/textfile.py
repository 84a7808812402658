"""Reading a configuration file's text from whatever may be behind its name."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from wstpserver.settings.problems import ConfigurationError, Problem

#: The documented sample has 2 KiB; a thousand pools with every key have less than this.
MAXIMUM_SIZE = 4 << 20


def read_text(path: Path) -> str:
    """The text of the file. Raises ConfigurationError that says why there is none.

    Never blocks (a pipe in the file's place is refused) and never reads more than MAXIMUM_SIZE.
    """
    try:
        data = _read_bytes(path)
    except OSError as error:
        raise _failure(path, error.strerror or str(error)) from None
    except ValueError as error:
        # A NUL in the name.
        raise _failure(path, str(error)) from None
    return _decode(path, data)


def _read_bytes(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a device or a pipe"
            raise _failure(path, f"is {kind}, not a file")
        if status.st_size > MAXIMUM_SIZE:
            raise _too_large(path, status.st_size)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            data = file.read(MAXIMUM_SIZE + 1)
        if len(data) > MAXIMUM_SIZE:
            raise _too_large(path, len(data))
        return data
    finally:
        os.close(descriptor)


def _decode(path: Path, data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise _failure(path, "is written in UTF-16; save it as UTF-8")
    nul = data.find(b"\0")
    if nul >= 0:
        raise _at(path, data, nul, "is no text: it holds a NUL byte")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # A byte order mark is cut off before the bytes are counted.
        start = error.start + (3 if data.startswith(b"\xef\xbb\xbf") else 0)
        raise _at(path, data, start, f"byte 0x{data[start]:02x} is not UTF-8") from None


def _at(path: Path, data: bytes, offset: int, message: str) -> ConfigurationError:
    """An error at a byte; the text before it is in UTF-8 as far as it goes."""
    before = data[:offset].decode("utf-8-sig", "replace")
    line = before.count("\n") + 1
    column = len(before) - (before.rfind("\n") + 1) + 1
    return ConfigurationError([Problem(str(path), line, column, None, message)])


def _too_large(path: Path, size: int) -> ConfigurationError:
    return _failure(path, f"has {size} bytes or more; a configuration file has at most {MAXIMUM_SIZE}")


def _failure(path: Path, message: str) -> ConfigurationError:
    return ConfigurationError([Problem(str(path), None, None, None, message)])
