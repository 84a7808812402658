"""The bytes that introduce things on the wire, sizes, and machine numbers (docs/wire-protocol.md, 3.1 to 3.6).

Readers here and in `packed` and `decode` are all or nothing: (data, position) -> (value, position after it). Where
bytes are missing they raise `Incomplete` and are called again for the same token once there are enough. Positions in
their errors count from data[0]; the decoder makes stream offsets of them.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from wstpserver.wire.errors import RemoteProtocolError

FUNCTION: Final = 0x46  # F
SYMBOL: Final = 0x23  # #
STRING: Final = 0x22  # "
INTEGER_TEXT: Final = 0x2B  # +
REAL_TEXT: Final = 0x2A  # *
PACKED: Final = 0x50  # P
ARRAY: Final = 0x41  # A
ARRAY_HEADER: Final = 0x44  # D
DICTIONARY_SYMBOL: Final = 0x4F  # O, only with dictionaries, which no greeting of ours allows
END_PACKET: Final = 0x5D  # ]
LINE_FEED: Final = 0x0A


class NumberKind(NamedTuple):
    """One kind of machine number (section 3.4).

    Attributes:
        name: What `PackedArray.kind` calls it.
        width: Its bytes.
        format: The letter `struct`, `array` and `memoryview` know the value by; a 128-bit real has none, its 16 bytes
            are handed on as they are.
        little_token: The token byte of a little-endian number.
        big_token: The token byte of a big-endian one.
    """

    name: str
    width: int
    format: str
    little_token: int
    big_token: int


#: An 8-bit integer is unsigned and has no byte order.
NUMBER_KINDS: Final = {
    kind.name: kind
    for kind in (
        NumberKind("int8", 1, "B", 0xA1, 0xA1),
        NumberKind("int16", 2, "h", 0xE2, 0xA2),
        NumberKind("int32", 4, "i", 0xE4, 0xA4),
        NumberKind("int64", 8, "q", 0xE6, 0xA6),
        NumberKind("real32", 4, "f", 0xF4, 0xB4),
        NumberKind("real64", 8, "d", 0xF6, 0xB6),
        NumberKind("real128", 16, "16s", 0xF8, 0xB8),
    )
}

#: token byte -> (kind, whether the bytes are little-endian)
NUMBER_TOKENS: Final = {
    **{kind.big_token: (kind, False) for kind in NUMBER_KINDS.values()},
    **{kind.little_token: (kind, True) for kind in NUMBER_KINDS.values()},
}


class DecoderLimits:
    """How much of a peer's expression the decoder takes.

    What is beyond these is a RemoteProtocolError as soon as it is announced. Memory is only ever taken for bytes that
    have come in, so a limit may exceed the memory there is.

    Args:
        depth: Levels of nesting. A level takes some 250 bytes of memory while it is open.
        count: Arguments of one function, leaves of one array.
        text: Bytes of one string, symbol or written-out number.
        packed: Bytes of numbers in one packed block.
        digits: Digits of one integer: reading n digits takes about n**1.6 steps, 10 million of them half a minute.
        header: Bytes of the dimensions of one array.
        expression: Bytes of one whole expression; None for no limit.
    """

    def __init__(
        self,
        *,
        depth: int = 2_000_000,
        count: int = 1 << 31,
        text: int = 1 << 31,
        packed: int = 1 << 36,
        digits: int = 10_000_000,
        header: int = 1 << 16,
        expression: int | None = None,
    ) -> None:
        self.depth = depth
        self.count = count
        self.text = text
        self.packed = packed
        self.digits = digits
        self.header = header
        self.expression = expression


class Incomplete(Exception):
    """More bytes are needed; `args[0]` is the least length `data` must have before another try is worth it."""


#: Sizes below this have a form of one byte.
BYTE_LIMIT: Final = 64
_SHORT: Final = tuple(bytes([0x40 + number]) for number in range(BYTE_LIMIT))


def encode_size(number: int) -> bytes:
    """The wire form of a size or count (section 3.1): one byte below 64, decimal digits and a space from there."""
    return _SHORT[number] if number < BYTE_LIMIT else b"%d " % number


def text_item(token: bytes, payload: bytes) -> bytes:
    """A string, symbol or written-out number: its token, the size of the payload, the payload, a line feed."""
    return b"".join((token, encode_size(len(payload)), payload, b"\n"))


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


def read_payload(data: bytes, position: int, limit: int) -> tuple[bytes, int, int]:
    """The text of the item at `position`, a token byte.

    Args:
        data: What there is of the stream.
        position: Where the token byte is.
        limit: Most bytes of text.

    Returns:
        (payload, its position, position after the line feed)
    """
    if position + 1 < len(data) and 0x40 <= data[position + 1] <= 0x7F:  # nearly always
        size, start = data[position + 1] - 0x40, position + 2
    else:
        size, start = read_size(data, position + 1)
    if size > limit:  # the checks are written out: this is read for nearly every token
        check_limit("bytes of text", size, limit, position)
    end = start + size
    if end >= len(data):
        raise Incomplete(end + 1)
    if data[end] != LINE_FEED:
        check_line_feed(data, end)
    return data[start:end], start, end + 1


def check_limit(what: str, value: int, limit: int, position: int) -> None:
    """RemoteProtocolError if `value` exceeds `limit`."""
    if value > limit:
        raise RemoteProtocolError(f"{what}: {value}, the limit is {limit}", position)


def check_line_feed(data: bytes, position: int) -> None:
    """RemoteProtocolError if the byte at `position` is no line feed."""
    if data[position] != LINE_FEED:
        raise RemoteProtocolError(f"a line feed was due, not {data[position]:#04x}", position)
