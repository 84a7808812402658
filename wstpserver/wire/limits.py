"""How much of a peer's expression the decoder takes."""
from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DecoderLimits:
    """What is beyond these is a RemoteProtocolError as soon as it is announced. Memory is only ever taken
    for bytes that have come in, so a limit may exceed the memory there is.
    """

    #: Levels of nesting. A level takes some 250 bytes of memory while it is open.
    depth: int = 2_000_000
    #: Arguments of one function, leaves of one array.
    count: int = 1 << 31
    #: Bytes of one string, symbol or written-out number.
    text: int = 1 << 31
    #: Bytes of numbers in one packed block.
    packed: int = 1 << 36
    #: Digits of one integer: reading n digits takes about n**1.6 steps, 10 million of them half a minute.
    digits: int = 10_000_000
    #: Bytes of the dimensions of one array.
    header: int = 1 << 16
    #: Bytes of one whole expression; None for no limit.
    expression: int | None = None
