"""Receive buffers, shared by all pumps: a link that has nothing to read holds none."""

from __future__ import annotations

import mmap

from wstpserver._native import ffi

#: Bytes of one buffer. It takes what has come of a long block and cannot be sent on at once.
BUFFER_SIZE = 1024 * 1024

#: Bytes that are received at a time. Several frames of the common sizes fit, and bulk data needs few calls.
PORTION = 256 * 1024

#: Buffers kept for the next reader; more than these are given back to the allocator.
KEPT = 8


class Buffer:
    """A block of memory as the socket, Python and the scanner want to see it."""

    __slots__ = ("pointer", "view")

    def __init__(self) -> None:
        # What is never used of it takes no memory; and no other process has it.
        memory = mmap.mmap(-1, BUFFER_SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
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
