"""The bytes that introduce things on the wire, and the table of machine numbers.

docs/wire-protocol.md, sections 3.2 to 3.6.
"""
from __future__ import annotations

from typing import NamedTuple

FUNCTION = 0x46  # F
SYMBOL = 0x23  # #
STRING = 0x22  # "
INTEGER_TEXT = 0x2B  # +
REAL_TEXT = 0x2A  # *
PACKED = 0x50  # P
ARRAY = 0x41  # A
ARRAY_HEADER = 0x44  # D
ARRAY_HEADER_END = 0x2E  # .
DICTIONARY_SYMBOL = 0x4F  # O, never in a conversation of version 4
END_PACKET = 0x5D  # ]
LINE_FEED = 0x0A


class NumberKind(NamedTuple):
    """One kind of machine number (section 3.4).

    `format` is the letter `struct`, `array` and `memoryview` know the value by; a 128-bit real has none, its
    16 bytes are handed on as they are.
    """

    name: str
    width: int
    format: str
    little_token: int
    big_token: int


#: An 8-bit integer is unsigned and has no byte order.
NUMBER_KINDS = {
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
NUMBER_TOKENS = {kind.big_token: (kind, False) for kind in NUMBER_KINDS.values()}
NUMBER_TOKENS.update({kind.little_token: (kind, True) for kind in NUMBER_KINDS.values()})
