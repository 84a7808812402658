"""Readers of single tokens: (data, position of the token byte, limits) -> (value, position after it).

They are all or nothing: where bytes are missing they raise `Incomplete` and are called again for the same
token once there are enough. Positions in their errors count from data[0]; the decoder makes stream
offsets of them.
"""
from __future__ import annotations

from math import prod
from typing import NamedTuple

from .decimal_text import parse_decimal
from .errors import RemoteProtocolError
from .limits import DecoderLimits
from .scalars import BigReal
from .text import decode_text
from .tokens import ARRAY_HEADER, LINE_FEED, NUMBER_TOKENS, NumberKind
from .values import Symbol


class Incomplete(Exception):
    """More bytes are needed; `args[0]` is the least length `data` must have before another try is worth it.
    """


class Opened(NamedTuple):
    """An array begins; `missing` leaves follow."""

    missing: int
    shape: tuple[int, ...]
    heads: tuple[str, ...]


class Block(NamedTuple):
    """A packed block: `length` numbers as they came."""

    kind: NumberKind
    is_little: bool
    numbers: memoryview
    length: int


def read_size(data: bytes, position: int) -> tuple[int, int]:
    """A size or count (section 3.1)."""
    if position >= len(data):
        raise Incomplete(position + 1)
    first = data[position]
    if 0x40 <= first <= 0x7F:
        return first - 0x40, position + 1
    end = data.find(b" ", position, position + 19)
    digits = data[position : end if end >= 0 else position + 19]
    if not digits.isdigit():
        raise RemoteProtocolError(f"a size or count cannot begin with {data[position : position + 4]!r}", position)
    if end >= 0:
        return int(digits), end + 1
    if len(digits) == 19:
        raise RemoteProtocolError("a size or count of more than 18 digits", position)
    raise Incomplete(len(data) + 1)


def _limit(what: str, value: int, limit: int, position: int) -> None:
    if value > limit:
        raise RemoteProtocolError(f"{what}: {value}, the limit is {limit}", position)


def _expect_line_feed(data: bytes, position: int) -> None:
    if data[position] != LINE_FEED:
        raise RemoteProtocolError(f"a line feed was due, not {data[position]:#04x}", position)


def _payload(data: bytes, position: int, limit: int) -> tuple[bytes, int, int]:
    """(payload, its position, position after the line feed) of the text token at `position`."""
    if position + 1 < len(data) and 0x40 <= data[position + 1] <= 0x7F:  # nearly always
        size, start = data[position + 1] - 0x40, position + 2
    else:
        size, start = read_size(data, position + 1)
    if size > limit:
        raise RemoteProtocolError(f"bytes of text: {size}, the limit is {limit}", position)
    end = start + size
    if end >= len(data):
        raise Incomplete(end + 1)
    if data[end] != LINE_FEED:
        raise RemoteProtocolError(f"a line feed was due, not {data[end]:#04x}", end)
    return data[start:end], start, end + 1


def read_string(data: bytes, position: int, limits: DecoderLimits) -> tuple[str, int]:
    """`"`, size, text."""
    payload, start, end = _payload(data, position, limits.text)
    return decode_text(payload, start), end


def read_symbol(data: bytes, position: int, limits: DecoderLimits) -> tuple[Symbol, int]:
    """`#`, size, text."""
    known = _known_symbol(data, position)
    if known is not None:
        return known
    payload, start, end = _payload(data, position, limits.text)
    symbol = Symbol(decode_text(payload, start))
    if len(payload) < 64 and len(_SYMBOLS) < 4096:
        _SYMBOLS[payload] = symbol
    return symbol, end


def _known_symbol(data: bytes, position: int) -> tuple[Symbol, int] | None:
    """The short way to a symbol that is in _SYMBOLS."""
    if position + 1 < len(data) and 0x40 <= data[position + 1] <= 0x7F:
        end = position + 2 + data[position + 1] - 0x40
        if end < len(data) and data[end] == LINE_FEED:
            symbol = _SYMBOLS.get(data[position + 2 : end])
            if symbol is not None:
                return symbol, end + 1
    return None


#: Symbols by payload. The same few hundred make up most of what kernels send; full, it stays as it is.
_SYMBOLS: dict[bytes, Symbol] = {}


