"""From bytes to values, piece by piece (docs/wire-protocol.md, section 3)."""
from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, Final, Literal

from . import decode_tokens as tokens
from .assemble import Frame, assemble
from .decode_numbers import NUMBER_READERS
from .decode_tokens import Incomplete
from .errors import RemoteProtocolError
from .input_buffer import InputBuffer
from .limits import DecoderLimits
from .tokens import (
    ARRAY,
    DICTIONARY_SYMBOL,
    END_PACKET,
    FUNCTION,
    INTEGER_TEXT,
    LINE_FEED,
    PACKED,
    REAL_TEXT,
    STRING,
    SYMBOL,
)
from .values import Expression


class NeedData(Enum):
    """The type of NEED_DATA, so that a type checker can tell it from a value."""

    NEED_DATA = "NEED_DATA"


#: What next_expression() returns while the next expression is not complete.
NEED_DATA: Final = NeedData.NEED_DATA


class Decoder:
    """Turns the bytes of a data connection, in pieces of any length, into expressions.

        decoder.feed(data)
        while (expression := decoder.next_expression()) is not NEED_DATA:
            ...

    `offset` is the number of bytes of the stream that went before the first one fed (the greeting):
    errors count from the start of the stream. After an error the decoder is of no use, it raises the same
    error again.
    """

    def __init__(self, limits: DecoderLimits | None = None, offset: int = 0) -> None:
        self._limits = limits or DecoderLimits()
        self._buffer = InputBuffer(offset)
        self._frames: list[Frame] = []
        self._needed = 1  # unused bytes that must be there before another try makes sense
        self._start = offset  # offset in the stream of the expression that is being read
        self._error: RemoteProtocolError | None = None

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take bytes as they come in. A `bytes` object is not copied, and packed numbers in it need not
        be either.
        """
        self._buffer.feed(data)

    @property
    def offset(self) -> int:
        """Bytes of the stream that make up what was decoded so far."""
        return self._buffer.base + self._buffer.position

    @property
    def at_boundary(self) -> bool:
        """Whether an end of the connection here would cut no expression, as far as next_expression() has
        looked.
        """
        return not self._frames and not self._buffer.available

    def next_expression(self) -> Expression | Literal[NeedData.NEED_DATA]:
        """The next complete top-level expression, or NEED_DATA. RemoteProtocolError for anything malformed.

        An expression is complete with its last leaf. The `]` of WSEndPacket belongs to it whether it is
        already here or comes later (section 3.6).
        """
        if self._error is not None:
            raise self._error
        buffer = self._buffer
        if buffer.available < self._needed:
            return NEED_DATA
        buffer.gather()
        try:
            return self._advance()
        except RemoteProtocolError as error:
            offset = None if error.offset is None else buffer.base + error.offset
            self._error = RemoteProtocolError(error.message, offset)
            raise self._error from None

    def _advance(self) -> Expression | Literal[NeedData.NEED_DATA]:
        """Read tokens until an expression is complete or the bytes end."""
        data, position = self._buffer.data, self._buffer.position
        frames = self._frames
        frame = frames[-1] if frames else None
        if frame is None:
            position = _skip_end_packets(data, position)
            self._start = self._buffer.base + position
        end = len(data)
        needed = end + 1
        try:
            while position < end:
                number = NUMBER_READERS[data[position]]
                if number is None:
                    value, position = self._read_token(data, position)
                    frame = frames[-1] if frames else None
                    if value is _OPENED:
                        continue
                else:  # the commonest tokens, read here because a call for each would take half of the time
                    size, unpack, make = number
                    after = position + size
                    if after > end:
                        raise Incomplete(after)
                    if data[after - 1] != LINE_FEED:
                        raise RemoteProtocolError("a machine number does not end with a line feed", after - 1)
                    value = unpack(data, position + 1)[0]
                    if make is not None:
                        value = make(value)
                    position = after
                while frame is not None:  # put it in its place, and what that completes in the next outer one
                    frame.items.append(value)
                    frame.missing -= 1
                    if frame.missing:
                        break
                    value = assemble(frames.pop())
                    frame = frames[-1] if frames else None
                else:
                    return self._finish(value, position)
        except Incomplete as incomplete:
            needed = incomplete.args[0]
        self._check_length(needed)
        self._buffer.consume(position)
        self._needed = needed - position
        return NEED_DATA

    def _read_token(self, data: bytes, position: int) -> tuple[Any, int]:
        """The value of the token at `position`, or _OPENED if a function or array begins; the position after it."""
        token = data[position]
        if token == FUNCTION:
            count, after = tokens.read_function(data, position, self._limits)
            return self._open(Frame(count + 1), position), after
        reader = _READERS.get(token)
        if reader is not None:
            return reader(data, position, self._limits)
        if token == PACKED:
            return self._read_block(data, position)
        if token == ARRAY:
            opened, after = tokens.read_array(data, position, self._limits)
            frame = Frame(*opened)
            return self._open(frame, position) if frame.missing else assemble(frame), after
        if token == END_PACKET:
            raise RemoteProtocolError("the packet ends inside an expression", position)
        raise RemoteProtocolError(f"no expression begins with byte {token:#04x}", position)

    def _open(self, frame: Frame, position: int) -> object:
        """What follows belongs to `frame`."""
        if len(self._frames) == self._limits.depth:
            raise RemoteProtocolError(f"an expression of more than {self._limits.depth} levels", position)
        self._frames.append(frame)
        return _OPENED

    def _read_block(self, data: bytes, position: int) -> tuple[Any, int]:
        """A packed block goes into the innermost frame; if that is complete now, it is the value."""
        frame = self._frames[-1] if self._frames else None
        if frame is None or (frame.shape is None and not frame.items):
            raise RemoteProtocolError("a packed block where no arguments are expected", position)
        block, after = tokens.read_block(data, position, self._limits, frame.missing)
        frame.items.append(block)
        frame.has_block = True
        frame.missing -= block.length
        if frame.missing:
            return _OPENED, after
        return assemble(self._frames.pop()), after

    def _finish(self, expression: Expression, position: int) -> Expression:
        """The expression ends at `position`, with its `]` if that is here."""
        self._check_length(position)
        self._buffer.consume(_skip_end_packets(self._buffer.data, position))
        self._needed = 1
        return expression

    def _check_length(self, end: int) -> None:
        limit = self._limits.expression
        if limit is not None and self._buffer.base + end - self._start > limit:
            raise RemoteProtocolError(f"an expression of more than {limit} bytes", end)


def decode(data: bytes | bytearray | memoryview, limits: DecoderLimits | None = None) -> Expression:
    """The one expression that `data` is, with or without its `]`; RemoteProtocolError if it is not
    exactly one.
    """
    decoder = Decoder(limits)
    decoder.feed(data)
    expression = decoder.next_expression()
    if expression is NEED_DATA:
        raise RemoteProtocolError("the expression breaks off", len(data))
    if not decoder.at_boundary:
        raise RemoteProtocolError("more bytes follow the expression", decoder.offset)
    return expression


def _skip_end_packets(data: bytes, position: int) -> int:
    while position < len(data) and data[position] == END_PACKET:
        position += 1
    return position


#: Stands for a value where there is none yet.
_OPENED = object()

_READERS: dict[int, Callable[[bytes, int, DecoderLimits], tuple[Any, int]]] = {
    SYMBOL: tokens.read_symbol,
    STRING: tokens.read_string,
    INTEGER_TEXT: tokens.read_integer_text,
    REAL_TEXT: tokens.read_real_text,
    DICTIONARY_SYMBOL: tokens.read_dictionary_symbol,
}
