"""Where frames begin and end in a stream of expressions: the Python side of the C scanner.

A frame is one complete top-level expression and the `]` that may follow it. `FrameScanner` reads one direction of one
link. The grammar is that of docs/wire-protocol.md, section 3; the exact contract of the scanner is in cext/wstpscan.h.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, Final

from wstpserver._native import ffi, lib
from wstpserver.wire.completion import COMPLETION_LIMIT, complete_in_parts
from wstpserver.wire.packets import PacketHead

#: All bytes consumed, nothing to report.
MORE: Final = 0
#: The head of a frame is known; consumed up to and including the byte that decided it.
HEAD: Final = 1
#: A frame is complete; its `]` was consumed with it if it was the next byte in the buffer.
END: Final = 2
#: A late `]` between frames, which belongs to the frame before; one byte consumed.
TAIL: Final = 3
#: The stream is not WSTP; sticky. See `FrameScanner.error` and `FrameScanner.error_offset`.
ERROR: Final = -1

_ALL: Final = 2**64 - 1
#: The head for each code.
HEADS: Final[tuple[PacketHead, ...]] = tuple(PacketHead)


def head_bits(heads: Iterable[PacketHead] | None) -> int:
    """Bit `1 << code` for each of these heads, as the C module takes sets of heads; None: all bits."""
    if heads is None:
        return _ALL
    return _bits(frozenset(heads))


@lru_cache(maxsize=32)  # each link and each bridge asks for the same few
def _bits(heads: frozenset[PacketHead]) -> int:
    return sum(1 << head for head in heads)


class FrameScanner:
    r"""Finds the frames in one direction of one link.

    >>> scanner = FrameScanner()
    >>> scanner.scan_bytes(b'FA#RA~OWSCommandPacket\n#DA~Ax\n]')   # HEAD
    1
    >>> scanner.head, scanner.used
    (<PacketHead.WSCommandPacket: 1>, 22)

    Args:
        stop_at_head: The heads for which HEAD is reported; None: all.
        stop_at_end: The heads for which END and TAIL are reported; None: all.
        max_block: Most bytes in one text or packed block, 0 for no limit; a larger one is an error.

    Attributes:
        state: cffi `struct wstpscan *`, for other code in C that scans with it. Lives as long as this object.
    """

    __slots__ = ("state",)

    state: Any

    def __init__(
        self,
        stop_at_head: Iterable[PacketHead] | None = None,
        stop_at_end: Iterable[PacketHead] | None = None,
        *,
        max_block: int = 0,
    ) -> None:
        state = self.state = ffi.new("struct wstpscan *")
        state.stop_at_head = head_bits(stop_at_head)
        state.stop_at_end = head_bits(stop_at_end)
        state.max_block = max_block

    def scan_bytes(self, data: bytes | bytearray | memoryview) -> int:
        """Reads on in the stream. Never raises for what the bytes are.

        Returns:
            MORE, HEAD, END, TAIL or ERROR; after anything but MORE and ERROR call again with the bytes from `used` on.
        """
        with ffi.from_buffer("uint8_t[]", data) as pointer:
            return lib.wstpscan_scan(self.state, pointer, len(pointer))  # type: ignore[no-any-return]

    def set_stops(
        self, stop_at_head: Iterable[PacketHead] | None, stop_at_end: Iterable[PacketHead] | None
    ) -> None:
        """Changes what `scan_bytes` stops at, from the next call on; arguments as for the constructor."""
        self.state.stop_at_head = head_bits(stop_at_head)
        self.state.stop_at_end = head_bits(stop_at_end)

    @property
    def used(self) -> int:
        """Bytes consumed by the last call."""
        return self.state.used  # type: ignore[no-any-return]

    @property
    def head(self) -> PacketHead:
        """Head code of the current or last frame; `PacketHead.OTHER` while it is not known."""
        head: PacketHead = HEADS[self.state.head]
        return head

    @property
    def head_name(self) -> bytes:
        """The head symbol's name in ASCII (`?` for other characters), its first 63 characters.

        Empty if the head is no symbol, is not known yet, or takes more than 256 bytes on the wire.
        """
        return ffi.string(self.state.head_name)  # type: ignore[no-any-return]

    @property
    def undecided(self) -> int:
        """How many of the last consumed bytes belong to a frame whose head is not known yet."""
        return self.state.undecided  # type: ignore[no-any-return]

    @property
    def opaque(self) -> int:
        """Bytes that follow and need no look: they are inside a text, a number or a packed block."""
        return self.state.opaque  # type: ignore[no-any-return]

    @property
    def frame_bytes(self) -> int:
        """Bytes of the current frame so far; between frames those of the last frame, its `]` included if seen."""
        return self.state.frame_bytes  # type: ignore[no-any-return]

    @property
    def at_boundary(self) -> bool:
        """Whether the scanner stands between frames, with no error."""
        return self.state.step == lib.WSTPSCAN_AT_BOUNDARY and not self.state.error

    @property
    def error(self) -> str | None:
        """What is wrong with the stream, as a sentence without a full stop; None while nothing is."""
        if not self.state.error:
            return None
        return ffi.string(lib.wstpscan_error_message(self.state.error)).decode("ascii")  # type: ignore[no-any-return]

    @property
    def error_offset(self) -> int | None:
        """Offset of the first wrong byte since the start of the stream, None while there is no error."""
        return self.state.error_offset if self.state.error else None

    def completion_in_parts(self, limit: int = COMPLETION_LIMIT) -> Iterator[bytes]:
        """Bytes that complete a broken-off frame when they follow what was scanned; nothing between frames.

        The missing places hold the symbol `$Aborted`, the rest of a text or block harmless bytes, and `]` ends it.

        Args:
            limit: Most bytes of all parts together.

        Returns:
            Parts of at most about `completion.PART_SIZE` bytes, made when they are asked for.

        Raises:
            LocalProtocolError: At once, if that takes more than `limit` bytes, if the stream is in error, or if what
                was begun cannot become an expression any more.
        """
        return complete_in_parts(self.state, limit)
