"""How single machine numbers are read (docs/wire-protocol.md, section 3.4)."""
from __future__ import annotations

import struct
from collections.abc import Callable
from functools import partial
from typing import Any

from .scalars import Int8, Int16, Int64, LongDouble, Real32
from .tokens import NUMBER_TOKENS

#: (bytes from the token to the line feed, unpack_from, what makes the value; None if it is the number
#: unpacked)
NumberReader = tuple[int, Callable[..., Any], Callable[[Any], Any] | None]

_WRAPPERS: dict[str, Callable[[Any], Any]] = {
    "int8": partial(int.__new__, Int8),  # without the check of the range: the width has made it
    "int16": partial(int.__new__, Int16),
    "int64": partial(int.__new__, Int64),
    "real32": Real32,
    "real128": LongDouble,
}


def _number_readers() -> list[NumberReader | None]:
    table: list[NumberReader | None] = [None] * 256
    for token, (kind, is_little) in NUMBER_TOKENS.items():
        unpack = struct.Struct(("<" if is_little else ">") + kind.format).unpack_from
        wrapper = _WRAPPERS.get(kind.name)
        if kind.name == "real128" and not is_little:
            wrapper = _long_double_from_big
        table[token] = (kind.width + 2, unpack, wrapper)
    return table


def _long_double_from_big(data: bytes) -> LongDouble:
    return LongDouble(data[::-1])


#: A reader for every token byte, None where no machine number begins with that byte.
NUMBER_READERS = _number_readers()
