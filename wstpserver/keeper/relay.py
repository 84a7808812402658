"""The loop and the stream of the connector, with what is usual done in C.

Both go by the rules of `stream.py`. While nothing waits in either direction, a call into C (cext/wstprelay.h) waits for
the descriptors, passes what comes on, and returns when there is something that it leaves to Python.

While nothing but evaluations and their answers passes, not even that is needed: the connector lends the stream to the
server (`Lender`), which reads and writes the frames itself (cext/wstplend.h).
"""

from __future__ import annotations

import mmap
import os
import select
import socket
import sys
import time
from typing import Any

from wstpserver._native import ffi, lib
from wstpserver.keeper import protocol
from wstpserver.keeper.stream import (
    CHUNK,
    CREDIT_STEP,
    DATA_CHANNEL,
    MESSAGE_CHANNEL,
    NOT_NOW,
    Loop,
    Stream,
    StreamChannel,
)

#: The channels that C takes care of, in the order of its ends.
_CHANNELS = (DATA_CHANNEL, MESSAGE_CHANNEL)

#: The stream is offered to the server after so many frames of the data connection in which nothing else came; after
#: four times as many each time that the server has not answered the offer before, and so many at most.
_UNTIL_OFFER = 4
_MOST_UNTIL_OFFER = 1024
#: Bytes for which it is not worth it.
_LEAST_ALLOWANCE = 32 << 10
#: Connections of servers that wait to be accepted.
_BACKLOG = 16
#: Seconds that the server has to answer. Nothing passes meanwhile.
_ANSWER_TIME = 0.25


class RelayChannel(StreamChannel):
    """A connection of the link, whose bytes may pass in C."""

    _stream: RelayStream

    def lend(self, end: Any) -> None:
        """Tell C what may pass."""
        if self._socket is None or self._descriptor < 0 or not self.receiving or self._queue or self._broken:
            end.descriptor = -1
            return
        end.descriptor = self._descriptor
        end.may_pass = max(self._limit - self._under_way, 0)
        end.credit = self._credit
        end.enough = CREDIT_STEP - self._written
        end.passed = end.delivered = 0

    def take_back(self, end: Any) -> None:
        """Note what has passed."""
        self._credit = end.credit
        self._note(end.passed, end.delivered)

    def passed_elsewhere(self, sent: int, taken: int) -> None:
        """Note that so many bytes have passed to the stream, and from it, that were not in this process."""
        self._credit -= taken
        self._note(sent, taken)

    def _note(self, passed: int, delivered: int) -> None:
        if delivered:
            self._written += delivered
            self._give_credit()
        if passed:
            self._under_way += passed
            if self._under_way >= self._limit:
                self.arm()

    def allowance(self) -> tuple[int, int, int] | None:
        """What may pass without this object: the descriptor of its connection, bytes to the stream, and bytes from it.
        None if something else is to be done first.
        """
        if self._socket is None or not (self.reading and self.receiving) or self._queue or self._broken:
            return None
        self._give_credit(1)
        may_pass = self._limit - self._under_way
        return (self._descriptor, may_pass, CREDIT_STEP) if may_pass >= _LEAST_ALLOWANCE else None

    def _ready(self, events: int) -> None:
        self._stream.recall()
        super()._ready(events)


