"""The listening side: accepts connections, and returns the links that `wstpserver.wire.pairing` makes of them.

Every listener serves UUID mode and classic clients that ask for the message port, on one port; a classic listener
has a second port for messages, and a link name with both, as the vendor's listening links have.
"""

from __future__ import annotations

import selectors
import socket
import threading
from collections import deque
from contextlib import suppress
from typing import Final, TypeAlias

from wstpserver.client.address import Address, Endpoint, parse_address
from wstpserver.client.deadline import Deadline
from wstpserver.client.errors import LinkClosed, LinkError, LinkTimeout, logger
from wstpserver.client.link import Link
from wstpserver.client.messages import MessageChannel
from wstpserver.client.transport import Connection, listen_socket, prepare
from wstpserver.wire.handshake import OUR_VERSION
from wstpserver.wire.pairing import (
    SPEAK_AFTER,
    AwaitSilence,
    Dropped,
    Event,
    LinkConnection,
    LinkOpened,
    OpenMessagePort,
    Pairing,
    Send,
)
from wstpserver.wire.tokens import DecoderLimits

#: Connections that may be on their way to become links; one more, and the oldest is dropped.
MAXIMUM_PENDING: Final = 256
#: Seconds in which a connection must say what it is, greet, and be joined by the other one of its link.
GREETING_TIMEOUT: Final = 10.0


class _Arrival:
    """An accepted connection, until when it must be part of a link, and when its peer's silence is answered."""

    def __init__(self, connection: Connection, peer: Endpoint) -> None:
        self.connection = connection
        self.peer = peer
        self.deadline = Deadline(GREETING_TIMEOUT)
        self.silence: Deadline | None = None


_Pending: TypeAlias = LinkConnection[_Arrival]


