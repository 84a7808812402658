"""Where frames begin and end in a stream of expressions: the Python side of the C scanner.

A frame is one complete top-level expression and the `]` that may follow it. `FrameScanner` reads one direction of one
link. The grammar is that of docs/wire-protocol.md, section 3; the exact contract of the scanner is in cext/wstpscan.h.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from wstpserver._native import ffi, lib
from wstpserver.wire.completion import COMPLETION_LIMIT, complete_in_parts
from wstpserver.wire.packets import PacketHead
from wstpserver.wire.text import TEXT_START, without_six_digits
from wstpserver.wire.tokens import (
    ARRAY,
    DICTIONARY_SYMBOL,
    END_PACKET,
    FUNCTION,
    NUMBER_TOKENS,
    PACKED,
    STRING,
    SYMBOL,
    encode_size,
    read_size,
    text_item,
)

#: All bytes consumed, nothing to report.
MORE: Final = 0
#: A frame is complete; its `]` was consumed with it if it was the next byte in the buffer.
END: Final = 1
#: A late `]` between frames, which belongs to the frame before; one byte consumed.
TAIL: Final = 2
#: The stream is not WSTP; sticky. See `FrameScanner.error` and `FrameScanner.error_offset`.
ERROR: Final = -1

#: All heads, as `head_bits` says it.
ALL_HEADS: Final = 2**64 - 1
#: The head for each code.
HEADS: Final[tuple[PacketHead, ...]] = tuple(PacketHead)


def head_bits(heads: Iterable[PacketHead] | None) -> int:
    """Bit `1 << code` for each of these heads, as the C module takes sets of heads; None: all bits."""
    if heads is None:
        return ALL_HEADS
    return sum(1 << head for head in frozenset(heads))


class FrameScanner:
    r"""Finds the frames in one direction of one link.

    >>> scanner = FrameScanner()
    >>> scanner.scan_bytes(b'FA#RA~OWSCommandPacket\n#DA~Ax\n]\xa1')   # END
    1
    >>> scanner.head, scanner.used
    (<PacketHead.WSCommandPacket: 1>, 31)

    Args:
        stop_at_end: The heads for which END and TAIL are reported; None: all.

    Attributes:
        state: cffi `struct wstpscan *`, for other code in C that scans with it. Lives as long as this object.
    """

    __slots__ = ("state",)

    state: Any

    def __init__(self, stop_at_end: Iterable[PacketHead] | None = None) -> None:
        self.state = ffi.new("struct wstpscan *")
        self.state.stop_at_end = head_bits(stop_at_end)

    def scan_bytes(self, data: bytes | bytearray | memoryview) -> int:
        """Reads on in the stream. Never raises for what the bytes are.

        Returns:
            MORE, END, TAIL or ERROR; after anything but MORE and ERROR call again with the bytes from `used` on.
        """
        with ffi.from_buffer("uint8_t[]", data) as pointer:
            return lib.wstpscan_scan(self.state, pointer, len(pointer))  # type: ignore[no-any-return]

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


class EscapeRewriter:
    r"""Rewrites one direction of a bridge, from a link whose greeting has version 6 to one that has 4 or 3.

    At 6, a character above U+FFFF may come as `\|01f600` in a text of format A, and the library of 2015 hangs on that.
    Here such an escape becomes `\:d83d\:de00`, which every reader takes for the same character; size and number of
    characters of its text grow. Nothing else changes.

    A text with escapes is held until it is whole, because its size goes out before it; so is any other item whose
    beginning is cut, which is a few bytes. Everything else passes at once, so memory does not grow with the frames:
    strings without escapes, packed numbers and texts in other formats may have any size.
    """

    __slots__ = ("_held", "_length", "_passing", "_scanner")

    def __init__(self) -> None:
        self._scanner = FrameScanner(())
        #: The beginning of an item that must be whole.
        self._held: list[bytes] = []
        self._length = 0
        #: Bytes to come of an item whose beginning has passed.
        self._passing = 0

    @property
    def held(self) -> int:
        """Bytes that came in and have not gone out: 0 between frames."""
        return self._length

    def feed(self, data: bytes) -> list[bytes | memoryview]:
        """Takes bytes of the stream, in pieces of any length.

        Returns:
            What goes out, in order: `data` itself where nothing is to be changed and nothing was held. Bytes that are
            no expressions, and whatever follows them, go out as they are.
        """
        state = self._scanner.state
        if state.error:
            return [data] if data else []
        base = state.consumed - self._length  # offset in the stream of the first byte that has not gone out
        self._scan(data)
        end = self._may_go_until(base) - base
        if self._held and end == 0 and not state.error:  # still the same item
            self._hold(data)
            return []
        stream = b"".join((*self._held, data)) if self._held else data
        self._held, self._length = [], 0
        out = self._rewritten(stream, min(self._passing, len(stream)), end)
        self._passing = 0
        if state.error:
            out.append(memoryview(stream)[end:])
        elif end < len(stream):
            self._hold(stream[end:])
        else:
            self._passing = _rest_of_item(state)
        return out

    def _scan(self, data: bytes) -> None:
        rest = memoryview(data)
        while self._scanner.scan_bytes(rest) == TAIL:  # reported before the first frame, whatever was asked for
            rest = rest[self._scanner.used :]

    def _hold(self, data: bytes) -> None:
        self._held.append(data)
        self._length += len(data)

    def _may_go_until(self, base: int) -> int:
        """Offset in the stream up to which there are whole items, or items that may pass in parts."""
        state = self._scanner.state
        consumed, item_start = int(state.consumed), int(state.item_start)
        if state.error:
            return max(base, item_start)
        if item_start < base or state.step in (lib.WSTPSCAN_AT_BOUNDARY, lib.WSTPSCAN_AT_ITEM):
            return consumed
        if state.step == lib.WSTPSCAN_AT_LINE_FEED:
            return item_start if state.token in _WITH_ESCAPES else consumed
        if state.step in (lib.WSTPSCAN_AT_OPAQUE, lib.WSTPSCAN_AT_HEAD_TEXT):
            return consumed if state.token not in _WITH_ESCAPES or _has_no_escapes(state) else item_start
        return item_start

    @staticmethod
    def _rewritten(stream: bytes, first: int, end: int) -> list[bytes | memoryview]:
        """The bytes up to `end`, rewritten; items begin at `first`."""
        if stream.find(SIX_DIGITS, first, end) < 0:
            return [stream] if end == len(stream) and stream else [memoryview(stream)[:end]] if end > 0 else []
        view = memoryview(stream)
        out: list[bytes | memoryview] = []
        done, position = 0, first
        while position < end:
            item = position
            position, rewritten = _next_item(stream, position)
            if rewritten is not None:
                out += (view[done:item], rewritten)
                done = position
        if done < end:
            out.append(view[done:end])
        return out


#: What an escape of six digits begins with.
SIX_DIGITS: Final = b"\\|"
#: Tokens of the texts that may hold characters above U+FFFF: strings and symbols.
_WITH_ESCAPES: Final = (STRING, SYMBOL)


def _rest_of_item(state: Any) -> int:
    """Bytes that the item in progress lacks, its line feed included."""
    if state.step == lib.WSTPSCAN_AT_HEAD_TEXT:
        return int(state.left) + 1
    if state.step == lib.WSTPSCAN_AT_OPAQUE:
        return int(state.opaque) + 1
    return int(state.step == lib.WSTPSCAN_AT_LINE_FEED)


#: Bytes before the first character of a text, at most.
_START_OF_TEXT: Final = 2 + int(lib.WSTPSCAN_MAX_SIZE_DIGITS) + 1


def _has_no_escapes(state: Any) -> bool:
    """Whether the text in progress holds no escape, as far as its beginning tells: an escape makes it longer."""
    size, seen = int(state.size), int(state.size) - (_rest_of_item(state) - 1)
    start = bytes(state.text[0 : min(seen, _START_OF_TEXT)])
    if start[:1] != b"A":
        return bool(start)
    match = TEXT_START.match(start)
    if match is None:
        return False
    count, end = read_size(start, 2)
    return count == size - end


def _next_item(data: bytes, position: int) -> tuple[int, bytes | None]:
    """(the position behind the item at `position`, what it becomes; None if it stays as it is)."""
    token = data[position]
    if token in NUMBER_TOKENS:
        return position + NUMBER_TOKENS[token][0].width + 2, None
    if token == END_PACKET:
        return position + 1, None
    size, start = read_size(data, position + 1)
    if token == FUNCTION:
        return start, None
    if token == ARRAY:
        size, header = read_size(data, start + 1)
        rewritten = _rewritten_header(data[header : header + size])
        if rewritten is None:
            return header + size + 1, None
        return header + size + 1, data[position : start + 1] + encode_size(len(rewritten)) + rewritten + b"\n"
    if token in (PACKED, DICTIONARY_SYMBOL):
        return start + 1 + size * NUMBER_TOKENS[data[start]][0].width + 1, None
    end = start + size
    if token not in _WITH_ESCAPES or end >= len(data) or data.find(SIX_DIGITS, start, end) < 0:
        return end + 1, None
    payload = data[start:end]
    rewritten = without_six_digits(payload)
    return end + 1, None if rewritten == payload else text_item(data[position : position + 1], rewritten)


def _rewritten_header(header: bytes) -> bytes | None:
    """The dimensions of an array with the names of their heads rewritten; None if they stay as they are."""
    if SIX_DIGITS not in header:
        return None
    parts, done, position = [], 0, 0
    while header[position] == FUNCTION:
        _, position = read_size(header, position + 1)
        symbol = position
        position, rewritten = _next_item(header, position)
        if rewritten is not None:
            parts += [header[done:symbol], rewritten]
            done = position
    return b"".join((*parts, header[done:])) if parts else None
