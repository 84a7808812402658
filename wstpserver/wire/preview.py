"""A short text for the beginning of an expression, for logs.

It reads like InputForm but cannot be read back. Only the first bytes of the expression are needed, and they may break
off anywhere: the cost does not grow with the expression.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from wstpserver.wire.errors import RemoteProtocolError
from wstpserver.wire.numbers import NUMBER_READERS, LongDouble, NumberReader
from wstpserver.wire.packed import read_array
from wstpserver.wire.text import decode_text
from wstpserver.wire.tokens import (
    ARRAY,
    FUNCTION,
    INTEGER_TEXT,
    LINE_FEED,
    PACKED,
    REAL_TEXT,
    STRING,
    SYMBOL,
    DecoderLimits,
    Incomplete,
    read_size,
)

#: Bytes of an expression that are worth keeping for a preview of the usual 200 characters.
PREVIEW_BYTES: Final = 2048

_LIMITS: Final = DecoderLimits()
_TEXT_TOKENS: Final = frozenset({SYMBOL, STRING, INTEGER_TEXT, REAL_TEXT})
_LIST: Final = re.compile(rb"#(?:G[AD]~D|N[AD]~KSystem`)List\n")
#: Bytes that the last, incomplete character or escape of a broken-off text can take.
_LONGEST_CHARACTER: Final = 12


def preview(beginning: bytes, limit: int = 200) -> str:
    """A short text for an expression. Never raises: what is no expression ends the preview.

    Args:
        beginning: The first bytes of the expression, or all of them.
        limit: Most characters of the text; `...` at its end stands for the rest.
    """
    writer = _Writer(beginning, limit)
    try:
        writer.run()
    except (Incomplete, RemoteProtocolError, IndexError):
        return "".join(writer.parts)[: limit - 3] + "..."
    text = "".join(writer.parts)
    return text if len(text) <= limit else text[: limit - 3] + "..."


@dataclass(slots=True)
class _Open:
    """A function or array whose arguments are being written."""

    missing: int
    closing: str
    head_due: bool = False


class _Writer:
    """Goes through the tokens once, with a stack of its own: a peer may nest as deep as it likes."""

    def __init__(self, data: bytes, limit: int) -> None:
        self.parts: list[str] = []
        self._data = data
        self._limit = limit
        self._length = 0
        self._position = 0
        self._open: list[_Open] = []

    def run(self) -> None:
        """Writes until the expression is complete or the limit is passed.

        Raises:
            Incomplete, RemoteProtocolError, IndexError: The bytes end or are wrong.
        """
        while self._length <= self._limit:
            completed = self._token()
            if completed and self._complete(completed):
                return

    def _write(self, text: str) -> None:
        self.parts.append(text)
        self._length += len(text)

    def _complete(self, count: int) -> bool:
        """Goes on behind `count` arguments (or a head, or the whole) that are written; True if that was all."""
        while self._open:
            top = self._open[-1]
            if top.head_due:
                top.head_due = False
                self._write("[")
            else:
                top.missing -= count
                if top.missing > 0:
                    self._write(", ")
            if top.missing > 0:
                return False
            self._write(top.closing)
            self._open.pop()
            count = 1
        return True

    # Tokens: each method writes one and returns how many expressions are complete with it.

    def _token(self) -> int:
        token = self._data[self._position]
        if token == FUNCTION:
            return self._function()
        if token == ARRAY:
            return self._array()
        if token == PACKED:
            return self._block()
        if token in _TEXT_TOKENS:
            return self._text(token)
        reader = self._number_reader(self._position)
        self._write(self._number(reader, self._position + 1))
        self._position += reader[0]
        return 1

    def _function(self) -> int:
        count, self._position = read_size(self._data, self._position + 1)
        head = _LIST.match(self._data, self._position)
        if head is not None:
            self._position = head.end()
            return self._braces(count)
        self._open.append(_Open(count, "]", head_due=True))
        return 0

    def _array(self) -> int:
        opened, self._position = read_array(self._data, self._position, _LIMITS)
        shape = opened.shape or ()
        if len(shape) > 1:  # its leaves follow without inner braces
            self._write("x".join(map(str, shape)))
        return self._braces(opened.missing)

    def _braces(self, count: int) -> int:
        self._write("{")
        if count:
            self._open.append(_Open(count, "}"))
            return 0
        self._write("}")
        return 1

    def _block(self) -> int:
        count, start = read_size(self._data, self._position + 1)
        if not self._open or self._open[-1].head_due or not 0 < count <= self._open[-1].missing:
            raise RemoteProtocolError("a packed block where no arguments are expected", self._position)
        reader = self._number_reader(start)
        width = reader[0] - 2
        for index in range(count):
            if self._length > self._limit:
                return 0
            self._write(("" if index == 0 else ", ") + self._number(reader, start + 1 + index * width))
        self._position = start + 1 + count * width + 1
        return count

    def _number_reader(self, position: int) -> NumberReader:
        reader = NUMBER_READERS[self._data[position]]
        if reader is None:
            raise RemoteProtocolError(f"no expression begins with byte {self._data[position]:#04x}", position)
        return reader

    def _number(self, reader: NumberReader, position: int) -> str:
        size, unpack, make = reader
        if position + size - 2 > len(self._data):
            raise Incomplete(position + size)
        value: Any = unpack(self._data, position)[0]
        if make is not None:
            value = make(value)
        return str(float(value) if isinstance(value, LongDouble) else value)

    def _text(self, token: int) -> int:
        size, start = read_size(self._data, self._position + 1)
        end = start + size
        payload = self._data[start:end]
        broken_off = end >= len(self._data)
        text = (_decode_beginning(payload) if broken_off else decode_text(payload, start))[: self._limit + 1]
        if token == STRING:
            text = '"' + text.replace("\\", "\\\\").replace('"', '\\"')
        self._write(text)
        if broken_off:
            raise Incomplete(end + 1)
        if self._data[end] != LINE_FEED:
            raise RemoteProtocolError("a text does not end with a line feed", end)
        if token == STRING:
            self._write('"')
        self._position = end + 1
        return 1


def _decode_beginning(payload: bytes) -> str:
    """The characters of a text whose end is missing: without the last one if that is not whole."""
    for cut in range(_LONGEST_CHARACTER):
        try:
            text = decode_text(payload[: len(payload) - cut])
        except RemoteProtocolError:
            continue
        return text[:-1] if "\ud800" <= text[-1:] < "\udc00" else text
    return ""
