"""One who waits in the relay: the greenlet of a pump between two rounds that it has to see."""

from __future__ import annotations

from typing import Any

from gevent import get_hub

from wstpserver._native import ffi
from wstpserver.server import buffers, relay
from wstpserver.server.stream import Stream, StreamClosed
from wstpserver.wire.packets import PacketHead


class Sleeper:
    """Reads one stream, with the state that C code knows of it (``struct wstppump``, cext/wstppump.h)."""

    #: True if what it passes on makes work, False if it is the outcome.
    asks = False

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.state = ffi.new("struct wstppump *")
        self.state.source = stream.handle
        #: The greenlet that waits in the relay.
        self.greenlet: Any = None
        #: What the relay woke it for: the buffer and the verdict.
        self.arrival: tuple[buffers.Buffer, int] | None = None
        #: The head of an answer that has passed in C before that, and could not be accounted for in the hub.
        self.late_answer: PacketHead | None = None
        self._relay: relay.Relay | None = None

    def enter_relay(self) -> None:
        """Make waiting there possible, where the system has it and the stream may be read by C code."""
        if self.stream.handle.descriptor >= 0 and (own := relay.get()) is not None:
            self.state.number = own.enter(self)
            self._relay, self.stream.on_close = own, self._stream_closing

    def leave_relay(self) -> None:
        """The opposite, before the stream is closed."""
        if self._relay is not None:
            self._relay.leave(self)
            self._relay = self.stream.on_close = None

    def wait_in_relay(self) -> bool:
        """Wait until there is something to be seen, in `arrival`. False at once if that is not possible.

        Raises `StreamClosed` if the stream is closed meanwhile.
        """
        return self._relay is not None and self._relay.wait(self)

    def wake(self) -> None:
        """Let the greenlet that waits go on; called in the hub."""
        waiting, self.greenlet = self.greenlet, None
        if waiting is not None:
            waiting.switch()

    def _stream_closing(self) -> None:
        waiting = self.greenlet
        self.leave_relay()
        if waiting is not None:
            get_hub().loop.run_callback(self._tell_closed, waiting)

    def _tell_closed(self, waiting: Any) -> None:
        if self.greenlet is waiting:
            self.greenlet = None
            waiting.throw(StreamClosed("the connection was closed"))

    def asked(self, head: PacketHead, begun: int, answered: int) -> Sleeper | None:
        """Of a pump that asks: *begun* frames with this *head* have passed in C, and *answered* answers, in turn with
        them. Called in the hub, where nothing may wait. Returns the pump, if any, that has one of these answers still
        to account for."""
        raise NotImplementedError

    def account_for(self, head: PacketHead) -> bool:
        """Of any other pump: an answer with this *head* has passed in C. Called in the hub, where nothing may wait.
        False: nothing was done, and the greenlet has to do it."""
        raise NotImplementedError

    def frame_begun(self) -> None:
        """A part of a frame has passed in C, and more may. Called in the hub, before anybody else does anything."""
        raise NotImplementedError
