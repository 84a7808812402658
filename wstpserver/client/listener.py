"""The listening side: accepts connections, tells which belong together, and gives complete links.

Every listener serves UUID mode and classic clients that ask for the message port, on one port; a classic listener
has a second port for messages, and a link name with both, as the vendor's listening links have.
"""

from __future__ import annotations

import logging
import selectors
import socket
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from wstpserver.client.address import Address, Endpoint, parse_address
from wstpserver.client.deadline import Deadline
from wstpserver.client.errors import LinkClosed, LinkError, LinkTimeout
from wstpserver.client.link import Link
from wstpserver.client.messages import MessageChannel
from wstpserver.client.transport import Connection, listen_socket, prepare
from wstpserver.wire.errors import RemoteProtocolError
from wstpserver.wire.handshake import LinkIdentified, ListenHandshake
from wstpserver.wire.tokens import DecoderLimits

_log = logging.getLogger(__name__)

#: Connections that may be on their way to become links; one more, and the oldest is dropped.
MAXIMUM_ARRIVALS: Final = 256


def listen(
    address: str | int | Address = "0", *, classic: bool | None = None, limits: DecoderLimits | None = None
) -> Listener:
    """Listen for links; port 0 takes any free one, a host says on which interface (this machine alone by default).

    `classic`: True for two ports, which a child process may be given in classic mode; by default if `address` names
    two. Connections are taken while a thread waits in `Listener.accept`. Raises ListenError, LinkSyntaxError.
    """
    parsed = parse_address(address)
    data = listen_socket(parsed.data)
    if not (parsed.message is not None if classic is None else classic):
        return Listener(parsed.data.host, data, None, limits)
    try:
        messages = listen_socket(parsed.message or Endpoint(parsed.data.host, 0))
    except BaseException:
        data.close()
        raise
    return Listener(parsed.data.host, data, messages, limits)


