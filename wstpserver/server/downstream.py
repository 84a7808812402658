"""From a kernel to whoever is to hear it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from wstpserver._native import ffi
from wstpserver.model.activity import ACTIVITY_HEADS, ANSWERED_BY, QUESTIONS
from wstpserver.model.commands import MAXIMUM_COMMAND_SIZE
from wstpserver.server.outlets import Nowhere, Outlet
from wstpserver.server.pump import HELD_FRAME_SIZE, LARGEST_COMPLETION, Pump
from wstpserver.server.stream import Stream
from wstpserver.wire.errors import LocalProtocolError
from wstpserver.wire.frames import FrameScanner, head_bits
from wstpserver.wire.packets import PacketHead

#: Packets that are kept for the next client, because it has to see what this one saw.
_KEPT = frozenset({PacketHead.InputNamePacket}) | QUESTIONS
_HELD = frozenset({PacketHead.WSCommandPacket}) | _KEPT
_STOPS = _HELD | ACTIVITY_HEADS
_DIRECT = frozenset(PacketHead) - {PacketHead.WSCommandPacket}
_QUICK = frozenset({PacketHead.ReturnPacket})
_REPORTED = _KEPT | ACTIVITY_HEADS

# A member of an enum is looked up by a function in Python; these are asked for with each packet.
_INPUT_NAME = PacketHead.InputNamePacket
_COMMAND = PacketHead.WSCommandPacket

#: Other frames from a kernel are passed on in one piece up to this many bytes, so that the client wakes once for each.
HELD_OUTPUT_SIZE = 16384


class KernelListener(Protocol):
    """What a kernel's pump tells its owner, and asks it."""

    @property
    def busy(self) -> bool:
        """True while an evaluation is under way."""

    def written(self, head: PacketHead) -> None:
        """A whole packet with this head has been handed to the outlet."""

    def answered_quickly(self, head: PacketHead) -> bool:
        """The same for a ReturnPacket, in the hub. False: nothing was done, as it might have to wait."""

    def named(self, packet: bytes) -> None:
        """The kernel wrote this InputNamePacket."""

    def asked(self, packet: bytes) -> None:
        """The kernel wrote this packet, which asks its client something."""

    def commanded(self, packet: bytes | None) -> None:
        """The kernel sent this WSCommandPacket; None for one that is too large to be looked at."""


class Downstream(Pump):
    """Reads a kernel's data connection for as long as the kernel lives.

    The outlet changes at frame boundaries only: a frame that has begun goes on to where it began.
    """

    def __init__(self, stream: Stream, listener: KernelListener) -> None:
        super().__init__(stream, FrameScanner((), _STOPS), _DIRECT, _REPORTED)
        self.state.quick = head_bits(_QUICK)
        self.state.talkative = self.state.allowed = 1
        self.state.paired = ANSWERED_BY[PacketHead.EvaluatePacket]
        self.state.large, self.state.held = head_bits(_DIRECT - _HELD), HELD_OUTPUT_SIZE
        self._listener = listener
        self._outlet: Outlet = Nowhere()
        self._next: Outlet | None = None

    def switch(self, outlet: Outlet) -> None:
        """From the next frame on, everything goes to *outlet*."""
        if self.scanner.at_boundary:
            self._use(outlet)
        else:
            self._next = outlet
            self.state.sink = ffi.NULL  # the end of this frame must be seen here, wherever it has come by then
            self.scanner.set_stops((), None)

    def _use(self, outlet: Outlet) -> None:
        self._outlet, self._next = outlet, None
        self.state.sink = ffi.NULL if outlet.stream is None else outlet.stream.handle
        self.scanner.set_stops((), None if outlet.every_frame else _STOPS)

    def completion(self) -> Iterator[bytes] | None:
        """What would complete the frame that the stream has ended in; None if nothing can."""
        try:
            return self.scanner.completion_in_parts(LARGEST_COMPLETION)
        except LocalProtocolError:  # too long, or the kernel left the protocol
            return None

    def lost(self) -> None:
        """The stream has ended, perhaps in the middle of a frame."""
        if not self.scanner.at_boundary:
            self._outlet.lost(self.completion())

    def most_held(self, head: PacketHead) -> int:
        return HELD_FRAME_SIZE if head in _HELD else HELD_OUTPUT_SIZE

    def forward(self, data: memoryview) -> None:
        self._outlet.write(data, True)

    def part(self, data: memoryview, head: PacketHead) -> None:
        if head != _COMMAND:
            self._outlet.write(data, False)
            self._pass_on(self._outlet.in_frame())

    def frame(self, data: memoryview, head: PacketHead, whole: bool) -> None:
        outlet = self._outlet
        if self._next is not None:
            self._use(self._next)
        if head == _COMMAND:
            self._listener.commanded(bytes(data) if whole and len(data) <= MAXIMUM_COMMAND_SIZE else None)
            return
        packet = bytes(data) if head in _KEPT and whole else None
        outlet.write(data, True)
        self._tell(head, packet)

    def sent(self, view: memoryview, head: PacketHead, unfinished: bool) -> None:
        packet = bytes(self._sent_frame(view)) if head in _KEPT else None
        if unfinished:
            self.finish(view)
        self._tell(head, packet)

    def account_for(self, head: PacketHead) -> bool:
        if not self._listener.answered_quickly(head):
            return False
        self.round_ended()
        return True

    def frame_begun(self) -> None:
        self._outlet.begun()

    def finish(self, view: memoryview) -> None:
        self._outlet.went_out(self._unsent(view), bool(self.state.open_tail), self.scanner.at_boundary)

    def _tell(self, head: PacketHead, packet: bytes | None) -> None:
        if packet is not None:
            if head == _INPUT_NAME:
                self._listener.named(packet)
            else:
                self._listener.asked(packet)
        if head in ACTIVITY_HEADS:
            self._listener.written(head)

    def round_ended(self) -> None:
        # An idle kernel has nothing more to send, and hears from us when its client does. A busy one may have.
        if self._listener.busy:
            self.stream.acknowledge()

    def tail(self) -> None:
        self._outlet.tail()
