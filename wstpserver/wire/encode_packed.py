"""Packed arrays to bytes (docs/wire-protocol.md, section 3.5)."""
from __future__ import annotations

from itertools import repeat
from math import prod

from .packed import NATIVE_IS_LITTLE, reverse_bytes
from .sizes import encode_size
from .text import TextStyle, encode_seven_bit, encode_text
from .tokens import NUMBER_KINDS
from .values import PackedArray

#: The library writes a one-dimensional list of fewer numbers as function and block, a longer one as array.
ARRAY_FROM = 128


def packed_parts(packed: PackedArray, style: TextStyle) -> list[bytes | memoryview]:
    """The bytes of an array in pieces, its numbers uncopied where this machine's byte order is that of
    the wire.
    """
    is_list = len(packed.shape) == 1 and packed.heads is None
    if is_list and packed.shape[0] < ARRAY_FROM:
        opening = b"F" + encode_size(packed.shape[0]) + _symbol(encode_text("List", style, True))
    else:
        opening = _array_header(packed)
    return [opening, *_block(packed)]


def _array_header(packed: PackedArray) -> bytes:
    """`A`, the number of leaves, `D` and the dimensions.

    Heads are in format A whatever the style, as from every library. The dimensions end with the first that is
    zero: nothing can be seen of those further in, and the library does not send them either.
    """
    header = b""
    for dimension, head in zip(packed.shape, packed.heads or repeat("List"), strict=False):
        header += b"F" + encode_size(dimension) + _symbol(encode_seven_bit(head))
        if not dimension:
            break
    header += b"."
    return b"".join((b"A", encode_size(prod(packed.shape)), b"D", encode_size(len(header)), header, b"\n"))


def _block(packed: PackedArray) -> list[bytes | memoryview]:
    """All numbers as one `P` block; nothing for an array without any."""
    count = prod(packed.shape)
    if not count:
        return []
    kind = NUMBER_KINDS[packed.kind]
    numbers = packed.data if NATIVE_IS_LITTLE else reverse_bytes(packed.data, kind.width)
    return [b"P" + encode_size(count) + bytes([kind.little_token]), numbers, b"\n"]


def _symbol(payload: bytes) -> bytes:
    return b"".join((b"#", encode_size(len(payload)), payload, b"\n"))
