"""Sizes and counts on the wire, written whole or continued from the middle (the protocol notes, section 3.1)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from wstpserver._native import lib

#: Sizes below this have a form of one byte.
BYTE_LIMIT: Final = 64
MAX_DIGITS: Final = int(lib.WSTPSCAN_MAX_SIZE_DIGITS)


def size_field(size: int, digits: int = 0) -> bytes:
    """``size`` in its shortest form; with ``digits`` as a decimal number of at least so many digits."""
    if size < BYTE_LIMIT and not digits:
        return bytes([0x40 + size])
    return b"%0*d " % (digits, size)


def continuations(state: Any, at_most: int) -> Iterator[tuple[bytes, int]]:
    """Every (rest of the field, size) that the size in progress can still become, sizes up to ``at_most``.

    In the order of the number of bytes to write. ``state``: the scanner at WSTPSCAN_AT_SIZE.
    """
    if state.digits == 0:
        for size in range(min(at_most + 1, BYTE_LIMIT)):
            yield bytes([0x40 + size]), size
        for size in range(BYTE_LIMIT, at_most + 1):
            yield b"%d " % size, size
        return
    for added in range(MAX_DIGITS - state.digits + 1):
        base = state.size * 10**added
        if base > at_most:
            return
        for tail in range(min(10**added, at_most - base + 1)):
            yield (b"%0*d " % (added, tail) if added else b" "), base + tail


def finished_size(state: Any, default: int, at_least: int) -> tuple[bytes, int]:
    """(rest of the field, size): the digits so far if they are at least ``at_least``, else one more digit.

    ``default`` if there are no digits yet.
    """
    if state.digits == 0:
        return size_field(default), default
    if state.size >= at_least or state.digits == MAX_DIGITS:
        return b" ", state.size
    return b"%d " % at_least, state.size * 10 + at_least
