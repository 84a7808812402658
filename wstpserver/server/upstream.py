"""From a client to its kernel, or to the command language."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from wstpserver.model.commands import MAXIMUM_COMMAND_SIZE
from wstpserver.server.pump import HELD_FRAME_SIZE, Pump
from wstpserver.server.stream import Stream
from wstpserver.wire.frames import FrameScanner
from wstpserver.wire.packets import PacketHead

assert MAXIMUM_COMMAND_SIZE <= HELD_FRAME_SIZE


class Packets(Protocol):
    """Takes what a client's pump reads. Views are valid until the call returns."""

    def packet(self, data: memoryview, head: PacketHead) -> None:
        """The client sent this whole packet."""

    def packet_part(self, data: memoryview, head: PacketHead) -> None:
        """The next part of a packet that is too large to be held."""

    def packet_end(self, data: memoryview, head: PacketHead) -> None:
        """The last part of such a packet."""

    def packet_tail(self) -> None:
        """A late ``]`` came for the last packet."""


class Upstream(Pump):
    """Reads a client's data connection for as long as the link lives.

    *commanded* gets each WSCommandPacket, or None for one that is too large to be looked at; *packets* all the rest.
    """

    def __init__(self, stream: Stream, packets: Packets, commanded: Callable[[bytes | None], None]) -> None:
        super().__init__(stream, FrameScanner((), None))
        self._packets = packets
        self._commanded = commanded

    def holds(self, head: PacketHead) -> bool:
        return True

    def part(self, data: memoryview, head: PacketHead) -> None:
        if head != PacketHead.WSCommandPacket:
            self._packets.packet_part(data, head)

    def frame(self, data: memoryview, head: PacketHead, whole: bool) -> None:
        if head == PacketHead.WSCommandPacket:
            self._commanded(bytes(data) if whole and len(data) <= MAXIMUM_COMMAND_SIZE else None)
        elif whole:
            self._packets.packet(data, head)
        else:
            self._packets.packet_end(data, head)

    def tail(self) -> None:
        self._packets.packet_tail()
