"""From a client to its kernel, or to the command language."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from wstpserver._native import ffi
from wstpserver.model.activity import ANSWERED_BY
from wstpserver.model.commands import MAXIMUM_COMMAND_SIZE
from wstpserver.server.pump import HELD_FRAME_SIZE, Pump
from wstpserver.server.sleeper import Sleeper
from wstpserver.server.stream import Stream
from wstpserver.wire.frames import FrameScanner
from wstpserver.wire.packets import PacketHead

assert MAXIMUM_COMMAND_SIZE <= HELD_FRAME_SIZE


_EVALUATE = PacketHead.EvaluatePacket  # members of an enum are slow to look up


class Packets(Protocol):
    """Takes what a client's pump reads. Views are valid until the call returns."""

    def packet(self, data: memoryview, head: PacketHead) -> None:
        """The client sent this whole packet."""

    def packet_part(self, data: memoryview, head: PacketHead) -> None:
        """The next part of a packet that is too large to be held."""

    def in_frame(self) -> bool:
        """Whether more of that packet may be written where `Upstream.direct_to` says."""

    def part_went_out(self, unsent: memoryview) -> None:
        """More of it was written there, but for these last bytes."""

    def part_sent(self) -> None:
        """The beginning of such a packet was written there; `evaluations_passed` has counted it."""

    def packet_end(self, data: memoryview, head: PacketHead) -> None:
        """The last part of such a packet."""

    def before_round(self) -> None:
        """More packets may come."""

    def evaluation_sent(self, head: PacketHead) -> None:
        """An evaluation was written where `Upstream.direct_to` says."""

    def evaluations_passed(self, head: PacketHead, begun: int, answered: int) -> bool:
        """So many evaluations were written there, and so many answers to the client, in turn. Called in the hub. True:
        the last answer is the one to an evaluation that began earlier, and whoever read it has to be told of it."""

    def went_out(self, unsent: memoryview, open_tail: bool) -> None:
        """But for its last bytes, these; *open_tail*: it has no ``]``."""

    def round_ended(self) -> None:
        """All packets that have come were handed over."""

    def packet_tail(self) -> None:
        """A late ``]`` came for the last packet."""


class Upstream(Pump):
    """Reads a client's data connection for as long as the link lives.

    *commanded* gets each WSCommandPacket, or None for one that is too large to be looked at; *packets* all the rest.
    """

    asks = True

    def __init__(self, stream: Stream, packets: Packets, commanded: Callable[[bytes | None], None]) -> None:
        super().__init__(stream, FrameScanner((), None), ANSWERED_BY, ANSWERED_BY)
        self.state.quick = self.state.reported
        self.state.once = 1
        self.state.paired = PacketHead.EvaluatePacket
        self.state.large, self.state.held = self.state.direct, HELD_FRAME_SIZE
        self._packets = packets
        self._commanded = commanded
        self._answering: Pump | None = None

    def before_round(self) -> None:
        self._packets.before_round()

    def direct_to(self, stream: Stream | None) -> None:
        """An evaluation may go to this stream at once while `allow` says so."""
        self.separate()
        self._sink = stream  # the handle must live as long
        self.state.sink = ffi.NULL if stream is None else stream.handle
        self.state.allowed = self.state.passing = 0

    def allow(self, allowed: bool) -> None:
        """Whether one evaluation, the next one, may go there."""
        self.state.allowed = allowed

    def pair_with(self, answering: Pump) -> None:
        """Count evaluations and their answers, which that pump reads, together until `separate`: while they take turns
        nobody has to be told of each."""
        if self.state.allowed and not self.state.twin:
            self._answering = answering  # its state must live as long
            self.state.twin, answering.state.twin = answering.state, self.state

    def separate(self) -> None:
        """Each evaluation and each answer is told at once from now on."""
        if self.state.twin:
            self.state.twin.twin = self.state.twin = ffi.NULL

    def most_held(self, head: PacketHead) -> int:
        return HELD_FRAME_SIZE

    def sent(self, view: memoryview, head: PacketHead, unfinished: bool) -> None:
        # An answer before it may have been accounted for after it had left: that has allowed this one, not the next.
        self.allow(False)
        self._one_kind(head)
        self._packets.evaluation_sent(head)
        if unfinished:
            self._packets.went_out(self._unsent(view), bool(self.state.open_tail))

    def asked(self, head: PacketHead, begun: int, answered: int) -> Sleeper | None:
        self._one_kind(head)
        return self._answering if self._packets.evaluations_passed(head, begun, answered) else None

    def _one_kind(self, head: PacketHead) -> None:
        """Only what is answered like an EvaluatePacket is counted with its answers."""
        if head != _EVALUATE:
            self.separate()

    def frame_begun(self) -> None:
        self._packets.part_sent()

    def finish(self, view: memoryview) -> None:  # whole frames are reported, so this is a part of one
        self._packets.part_went_out(self._unsent(view))

    def round_ended(self) -> None:
        self._packets.round_ended()

    def part(self, data: memoryview, head: PacketHead) -> None:
        if head != PacketHead.WSCommandPacket:
            self._packets.packet_part(data, head)
            self._pass_on(self._packets.in_frame())

    def frame(self, data: memoryview, head: PacketHead, whole: bool) -> None:
        if head == PacketHead.WSCommandPacket:
            self._commanded(bytes(data) if whole and len(data) <= MAXIMUM_COMMAND_SIZE else None)
        elif whole:
            self._packets.packet(data, head)
        else:
            self._packets.packet_end(data, head)

    def tail(self) -> None:
        self._packets.packet_tail()
