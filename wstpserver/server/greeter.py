"""From an accepted connection to a client's link: greeting, and finding the other connection."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from gevent.event import AsyncResult
from gevent.select import select
from gevent.socket import wait_read

from wstpserver.server.stream import Stream, StreamClosed
from wstpserver.wire.greeting import GreetingComplete, LinkIdentified, ListenHandshake


class Rejected(Exception):
    """A connection that becomes no link; the text says why."""


@dataclass(slots=True)
class ClientLink:
    """The two greeted connections of a client."""

    data: Stream
    messages: Stream
    address: str
    data_leftover: bytes
    messages_leftover: bytes
    #: The client wants no kernel until it asks for one.
    without_kernel: bool = False


class Pairing:
    """Brings the two connections of a UUID together, whichever comes first."""

    def __init__(self) -> None:
        #: UUID -> the message connection, or who waits for it.
        self._waiting: dict[str, AsyncResult] = {}
        self._present: dict[str, tuple[Stream, bytes, AsyncResult]] = {}

    def wait_for_messages(self, uuid: str) -> tuple[Stream, bytes]:
        """The data connection waits for its message connection and what had come in on it."""
        if uuid in self._present:
            stream, leftover, taken = self._present.pop(uuid)
            taken.set(True)
            return stream, leftover
        if uuid in self._waiting:
            raise Rejected(f"a second data connection says that it is {uuid}")
        arrival = self._waiting[uuid] = AsyncResult()
        try:
            found: tuple[Stream, bytes] = arrival.get()
            return found
        except BaseException:
            if arrival.ready():  # it came in the same moment in which we were told to give up
                arrival.get()[0].close()
            raise
        finally:
            del self._waiting[uuid]

    def offer_messages(self, uuid: str, stream: Stream, leftover: bytes) -> None:
        """The message connection waits until its data connection has taken it."""
        arrival = self._waiting.get(uuid)
        if arrival is not None and not arrival.ready():
            arrival.set((stream, leftover))
            return
        if arrival is not None or uuid in self._present:
            raise Rejected(f"a second message connection says that it is {uuid}")
        taken: AsyncResult = AsyncResult()
        self._present[uuid] = (stream, leftover, taken)
        try:
            taken.get()
        finally:
            self._present.pop(uuid, None)


class Greeter:
    """Greets one accepted connection. Raises `Rejected`, ``ProtocolError`` or `StreamClosed`."""

    def __init__(self, pairing: Pairing, stream: Stream, address: str) -> None:
        self._pairing = pairing
        self._stream = stream
        self._address = address
        self._handshake = ListenHandshake()
        self._identified: LinkIdentified | None = None
        self._complete = False

    def run(self) -> ClientLink | None:
        """The link, if this is its data connection; None if it is a message connection, once its data
        connection has taken it over."""
        while self._identified is None:
            self._receive()
        identified = self._identified
        if identified.mode == "classic":
            return self._classic(identified)
        assert identified.uuid is not None
        if identified.channel == "mesg":
            self._pairing.offer_messages(identified.uuid, self._stream, self._handshake.leftover())
            return None
        self._finish()
        messages, leftover = self._pairing.wait_for_messages(identified.uuid)
        return self._link(messages, leftover)

    def _receive(self) -> None:
        data = self._stream.receive_bytes()
        if not data:
            raise StreamClosed("it ended")
        self._take(data)

    def _take(self, data: bytes) -> None:
        for event in self._handshake.receive_data(data):
            if isinstance(event, LinkIdentified):
                self._identified = event
            elif isinstance(event, GreetingComplete):
                self._complete = True
        self._answer()

    def _answer(self) -> None:
        answer = self._handshake.data_to_send()
        if answer:
            self._stream.send(answer)

    def _finish(self) -> None:
        while not self._complete:
            self._receive()

    def _link(self, messages: Stream, leftover: bytes) -> ClientLink:
        peer = self._handshake.peer
        without_kernel = peer is not None and peer.without_kernel
        return ClientLink(
            self._stream, messages, self._address, self._handshake.leftover(), leftover, without_kernel
        )

    def _classic(self, identified: LinkIdentified) -> ClientLink:
        """Classic mode, which is what a client that forgot ``-linkoptions 4`` speaks: its second connection goes
        to a port that we open for it."""
        if not identified.needs_message_port:
            raise Rejected(
                "it names a message port of its own, but this server has one port for everything; the client"
                " should use -linkoptions 4, or a link name with one port"
            )
        local = self._stream.socket.getsockname()
        listener = socket.create_server(local[:1] + (0,) + local[2:], family=self._stream.socket.family, backlog=1)
        try:
            listener.setblocking(False)
            self._handshake.set_message_port(listener.getsockname()[1])
            self._take(b"")  # the greeting may have come already
            messages = self._accept(listener)
        finally:
            listener.close()
        try:
            self._finish()
        except BaseException:
            messages.close()
            raise
        return self._link(messages, b"")

    def _wait_for_second(self, listener: socket.socket) -> None:
        """Wait for a connection; the greeting may come meanwhile, or the end of the first connection."""
        while not self._complete:
            readable, _, _ = select([listener, self._stream.socket], [], [])
            if listener in readable:
                return
            self._receive()
        wait_read(listener.fileno())

    def _accept(self, listener: socket.socket) -> Stream:
        """The connection that comes from the address of the first one."""
        wanted = self._stream.socket.getpeername()[0]
        while True:
            self._wait_for_second(listener)
            try:
                connected, address = listener.accept()
            except OSError:
                continue
            if address[0] == wanted:
                return Stream(connected)
            connected.close()
