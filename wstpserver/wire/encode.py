"""From values to bytes (docs/wire-protocol.md, section 3)."""
from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

from .decimal_text import format_decimal
from .encode_packed import packed_parts
from .errors import LocalProtocolError
from .scalars import BigReal, Int8, Int16, Int64, LongDouble, Real32
from .sizes import encode_size
from .text import TextStyle, encode_text
from .values import Expression, Function, PackedArray, Symbol

_INT8 = struct.Struct("<BBB").pack
_INT16 = struct.Struct("<BhB").pack
_INT32 = struct.Struct("<BiB").pack
_INT64 = struct.Struct("<BqB").pack
_REAL32 = struct.Struct("<BfB").pack
_REAL64 = struct.Struct("<BdB").pack
_LF = 0x0A


def encode(
    expression: Expression, end_packet: bool = True, ascii: bool = True, *, seven_bit: bool = False
) -> bytes:
    """The bytes of one top-level expression, with the closing `]` unless `end_packet` is false.

    `ascii` chooses between the two forms in which the library writes text to a peer of version 4: format
    A for function heads and written-out numbers (2015), or UTF-8 throughout (2023); both read both.
    `seven_bit` writes all text in format A with escapes, for a peer that offers no other.

    A Python list or tuple stands for `List[...]`, element by element; only a PackedArray is packed. True
    and False are the symbols. An int takes 32 bits if it fits, else 64, else decimal digits.
    LocalProtocolError for a value that is nothing of this kind, and for a Real32 too large for a single.
    Nothing here recurses.
    """
    style = TextStyle.SEVEN_BIT if seven_bit else TextStyle.MIXED if ascii else TextStyle.UTF8
    parts: list[bytes | memoryview] = []
    _write(expression, style, parts)
    if end_packet:
        parts.append(b"]")
    return b"".join(parts)


def _write(root: Expression, style: TextStyle, parts: list[bytes | memoryview]) -> None:
    """Append the bytes of `root`. The stack holds what is left to write on each level."""
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
                append(b"F" + encode_size(len(value)) + _symbol("List", style, True))
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
    """Write what introduces a function; return what follows: its arguments, or first a head that is no
    symbol.
    """
    opening = b"F" + encode_size(len(value.args))
    if type(value.head) is Symbol:
        append(opening + _symbol(value.head.name, style, True))
        return iter(value.args)
    append(opening)
    return iter((value.head, *value.args))


def _symbol(name: str, style: TextStyle, is_head: bool) -> bytes:
    if len(name) > 255:  # not worth the memory in the cache
        return _text_token(b"#", encode_text(name, style, is_head))
    return _cached_symbol(name, style, is_head)


@lru_cache(maxsize=4096)
def _cached_symbol(name: str, style: TextStyle, is_head: bool) -> bytes:
    return _text_token(b"#", encode_text(name, style, is_head))


def _text_token(token: bytes, payload: bytes) -> bytes:
    return b"".join((token, encode_size(len(payload)), payload, b"\n"))


def _write_integer(value: int, style: TextStyle) -> bytes:
    if -0x80000000 <= value <= 0x7FFFFFFF:
        return _INT32(0xE4, value, _LF)
    if -0x8000000000000000 <= value <= 0x7FFFFFFFFFFFFFFF:
        return _INT64(0xE6, value, _LF)
    return _text_token(b"+", encode_text(format_decimal(value), style, True))


def _write_real32(value: Real32, style: TextStyle) -> bytes:
    try:
        return _REAL32(0xF4, value, _LF)
    except OverflowError:
        raise LocalProtocolError(f"{value!r} is too large for a 32-bit real") from None


_LEAF_WRITERS: dict[type, Callable[[Any, TextStyle], bytes]] = {
    int: _write_integer,
    float: lambda value, style: _REAL64(0xF6, value, _LF),
    str: lambda value, style: _text_token(b'"', encode_text(value, style)),
    Symbol: lambda value, style: _symbol(value.name, style, False),
    bool: lambda value, style: _symbol("True" if value else "False", style, False),
    Int8: lambda value, style: _INT8(0xA1, value, _LF),
    Int16: lambda value, style: _INT16(0xE2, value, _LF),
    Int64: lambda value, style: _INT64(0xE6, value, _LF),
    Real32: _write_real32,
    BigReal: lambda value, style: _text_token(b"*", encode_text(value.text, style, True)),
    LongDouble: lambda value, style: b"\xf8" + value.data + b"\n",
}


def _leaf_writer(kind: type) -> Callable[[Any, TextStyle], bytes]:
    """What writes values of this type: its own entry, or that of the class it derives from (an IntEnum, say).
    """
    for base in kind.__mro__:
        writer = _LEAF_WRITERS.get(base)
        if writer is not None:
            return writer
    raise LocalProtocolError(f"no expression stands for a Python {kind.__name__}")