class Listener:
    """Made by `listen`. Threads may share it; one at a time works in `accept`."""

    def __init__(
        self, host: str, data: socket.socket, messages: socket.socket | None, limits: DecoderLimits | None
    ) -> None:
        self._host = host
        self._data_socket = data
        self._message_socket = messages
        self._limits = limits
        self._selector = selectors.DefaultSelector()
        self._selector.register(data, selectors.EVENT_READ)
        if messages is not None:
            self._selector.register(messages, selectors.EVENT_READ)
        self._wake_receive, self._wake_send = socket.socketpair()
        self._selector.register(self._wake_receive, selectors.EVENT_READ)
        self._arrivals: dict[Arrival, None] = {}
        self._pairing = LinkHalves()
        self._links: deque[Link] = deque()
        self._accepting = threading.Lock()
        self._closed = False
        self._last_refusal: str | None = None
        #: Where it listens, with the ports that the system chose.
        self.address = Address(self._endpoint(data), None if messages is None else self._endpoint(messages))

    @property
    def link_name(self) -> str:
        """For the other side's ``-linkname``: ``PORT@HOST``, or ``PORT@HOST,PORT2@HOST`` of a classic listener."""
        return self.address.link_name

    def _endpoint(self, sock: socket.socket) -> Endpoint:
        return Endpoint(self._host, sock.getsockname()[1])

    def accept(self, timeout: float | None = None) -> Link:
        """The next link. LinkTimeout after `timeout` seconds, LinkClosed when `close` is called meanwhile.

        A connection that is no link is dropped and costs the others nothing; the reason is logged, and the last one
        is told with LinkTimeout.
        """
        return self.accept_until(Deadline(timeout))

    def accept_until(self, deadline: Deadline) -> Link:
        """As `accept`, as part of something that takes longer."""
        remaining = deadline.remaining()
        if not self._accepting.acquire(timeout=-1 if remaining is None else remaining):
            raise LinkTimeout(f"another thread is accepting, {deadline}", self.link_name)
        try:
            while not self._links:
                if self._closed:
                    raise LinkClosed("the listener was closed", self.link_name)
                if deadline.expired:
                    raise LinkTimeout(f"no link {deadline}{self._last_words()}", self.link_name)
                self._turn(deadline)
            return self._links.popleft()
        finally:
            self._accepting.release()

    def _last_words(self) -> str:
        return "" if self._last_refusal is None else f"; the last connection was refused: {self._last_refusal}"

    def _turn(self, deadline: Deadline) -> None:
        """Wait once, for whatever comes first, and deal with it."""
        for arrival in [arrival for arrival in self._arrivals if arrival.deadline.expired]:
            self._drop(arrival, f"no complete link {arrival.deadline}")
        waits = [deadline.remaining(), *(arrival.deadline.remaining() for arrival in self._arrivals)]
        for key, _ in self._selector.select(min((wait for wait in waits if wait is not None), default=None)):
            if key.fileobj is self._data_socket:
                self._take(self._data_socket)
            elif key.fileobj is self._message_socket:
                self._take_message(self._message_socket)
            elif key.data is not None:
                self._hear(key.data)

    def _accept_socket(self, listening: socket.socket) -> tuple[socket.socket, str] | None:
        try:
            sock, address = listening.accept()
        except OSError as error:
            if not isinstance(error, (BlockingIOError, ConnectionAbortedError, InterruptedError)):
                _log.warning("%s: cannot accept a connection: %s", self.link_name, error)
                threading.Event().wait(0.05)  # out of descriptors, most likely: not in a tight loop
            return None
        return sock, str(Endpoint(address[0], address[1]))

    def _take(self, listening: socket.socket) -> None:
        accepted = self._accept_socket(listening)
        if accepted is None:
            return
        arrival = Arrival(*accepted)
        if len(self._arrivals) >= MAXIMUM_ARRIVALS:
            self._drop(next(iter(self._arrivals)), "too many connections at once")
        self._arrivals[arrival] = None
        self._selector.register(arrival.connection, selectors.EVENT_READ, arrival)

    def _take_message(self, listening: socket.socket) -> None:
        accepted = self._accept_socket(listening)
        if accepted is None:
            return
        sock, peer = accepted
        prepare(sock)
        if not self._pairing.add_classic_message(Connection(sock, peer)):
            self._refuse(peer, "no classic link is waiting for a message connection")
            sock.close()
        self._pair()

    def _hear(self, arrival: Arrival) -> None:
        was_known = arrival.identity is not None
        try:
            identity = arrival.receive()
            if identity is not None and not was_known:
                self._identified(arrival)
            if arrival.greeted:
                # Its link's bytes stay in the system's buffers until the link reads them.
                self._selector.unregister(arrival.connection)
            self._pair()
        except ConnectionRefused as reason:
            self._drop(arrival, str(reason))

    def _identified(self, arrival: Arrival) -> None:
        """Enter `arrival` into the pairing. ConnectionRefused if there is no place for it."""
        identity = arrival.identity
        assert identity is not None
        if identity.mode == "classic":
            if identity.needs_message_port:
                arrival.handshake.set_message_port(self._message_port())
            elif self.address.message is None:
                raise ConnectionRefused("it names a message port, and this listener has none; use -linkoptions 4")
        self._pairing.add(arrival)

    def _message_port(self) -> int:
        """The port for message connections of classic links, opened when the first one asks for it."""
        if self._message_socket is None:
            self._message_socket = listen_socket(Endpoint(self._data_socket.getsockname()[0], 0))
            self._selector.register(self._message_socket, selectors.EVENT_READ)
        return int(self._message_socket.getsockname()[1])

    def _pair(self) -> None:
        """Make links of what belongs together."""
        for data, messages, leftover in self._pairing.complete():
            self._forget(data)
            if isinstance(messages, Arrival):
                self._forget(messages)
            connection = messages.connection if isinstance(messages, Arrival) else messages
            peer = data.handshake.peer
            assert peer is not None, "a complete handshake has a greeting"
            self._links.append(
                Link(
                    data.connection,
                    MessageChannel(connection, data.peer, leftover),
                    data.peer,
                    offset=data.handshake.offset,
                    leftover=data.leftover(),
                    limits=self._limits,
                    seven_bit=peer.seven_bit,
                )
            )

    def _refuse(self, peer: str, reason: str) -> None:
        self._last_refusal = f"{peer}: {reason}"
        _log.info("%s: refused a connection from %s", self.link_name, self._last_refusal)

    def _drop(self, arrival: Arrival, reason: str) -> None:
        self._refuse(arrival.peer, reason)
        self._forget(arrival)
        for connection in self._pairing.remove(arrival):
            connection.close()
        arrival.connection.close()

    def _forget(self, arrival: Arrival) -> None:
        self._arrivals.pop(arrival, None)
        with suppress(KeyError, ValueError):
            self._selector.unregister(arrival.connection)

    def close(self) -> None:
        """Stop listening, drop what is not yet a link, and end waiting `accept` calls. Links live on."""
        if self._closed:
            return
        self._closed = True
        self._wake_send.send(b"x")
        with self._accepting:
            for arrival in list(self._arrivals):
                self._drop(arrival, "the listener was closed")
            while self._links:
                self._links.pop().close(0)
            self._selector.close()
            for sock in (self._data_socket, self._message_socket, self._wake_receive, self._wake_send):
                if sock is not None:
                    sock.close()

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Listener {self.link_name}{' closed' if self._closed else ''}>"


#: Seconds in which a connection must say what it is, greet, and find its other half.
GREETING_TIMEOUT: Final = 10.0