def listen(
    address: str | int | Address = "0", *, classic: bool | None = None, limits: DecoderLimits | None = None
) -> Listener:
    """Listen for links. Connections are taken while a thread waits in `Listener.accept`.

    Args:
        address: Where to listen (see `parse_address`). Port 0 takes any free one; the host says on which interface,
            this machine alone by default.
        classic: Whether to use two ports, which a child process may be given in classic mode; by default if `address`
            names two.
        limits: How large an expression may be that a link receives.

    Returns:
        The listener.

    Raises:
        ListenError: The address cannot be listened on.
        LinkSyntaxError: `address` is no address.
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
    """Accepts links. Made by `listen`. Threads may share it; one at a time works in `accept`.

    Attributes:
        address: Where it listens, with the ports that the system chose.
    """

    def __init__(
        self, host: str, data: socket.socket, messages: socket.socket | None, limits: DecoderLimits | None
    ) -> None:
        self._data_socket = data
        self._message_socket = messages
        self._limits = limits
        self._selector = selectors.DefaultSelector()
        self._wake_receive, self._wake_send = socket.socketpair()
        for sock in (data, messages, self._wake_receive):
            if sock is not None:
                self._selector.register(sock, selectors.EVENT_READ)
        self._pairing: Pairing[_Arrival] = Pairing(None if messages is None else messages.getsockname()[1])
        #: Ports opened for the message connection of one link each, and that link's data connection.
        self._message_ports: dict[socket.socket, _Pending] = {}
        self._links: deque[Link] = deque()
        self._accepting = threading.Lock()
        self._closed = False
        self._last_refusal: str | None = None
        self.address = Address(
            Endpoint(host, data.getsockname()[1]),
            None if messages is None else Endpoint(host, messages.getsockname()[1]),
        )

    @property
    def link_name(self) -> str:
        """For the other side's ``-linkname``: ``PORT@HOST``, or ``PORT@HOST,PORT2@HOST`` of a classic listener."""
        return self.address.link_name

    def accept(self, timeout: float | None = None) -> Link:
        """Wait for the next link.

        A connection that is no link is dropped and does not affect the others; the reason is logged, and the last one
        is part of the text of LinkTimeout.

        Args:
            timeout: Seconds; None for no limit.

        Returns:
            The link.

        Raises:
            LinkTimeout: None came in time.
            LinkClosed: `close` was called meanwhile.
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
                    refusal = f"; the last connection was refused: {self._last_refusal}" if self._last_refusal else ""
                    raise LinkTimeout(f"no link {deadline}{refusal}", self.link_name)
                self._wait_once(deadline)
            return self._links.popleft()
        finally:
            self._accepting.release()

    def _wait_once(self, deadline: Deadline) -> None:
        """Wait for whatever comes first, and process it."""
        for pending in [pending for pending in self._pairing.pending if pending.transport.deadline.expired]:
            self._carry_out(self._pairing.drop(pending, f"no complete link {pending.transport.deadline}"))
        for pending in list(self._pairing.pending):
            if pending.transport.silence is not None and pending.transport.silence.expired:
                pending.transport.silence = None
                self._carry_out(self._pairing.speak(pending))
        waits = [deadline.remaining()]
        for pending in self._pairing.pending:
            ends = (pending.transport.deadline, pending.transport.silence)
            waits += [end.remaining() for end in ends if end is not None]
        for key, _ in self._selector.select(min((wait for wait in waits if wait is not None), default=None)):
            if key.data is not None:
                self._receive(key.data)
            elif key.fileobj is self._data_socket:
                self._accept_data()
            elif isinstance(key.fileobj, socket.socket) and key.fileobj is not self._wake_receive:
                self._accept_message(key.fileobj)

    def _accept_socket(self, listening: socket.socket) -> _Arrival | None:
        try:
            sock, address = listening.accept()
        except OSError as error:
            if not isinstance(error, (BlockingIOError, ConnectionAbortedError, InterruptedError)):
                logger(__name__).warning("%s: cannot accept a connection: %s", self.link_name, error)
                threading.Event().wait(0.05)  # out of descriptors, most likely: not in a tight loop
            return None
        prepare(sock)
        peer = Endpoint(address[0], address[1])
        return _Arrival(Connection(sock, str(peer)), peer)

    def _accept_data(self) -> None:
        arrival = self._accept_socket(self._data_socket)
        if arrival is None:
            return
        if len(self._pairing.pending) >= MAXIMUM_PENDING:
            oldest = next(iter(self._pairing.pending))
            self._carry_out(self._pairing.drop(oldest, "too many connections at once"))
        pending = self._pairing.accept(arrival)
        self._selector.register(arrival.connection, selectors.EVENT_READ, pending)

    def _accept_message(self, listening: socket.socket) -> None:
        """A connection to the message port of all classic links, or of one of them."""
        data = self._message_ports.get(listening)
        arrival = self._accept_socket(listening)
        if arrival is None:
            return
        if data is not None and arrival.peer.host != data.transport.peer.host:
            about = "%s: refused a message connection from %s, it is from another host"
            logger(__name__).info(about, self.link_name, arrival.peer)
            arrival.connection.close()
            return
        self._carry_out(self._pairing.accept_message(arrival, data))

    def _receive(self, pending: _Pending) -> None:
        if not pending.reads:  # dropped by what came before it in the same turn
            return
        data = pending.transport.connection.receive_now()
        if data is None:
            return
        self._carry_out(self._pairing.receive(pending, data))
        if not pending.reads:
            # The bytes of its link stay in the system's buffers until the link reads them.
            self._unregister(pending.transport.connection)

    def _carry_out(self, events: list[Event[_Arrival]]) -> None:
        waiting = deque(events)
        while waiting:
            event = waiting.popleft()
            if isinstance(event, Send):
                waiting.extendleft(reversed(self._send(event.connection, event.data)))
            elif isinstance(event, AwaitSilence):
                event.connection.transport.silence = Deadline(SPEAK_AFTER)
            elif isinstance(event, OpenMessagePort):
                waiting.extendleft(reversed(self._open_message_port(event.connection)))
            elif isinstance(event, LinkOpened):
                self._opened(event)
            elif isinstance(event, Dropped):
                self._dropped(event)

    def _send(self, pending: _Pending, data: bytes) -> list[Event[_Arrival]]:
        try:
            unsent = pending.transport.connection.send(data, Deadline(0))
        except LinkError as error:
            return self._pairing.drop(pending, error.message)
        return self._pairing.drop(pending, "it does not read the greeting") if unsent else []

    def _open_message_port(self, pending: _Pending) -> list[Event[_Arrival]]:
        try:
            listening = listen_socket(Endpoint(self._data_socket.getsockname()[0], 0))
        except LinkError as error:
            return self._pairing.drop(pending, f"no port for its messages: {error.message}")
        self._message_ports[listening] = pending
        self._selector.register(listening, selectors.EVENT_READ)
        return self._pairing.set_message_port(pending, listening.getsockname()[1])

    def _close_message_port(self, pending: _Pending) -> None:
        for listening in [listening for listening, data in self._message_ports.items() if data is pending]:
            del self._message_ports[listening]
            self._unregister(listening)
            listening.close()

    def _opened(self, event: LinkOpened[_Arrival]) -> None:
        for half in (event.data, event.messages):
            self._unregister(half.transport.connection)
        self._close_message_port(event.data)
        peer = event.data.peer
        assert peer is not None, "a link that is open has been greeted"
        connection, where = event.data.transport.connection, str(event.data.transport.peer)
        if event.unsent:
            try:
                connection.send(event.unsent, Deadline(0))
            except LinkError:
                pass  # whoever reads the link sees its end
        self._links.append(
            Link(
                connection,
                MessageChannel(event.messages.transport.connection, where, event.messages.leftover()),
                where,
                offset=event.data.offset,
                leftover=event.data.leftover(),
                limits=self._limits,
                seven_bit=peer.seven_bit,
                version=event.data.version or OUR_VERSION,
            )
        )

    def _dropped(self, event: Dropped[_Arrival]) -> None:
        arrival = event.connection.transport
        self._last_refusal = f"{arrival.peer}: {event.reason}"
        log = logger(__name__)
        tell = log.debug if event.ended else log.info
        tell("%s: refused a connection from %s", self.link_name, self._last_refusal)
        self._close_message_port(event.connection)
        self._unregister(arrival.connection)
        arrival.connection.close()

    def _unregister(self, transport: Connection | socket.socket) -> None:
        with suppress(KeyError, ValueError):
            self._selector.unregister(transport)

    def close(self) -> None:
        """Stop listening, drop what is not yet a link, and end waiting `accept` calls. Links stay open."""
        if self._closed:
            return
        self._closed = True
        self._wake_send.send(b"x")
        with self._accepting:
            for pending in list(self._pairing.pending):
                self._carry_out(self._pairing.drop(pending, "the listener was closed"))
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
