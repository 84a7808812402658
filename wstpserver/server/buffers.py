"""Receive buffers, shared by all pumps: a link that has nothing to read holds none."""

from __future__ import annotations

from wstpserver._wstpscan import ffi

#: Bytes of one buffer. Several frames of the common sizes fit, and bulk data needs few calls.
BUFFER_SIZE = 256 * 1024

#: Buffers kept for the next reader; more than these are given back to the allocator.
KEPT = 8


class Buffer:
    """A block of memory as the socket, Python and the scanner want to see it."""

    __slots__ = ("pointer", "view")

    def __init__(self) -> None:
        memory = bytearray(BUFFER_SIZE)
        self.view = memoryview(memory)
        #: ``const uint8_t *``; making it for each call would cost more than the call.
        self.pointer = ffi.from_buffer("uint8_t[]", memory)


_kept: list[Buffer] = []


def take() -> Buffer:
    """Return a buffer with arbitrary content."""
    return _kept.pop() if _kept else Buffer()


def give(buffer: Buffer) -> None:
    """Hand a buffer back that nobody uses any more."""
    if len(_kept) < KEPT:
        _kept.append(buffer)
