"""From values to bytes (docs/wire-protocol.md, section 3)."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Final

from wstpserver.wire.errors import LocalProtocolError
from wstpserver.wire.numbers import BigReal, Int8, Int16, Int64, LongDouble, Real32, format_decimal
from wstpserver.wire.packed import packed_parts
from wstpserver.wire.text import TextStyle, encode_plain_text, encode_text
from wstpserver.wire.tokens import encode_size, text_item
from wstpserver.wire.values import Expression, Function, PackedArray, Symbol

_INT8: Final = struct.Struct("<BBB").pack
_INT16: Final = struct.Struct("<BhB").pack
_INT32: Final = struct.Struct("<BiB").pack
_INT64: Final = struct.Struct("<BqB").pack
_REAL32: Final = struct.Struct("<BfB").pack
_REAL64: Final = struct.Struct("<BdB").pack
_LF: Final = 0x0A
#: Characters of the longest name that is worth the memory in the caches.
_LONGEST_CACHED: Final = 255


def encode(
    expression: Expression, *, end_packet: bool = True, ascii: bool = True, seven_bit: bool = False
) -> bytes:
    """The bytes of one top-level expression. Nothing here recurses.

    Args:
        expression: A Python list or tuple stands for `List[...]`, element by element; only a PackedArray is packed.
            True and False are the symbols. An int takes 32 bits if it fits, else 64, else decimal digits.
        end_packet: Whether the closing `]` follows.
        ascii: Chooses between the two forms in which libraries write text: format A for function heads and written-out
            numbers, or UTF-8 throughout. Both versions of the library read both.
        seven_bit: Write all text in format A with escapes, for a peer that offers no other.

    Raises:
        LocalProtocolError: A value is nothing of this kind, or a Real32 is too large for a single.
    """
    style = TextStyle.SEVEN_BIT if seven_bit else TextStyle.MIXED if ascii else TextStyle.UTF8
    parts: list[bytes | memoryview] = []
    _write(expression, style, parts)
    if end_packet:
        parts.append(b"]")
    return b"".join(parts)


def _write(root: Expression, style: TextStyle, parts: list[bytes | memoryview]) -> None:
    """Appends the bytes of `root`. The stack holds what is left to write on each level."""
    append = parts.append
    pending: list[Iterator[Any]] = [iter((root,))]
    while pending:
        for value in pending[-1]:
            kind = type(value)
            if kind is int and -0x80000000 <= value <= 0x7FFFFFFF:
                append(_INT32(0xE4, value, _LF))
            elif kind is Function:
                pending.append(_open_function(value, style, append))
                break
            elif kind is list or kind is tuple:
                append(b"F" + encode_size(len(value)) + _head("List", style))
                pending.append(iter(value))
                break
            elif kind is PackedArray:
                parts.extend(packed_parts(value, style))
            else:
                append(_leaf_writer(kind)(value, style))
        else:
            pending.pop()


def _open_function(
    value: Function, style: TextStyle, append: Callable[[bytes], None]
) -> Iterator[Expression]:
    """Writes what introduces a function; returns what follows: its arguments, or first a head that is no symbol."""
    opening = b"F" + encode_size(len(value.args))
    if type(value.head) is Symbol:
        append(opening + _head(value.head.name, style))
        return iter(value.args)
    append(opening)
    return iter((value.head, *value.args))


def _head(name: str, style: TextStyle) -> bytes:
    if len(name) > _LONGEST_CACHED:
        return text_item(b"#", encode_plain_text(name, style))
    return _cached_head(name, style)


def _symbol(name: str, style: TextStyle) -> bytes:
    if len(name) > _LONGEST_CACHED:
        return text_item(b"#", encode_text(name, style))
    return _cached_symbol(name, style)


@lru_cache(maxsize=4096)
def _cached_head(name: str, style: TextStyle) -> bytes:
    return text_item(b"#", encode_plain_text(name, style))


@lru_cache(maxsize=4096)
def _cached_symbol(name: str, style: TextStyle) -> bytes:
    return text_item(b"#", encode_text(name, style))


def _write_integer(value: int, style: TextStyle) -> bytes:
    if -0x80000000 <= value <= 0x7FFFFFFF:
        return _INT32(0xE4, value, _LF)
    if -0x8000000000000000 <= value <= 0x7FFFFFFFFFFFFFFF:
        return _INT64(0xE6, value, _LF)
    return text_item(b"+", encode_plain_text(format_decimal(value), style))


def _write_real32(value: Real32, style: TextStyle) -> bytes:
    try:
        return _REAL32(0xF4, value, _LF)
    except OverflowError:
        raise LocalProtocolError(f"{value!r} is too large for a 32-bit real") from None


_LEAF_WRITERS: Final[dict[type, Callable[[Any, TextStyle], bytes]]] = {
    int: _write_integer,
    float: lambda value, style: _REAL64(0xF6, value, _LF),
    str: lambda value, style: text_item(b'"', encode_text(value, style)),
    Symbol: lambda value, style: _symbol(value.name, style),
    bool: lambda value, style: _symbol("True" if value else "False", style),
    Int8: lambda value, style: _INT8(0xA1, value, _LF),
    Int16: lambda value, style: _INT16(0xE2, value, _LF),
    Int64: lambda value, style: _INT64(0xE6, value, _LF),
    Real32: _write_real32,
    BigReal: lambda value, style: text_item(b"*", encode_plain_text(value.text, style)),
    LongDouble: lambda value, style: b"\xf8" + value.data + b"\n",
}


def _leaf_writer(kind: type) -> Callable[[Any, TextStyle], bytes]:
    """What writes values of this type: its own entry, or that of the class it derives from (an IntEnum, say)."""
    for base in kind.__mro__:
        writer = _LEAF_WRITERS.get(base)
        if writer is not None:
            return writer
    raise LocalProtocolError(f"no expression stands for a Python {kind.__name__}")