class ConnectionRefused(Exception):
    """The connection is none of ours; the reason in words."""


class Arrival:
    """One accepted connection and how far its handshake has come."""

    def __init__(self, sock: socket.socket, peer: str) -> None:
        prepare(sock)
        self.peer = peer
        self.connection = Connection(sock, peer)
        self.handshake = ListenHandshake()
        self.deadline = Deadline(GREETING_TIMEOUT)
        #: What it said it is, once it has.
        self.identity: LinkIdentified | None = None
        #: Whether answers are kept back until it is this connection's turn.
        self.on_hold = False

    @property
    def is_classic(self) -> bool:
        return self.identity is not None and self.identity.mode == "classic"

    @property
    def is_message(self) -> bool:
        return self.identity is not None and self.identity.channel == "mesg"

    @property
    def greeted(self) -> bool:
        """Whether its own part of the handshake is over."""
        return self.handshake.complete

    def receive(self) -> LinkIdentified | None:
        """Take in what has come and answer it; the identity, if that is now known. ConnectionRefused."""
        data = self.connection.receive_now()
        if data is None:
            return None
        try:
            if not data:
                self.handshake.receive_end()
            events = self.handshake.receive_data(data)
        except RemoteProtocolError as error:
            raise ConnectionRefused(error.message) from error
        for event in events:
            if isinstance(event, LinkIdentified):
                self.identity = event
                # A classic link has its answer kept back until the listener gives it its turn.
                self.on_hold = event.mode == "classic"
        self.answer()
        return self.identity

    def answer(self) -> None:
        """Send what the handshake has to say, unless the connection is on hold. ConnectionRefused if the peer takes nothing."""
        if self.on_hold:
            return
        outgoing = self.handshake.data_to_send()
        try:
            if outgoing and self.connection.send(outgoing, Deadline(0)):
                raise ConnectionRefused("it does not read the greeting")
        except LinkError as error:
            raise ConnectionRefused(error.message) from error

    def leftover(self) -> bytes:
        """Bytes that came behind the handshake."""
        return self.handshake.leftover()


class LinkHalves:
    """The halves of links that a listener holds.

    A classic message connection says nothing about itself, so only one classic link at a time is told where to
    connect; the next has its answer when that one is complete or gone.
    """

    def __init__(self) -> None:
        self._data: dict[str, Arrival] = {}
        self._messages: dict[str, Arrival] = {}
        self._classic: deque[Arrival] = deque()
        self._classic_message: Connection | None = None

    def add(self, arrival: Arrival) -> None:
        """An arrival that has just said what it is. ConnectionRefused if there is such a half already."""
        identity = arrival.identity
        assert identity is not None
        if arrival.is_classic:
            self._classic.append(arrival)
            self._give_turn()
            return
        assert identity.uuid is not None, "a link in UUID mode has a UUID"
        halves = self._messages if arrival.is_message else self._data
        if identity.uuid in halves:
            raise ConnectionRefused(f"there is a {identity.channel} connection with the same UUID already")
        halves[identity.uuid] = arrival

    def _give_turn(self) -> None:
        """Let the first classic link have its answer."""
        if self._classic and self._classic[0].on_hold:
            self._classic[0].on_hold = False
            with suppress(ConnectionRefused):  # a dead connection is heard of by the listener
                self._classic[0].answer()

    def add_classic_message(self, connection: Connection) -> bool:
        """A connection to the message port; False if no classic link waits for one."""
        if not self._classic or self._classic_message is not None:
            return False
        self._classic_message = connection
        return True

    def complete(self) -> Iterator[tuple[Arrival, Arrival | Connection, bytes]]:
        """Take out what is complete: data, messages, and bytes received ahead on the message connection."""
        for uuid in [uuid for uuid in self._data if uuid in self._messages and self._data[uuid].greeted]:
            messages = self._messages.pop(uuid)
            yield self._data.pop(uuid), messages, messages.leftover()
        while self._classic and self._classic[0].greeted and self._classic_message is not None:
            connection, self._classic_message = self._classic_message, None
            yield self._classic.popleft(), connection, b""
            self._give_turn()

    def remove(self, arrival: Arrival) -> list[Connection]:
        """Forget `arrival`; connections that are of no use without it, to be closed."""
        orphans: list[Connection] = []
        if arrival in self._classic:
            if self._classic[0] is arrival and self._classic_message is not None:
                orphans.append(self._classic_message)
                self._classic_message = None
            self._classic.remove(arrival)
            self._give_turn()
        elif arrival.identity is not None and arrival.identity.uuid is not None:
            halves = self._messages if arrival.is_message else self._data
            if halves.get(arrival.identity.uuid) is arrival:
                del halves[arrival.identity.uuid]
        return orphans