class Lender:
    """Lends a stream to the server that asks for it, at a Unix socket that has the name `lender_address`.

    Each server that connects gets the stream, and a page of memory in which both say whose the stream is and what has
    passed (cext/wstplend.h). From then on a byte in either direction says that there is something to see in the page.

    Args:
        loop: The loop.
        stream: The stream.
    """

    def __init__(self, loop: Loop, stream: RelayStream) -> None:
        self._loop, self._stream = loop, stream
        self._server: socket.socket | None = None
        self._memory: mmap.mmap | None = None
        self._page: Any = None
        #: What has passed, and what of that was accounted for.
        self._totals = (0, 0)
        #: Whether the stream is offered or lent.
        self.lent = False
        #: After how many frames it may be offered, if there is a server.
        self.pause = _UNTIL_OFFER
        self._timer: list[Any] | None = None
        if sys.platform.startswith("linux"):
            self._listen()

    def _listen(self) -> None:
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.setblocking(False)
        try:
            self._listener.bind(lender_address(os.getpid()))
            self._listener.listen(_BACKLOG)
        except OSError:  # something else has this name: nothing is lent
            return
        self._loop.watch(self._listener.fileno(), select.POLLIN, self._accept)

    @property
    def wanted(self) -> bool:
        """Whether there is a server that takes the stream."""
        return self._server is not None

    def _accept(self, _events: int) -> None:
        server = protocol.accept(self._listener)
        if server is None:
            return
        self._lose_server()
        server.setblocking(False)
        try:
            self._give_to(server)
        except OSError:
            server.close()
            return
        self._server = server
        self._loop.watch(server.fileno(), select.POLLIN, self._heard)

    def _give_to(self, server: socket.socket) -> None:
        """Give a server the stream, and a page of its own. Raises OSError."""
        file = protocol.memory_file("wstpserver-stream")
        try:
            os.truncate(file, mmap.PAGESIZE)
            self._memory = mmap.mmap(file, mmap.PAGESIZE)
            self._page = ffi.cast("struct wstplend_page *", ffi.from_buffer(self._memory))
            self._page.totals[0].sent, self._page.totals[0].taken = self._totals
            descriptors = [self._stream.incoming, self._stream.outgoing, file]
            protocol.send(server, {"stream": os.getpid()}, descriptors)
        finally:
            os.close(file)

    def _heard(self, _events: int) -> None:
        """The server has given the stream back, or is gone."""
        assert self._server is not None
        try:
            data = self._server.recv(16)
        except NOT_NOW:
            return
        except OSError:
            data = b""
        if data:
            self._stream.recall()
        else:
            self._lose_server()

    def _lose_server(self) -> None:
        if self._server is not None:
            self._stream.recall()
            self._loop.watch(self._server.fileno(), 0, self._heard)
            self._server.close()
            self._server = None

    def offer(self, connection: int, may_send: int, may_take: int) -> bool:
        """Offer the stream to the server; False if that is not possible.

        Args:
            connection: The descriptor of the connection with the server that the stream takes the place of.
            may_send: Bytes that the server may send at most.
            may_take: Bytes that it may take.
        """
        if self._server is None or lib.wstplend_offer(self._page, connection, may_send, may_take):
            return False
        self.lent = True
        self._timer = self._loop.call_later(_ANSWER_TIME, self._look)
        try:
            self._server.send(b"\0")
        except OSError:
            self._stream.recall()
        return self.lent

    def _look(self) -> None:
        """The server has had its time to answer."""
        if self._page.state == lib.WSTPLEND_OFFERED:
            self.pause = min(4 * self.pause, _MOST_UNTIL_OFFER)
            self._stream.recall()
        else:
            self.pause = _UNTIL_OFFER

    def recall(self) -> tuple[int, int]:
        """Take it back. Returns how many bytes were sent and taken meanwhile."""
        assert self._server is not None
        lib.wstplend_recall(self._page, self._server.fileno())
        self._loop.cancel(self._timer)
        self.lent = False
        before, totals = self._totals, lib.wstplend_totals(self._page)
        self._totals = totals.sent, totals.taken
        return totals.sent - before[0], totals.taken - before[1]


def lender_address(pid: int) -> str:
    """Where the server asks the connector with this process ID for its stream."""
    return f"\0wstpserver-connector-{pid}"


