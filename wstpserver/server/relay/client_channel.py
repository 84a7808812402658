"""From a client to its kernel, or to the command language."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from wstpserver._native import ffi
from wstpserver.pools.commands import MAXIMUM_COMMAND_SIZE
from wstpserver.pools.evaluation import ANSWERED_BY
from wstpserver.server.connection import Connection
from wstpserver.server.relay.channel import HELD_FRAME_SIZE, Channel, ChannelEvent, FrameState, OnEvent
from wstpserver.server.relay.sinks import PeerSink
from wstpserver.wire.frames import FrameScanner
from wstpserver.wire.packets import PacketHead

assert MAXIMUM_COMMAND_SIZE <= HELD_FRAME_SIZE

# Members of an enum are slow to look up.
_COMMAND = PacketHead.WSCommandPacket
_HELD = FrameState.HELD
_STREAMING = FrameState.STREAMING
_SKIPPING = FrameState.SKIPPING
_BOUNDARY = FrameState.BOUNDARY

#: So many evaluations with this head passed in C, and so many answers to them, in turn. Called in the hub, where
#: nothing may wait, or in the channel's greenlet with (head, 1, 0). True: the last answer could not be accounted for,
#: and the kernel's channel reports it.
OnPassed = Callable[[PacketHead, int, int], bool]


class ClientChannel(Channel):
    """Reads a client's data connection for as long as the link lives.

    Every frame is handed to *on_event* by itself, except evaluations that `fastpath.apply` has permitted C to send
    on; those are reported to *on_passed*.

    Args:
        connection: the client's data connection.
        on_event: the callback; reports FRAME, MAY_STREAM, HOLD, COMMAND and ROUND_ENDED.
        on_passed: the callback for what passed in C.
    """

    asks = True
    bytes_received = ffi.new("uint64_t *")

    def __init__(self, connection: Connection, on_event: OnEvent, on_passed: OnPassed) -> None:
        super().__init__(connection, on_event, FrameScanner((), None), ANSWERED_BY, ANSWERED_BY)
        self.state.counted = self.state.reported
        self.state.one_shot = 1
        self.state.paired = PacketHead.EvaluatePacket
        self.state.large, self.state.held = self.state.direct, HELD_FRAME_SIZE
        #: The kernel's channel that C counts answers of; written by `fastpath.apply`.
        self.peer: Channel | None = None
        self._on_passed = on_passed
        self._held_part = bytearray()

    # -- the bridge ------------------------------------------------------------------------------------------------

    def attach(self, sink: PeerSink) -> None:
        """A bridge begins: frames go to *sink*, as far as the callback lets them."""
        self._sink = sink
        self.state.sink = ffi.NULL if sink.connection is None else sink.connection.handle
        self.state.permitted = self.state.passing = 0

    def detach(self) -> bool:
        """The bridge ends.

        Returns:
            True if a frame was going to the sink in parts: its rest is skipped, and `completion` says what completes
            it.
        """
        broken = self.frame is _STREAMING
        if broken:
            self.frame = _SKIPPING
        self._sink = None
        self.state.sink = ffi.NULL
        self.state.permitted = self.state.passing = 0
        return broken

    def completion(self, limit: int) -> Iterator[bytes]:
        """What completes the frame that is being received, after what was received of it, at most *limit* bytes.

        Raises:
            LocalProtocolError: it takes more, or nothing can complete it.
        """
        return self.scanner.completion_in_parts(limit)

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
        self.frame = _SKIPPING
        self._held_part = bytearray()
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
        self.frame = _HELD
        self._held_part += data
        while not self._on_event(ChannelEvent.MAY_STREAM, head, None):
            if self._on_event(ChannelEvent.HOLD, head, None) or self.frame is _SKIPPING:
                return
        part, self._held_part = self._held_part, bytearray()
        self._stream(part)

    def _end(self, data: memoryview, head: PacketHead, *, whole: bool) -> None:
        state, self.frame = self.frame, _BOUNDARY
        if head == _COMMAND:
            packet = bytes(data) if whole and len(data) <= MAXIMUM_COMMAND_SIZE else None
            self._on_event(ChannelEvent.COMMAND, head, packet)
        elif whole:
            self._on_event(ChannelEvent.FRAME, head, data)
        elif state is _HELD:
            part, self._held_part = self._held_part, bytearray()
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
