"""The data pump that both directions share: receive, find frame ends in C, hand bytes on.

What usually happens is one call into C for each round (cext/wstppump.h): it receives, scans, and sends the frames that
nobody has to look at first. Python hears of those that matter to it, and does what is not usual: the other end cannot
take a frame now, a frame comes in parts, a command, a connection that is traced.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from time import monotonic

from wstpserver._native import lib
from wstpserver.server import buffers
from wstpserver.server.sleeper import Sleeper
from wstpserver.server.stream import Stream
from wstpserver.server.turnstile import TURN, let_others_run
from wstpserver.wire.errors import RemoteProtocolError
from wstpserver.wire.frames import END, HEADS, MORE, TAIL, FrameScanner, head_bits
from wstpserver.wire.packets import PacketHead

#: A frame from a client goes to the kernel only when it is whole, if that is at most so many bytes; commands and
#: InputNamePackets are held until they are whole in both directions.
HELD_FRAME_SIZE = 65536

#: A frame that was broken off is completed with at most this many bytes; to fill up more is worth nobody's time.
LARGEST_COMPLETION = 1 << 30

_SENT = lib.WSTPPUMP_SENT
_ALL_SENT = lib.WSTPPUMP_ALL_SENT
_EMPTY = lib.WSTPPUMP_EMPTY
_CLOSED = lib.WSTPPUMP_CLOSED
_UNAVAILABLE = lib.WSTPPUMP_UNAVAILABLE
_NOTHING = memoryview(b"")


class Pump(Sleeper):
    """Reads one data connection. Subclasses say which bytes may leave early and where they go.

    *direct*: heads of frames that may leave in C, to the connection ``state.sink``, before this object hears of them;
    *reported*: those of them that `sent` is called for. The views that the methods get point into a shared buffer and
    are valid until they return.
    """

    def __init__(
        self, stream: Stream, scanner: FrameScanner, direct: Iterable[PacketHead], reported: Iterable[PacketHead]
    ) -> None:
        super().__init__(stream)
        self.scanner = scanner
        state = self.state
        state.scan = scanner.state
        state.direct = head_bits(direct)
        state.reported = head_bits(reported)
        # Not methods: a partial object saves a Python frame for each round.
        self._receive = partial(lib.wstppump_receive, state)
        self._scan_on = partial(lib.wstppump_next, state)
        self._kept = b""
        self._turn_ends = 0.0

    # -- rounds --------------------------------------------------------------------------------------------------

    def run(self, leftover: bytes = b"") -> None:
        """Pump until the stream ends; *leftover* is what had come in behind the greeting.

        Raises `RemoteProtocolError` if the peer leaves the protocol.
        """
        self.enter_relay()
        try:
            if leftover:
                self._take(leftover)
            while self._round():
                if self.state.drained or self.state.passing:  # what passes is faster there than in rounds of ours
                    self._wait()
                elif monotonic() > self._turn_ends:
                    self._let_others_run()
        finally:
            self.leave_relay()

    def _round(self) -> bool:
        """Receive, and do what there is to do. False: the stream has ended."""
        state = self.state
        if self.late_answer is not None:
            head, self.late_answer = self.late_answer, None
            self.sent(_NOTHING, head, False)
            self.round_ended()
            if self.arrival is None:
                return True
        if self.arrival is not None:
            (buffer, verdict), self.arrival = self.arrival, None
        else:
            buffer = buffers.take()
            verdict = self._begin_round(buffer)
        if verdict == _ALL_SENT:
            self._kept = b""
            self.sent(buffer.view, HEADS[state.head], False)
            self.round_ended()
        elif verdict == _EMPTY:
            state.drained = 1
        elif verdict != _CLOSED:
            left, end = self._process(buffer, verdict), state.end
            self._kept = bytes(buffer.view[end - left : end]) if left else b""
            self.round_ended()
        buffers.give(buffer)
        return verdict != _CLOSED

    def _begin_round(self, buffer: buffers.Buffer) -> int:
        """Receive and scan up to the first verdict."""
        kept = len(self._kept)
        if kept:
            buffer.view[:kept] = self._kept
        self.before_round()
        verdict: int = self._receive(buffer.pointer, buffers.PORTION, kept)
        if verdict != _UNAVAILABLE:
            return verdict
        size = self.stream.try_receive(buffer.view[kept : buffers.PORTION])
        if not size:
            return _EMPTY if size is None else _CLOSED
        return self._begin_at(buffer, kept, kept + size)

    def _begin_at(self, buffer: buffers.Buffer, position: int, end: int) -> int:
        state = self.state
        state.start, state.position, state.end = 0, position, end
        state.drained = 0
        return self._scan_on(buffer.pointer)

    def _let_others_run(self) -> None:
        let_others_run()
        self._turn_ends = monotonic() + TURN

    def _wait(self) -> None:
        self.before_round()
        if self._kept or not self.wait_in_relay():
            self.stream.wait_readable()
        self._turn_ends = monotonic() + TURN

    # -- what is in the buffer -----------------------------------------------------------------------------------

    def _take(self, data: bytes) -> None:
        for offset in range(0, len(data), buffers.PORTION // 2):
            piece = data[offset : offset + buffers.PORTION // 2]
            buffer = buffers.take()
            kept, end = len(self._kept), len(self._kept) + len(piece)
            buffer.view[:end] = self._kept + piece
            left = self._process(buffer, self._begin_at(buffer, kept, end))
            self._kept = bytes(buffer.view[end - left : end]) if left else b""
            buffers.give(buffer)

    def _process(self, buffer: buffers.Buffer, verdict: int) -> int:
        """Go on with this verdict until all is scanned; return how many bytes at the end of the buffer are kept."""
        view, state, scanner = buffer.view, self.state, self.scanner
        while verdict != MORE:
            if verdict in (_SENT, _ALL_SENT):
                self.sent(view, HEADS[state.head], bool(state.unsent or state.open_tail))
            else:
                self._hand_over(view, verdict)
                state.start = state.position
            if monotonic() > self._turn_ends:
                self._let_others_run()
            verdict = self._scan_on(buffer.pointer)
        if state.unsent or state.open_tail:
            self.finish(view)
        start, end = state.start, state.end
        if scanner.at_boundary:
            if end > start:
                self.forward(view[start:end])
            return 0
        first = end - scanner.frame_bytes
        if first > start:
            self.forward(view[start:first])
        if first >= start and self._keeps(scanner.frame_bytes + scanner.opaque):
            return scanner.frame_bytes
        if end > start:
            self.part(view[max(first, start) : end], scanner.head)
        return 0

    def _hand_over(self, view: memoryview, verdict: int) -> None:
        """Hand on what the scanner stopped at, and what came before."""
        state, scanner = self.state, self.scanner
        start, position = state.start, state.position
        if verdict == TAIL:
            if position - 1 > start:
                self.forward(view[start : position - 1])
            self.tail()
            return
        first = position - scanner.frame_bytes
        if first > start:
            self.forward(view[start:first])
        if verdict == END:
            state.passing = 0
            self.frame(view[max(first, start) : position], scanner.head, first >= start)
        else:
            raise RemoteProtocolError(scanner.error or "unreadable data", scanner.error_offset)

    def _keeps(self, size: int) -> bool:
        """Whether a frame that will have at least *size* bytes is kept until it is whole."""
        return self.scanner.undecided > 0 or size <= self.most_held(self.scanner.head)

    def before_round(self) -> None:
        """Frames may come in; say whether they may leave in C (``state.allowed``)."""

    def most_held(self, head: PacketHead) -> int:
        """Up to how many bytes of a frame with this *head* are kept until it is whole."""
        raise NotImplementedError

    def sent(self, view: memoryview, head: PacketHead, unfinished: bool) -> None:
        """A reported frame has left. It is still in this *view* of the buffer (`_sent_frame`); if
        *unfinished*, do what `finish` does."""
        raise NotImplementedError

    def _sent_frame(self, view: memoryview) -> memoryview:
        return view[self.state.frame : self.state.position]

    def finish(self, view: memoryview) -> None:
        """Frames have left. If not whole (`_unsent`), or the last one without its ``]`` (``state.open_tail``), do what
        follows from that."""
        raise NotImplementedError

    def _unsent(self, view: memoryview) -> memoryview:
        return view[self.state.start - self.state.unsent : self.state.start]

    def round_ended(self) -> None:
        """All that was received has been handed on; called after `account_for` as well."""

    def _pass_on(self, begun: bool) -> None:
        """Whether the frame in progress has *begun* to go to ``state.sink`` and may go on there in C."""
        self.state.passing = self.scanner.state.frame_start + 1 if begun else 0

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
