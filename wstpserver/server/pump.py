"""The data pump that both directions share: receive, find frame ends in C, hand bytes on."""

from __future__ import annotations

from time import monotonic

from wstpserver.server import buffers
from wstpserver.server.stream import Stream
from wstpserver.server.turnstile import let_others_run
from wstpserver.wire.errors import RemoteProtocolError
from wstpserver.wire.frames import END, ERROR, MORE, TAIL, FrameScanner
from wstpserver.wire.packets import PacketHead

#: A frame from a client goes to the kernel only when it is whole, up to this many bytes; commands and
#: InputNamePackets are held until they are whole in both directions.
HELD_FRAME_SIZE = 65536

#: A frame that was broken off is completed with at most this many bytes; to fill up more is worth nobody's time.
LARGEST_COMPLETION = 1 << 30

#: Seconds after which a pump that always finds something to do lets the others run. A frame may cost next to nothing
#: or, being a command, a tenth of a millisecond, so neither frames nor bytes are a measure.
TURN = 0.001


class Pump:
    """Reads one data connection. Subclasses say which bytes may leave early and where they go.

    The views they get point into a shared buffer and are valid until the call returns.
    """

    def __init__(self, stream: Stream, scanner: FrameScanner) -> None:
        self.stream = stream
        self.scanner = scanner
        self._kept = b""
        self._turn_ends = 0.0

    def run(self, leftover: bytes = b"") -> None:
        """Pump until the stream ends; *leftover* is what had come in behind the greeting.

        Raises `RemoteProtocolError` if the peer leaves the protocol.
        """
        if leftover:
            self._take(leftover)
        while True:
            buffer = buffers.take()
            kept = self._kept
            start = len(kept)
            if start:
                buffer.view[:start] = kept
            size = self.stream.try_receive(buffer.view[start:] if start else buffer.view)
            if size is None:
                buffers.give(buffer)
                self.stream.wait_readable()
                self._turn_ends = monotonic() + TURN
                continue
            if size == 0:
                buffers.give(buffer)
                return
            left = self._process(buffer, start, start + size)
            self._kept = bytes(buffer.view[start + size - left : start + size]) if left else b""
            buffers.give(buffer)
            if monotonic() > self._turn_ends:
                self._let_others_run()

    def _let_others_run(self) -> None:
        let_others_run()
        self._turn_ends = monotonic() + TURN

    def _take(self, data: bytes) -> None:
        for offset in range(0, len(data), buffers.BUFFER_SIZE // 2):
            piece = data[offset : offset + buffers.BUFFER_SIZE // 2]
            buffer = buffers.take()
            kept = len(self._kept)
            buffer.view[: kept + len(piece)] = self._kept + piece
            left = self._process(buffer, kept, kept + len(piece))
            end = kept + len(piece)
            self._kept = bytes(buffer.view[end - left : end]) if left else b""
            buffers.give(buffer)

    def _process(self, buffer: buffers.Buffer, position: int, end: int) -> int:
        """Scan what is new in the buffer, hand on what may leave; return how many bytes at the end are kept."""
        view, pointer, scanner = buffer.view, buffer.pointer, self.scanner
        start = 0
        while position < end:
            verdict = scanner.scan(pointer + position, end - position)
            position += scanner.used
            if verdict == END:
                first = position - scanner.frame_bytes
                if first > start:
                    self.forward(view[start:first])
                self.frame(view[max(first, start) : position], scanner.head, first >= start)
                start = position
                if monotonic() > self._turn_ends:
                    self._let_others_run()
            elif verdict == MORE:
                break
            elif verdict == TAIL:
                if position - 1 > start:
                    self.forward(view[start : position - 1])
                self.tail()
                start = position
            elif verdict == ERROR:
                first = position - scanner.frame_bytes
                if first > start:  # the frames before the wrong one
                    self.forward(view[start:first])
                raise RemoteProtocolError(scanner.error or "unreadable data", scanner.error_offset)
        if scanner.at_boundary:
            if end > start:
                self.forward(view[start:end])
            return 0
        first = end - scanner.frame_bytes
        if first > start:
            self.forward(view[start:first])
        if first >= start and self._keeps(scanner.frame_bytes):
            return scanner.frame_bytes
        self.part(view[max(first, start) : end], scanner.head)
        return 0

    def _keeps(self, size: int) -> bool:
        if self.scanner.undecided:
            return True
        return size <= HELD_FRAME_SIZE and self.holds(self.scanner.head)

    def holds(self, head: PacketHead) -> bool:
        """Whether a frame with this *head* is kept until it is whole (or larger than HELD_FRAME_SIZE)."""
        raise NotImplementedError

    def forward(self, data: memoryview) -> None:
        """Take whole frames whose heads the scanner does not stop at."""
        raise NotImplementedError

    def part(self, data: memoryview, head: PacketHead) -> None:
        """Take the next part of a frame that is passed on before it is whole."""
        raise NotImplementedError

    def frame(self, data: memoryview, head: PacketHead, whole: bool) -> None:
        """Take a frame that the scanner stops at; if not *whole*, its last part."""
        raise NotImplementedError

    def tail(self) -> None:
        """A ``]`` came after its frame had been handed on."""
        raise NotImplementedError
