"""From a kernel to its sink: the client, the output backlog, the log, or nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from wstpserver._native import ffi, lib
from wstpserver.pools.commands import MAXIMUM_COMMAND_SIZE
from wstpserver.pools.evaluation import ANSWERED_BY, PLAIN_OUTPUT, QUESTIONS, REPORTED_HEADS, EvaluationStack
from wstpserver.server.connection import Connection
from wstpserver.server.relay.channel import HELD_FRAME_SIZE, Channel, ChannelEvent, FrameState, OnEvent
from wstpserver.server.relay.epoll_loop import Buffer
from wstpserver.server.relay.sinks import NullSink, Sink
from wstpserver.wire.errors import LocalProtocolError
from wstpserver.wire.frames import FrameScanner, head_bits
from wstpserver.wire.packets import PacketHead

#: Packets that are kept for the next client, because it has to see what this one saw.
_KEPT = frozenset({PacketHead.InputNamePacket}) | QUESTIONS
_HELD = frozenset({PacketHead.WSCommandPacket}) | _KEPT
_STOPS = frozenset(PacketHead) - PLAIN_OUTPUT
_DIRECT = frozenset(PacketHead) - {PacketHead.WSCommandPacket}
_COUNTED = frozenset({PacketHead.ReturnPacket})

# A member of an enum is looked up by a function in Python; this is asked for with each packet.
_COMMAND = PacketHead.WSCommandPacket

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
        super().__init__(connection, on_event, FrameScanner((), _STOPS), _DIRECT, REPORTED_HEADS)
        self.state.counted = head_bits(_COUNTED)
        self.state.silent = self.state.permitted = 1
        self.state.paired = ANSWERED_BY[PacketHead.EvaluatePacket]
        self.state.large, self.state.held = head_bits(_DIRECT - _HELD), HELD_OUTPUT_SIZE
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
            stops = state.stop_at_head, state.stop_at_end
            ffi.memmove(state, scan, len(scan))
            state.stop_at_head, state.stop_at_end = stops
            self.frame, self._sink = FrameState.STREAMING, NullSink()
        else:
            state.consumed = position
        self._notes, self._evaluation = notes, evaluation
        notes.attach(self.state, self.connection.handle)

    def drop_notes(self) -> None:
        """Make no more notes; the connection is not used any more."""
        self._notes = self._evaluation = None
        self.state.keep = self.connection.handle.keep = ffi.NULL

    def _note(self) -> None:
        """Everything up to where the scanner stands was handed on, or up to the frame in which it stands."""
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
            self.scanner.set_stops((), None)

    def _use(self, sink: Sink) -> None:
        self._sink, self._next = sink, None
        self.state.sink = ffi.NULL if sink.connection is None else sink.connection.handle
        self.scanner.set_stops((), None if sink.every_frame else _STOPS)

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
        return HELD_FRAME_SIZE if head in _HELD else HELD_OUTPUT_SIZE

    def _forward(self, data: memoryview) -> None:
        self.frame = FrameState.BOUNDARY
        self._sink.write(data, at_boundary=True)
        self._note()

    def _part(self, data: memoryview, head: PacketHead) -> None:
        if head != _COMMAND:
            self._stream(data)
        if self._notes is not None:
            lib.wstpcopy_note(self.state)

    def _end(self, data: memoryview, head: PacketHead, *, whole: bool) -> None:
        sink, self.frame = self._sink, FrameState.BOUNDARY
        if self._next is not None:
            self._use(self._next)
        if head == _COMMAND:
            packet = bytes(data) if whole and len(data) <= MAXIMUM_COMMAND_SIZE else None
            self._on_event(ChannelEvent.COMMAND, head, packet)
            self._note()
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
        self._note()

    def account_for(self, head: PacketHead) -> bool:
        if not self._on_event(ChannelEvent.ANSWERED, head, None):
            return False
        self._round_ended()
        return True