class RelayStream(Stream):
    """The stream, whose bytes may pass in C while nothing waits."""

    loop: RelayLoop
    #: Lends it to the server; None: it is not lent.
    lender: Lender | None = None

    # -- whose it is ---------------------------------------------------------------------------------------------

    def lend_to_server(self) -> None:
        """Let the server have it from now on while nothing but small frames of the data connection passes."""
        self.lender = Lender(self.loop, self)

    def recall(self) -> None:
        """Take it back from the server, if it is lent."""
        lender = self.lender
        if lender is None or not lender.lent:
            return
        sent, taken = lender.recall()
        if taken:
            self.heard = time.monotonic()
        channel = self.channels[DATA_CHANNEL]
        assert isinstance(channel, RelayChannel)
        self.loop.watch(self.incoming, 0 if self._ended else select.POLLIN, self._readable)
        channel.passed_elsewhere(sent, taken)

    def offer(self) -> None:
        """Lend it to the server, if nothing else is to be done with it."""
        channel = self.channels[DATA_CHANNEL]
        assert isinstance(channel, RelayChannel) and self.lender is not None
        allowed = channel.allowance()
        if allowed is not None and self.idle and not self._ended and self.lender.offer(*allowed):
            self.loop.watch(self.incoming, 0, self._readable)

    def send(self, kind: int, channel: int = 0, payload: bytes = b"") -> None:
        self.recall()
        super().send(kind, channel, payload)

    def end(self, why: str) -> None:
        self.recall()
        super().end(why)

    # -- what passes in C ----------------------------------------------------------------------------------------

    def begin(self, relay: Any) -> None:
        """Tell C once what it works with."""
        relay.incoming = self.incoming
        relay.buffer, relay.size = ffi.from_buffer(self.buffer), len(self.buffer)
        relay.frame, relay.chunk = ffi.from_buffer(self.scratch), CHUNK

    def lend(self, relay: Any) -> None:
        """Tell C what may pass."""
        lender = self.lender
        lent = lender is not None and lender.lent
        relay.outgoing = self.outgoing if self.idle and not lent else -1
        relay.pause = lender.pause if lender is not None and lender.wanted and not lent else 0
        relay.until = min(relay.until or relay.pause, relay.pause)
        relay.begin = relay.end = relay.left = relay.rest_begin = relay.rest_end = relay.heard = 0
        for index, number in enumerate(_CHANNELS):
            channel = self.channels.get(number)
            if isinstance(channel, RelayChannel):
                channel.lend(relay.ends[index])
            else:
                relay.ends[index].descriptor = -1

    def take_back(self, relay: Any) -> None:
        """Note what has passed, and go on with what C has left."""
        if relay.heard:
            self.heard = time.monotonic()
        if relay.rest_end:
            self.keep(self.scratch[relay.rest_begin : relay.rest_end])
        for index, number in enumerate(_CHANNELS):
            if relay.ends[index].descriptor >= 0:
                channel = self.channels[number]
                assert isinstance(channel, RelayChannel)
                channel.take_back(relay.ends[index])
        if relay.end:
            relay.until = relay.pause
            self._start, self._end = relay.begin, relay.end
            if relay.left:
                self._current, self._left = self.channels[relay.channel], relay.left
            self._take_buffer()


class RelayLoop(Loop):
    """The loop, which lets C do what is usual of one stream."""

    def __init__(self) -> None:
        super().__init__()
        self._relay = ffi.new("struct wstprelay *")
        self._stream: RelayStream | None = None
        #: The descriptors for C; None if they have changed.
        self._watches: Any = None

    def serve(self, stream: RelayStream) -> None:
        """Let C pass the bytes of a stream from now on."""
        stream.begin(self._relay)
        self._stream = stream

    def _change(self, descriptor: int, before: int, events: int) -> None:
        super()._change(descriptor, before, events)
        self._watches = None

    def _wait(self, seconds: float | None) -> list[tuple[int, int]]:
        stream, relay = self._stream, self._relay
        if stream is None:
            return super()._wait(seconds)
        watches = self._watches
        if watches is None:
            watches = self._watches = ffi.new("struct wstprelay_watch[]", [*self._wanted.items()])
        stream.lend(relay)
        milliseconds = -1 if seconds is None else int(seconds * 1000) + 1
        ready = lib.wstprelay_wait(relay, watches, len(watches), milliseconds)
        if ready < 0:
            raise OSError(-ready, os.strerror(-ready))
        found = [(watch.descriptor, watch.ready) for watch in watches if watch.ready] if ready else []
        stream.take_back(relay)
        if relay.pause and not relay.until:
            stream.offer()
        return found
