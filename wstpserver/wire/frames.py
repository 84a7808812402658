"""Where frames begin and end in a stream of expressions: the Python face of the C scanner.

A frame is one complete top-level expression and the ``]`` that may follow it. ``FrameScanner`` reads one direction
of one link. ``scan`` is the hot path: one call into C, whose return value is the verdict; every other attribute is
read only when the verdict is an event. Facts about the grammar: docs/wire-protocol.md, section 3; the exact
contract of the scanner: cext/wstpscan.h.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache, partial
from typing import Any, Final

from wstpserver._native import ffi, lib
from wstpserver.wire.completion import COMPLETION_LIMIT, complete, complete_in_parts
from wstpserver.wire.errors import RemoteProtocolError
from wstpserver.wire.packets import PacketHead

#: All bytes consumed, nothing to report.
MORE: Final = 0
#: The head of a frame is known; consumed up to and including the byte that decided it.
HEAD: Final = 1
#: A frame is complete; its ``]`` was consumed with it if it was the next byte in the buffer.
END: Final = 2
#: A late ``]`` between frames, which belongs to the frame before; one byte consumed.
TAIL: Final = 3
#: The stream is not WSTP; sticky. See ``error`` and ``error_offset``.
ERROR: Final = -1

#: Most bytes that ``undecided`` can ever be.
MAX_UNDECIDED: Final = int(lib.WSTPSCAN_MAX_UNDECIDED)

_ALL: Final = 2**64 - 1
#: The head for each code.
HEADS: Final[tuple[PacketHead, ...]] = tuple(PacketHead)


def head_bits(heads: Iterable[PacketHead] | None) -> int:
    """Bit ``1 << code`` for each of these heads, as the C modules take sets of heads; None: all bits."""
    if heads is None:
        return _ALL
    return _bits(frozenset(heads))


@lru_cache(maxsize=32)  # each link and each bridge asks for the same few
def _bits(heads: frozenset[PacketHead]) -> int:
    return sum(1 << head for head in heads)


class FrameScanner:
    """Finds the frames in one direction of one link.

    ``stop_at_head`` and ``stop_at_end`` say for which heads HEAD and END (with TAIL) are reported; None: for all.
    ``max_block``: most bytes in one text or packed block, 0 for no limit; a larger one is an error.

    >>> scanner = FrameScanner()
    >>> scanner.scan_bytes(b'FA#RA~OWSCommandPacket\\n#DA~Ax\\n]')   # HEAD
    1
    >>> scanner.head, scanner.used
    (<PacketHead.WSCommandPacket: 1>, 22)
    """

    __slots__ = ("_state", "scan", "state")

    #: cffi ``struct wstpscan *``, for other code in C that scans with it. Lives as long as this object.
    state: Any

    #: ``scan(pointer, length) -> verdict``. pointer: cffi ``const uint8_t *`` to the next bytes (from
    #: ``ffi.from_buffer``, which the caller keeps alive); length in bytes. After anything but MORE and ERROR call
    #: again with the bytes from ``used`` on. Never raises for what the bytes are.
    scan: Callable[[Any, int], int]

    def __init__(
        self,
        stop_at_head: Iterable[PacketHead] | None = None,
        stop_at_end: Iterable[PacketHead] | None = None,
        *,
        max_block: int = 0,
    ) -> None:
        state = self.state = self._state = ffi.new("struct wstpscan *")
        state.stop_at_head = head_bits(stop_at_head)
        state.stop_at_end = head_bits(stop_at_end)
        state.max_block = max_block
        # Not a method: a partial object saves a Python frame for each receive.
        self.scan = partial(lib.wstpscan_scan, state)

    def scan_bytes(self, data: bytes | bytearray | memoryview) -> int:
        """``scan`` for bytes that are not held at a fixed address; slower by the making of a pointer."""
        with ffi.from_buffer("uint8_t[]", data) as pointer:
            return self.scan(pointer, len(pointer))

    def set_stops(
        self, stop_at_head: Iterable[PacketHead] | None, stop_at_end: Iterable[PacketHead] | None
    ) -> None:
        """Change what ``scan`` stops at, from the next call on; arguments as for the constructor."""
        self._state.stop_at_head = head_bits(stop_at_head)
        self._state.stop_at_end = head_bits(stop_at_end)

    def skip(self, count: int) -> None:
        """Pass over ``count`` bytes of an opaque block that went by without being in memory (``splice``).

        Raises ValueError if ``count`` is more than ``opaque``.
        """
        if not 0 <= count <= self._state.opaque:
            raise ValueError(f"{count} bytes to skip, but {self._state.opaque} are opaque")
        lib.wstpscan_skip(self._state, count)

    @property
    def used(self) -> int:
        """Bytes consumed by the last call."""
        return self._state.used  # type: ignore[no-any-return]

    @property
    def consumed(self) -> int:
        """Bytes consumed since the start of the stream."""
        return self._state.consumed  # type: ignore[no-any-return]

    @property
    def head(self) -> PacketHead:
        """Head code of the current or last frame; ``PacketHead.OTHER`` while it is not known."""
        head: PacketHead = HEADS[self._state.head]
        return head

    @property
    def head_known(self) -> bool:
        """Whether the head of the current or last frame is decided."""
        return bool(self._state.head_known)

    @property
    def head_name(self) -> bytes:
        """The head symbol's name in ASCII (``?`` for other characters), its first 63 characters.

        Empty if the head is no symbol, is not known yet, or takes more than 256 bytes on the wire.
        """
        return ffi.string(self._state.head_name)  # type: ignore[no-any-return]

    @property
    def undecided(self) -> int:
        """How many of the last consumed bytes belong to a frame whose head is not known yet, 0..MAX_UNDECIDED."""
        return self._state.undecided  # type: ignore[no-any-return]

    @property
    def opaque(self) -> int:
        """Bytes that follow and need no look: they are inside a text, a number or a packed block."""
        return self._state.opaque  # type: ignore[no-any-return]

    @property
    def frame_bytes(self) -> int:
        """Bytes of the current frame so far; between frames those of the last frame, its ``]`` included if seen."""
        return self._state.frame_bytes  # type: ignore[no-any-return]

    @property
    def arguments_missing(self) -> int:
        """Expressions that the current frame lacks beside the one in progress; leaves of an array not counted."""
        return self._state.missing  # type: ignore[no-any-return]

    @property
    def at_boundary(self) -> bool:
        """Whether the scanner stands between frames, with no error."""
        return self._state.step == lib.WSTPSCAN_AT_BOUNDARY and not self._state.error

    @property
    def error(self) -> str | None:
        """What is wrong with the stream, as a sentence without a full stop; None while nothing is."""
        if not self._state.error:
            return None
        return ffi.string(lib.wstpscan_error_message(self._state.error)).decode("ascii")  # type: ignore[no-any-return]

    @property
    def error_code(self) -> int:
        """Number of the error (``enum wstpscan_error`` in cext/wstpscan.h), 0 while there is none."""
        return self._state.error  # type: ignore[no-any-return]

    @property
    def error_offset(self) -> int | None:
        """Offset of the first wrong byte since the start of the stream, None while there is no error."""
        return self._state.error_offset if self._state.error else None

    def check(self) -> None:
        """Raise RemoteProtocolError if the stream is in error."""
        if self._state.error:
            raise RemoteProtocolError(f"{self.error} (byte {self.error_offset})", self.error_offset)

    def completion(self, limit: int = COMPLETION_LIMIT) -> bytes:
        """Bytes that complete a broken-off frame when they follow what was scanned; ``b""`` between frames.

        The missing places hold the symbol ``$Aborted``, the rest of a text or block harmless bytes, and ``]`` ends
        it. Raises LocalProtocolError if that takes more than ``limit`` bytes, if the stream is in error, or if
        what was begun cannot become an expression any more.
        """
        return complete(self._state, limit)

    def completion_in_parts(self, limit: int = COMPLETION_LIMIT) -> Iterator[bytes]:
        """What `completion` returns, in parts that are made when they are asked for; raises as that does, at once."""
        return complete_in_parts(self._state, limit)
