"""From bytes to values, piece by piece (docs/wire-protocol.md, section 3)."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from math import prod
from typing import Any, Final, Literal

from wstpserver.wire.errors import LocalProtocolError, RemoteProtocolError
from wstpserver.wire.numbers import NUMBER_READERS, BigReal, Int8, Int16, Int64, LongDouble, Real32, parse_decimal
from wstpserver.wire.packed import NATIVE_IS_LITTLE, Block, read_array, read_block, reverse_bytes
from wstpserver.wire.text import decode_text
from wstpserver.wire.tokens import (
    ARRAY,
    DICTIONARY_SYMBOL,
    END_PACKET,
    FUNCTION,
    INTEGER_TEXT,
    LINE_FEED,
    NUMBER_KINDS,
    PACKED,
    REAL_TEXT,
    STRING,
    SYMBOL,
    DecoderLimits,
    Incomplete,
    check_limit,
    read_payload,
    read_size,
)
from wstpserver.wire.values import Expression, Function, PackedArray, Symbol


class NeedData(Enum):
    """The type of NEED_DATA, so that a type checker can tell it from a value."""

    NEED_DATA = "NEED_DATA"


#: What next_expression() returns while the next expression is not complete.
NEED_DATA: Final = NeedData.NEED_DATA


# -- bytes that came in -----------------------------------------------------------------------------------------------

#: Chunks shorter than this are joined as they come in: each costs some 40 bytes besides its own, which a peer that
#: sends a large block two bytes at a time would make us pay.
_SMALL: Final = 1024


class _InputBuffer:
    """A queue of chunks that is joined only when its content is looked at.

    A reader that waits for many bytes (a packed block) asks for `available` and calls `gather()` once when there are
    enough, so every byte is copied once however small the chunks are.

    Attributes:
        data: What gather() returned last. Immutable bytes, so views of it may be kept.
        position: Where in `data` the unused bytes begin.
        available: Number of unused bytes in all.
        base: Offset in the stream of data[0].
    """

    __slots__ = ("_chunks", "available", "base", "data", "position")

    def __init__(self, offset: int = 0) -> None:
        self.data = b""
        self.position = 0
        self.available = 0
        self.base = offset
        self._chunks: list[bytes] = []

    def feed(self, chunk: bytes | bytearray | memoryview) -> None:
        """Appends bytes; a large `bytes` object is kept as it is."""
        piece = bytes(chunk)
        chunks = self._chunks
        self.available += len(piece)
        if not chunks or len(piece) >= _SMALL:
            if piece:
                chunks.append(piece)
        elif len(chunks[-1]) < _SMALL:
            chunks[-1] = chunks[-1] + piece
        else:
            chunks.append(piece)

    def gather(self) -> None:
        """Puts all unused bytes into `data`, from `position` on."""
        if self._chunks:
            unused = memoryview(self.data)[self.position :]
            self.base += self.position
            self.data = b"".join((unused, *self._chunks)) if unused or len(self._chunks) > 1 else self._chunks[0]
            self.position = 0
            self._chunks.clear()

    def consume(self, position: int) -> None:
        """The bytes before data[position] have been used."""
        self.available -= position - self.position
        self.position = position
        if position == len(self.data):  # free the memory, a large block may have ended here
            self.base += position
            self.data = b""
            self.position = 0


# -- texts and functions ----------------------------------------------------------------------------------------------


def _read_string(data: bytes, position: int, limits: DecoderLimits) -> tuple[str, int]:
    """`"`, size, text."""
    payload, start, end = read_payload(data, position, limits.text)
    return decode_text(payload, start), end


def _read_symbol(data: bytes, position: int, limits: DecoderLimits) -> tuple[Symbol, int]:
    """`#`, size, text."""
    known = _known_symbol(data, position)
    if known is not None:
        return known
    payload, start, end = read_payload(data, position, limits.text)
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
_SYMBOLS: Final[dict[bytes, Symbol]] = {}


def _read_integer_text(data: bytes, position: int, limits: DecoderLimits) -> tuple[int, int]:
    """`+`, size, decimal digits."""
    payload, start, end = read_payload(data, position, limits.text)
    digits = decode_text(payload, start)
    check_limit("digits of an integer", len(digits), limits.digits, position)
    try:
        return parse_decimal(digits), end
    except ValueError:
        raise RemoteProtocolError(f"{digits[:40]!r} is no integer", start) from None


def _read_real_text(data: bytes, position: int, limits: DecoderLimits) -> tuple[BigReal, int]:
    """`*`, size, a real in decimal."""
    payload, start, end = read_payload(data, position, limits.text)
    return BigReal(decode_text(payload, start)), end


def _read_function(data: bytes, position: int, limits: DecoderLimits) -> tuple[int, int]:
    """`F` and the number of arguments, which is the value; head and arguments follow as expressions."""
    count, end = read_size(data, position + 1)
    if count > 63:
        check_limit("arguments of a function", count, limits.count, position)
    return count, end


def _read_dictionary_symbol(data: bytes, position: int, limits: DecoderLimits) -> tuple[Symbol, int]:
    """`O`: the index of a symbol in a table of the peer's own version, which no greeting of ours allows."""
    raise RemoteProtocolError(
        "a symbol as dictionary index (token O): no greeting of ours allows it", position
    )


