"""From a kernel to its sink: the client, the output backlog, the log, or nothing."""

from __future__ import annotations

from collections.abc import Iterator

from wstpserver._native import ffi
from wstpserver.pools.commands import MAXIMUM_COMMAND_SIZE
from wstpserver.pools.evaluation import ANSWERED_BY, PLAIN_OUTPUT, QUESTIONS, REPORTED_HEADS
from wstpserver.server.connection import Connection
from wstpserver.server.relay.channel import HELD_FRAME_SIZE, Channel, ChannelEvent, FrameState, OnEvent
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


class KernelChannel(Channel):
    """Reads a kernel's data connection for as long as the kernel lives.

    The sink changes at frame boundaries only: a frame that has begun goes on to where it began.

    Args:
        connection: the kernel's data connection.
        on_event: the callback; reports WRITTEN (for every packet but plain output), ANSWERED, COMMAND and ROUND_ENDED.
    """

    received = ffi.new("uint64_t *")

    def __init__(self, connection: Connection, on_event: OnEvent) -> None:
        super().__init__(connection, on_event, FrameScanner((), _STOPS), _DIRECT, REPORTED_HEADS)
        self.state.counted = head_bits(_COUNTED)
        self.state.silent = self.state.permitted = 1
        self.state.paired = ANSWERED_BY[PacketHead.EvaluatePacket]
        self.state.large, self.state.held = head_bits(_DIRECT - _HELD), HELD_OUTPUT_SIZE
        self._sink: Sink = NullSink()
        self._next: Sink | None = None

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

    def _part(self, data: memoryview, head: PacketHead) -> None:
        if head != _COMMAND:
            self._stream(data)

    def _end(self, data: memoryview, head: PacketHead, *, whole: bool) -> None:
        sink, self.frame = self._sink, FrameState.BOUNDARY
        if self._next is not None:
            self._use(self._next)
        if head == _COMMAND:
            packet = bytes(data) if whole and len(data) <= MAXIMUM_COMMAND_SIZE else None
            self._on_event(ChannelEvent.COMMAND, head, packet)
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

    def account_for(self, head: PacketHead) -> bool:
        if not self._on_event(ChannelEvent.ANSWERED, head, None):
            return False
        self._round_ended()
        return True
