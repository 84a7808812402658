"""Sizes and counts: one byte up to 63, decimal digits and a space from there (docs/wire-protocol.md, 3.1)."""
from __future__ import annotations

_SHORT = tuple(bytes([0x40 + number]) for number in range(64))


def encode_size(number: int) -> bytes:
    """The wire form of a number that is not negative."""
    return _SHORT[number] if number < 64 else b"%d " % number