# -- functions and arrays that are being read -------------------------------------------------------------------------


class _Partial:
    """A function or an array that is being read.

    Attributes:
        items: What came so far, the head of a function first; a Block counts as many as it has numbers.
        missing: How many expressions are still to come.
        shape: The dimensions of an array; None for a function.
        heads: Names of an array's heads, one for each dimension.
        has_block: Whether there is a Block among the items.
    """

    __slots__ = ("has_block", "heads", "items", "missing", "shape")

    def __init__(self, missing: int, shape: tuple[int, ...] | None = None, heads: tuple[str, ...] = ()) -> None:
        self.items: list[Any] = []
        self.missing = missing
        self.shape = shape
        self.heads = heads
        self.has_block = False


def _assemble(partial: _Partial) -> Expression:
    """The value of what is complete.

    A function with a symbol as head whose arguments are packed blocks of one kind is a one-dimensional PackedArray,
    else a Function. An array is a PackedArray if its leaves are machine numbers of one kind, in blocks or one by one,
    else Functions in Functions.
    """
    items = partial.items
    if partial.shape is not None:
        return _assemble_array(items, partial.shape, partial.heads)
    if not partial.has_block:
        return Function(items[0], tuple(items[1:]))
    head = items[0]
    if type(head) is Symbol:
        joined = _join_blocks(items[1:])
        if joined is not None:
            data, kind = joined
            return PackedArray(data, kind, (len(data) // NUMBER_KINDS[kind].width,), (head.name,))
    return Function(head, tuple(_expand(items[1:])))


def _assemble_array(items: list[Any], shape: tuple[int, ...], heads: tuple[str, ...]) -> Expression:
    if not items:  # no leaf says of which kind they would be
        return PackedArray(b"", "int32", shape, heads)
    joined = _join_blocks(items)
    if joined is not None:
        return PackedArray(*joined, shape, heads)
    leaves = _expand(items)
    kind = _common_kind(leaves)
    if kind is not None:
        return PackedArray.from_list(leaves, kind).reshaped(shape, heads)
    for level in range(len(shape) - 1, -1, -1):
        head, size = Symbol(heads[level]), shape[level]
        rows = prod(shape[:level])
        leaves = [Function(head, tuple(leaves[row * size : (row + 1) * size])) for row in range(rows)]
    return leaves[0]  # type: ignore[no-any-return]


def _join_blocks(items: list[Any]) -> tuple[bytes | memoryview, str] | None:
    """(all numbers in native order, kind) if the items are blocks of one kind."""
    first = items[0]
    if type(first) is not Block:
        return None
    if len(items) == 1:
        return _native(first), first.kind.name
    if all(type(item) is Block and item.kind is first.kind for item in items):
        return b"".join(_native(block) for block in items), first.kind.name
    return None


def _native(block: Block) -> bytes | memoryview:
    if block.is_little == NATIVE_IS_LITTLE:
        return block.numbers
    return reverse_bytes(block.numbers, block.kind.width)


#: kind of packed numbers -> what a single one of them decodes to, as far as PackedArray.flat() does not give it
_SCALARS: Final = {"int8": Int8, "int16": Int16, "int64": Int64, "real32": Real32}
_KINDS: Final = {
    int: "int32",
    float: "real64",
    LongDouble: "real128",
    **{kind: name for name, kind in _SCALARS.items()},
}


def _expand(items: list[Any]) -> list[Any]:
    """The items with every block replaced by its numbers, as they would have decoded one by one."""
    leaves: list[Any] = []
    for item in items:
        if type(item) is Block:
            kind = item.kind.name
            numbers = PackedArray(_native(item), kind, (item.length,)).flat()
            leaves.extend(map(_SCALARS[kind], numbers) if kind in _SCALARS else numbers)
        else:
            leaves.append(item)
    return leaves


def _common_kind(leaves: list[Any]) -> str | None:
    """The kind of packed array that holds exactly these leaves, if there is one."""
    types = set(map(type, leaves))
    kind = _KINDS.get(types.pop()) if len(types) == 1 else None
    if kind == "int32" and not all(-0x80000000 <= leaf <= 0x7FFFFFFF for leaf in leaves):
        return None  # written-out integers
    return kind


# -- the decoder ------------------------------------------------------------------------------------------------------

#: Stands for a value where there is none yet.
_OPENED = object()

_READERS: Final[dict[int, Callable[[bytes, int, DecoderLimits], tuple[Any, int]]]] = {
    SYMBOL: _read_symbol,
    STRING: _read_string,
    INTEGER_TEXT: _read_integer_text,
    REAL_TEXT: _read_real_text,
    DICTIONARY_SYMBOL: _read_dictionary_symbol,
}


class Decoder:
    """Turns the bytes of a data connection, in pieces of any length, into expressions.

        decoder.feed(data)
        while (expression := decoder.next_expression()) is not NEED_DATA:
            ...

    After an error it raises the same error again.

    Args:
        limits: How much is taken.
        offset: Number of bytes of the stream before the first one fed (the greeting). Errors count from the start of
            the stream.
    """

    def __init__(self, limits: DecoderLimits | None = None, offset: int = 0) -> None:
        self._limits = limits or DecoderLimits()
        self._buffer = _InputBuffer(offset)
        self._open_parts: list[_Partial] = []
        self._needed = 1  # unused bytes that must be there before another try makes sense
        self._start = offset  # offset in the stream of the expression that is being read
        self._error: RemoteProtocolError | None = None

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Takes bytes as they come in. A `bytes` object is not copied, and packed numbers in it need not be either."""
        self._buffer.feed(data)

    @property
    def offset(self) -> int:
        """Bytes of the stream that make up what was decoded so far."""
        return self._buffer.base + self._buffer.position

    def take_rest(self) -> bytes:
        """The bytes behind the last whole expression; from now on they are the caller's.

        Raises:
            LocalProtocolError: An expression is only partly there, and has been begun to be read.
        """
        if self._open_parts:
            raise LocalProtocolError("an expression has been read in part")
        self._buffer.gather()
        rest = self._buffer.data[self._buffer.position :]
        self._buffer.consume(len(self._buffer.data))
        return rest

    @property
    def at_boundary(self) -> bool:
        """Whether an end of the connection here would cut no expression, as far as next_expression() has looked."""
        return not self._open_parts and not self._buffer.available

    def next_expression(self) -> Expression | Literal[NeedData.NEED_DATA]:
        """The next complete top-level expression, or NEED_DATA.

        An expression is complete with its last leaf. The `]` of WSEndPacket belongs to it whether it is already here or
        comes later (section 3.6).

        Raises:
            RemoteProtocolError: The bytes are malformed, or more than the limits allow.
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
        """Reads tokens until an expression is complete or the bytes end."""
        data, position = self._buffer.data, self._buffer.position
        parts = self._open_parts
        partial = parts[-1] if parts else None
        if partial is None:
            position = _skip_end_packets(data, position)
            self._start = self._buffer.base + position
        end = len(data)
        needed = end + 1
        try:
            while position < end:
                number = NUMBER_READERS[data[position]]
                if number is None:
                    value, position = self._read_token(data, position)
                    partial = parts[-1] if parts else None
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
                while partial is not None:  # put it in its place, and what that completes in the next outer one
                    partial.items.append(value)
                    partial.missing -= 1
                    if partial.missing:
                        break
                    value = _assemble(parts.pop())
                    partial = parts[-1] if parts else None
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
            count, after = _read_function(data, position, self._limits)
            return self._open(_Partial(count + 1), position), after
        reader = _READERS.get(token)
        if reader is not None:
            return reader(data, position, self._limits)
        if token == PACKED:
            return self._read_block(data, position)
        if token == ARRAY:
            opened, after = read_array(data, position, self._limits)
            partial = _Partial(*opened)
            return self._open(partial, position) if partial.missing else _assemble(partial), after
        if token == END_PACKET:
            raise RemoteProtocolError("the packet ends inside an expression", position)
        raise RemoteProtocolError(f"no expression begins with byte {token:#04x}", position)

    def _open(self, partial: _Partial, position: int) -> object:
        """What follows belongs to `partial`."""
        if len(self._open_parts) == self._limits.depth:
            raise RemoteProtocolError(f"an expression of more than {self._limits.depth} levels", position)
        self._open_parts.append(partial)
        return _OPENED

    def _read_block(self, data: bytes, position: int) -> tuple[Any, int]:
        """A packed block goes into the innermost part that is open; if that is complete now, it is the value."""
        partial = self._open_parts[-1] if self._open_parts else None
        if partial is None or (partial.shape is None and not partial.items):
            raise RemoteProtocolError("a packed block where no arguments are expected", position)
        block, after = read_block(data, position, self._limits, partial.missing)
        partial.items.append(block)
        partial.has_block = True
        partial.missing -= block.length
        if partial.missing:
            return _OPENED, after
        return _assemble(self._open_parts.pop()), after

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
    """The one expression that `data` is, with or without its `]`.

    Raises:
        RemoteProtocolError: It is not exactly one, or is more than `limits` allow.
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


