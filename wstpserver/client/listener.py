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
from contextlib import suppress
from typing import Final

from wstpserver.client.arrival import Arrival, Refused
from wstpserver.client.connection import Connection
from wstpserver.client.deadline import Deadline
from wstpserver.client.errors import LinkClosed, LinkTimeout
from wstpserver.client.link import Link
from wstpserver.client.messages import MessageChannel
from wstpserver.client.options import Address, Endpoint, parse_address
from wstpserver.client.pairing import Pairing
from wstpserver.client.sockets import listen_socket, prepare
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
        self._pairing = Pairing()
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
        for arrival in [arrival for arrival in self._arrivals if arrival.silence is not None]:
            try:
                arrival.speak()
            except Refused as reason:
                self._drop(arrival, str(reason))
        waits = [deadline.remaining(), *(arrival.deadline.remaining() for arrival in self._arrivals)]
        waits += [arrival.silence.remaining() for arrival in self._arrivals if arrival.silence is not None]
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
        except Refused as reason:
            self._drop(arrival, str(reason))

    def _identified(self, arrival: Arrival) -> None:
        """Enter `arrival` into the pairing. Refused if there is no place for it."""
        identity = arrival.identity
        assert identity is not None
        if identity.mode == "classic":
            if identity.needs_message_port:
                arrival.handshake.set_message_port(self._message_port())
            elif self.address.message is None:
                raise Refused("it names a message port, and this listener has none; use -linkoptions 4")
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
