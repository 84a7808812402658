"""The two directions of a bridge: from a client to its kernel, or to the command language; and from a kernel to its
sink, which is the client, the output backlog, the log, or nothing. And what C may do by itself between the two: one
pure function, and the only place that writes the words in C.

Two channels of a bridge may copy without Python: an evaluation to a kernel that is ready for one, and the answer to
it. C counts both together while nothing else passes. Whatever makes a single evaluation or answer matter (a frame
that waits, a question, a dialog, a command that takes effect after the evaluation, the end of the bridge) ends that:
the owner of the bridge calls `apply` with new permissions after each change.

C takes the permission away by itself when an evaluation passes, and gives it back with the counted answer. That is what
`permissions` says for these two steps, so they need no call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

from wstpserver._native import ffi, lib
from wstpserver.pools.commands import MAXIMUM_COMMAND_SIZE
from wstpserver.pools.evaluation import ANSWERED_BY, PLAIN_OUTPUT, QUESTIONS, REPORTED_HEADS, EvaluationStack
from wstpserver.pools.states import BridgeState
from wstpserver.server.connection import Connection
from wstpserver.server.relay.channel import HELD_FRAME_SIZE, Channel, ChannelEvent, FrameState, FrameStep, OnEvent
from wstpserver.server.relay.epoll_loop import Buffer
from wstpserver.server.relay.sinks import NullSink, PeerSink, Sink
from wstpserver.wire.errors import LocalProtocolError
from wstpserver.wire.frames import ALL_HEADS, FrameScanner, head_bits
from wstpserver.wire.packets import PacketHead

assert MAXIMUM_COMMAND_SIZE <= HELD_FRAME_SIZE

# Members of an enum are slow to look up.
_COMMAND = PacketHead.WSCommandPacket
_EVALUATE = PacketHead.EvaluatePacket
_OPEN = BridgeState.OPEN
_HELD = FrameState.HELD
_STREAMING = FrameState.STREAMING
_SKIPPING = FrameState.SKIPPING
_BOUNDARY = FrameState.BOUNDARY

#: Evaluations of a client, as C takes them.
_EVALUATIONS = head_bits(ANSWERED_BY)

#: So many evaluations with this head passed in C, and so many answers to them, in turn. Called in the hub, where
#: nothing may wait, or in the channel's greenlet with (head, 1, 0). True: the last answer could not be accounted for,
#: and the kernel's channel reports it.
OnPassed = Callable[[PacketHead, int, int], bool]


def _ignore_event(_event: ChannelEvent, _head: PacketHead, _data: memoryview | bytes | None) -> bool:
    return False


def _ignore_passed(_head: PacketHead, _begun: int, _answered: int) -> bool:
    return False


class ClientChannel(Channel):
    """Reads a client's data connection for as long as the link lives.

    Every frame is handed to *on_event* by itself, except evaluations that `apply` has permitted C to send
    on; those are reported to *on_passed*.

    Args:
        connection: the client's data connection.
        on_event: the callback; reports FRAME, MAY_STREAM, HOLD, COMMAND and ROUND_ENDED.
        on_passed: the callback for what passed in C.
    """

    asks = True
    bytes_received = ffi.new("uint64_t *")

    #: The kernel's channel that C counts answers of; written by `apply`.
    peer: Channel | None = None
    _held_part: bytes | bytearray = b""

    def __init__(self, connection: Connection, on_event: OnEvent, on_passed: OnPassed) -> None:
        super().__init__(connection, on_event, FrameScanner(), _EVALUATIONS, _EVALUATIONS)
        state = self.state
        state.counted = state.large = _EVALUATIONS
        state.one_shot, state.paired, state.held = 1, _EVALUATE, HELD_FRAME_SIZE
        self._on_passed = on_passed

    def close(self) -> None:
        """The connection is closed: report nothing more."""
        self._on_event, self._on_passed = _ignore_event, _ignore_passed

    # -- the bridge ------------------------------------------------------------------------------------------------

    def attach(self, sink: PeerSink) -> None:
        """A bridge begins: frames go to *sink*, as far as the callback lets them. `apply` follows."""
        self._sink = sink
        self.state.sink = ffi.NULL if sink.connection is None else sink.connection.handle
        self.state.passing = 0

    def detach(self) -> bool:
        """The bridge ends. `apply` has taken every permission away.

        Returns:
            True if a frame was going to the sink in parts: its rest is skipped, and `completion` says what completes
            it.
        """
        broken = self.frame is _STREAMING
        if broken:
            self._move(FrameStep.BREAK_OFF)
        self._sink = None
        self.state.sink = ffi.NULL
        self.state.passing = 0
        return broken

    def completion(self, limit: int) -> Iterator[bytes]:
        """What completes the frame that is being received, after what was received of it, at most *limit* bytes.

        Raises:
            LocalProtocolError: it takes more, or nothing can complete it.
        """
        return self.scanner.completion_in_parts(limit)

    def send_kept(self, frame: bytes, head: PacketHead) -> int:
        """Send a whole evaluation that was kept, at once, as C sends one that need not wait.

        Returns:
            How many of its last bytes were not taken: another frame must not come before they are sent. -1: nothing
            was sent, because the sink is not free or takes no frame past Python.
        """
        unsent: int = lib.wstpcopy_send_kept(self.state, frame, len(frame), head)
        return unsent

    @property
    def is_counted(self) -> bool:
        """True while C counts evaluations and their answers in pairs, and permits the next one by itself."""
        return bool(self.state.peer)

    @property
    def is_in_large_frame(self) -> bool:
        """True in a frame that is held, or goes to the sink in parts."""
        return self.frame is _HELD or self.frame is _STREAMING

    def _held(self) -> bytes:
        return bytes(self._held_part) + self._kept

    @property
    def held_bytes(self) -> int:
        """Bytes of a large frame that are held."""
        return len(self._held_part)

    def drop_held(self) -> bool:
        """Forget what is held of a large frame, and skip the rest of it; True if there was any."""
        if self.frame is not _HELD:
            return False
        self._move(FrameStep.BREAK_OFF)
        self._held_part = b""
        return True

    # -- frames ----------------------------------------------------------------------------------------------------

    def _most_held(self, head: PacketHead) -> int:
        return HELD_FRAME_SIZE

    def _forward(self, data: memoryview) -> None:
        raise AssertionError("the scanner stops at each frame of a client")

    def _part(self, data: memoryview, head: PacketHead) -> None:
        if head == _COMMAND or self.frame is _SKIPPING:
            return
        if self.frame is _STREAMING:
            self._stream(data)
            return
        self._move(FrameStep.HOLD)
        self._held_part = self._held_part or bytearray()  # an idle client has none
        self._held_part += data
        while not self._on_event(ChannelEvent.MAY_STREAM, head, None):
            if self._on_event(ChannelEvent.HOLD, head, None) or self.frame is _SKIPPING:
                return
        part, self._held_part = self._held_part, b""
        self._stream(part)

    def _end(self, data: memoryview, head: PacketHead, *, whole: bool) -> None:
        state = self.frame
        if state is not _BOUNDARY:
            self._move(FrameStep.END)
        if head == _COMMAND:
            packet = bytes(data) if whole and len(data) <= MAXIMUM_COMMAND_SIZE else None
            self._on_event(ChannelEvent.COMMAND, head, packet)
        elif whole:
            self._on_event(ChannelEvent.FRAME, head, data)
        elif state is _HELD:
            part, self._held_part = self._held_part, b""
            part += data
            self._on_event(ChannelEvent.FRAME, head, memoryview(part))
        elif state is _STREAMING and self._sink is not None:
            self._sink.write(data, at_boundary=True)

    def _sent(self, view: memoryview, head: PacketHead, *, unfinished: bool) -> None:
        self._on_passed(head, 1, 0)
        if unfinished:
            self._finish_sending(view)

    def passed(self, head: PacketHead, begun: int, answered: int) -> Any:
        return self.peer if self._on_passed(head, begun, answered) else None


#: Packets that are kept for the next client, because it has to see what this one saw.
_KEPT = frozenset({PacketHead.InputNamePacket}) | QUESTIONS
#: Packets of which no part goes on before the whole is there.
_HELD_HEADS = frozenset({PacketHead.WSCommandPacket}) | _KEPT
_DIRECT_HEADS = frozenset(PacketHead) - {PacketHead.WSCommandPacket}

# The same and others as C takes them, computed once.
_STOPS = head_bits(frozenset(PacketHead) - PLAIN_OUTPUT)
_DIRECT = head_bits(_DIRECT_HEADS)
_LARGE = head_bits(_DIRECT_HEADS - _HELD_HEADS)
_REPORTED = head_bits(REPORTED_HEADS)
_COUNTED = head_bits({PacketHead.ReturnPacket})

#: Other frames from a kernel are passed on in one piece up to this many bytes, so that the client wakes once for each.
HELD_OUTPUT_SIZE = 16384

#: A frame that was broken off is completed with at most this many bytes.
LARGEST_COMPLETION = 1 << 30


class Notes(Protocol):
    """Where a channel notes what must survive the process."""

    #: cffi `struct wstpkeep *` (cext/wstpkeep.h).
    state: Any

    def attach(self, channel: Any, connection: Any) -> None:
        """Have C make notes of a `struct wstpcopy *` and a `struct wstpcopy_end *`."""

    def keep(self, data: bytes) -> None:
        """Note the beginning of a frame that is not whole."""


class KernelChannel(Channel):
    """Reads a kernel's data connection for as long as the kernel lives.

    The sink changes at frame boundaries only: a frame that has begun goes on to where it began.

    Args:
        connection: the kernel's data connection.
        on_event: the callback; reports WRITTEN (for every packet but plain output), ANSWERED, COMMAND and ROUND_ENDED.
    """

    bytes_received = ffi.new("uint64_t *")

    def __init__(self, connection: Connection, on_event: OnEvent) -> None:
        super().__init__(connection, on_event, FrameScanner(), _DIRECT, _REPORTED)
        self.scanner.state.stop_at_end = _STOPS
        self.state.counted = _COUNTED
        self.state.silent = self.state.permitted = 1
        self.state.paired = ANSWERED_BY[PacketHead.EvaluatePacket]
        self.state.large, self.state.held = _LARGE, HELD_OUTPUT_SIZE
        self._sink: Sink = NullSink()
        self._next: Sink | None = None
        self._notes: Notes | None = None
        self._evaluation: EvaluationStack | None = None

    # -- what survives the process ---------------------------------------------------------------------------------

    def take_notes(self, notes: Notes, evaluation: EvaluationStack, position: int, scan: bytes = b"") -> None:
        """Note in memory that survives the process how far the stream was handed on; before `run`.

        Args:
            notes: Where.
            evaluation: The open evaluations of the kernel.
            position: Bytes of the stream that were received before what is given to `run`.
            scan: The state of the scanner of another process, in the middle of a frame whose rest is dropped.
        """
        state = self.scanner.state
        if scan:
            stops = state.stop_at_end
            ffi.memmove(state, scan, len(scan))
            state.stop_at_end = stops
            self._move(FrameStep.STREAM)
            self._sink = NullSink()
        else:
            state.consumed = position
        self._notes, self._evaluation = notes, evaluation
        notes.attach(self.state, self.connection.handle)

    def drop_notes(self) -> None:
        """Make no more notes; the connection is not used any more."""
        self._notes = self._evaluation = None
        self.state.keep = self.connection.handle.keep = ffi.NULL

    def note(self) -> None:
        """Note that everything up to where the scanner stands was handed on, or up to the frame in which it stands. A
        callback does this by itself before it causes anything that must not come before the note.
        """
        if self._notes is not None and self._evaluation is not None:
            keep, evaluation, state = self._notes.state, self._evaluation, self.scanner.state
            boundary = state.consumed if self.scanner.at_boundary else state.frame_start
            lib.wstpkeep_handed_on(keep, boundary, not evaluation.busy)
            keep.plain = evaluation.counted

    def _keep(self, data: bytes) -> None:
        super()._keep(data)
        if self._notes is not None and data:
            self._notes.keep(data)

    def _note_buffer(self, buffer: Buffer, kept: int) -> None:
        if self._notes is not None:
            place = lib.wstpcopy_place(self.state, buffer.pointer)
            lib.wstpkeep_receive(self._notes.state, place, self.scanner.state.consumed - kept)

    # -- the sink ----------------------------------------------------------------------------------------------------

    def switch(self, sink: Sink) -> None:
        """From the next frame on, everything goes to *sink*."""
        if self.scanner.at_boundary:
            self._use(sink)
        else:
            self._next = sink
            self.state.sink = ffi.NULL  # the end of this frame must be seen here, wherever it is received
            self.scanner.state.stop_at_end = ALL_HEADS

    def _use(self, sink: Sink) -> None:
        self._sink, self._next = sink, None
        self.state.sink = ffi.NULL if sink.connection is None else sink.connection.handle
        self.scanner.state.stop_at_end = ALL_HEADS if sink.every_frame else _STOPS

    def completion(self) -> Iterator[bytes] | None:
        """What would complete the frame that the connection has ended in; None if nothing can."""
        try:
            return self.scanner.completion_in_parts(LARGEST_COMPLETION)
        except LocalProtocolError:  # too long, or the kernel left the protocol
            return None

    def lost(self) -> None:
        """The connection has ended, perhaps in the middle of a frame."""
        if not self.scanner.at_boundary:
            self._sink.lost(self.completion())

    # -- frames ----------------------------------------------------------------------------------------------------

    def _most_held(self, head: PacketHead) -> int:
        return HELD_FRAME_SIZE if head in _HELD_HEADS else HELD_OUTPUT_SIZE

    def _forward(self, data: memoryview) -> None:
        if self.frame is not _BOUNDARY:
            self._move(FrameStep.END)
        self._sink.write(data, at_boundary=True)
        self.note()

    def _part(self, data: memoryview, head: PacketHead) -> None:
        if head != _COMMAND:
            self._stream(data)
        if self._notes is not None:
            lib.wstpcopy_note(self.state)

    def _end(self, data: memoryview, head: PacketHead, *, whole: bool) -> None:
        sink = self._sink
        if self.frame is not _BOUNDARY:
            self._move(FrameStep.END)
        if self._next is not None:
            self._use(self._next)
        if head == _COMMAND:
            packet = bytes(data) if whole and len(data) <= MAXIMUM_COMMAND_SIZE else None
            self._on_event(ChannelEvent.COMMAND, head, packet)
            self.note()
            return
        kept = bytes(data) if head in _KEPT and whole else None
        sink.write(data, at_boundary=True)
        self._report(head, kept)

    def _sent(self, view: memoryview, head: PacketHead, *, unfinished: bool) -> None:
        kept = bytes(self._sent_frame(view)) if head in _KEPT else None
        if unfinished:
            self._finish_sending(view)
        self._report(head, kept)

    def _report(self, head: PacketHead, packet: bytes | None) -> None:
        if head in REPORTED_HEADS:  # a sink that takes each frame by itself makes the scanner stop at all of them
            self._on_event(ChannelEvent.WRITTEN, head, packet)
        self.note()

    def account_for(self, head: PacketHead) -> bool:
        # No end of a round: the kernel is idle then, or has got its next evaluation, which acknowledges the answer.
        return self._on_event(ChannelEvent.ANSWERED, head, None)


# -- what C may do by itself -----------------------------------------------------------------------------------------


class Permissions(NamedTuple):
    """What C may do for a bridge."""

    #: The client's next evaluation may go to the kernel, before Python hears of it.
    evaluation: bool
    #: Evaluations and their answers are counted in pairs; Python hears numbers.
    counted: bool


#: Nothing: each packet of the client is handed to Python.
NOTHING = Permissions(evaluation=False, counted=False)

_ALL = {
    (evaluation, counted): Permissions(evaluation=evaluation, counted=counted)
    for evaluation in (False, True)
    for counted in (False, True)
}


def permissions(
    bridge: BridgeState,
    *,
    accepting: bool,
    plain: bool,
    queue_empty: bool,
    closing: bool,
    deferred: bool,
    rewrites: bool,
) -> Permissions:
    """What C may do for a bridge in this situation.

    Args:
        bridge: the bridge's state; nothing is permitted in any but OPEN.
        accepting: the kernel takes an evaluation now, and what the client sends next would be one: no question is open.
        plain: no dialog, no question, nothing discarded, and the only open evaluation, if any, is an EvaluatePacket.
        queue_empty: no frame of the client waits, is held, or is on its way in parts.
        closing: the client's link is being closed.
        deferred: a command takes effect when the evaluation has ended.
        rewrites: bytes have to be rewritten between the two (docs/wire-protocol.md, section 2).
    """
    if bridge is not _OPEN or not queue_empty or closing or deferred or rewrites:
        return NOTHING
    return _ALL[accepting, plain]


def apply(client: ClientChannel, kernel: KernelChannel | None, allowed: Permissions) -> None:
    """Write the permissions of a bridge into the words that C reads.

    Args:
        client: the channel of the client's data connection.
        kernel: the channel of the kernel at the other end; None without a bridge, when nothing may be permitted.
        allowed: from `permissions`.
    """
    state = client.state
    state.permitted = allowed.evaluation
    if not allowed.counted or kernel is None:
        if state.peer:
            state.peer.peer = state.peer = ffi.NULL
    elif state.peer != kernel.state:
        client.peer = kernel  # its state must live as long
        state.peer, kernel.state.peer = kernel.state, state