def read_integer_text(data: bytes, position: int, limits: DecoderLimits) -> tuple[int, int]:
    """`+`, size, decimal digits."""
    payload, start, end = _payload(data, position, limits.text)
    digits = decode_text(payload, start)
    _limit("digits of an integer", len(digits), limits.digits, position)
    try:
        return parse_decimal(digits), end
    except ValueError:
        raise RemoteProtocolError(f"{digits[:40]!r} is no integer", start) from None


def read_real_text(data: bytes, position: int, limits: DecoderLimits) -> tuple[BigReal, int]:
    """`*`, size, a real in decimal."""
    payload, start, end = _payload(data, position, limits.text)
    return BigReal(decode_text(payload, start)), end


def read_function(data: bytes, position: int, limits: DecoderLimits) -> tuple[int, int]:
    """`F` and the number of arguments, which is the value; head and arguments follow as expressions."""
    count, end = read_size(data, position + 1)
    if count > 63:
        _limit("arguments of a function", count, limits.count, position)
    return count, end


def read_block(data: bytes, position: int, limits: DecoderLimits, missing: int) -> tuple[Block, int]:
    """`P`, count, number token, that many numbers, line feed; `missing` is how many there is room for."""
    count, start = read_size(data, position + 1)
    if count > missing:
        raise RemoteProtocolError(f"a packed block of {count} numbers where {missing} are missing", position)
    if start >= len(data):
        raise Incomplete(start + 1)
    known = NUMBER_TOKENS.get(data[start])
    if known is None:
        raise RemoteProtocolError(f"{data[start]:#04x} is no number token", start)
    kind, is_little = known
    size = count * kind.width
    _limit("bytes of a packed block", size, limits.packed, position)
    end = start + 1 + size
    if end >= len(data):
        raise Incomplete(end + 1)
    _expect_line_feed(data, end)
    numbers = memoryview(data)[start + 1 : end]
    if 2 * size < len(data):  # a view would keep all the other bytes alive
        numbers = memoryview(bytes(numbers))
    return Block(kind, is_little, numbers, count), end + 1


def read_array(data: bytes, position: int, limits: DecoderLimits) -> tuple[Opened, int]:
    """`A`, number of leaves, `D`, size, dimensions, line feed; the leaves follow (section 3.5)."""
    total, start = read_size(data, position + 1)
    _limit("leaves of an array", total, limits.count, position)
    if start >= len(data):
        raise Incomplete(start + 1)
    if data[start] != ARRAY_HEADER:
        raise RemoteProtocolError(f"the dimensions of an array were due, not {data[start]:#04x}", start)
    size, header = read_size(data, start + 1)
    _limit("bytes of array dimensions", size, limits.header, start)
    end = header + size
    if end >= len(data):
        raise Incomplete(end + 1)
    _expect_line_feed(data, end)
    try:
        shape, heads = _read_dimensions(data[header:end])
    except RemoteProtocolError as error:
        raise RemoteProtocolError(error.message, header + (error.offset or 0)) from None
    if prod(shape) != total:
        raise RemoteProtocolError(f"an array of dimensions {shape} cannot have {total} leaves", position)
    return Opened(total, shape, heads), end + 1


def _read_dimensions(header: bytes) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """One `F <dimension> # <head>` for each dimension, then a full stop, which ends the header."""
    shape: list[int] = []
    heads: list[str] = []
    position = 0
    try:
        while header[position : position + 1] == b"F":
            dimension, symbol = read_size(header, position + 1)
            if header[symbol : symbol + 1] != b"#":
                raise RemoteProtocolError("the head of an array dimension is no symbol", symbol)
            payload, start, position = _payload(header, symbol, _NO_LIMIT)
            shape.append(dimension)
            heads.append(decode_text(payload, start))
    except Incomplete:
        raise RemoteProtocolError("the dimensions of an array break off", position) from None
    if header[position:] != b"." or not shape:
        raise RemoteProtocolError("the dimensions of an array do not end with a full stop", position)
    return tuple(shape), tuple(heads)


#: For what is inside something whose size has been checked.
_NO_LIMIT = 1 << 62


def read_dictionary_symbol(data: bytes, position: int, limits: DecoderLimits) -> tuple[Symbol, int]:
    """`O`: the index of a symbol in a table of the peer's own version, which no greeting of ours allows."""
    raise RemoteProtocolError(
        "a symbol as dictionary index (token O): that takes a greeting of version 5, ours is version 4", position
    )
