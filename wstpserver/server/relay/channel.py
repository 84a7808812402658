"""One direction of a link's data connection: receive, find frame ends in C, hand frames on.

What usually happens is one call into C for each round (cext/wstpcopy.h): it receives, scans, and sends the frames
that Python need not look at first. Python hears of the frames that matter to it, and does what is not usual: the
other connection cannot take a frame now, a frame comes in parts, a command, a connection that is traced.

A channel reports to one callback, with a `ChannelEvent`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from functools import partial
from time import monotonic
from typing import Any, Final

from gevent import get_hub
from gevent.event import Event

from wstpserver._native import ffi, lib
from wstpserver.server.connection import TURN, Connection, ConnectionClosed, yield_to_loop
from wstpserver.server.relay import epoll_loop
from wstpserver.server.relay.epoll_loop import PORTION, Buffer, give_buffer, take_buffer
from wstpserver.server.relay.sinks import Sink
from wstpserver.wire.errors import RemoteProtocolError
from wstpserver.wire.frames import END, HEADS, MORE, TAIL, FrameScanner
from wstpserver.wire.packets import PacketHead

#: A frame from a client goes to the kernel only when it is whole, if that is at most so many bytes; commands and
#: prompts are held until they are whole in both directions.
HELD_FRAME_SIZE = 65536

_SENT = lib.WSTPCOPY_SENT
_ALL_SENT = lib.WSTPCOPY_ALL_SENT
_EMPTY = lib.WSTPCOPY_EMPTY
_CLOSED = lib.WSTPCOPY_CLOSED
_UNAVAILABLE = lib.WSTPCOPY_UNAVAILABLE
_NOTHING = memoryview(b"")


class ChannelEvent(Enum):
    """What a channel reports. Data are views that are valid until the callback returns, or None."""

    # the hash of an enum is a function in Python, and these are keys where it counts
    __hash__ = object.__hash__

    #: Of a client: a whole packet, to be sent or queued. May wait.
    FRAME = "frame"
    #: Of a client: a packet that is too large to be held has begun. True: it counts as sent, and goes to the sink
    #: from now on. False: it is held, and this is asked again with each part. Must not wait.
    MAY_STREAM = "may stream"
    #: Of a client: more of such a packet is to be held (`ClientChannel.held_bytes` so far). True: it may be. False:
    #: something has changed, so that MAY_STREAM is asked again, or the rest is skipped. May wait.
    HOLD = "hold"
    #: A WSCommandPacket, None for one that is too large to be read. May wait; nothing is received meanwhile.
    COMMAND = "command"
    #: Of a kernel: a packet with this head was handed to the sink; its bytes if it is a prompt or a question. May wait.
    WRITTEN = "written"
    #: Of a kernel: an answer passed in C. False: it could not be accounted for here, and is reported as WRITTEN.
    #: Called in the hub: must not wait.
    ANSWERED = "answered"
    #: Everything that was received has been handed on. Must not wait.
    ROUND_ENDED = "round ended"


#: The callback: event, head of the packet (OTHER where there is none), data.
OnEvent = Callable[[ChannelEvent, PacketHead, "memoryview | bytes | None"], bool]


class FrameState(Enum):
    """Where a channel is in the frame that it receives."""

    # the hash of an enum is a function in Python, and these are keys where it counts
    __hash__ = object.__hash__

    #: Between frames, or in one that is kept in the receive buffer until it is whole.
    BOUNDARY = "boundary"
    #: In a large frame that waits.
    HELD = "held"
    #: In a frame whose beginning went to the sink.
    STREAMING = "streaming"
    #: In a frame whose rest is dropped.
    SKIPPING = "skipping"


class FrameStep(Enum):
    """What happens to the frame that a channel receives."""

    __hash__ = object.__hash__

    #: A part of it is held, because it may not go to the sink yet.
    HOLD = "hold"
    #: A part of it goes to the sink, here or in C.
    STREAM = "stream"
    #: What is held is dropped, or the sink is gone: the rest goes nowhere.
    BREAK_OFF = "break off"
    #: It is complete.
    END = "end"


#: state -> step -> next state. What is not here cannot happen.
FRAME_TRANSITIONS: Final[Mapping[FrameState, Mapping[FrameStep, FrameState]]] = {
    FrameState.BOUNDARY: {
        FrameStep.HOLD: FrameState.HELD, FrameStep.STREAM: FrameState.STREAMING, FrameStep.END: FrameState.BOUNDARY,
    },
    FrameState.HELD: {
        FrameStep.HOLD: FrameState.HELD, FrameStep.STREAM: FrameState.STREAMING,
        FrameStep.BREAK_OFF: FrameState.SKIPPING, FrameStep.END: FrameState.BOUNDARY,
    },
    FrameState.STREAMING: {
        FrameStep.STREAM: FrameState.STREAMING, FrameStep.BREAK_OFF: FrameState.SKIPPING,
        FrameStep.END: FrameState.BOUNDARY,
    },
    FrameState.SKIPPING: {FrameStep.END: FrameState.BOUNDARY},
}  # fmt: skip


class Channel:
    """Reads one data connection, with the state that C code knows of it (``struct wstpcopy``, cext/wstpcopy.h).

    Args:
        connection: the data connection.
        on_event: the callback.
        scanner: finds the frames; stops at the ends of those that Python has to see.
        direct: heads of frames that may leave in C, to the sink's connection, before this object hears of them; as of
            `head_bits`.
        reported: those of them that are reported after they have left.
    """

    #: True if the frames are evaluations, False if they are the answers.
    asks = False

    #: How many bytes the channels of this class have received since the program began (``uint64_t *``, as C adds to
    #: it). Each class has a counter of its own.
    bytes_received = ffi.new("uint64_t *")

    # What a new channel begins with.
    #: Changed by `_move` alone.
    frame = FrameState.BOUNDARY
    _kept = b""
    #: The buffer that is being processed, and what follows after it, of what was received before `run`.
    _processed: Buffer | None = None
    _later = b""
    #: True after `halt`, and set when the channel goes on after that.
    _halting = False
    _halted: Event | None = None
    _turn_ends = 0.0
    _sink: Sink | None = None
    _loop: epoll_loop.EpollLoop | None = None
    #: The greenlet that waits in the loop, what it was woken for, and an answer to be reported before that.
    greenlet: Any = None
    arrival: tuple[Buffer, int] | None = None
    late_answer: PacketHead | None = None

    def __init__(
        self,
        connection: Connection,
        on_event: OnEvent,
        scanner: FrameScanner,
        direct: int,
        reported: int,
    ) -> None:
        self.connection = connection
        self.scanner = scanner
        self._on_event = on_event
        state = self.state = ffi.new("struct wstpcopy *")
        state.source = connection.handle
        state.scan = scanner.state
        state.total = self.bytes_received
        state.direct = direct
        state.reported = reported
        # Not methods: a partial object saves a Python frame for each round.
        self._receive = partial(lib.wstpcopy_receive, state)
        self._scan_on = partial(lib.wstpcopy_next, state)

    # -- rounds --------------------------------------------------------------------------------------------------

    def run(self, leftover: bytes = b"") -> None:
        """Read the connection until it ends, in the greenlet that calls this.

        Args:
            leftover: what was received behind the greeting.

        Raises:
            RemoteProtocolError: the peer left the protocol.
            ConnectionClosed: the connection was closed on this side.
        """
        self._enter_loop()
        try:
            if leftover:
                self.bytes_received[0] += len(leftover)
                self._take(leftover)
            else:
                self._wait_in_loop()  # from now on the loop hears what comes in; the first round looks what is here
            while self._round():
                if self._halting and self.in_hand is not None:
                    self._stand_still()
                elif self.state.drained or self.state.passing:  # what passes is faster there than in rounds of ours
                    self._wait()
                elif monotonic() > self._turn_ends:
                    self._yield()
        finally:
            self._leave_loop()

    def _round(self) -> bool:
        """Receive, and do what there is to do. False: the connection has ended."""
        state = self.state
        if self.late_answer is not None:
            head, self.late_answer = self.late_answer, None
            self._sent(_NOTHING, head, unfinished=False)
            self._round_ended()
            if self.arrival is None:
                return True
        if self.arrival is not None:
            (buffer, verdict), self.arrival = self.arrival, None
        else:
            buffer = take_buffer()
            verdict = self._begin_round(buffer)
        if verdict == _ALL_SENT:
            self._kept = b""
            self._sent(buffer.view, HEADS[state.head], unfinished=False)
            self._round_ended()
        elif verdict == _EMPTY:
            state.drained = 1
        elif verdict != _CLOSED:
            left, end = self._process(buffer, verdict), state.end
            self._keep(bytes(buffer.view[end - left : end]) if left else b"")
            self._round_ended()
        give_buffer(buffer)
        return bool(verdict != _CLOSED)

    def _round_ended(self) -> None:
        self._on_event(ChannelEvent.ROUND_ENDED, PacketHead.OTHER, None)

    def _begin_round(self, buffer: Buffer) -> int:
        """Receive and scan up to the first verdict."""
        kept = len(self._kept)
        if kept:
            buffer.view[:kept] = self._kept
        verdict: int = self._receive(buffer.pointer, PORTION, kept)
        if verdict != _UNAVAILABLE:
            return verdict
        self._note_buffer(buffer, kept)
        size = self.connection.try_receive(buffer.view[kept:PORTION])
        if not size:
            return int(_EMPTY if size is None else _CLOSED)
        self.bytes_received[0] += size
        return self._begin_at(buffer, kept, kept + size)

    def _begin_at(self, buffer: Buffer, position: int, end: int) -> int:
        state = self.state
        state.start, state.position, state.end = 0, position, end
        state.drained = 0
        return int(self._scan_on(buffer.pointer))

    def _yield(self) -> None:
        yield_to_loop()
        self._turn_ends = monotonic() + TURN

    def _wait(self) -> None:
        if self._kept or not self._wait_in_loop():
            self.connection.wait_readable()
        self._turn_ends = monotonic() + TURN

    # -- what is in the buffer -----------------------------------------------------------------------------------

    def _take(self, data: bytes) -> None:
        for offset in range(0, len(data), PORTION // 2):
            piece, self._later = data[offset : offset + PORTION // 2], data[offset + PORTION // 2 :]
            buffer = take_buffer()
            kept, end = len(self._kept), len(self._kept) + len(piece)
            buffer.view[:end] = self._kept + piece
            self._note_buffer(buffer, kept)
            left = self._process(buffer, self._begin_at(buffer, kept, end))
            self._keep(bytes(buffer.view[end - left : end]) if left else b"")
            give_buffer(buffer)

    def _keep(self, data: bytes) -> None:
        """Keep the beginning of a frame that is not whole."""
        self._kept = data

    def _note_buffer(self, buffer: Buffer, kept: int) -> None:
        """What is received next is going to be in this buffer, behind so many bytes that are kept."""

    def _process(self, buffer: Buffer, verdict: int) -> int:
        """Go on with this verdict until all is scanned; return how many bytes at the end of the buffer are kept."""
        view, state, scanner = buffer.view, self.state, self.scanner
        self._processed = buffer
        while verdict != MORE:
            if verdict in (_SENT, _ALL_SENT):
                self._sent(view, HEADS[state.head], unfinished=bool(state.unsent or state.open_tail))
            else:
                self._hand_over(view, verdict)
                state.start = state.position
            if monotonic() > self._turn_ends:
                self._yield()
            verdict = self._scan_on(buffer.pointer)
        self._processed = None
        if state.unsent or state.open_tail:
            self._finish_sending(view)
        start, end = state.start, state.end
        if scanner.at_boundary:
            if end > start:
                self._forward(view[start:end])
            return 0
        first = end - scanner.frame_bytes
        if first > start:
            self._forward(view[start:first])
        if first >= start and self._keeps(scanner.frame_bytes + scanner.opaque):
            return scanner.frame_bytes
        if end > start:
            self._part(view[max(first, start) : end], scanner.head)
        return 0

    def _hand_over(self, view: memoryview, verdict: int) -> None:
        """Hand on what the scanner stopped at, and what came before."""
        state, scanner = self.state, self.scanner
        start, position = state.start, state.position
        if verdict == TAIL:
            if position - 1 > start:
                self._forward(view[start : position - 1])
            if self._sink is not None:
                self._sink.tail()
            return
        first = position - scanner.frame_bytes
        if first > start:
            self._forward(view[start:first])
        if verdict == END:
            state.passing = 0
            self._end(view[max(first, start) : position], scanner.head, whole=first >= start)
        else:
            raise RemoteProtocolError(scanner.error or "unreadable data", scanner.error_offset)

    def _keeps(self, size: int) -> bool:
        """Whether a frame that will have at least *size* bytes is kept until it is whole."""
        return self.scanner.undecided > 0 or size <= self._most_held(self.scanner.head)

    def _sent_frame(self, view: memoryview) -> memoryview:
        return view[self.state.frame : self.state.position]

    def _finish_sending(self, view: memoryview) -> None:
        """Frames have left in C, or a part of one; see to the bytes that were not taken, and to a missing ``]``."""
        assert self._sink is not None
        unsent = view[self.state.start - self.state.unsent : self.state.start]
        self._sink.went_out(unsent, open_tail=bool(self.state.open_tail), at_boundary=self.scanner.at_boundary)

    def _stream(self, data: memoryview | bytearray | bytes) -> None:
        """Write a part of a frame to the sink, and let C go on with that frame if it may."""
        sink = self._sink
        assert sink is not None
        self._move(FrameStep.STREAM)
        sink.write(data, at_boundary=False)
        # The frame in progress has begun to go to the sink and may go on there in C, unless the bridge has ended while
        # this waited for the other side to read.
        may_go_on = self._sink is sink and sink.in_frame()
        self.state.passing = self.scanner.state.frame_start + 1 if may_go_on else 0

    def frame_begun(self) -> None:
        """A part of a large frame passed in C, and more may. Called in the hub, before any greenlet runs."""
        assert self._sink is not None
        self._move(FrameStep.STREAM)
        self._sink.begun()

    def _move(self, step: FrameStep) -> None:
        """The only place where `frame` changes."""
        self.frame = FRAME_TRANSITIONS[self.frame][step]

    # -- from one process to the next --------------------------------------------------------------------------------

    def halt(self) -> bool:
        """Receive nothing more once no frame is under way. To be called again and again until it returns True: then
        the greenlet waits, and `in_hand` is all that there is to know.
        """
        self._halting = True
        if self.in_hand is None:
            return False
        if self.greenlet is not None and self._loop is not None:
            self._loop.pause(self)
            return True
        return self._halted is not None or self.connection.is_waited_for

    def go_on(self) -> None:
        """The opposite of `halt`."""
        self._halting = False
        if self._halted is not None:
            self._halted.set()
        elif self.greenlet is not None:
            get_hub().loop.run_callback(self.wake)

    def _stand_still(self) -> None:
        self._halted = Event()
        self._halted.wait()
        self._halted = None
        self._turn_ends = monotonic() + TURN

    @property
    def in_hand(self) -> bytes | None:
        """What was received and not passed on, the beginning of a frame perhaps; None in the middle of a frame of which
        a part was passed on or dropped. To be asked while the greenlet waits, for a reply to a command perhaps.
        """
        if self._processed is not None and self.scanner.at_boundary:
            return bytes(self._processed.view[self.state.position : self.state.end]) + self._later
        held = self._held()
        if not self.scanner.at_boundary and self.scanner.frame_bytes != len(held):
            return None
        return held + self._later if not self.scanner.at_boundary else self._later

    @property
    def awaits_rest(self) -> bool:
        """Whether it waits for the rest of a frame of which a part was passed on, rather than for its sink."""
        return self.in_hand is None and (self.greenlet is not None or self.connection.is_waited_for)

    def _held(self) -> bytes:
        """What is kept of a frame that is not whole."""
        return self._kept

    # -- another stream in the place of the connection ---------------------------------------------------------------

    def borrow(self, lend: Any) -> bool:
        """Receive and send over another stream whenever that is offered: cffi `struct wstplend *` (cext/wstplend.h),
        which must live until `end_borrowing`, or until the connection is closed. False if that is not possible.
        """
        return self._loop is not None and self._loop.borrow(self, lend)

    def end_borrowing(self) -> None:
        """The opposite of `borrow`."""
        if self._loop is not None:
            self._loop.end_borrowing(self)

    # -- what subclasses decide ----------------------------------------------------------------------------------

    def _most_held(self, head: PacketHead) -> int:
        """Up to how many bytes of a frame with this *head* are kept until it is whole."""
        raise NotImplementedError

    def _forward(self, data: memoryview) -> None:
        """Take whole frames whose heads the scanner does not stop at."""
        raise NotImplementedError

    def _part(self, data: memoryview, head: PacketHead) -> None:
        """Take the next part of a frame that is too large to be kept."""
        raise NotImplementedError

    def _end(self, data: memoryview, head: PacketHead, *, whole: bool) -> None:
        """Take a frame that the scanner stops at; if not *whole*, its last part."""
        raise NotImplementedError

    def _sent(self, view: memoryview, head: PacketHead, *, unfinished: bool) -> None:
        """A reported frame has left in C. It is still in this *view* of the buffer (`_sent_frame`); if *unfinished*,
        call `_finish_sending`.
        """
        raise NotImplementedError

    # -- waiting -------------------------------------------------------------------------------------------------

    def _enter_loop(self) -> None:
        """Make waiting in the epoll loop possible, where the system has it and C may use the connection."""
        if self.connection.handle.descriptor >= 0 and (loop := epoll_loop.current()) is not None:
            self.state.number = loop.enter(self)
            self._loop, self.connection.on_close = loop, self._connection_closing

    def _leave_loop(self) -> None:
        """The opposite, before the connection is closed."""
        if self._loop is not None:
            self._loop.leave(self)
            self._loop = self.connection.on_close = None

    def _wait_in_loop(self) -> bool:
        """Wait until there is something to be processed, in `arrival`. False at once if that is not possible."""
        return self._loop is not None and self._loop.wait(self)

    def wake(self) -> None:
        """Let the greenlet that waits go on; called in the hub."""
        waiting, self.greenlet = self.greenlet, None
        if waiting is not None:
            waiting.switch()

    def _connection_closing(self) -> None:
        waiting = self.greenlet
        self._leave_loop()
        if waiting is not None:
            get_hub().loop.run_callback(self._tell_closed, waiting)

    def _tell_closed(self, waiting: Any) -> None:
        if self.greenlet is waiting:
            self.greenlet = None
            waiting.throw(ConnectionClosed("the connection was closed"))

    def passed(self, head: PacketHead, begun: int, answered: int) -> Channel | None:
        """Of a channel that asks: see `epoll_loop.WaitingChannel`."""
        raise NotImplementedError

    def account_for(self, head: PacketHead) -> bool:
        """Of a channel that does not ask: see `epoll_loop.WaitingChannel`."""
        raise NotImplementedError
