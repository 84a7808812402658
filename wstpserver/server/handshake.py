"""From accepted connections to links, for clients and kernels.

`wire.pairing` decides what the bytes mean; `LinkHandshakes` moves them. It works in the hub, in callbacks that never
wait, because most of a server's work with short-lived clients is done here, and starting and ending a greenlet costs
more than a handshake.
"""

from __future__ import annotations

import base64
import socket
import struct
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import gevent
from gevent import get_hub

from wstpserver.server.access import ConnectionRules
from wstpserver.server.connection import Connection, ConnectionClosed, address_name
from wstpserver.server.log import Log
from wstpserver.server.peers import have_same_owner
from wstpserver.settings import ServerSettings
from wstpserver.wire.errors import RemoteProtocolError
from wstpserver.wire.handshake import LOWER_VERSION
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
from wstpserver.wire.proxy_protocol import ProxyHeader, may_be_header, read_header

#: All handshakes receive here, one at a time.
_buffer = memoryview(bytearray(4096))

#: Connections to the message port of one classic link that the system keeps until they are accepted.
_MESSAGE_BACKLOG = 4

#: Where struct tcp_info of Linux has the round trip time, in microseconds.
_RTT = struct.Struct("=I")
_RTT_OFFSET = 68


@dataclass(slots=True)
class OpenLink:
    """An open link: two connections whose handshake is complete.

    Attributes:
        data: the data connection.
        messages: the message connection.
        leftover: what came in on the data connection after the handshake.
        messages_leftover: the same for the message connection.
        unsent: the end of our greeting. It must go out before anything else, and can go out together with that.
        greeting_version: the version that both sides agreed on: 3, 4 or 6.
        address: the address of the peer, for the log.
        without_kernel: whether the client wants no kernel until it asks for one.
        header: what a proxy says of the client; None if it connected by itself.
    """

    data: Connection
    messages: Connection
    leftover: bytes = b""
    messages_leftover: bytes = b""
    unsent: bytes = b""
    greeting_version: int = 4
    address: str = ""
    without_kernel: bool = False
    header: ProxyHeader | None = None

    def end(self) -> None:
        """End both connections; the peer sees its link closed."""
        self.data.end()
        self.messages.end()

    def close(self) -> None:
        """Give both connections back."""
        self.data.close()
        self.messages.close()


class PendingConnection:
    """A TCP connection that is not a link or a part of one yet."""

    #: What has come of a PROXY header; None where there can be none (any more).
    beginning: bytes | None = None
    #: What a proxy says of the client; None if it connected by itself.
    header: ProxyHeader | None = None
    #: Whether it is dropped because the client that the proxy names is not admitted.
    is_refused = False
    #: Calls back when bytes have come in; None while nothing is to be read.
    watcher: Any = None
    #: The port that was opened for its message connection in classic mode.
    listener: socket.socket | None = None
    listener_watcher: Any = None
    #: What has come in, and how many bytes went out: another process goes through the same conversation again.
    received = b""
    sent = 0
    #: How much had come in when we spoke first, None if we did not.
    spoke_at: int | None = None
    #: How much of what is to be sent was sent by another process.
    skipped = 0

    def __init__(self, stream: Connection, peer: tuple[Any, ...] | str) -> None:
        self.stream = stream
        #: Where it comes from, as the system or `address_name` says it.
        self.peer = peer
        #: When it was accepted, as of `time.monotonic`.
        self.since = time.monotonic()

    @property
    def address(self) -> str:
        """Where it comes from, for the log."""
        return address_name(self.peer)

    def stop_reading(self) -> None:
        """Leave what comes in to somebody else."""
        watcher, self.watcher = self.watcher, None
        if watcher is not None:
            watcher.stop()
            watcher.close()

    def close_listener(self) -> None:
        """Close the port for the message connection."""
        watcher, self.listener_watcher = self.listener_watcher, None
        if watcher is not None:
            watcher.stop()
            watcher.close()
        listener, self.listener = self.listener, None
        if listener is not None:
            listener.close()


PairingConnection: TypeAlias = LinkConnection[PendingConnection]
Events: TypeAlias = Iterable[Event[PendingConnection]]


class LinkHandshakes:
    """The handshakes of one listening endpoint."""

    def __init__(
        self,
        opened: Callable[[OpenLink], object],
        dropped: Callable[[Dropped[PendingConnection]], object],
        *,
        message_port: int | None = None,
        speak_after: float = SPEAK_AFTER,
        speak_version: int = LOWER_VERSION,
        refusal_behind_proxy: Callable[[str, ProxyHeader | None], str] | None = None,
    ) -> None:
        """
        Args:
            opened: called in the hub with each link.
            dropped: called in the hub for each connection that becomes no link; it is closed already.
            message_port: the second port of the link name; None if it has one port.
            speak_after: seconds of silence after which a classic peer is greeted that waits for us.
            speak_version: the version to greet it with.
            refusal_behind_proxy: tells why a client is not admitted; see `ConnectionRules.refusal_behind_proxy`.
        """
        self._opened = opened
        self._dropped = dropped
        self._speak_after = speak_after
        self._speak_version = speak_version
        self._refusal_behind_proxy = refusal_behind_proxy
        self._pairing: Pairing[PendingConnection] = Pairing(message_port)
        #: Connections that were accepted in this round of the hub.
        self._fresh: list[PairingConnection] = []

        #: The connections that are no link yet, oldest first.
        self.pending = self._pairing.pending

    @property
    def oldest(self) -> PairingConnection | None:
        """The connection that has been pending for the longest time."""
        return next(iter(self.pending), None)

    def accept(
        self,
        connected: socket.socket,
        address: tuple[Any, ...] | str,
        *,
        may_be_proxied: bool = False,
        has_options: bool = False,
    ) -> None:
        """Take a connection to the port for data connections, which may be the one for all.

        Args:
            connected: the connection.
            address: where it comes from.
            may_be_proxied: whether it may begin with a PROXY header.
            has_options: as for `Connection`.
        """
        pending = _pending(connected, address, has_options=has_options)
        if pending is None:
            return
        if may_be_proxied:
            pending.beginning = b""
        connection = self._pairing.accept(pending)
        # Read after whatever older connections have sent by now: of two that claim the same UUID the older one counts.
        if not self._fresh:
            get_hub().loop.run_callback(self._read_fresh)
        self._fresh.append(connection)

    def accept_message(self, connected: socket.socket, address: str, data: PairingConnection | None = None) -> None:
        """Take a connection to a message port: of the link of *data*, or the one in the link name."""
        pending = _pending(connected, address)
        if pending is not None:
            self._carry_out(self._pairing.accept_message(pending, data))

    def drop(self, connection: PairingConnection, reason: str) -> None:
        """Give a connection up."""
        self._carry_out(self._pairing.drop(connection, reason))

    def close(self) -> None:
        """Give up all connections."""
        while (oldest := self.oldest) is not None:
            self.drop(oldest, "the port is closed")

    # -- from one process to the next ----------------------------------------------------------------------------

    def hand_over(self) -> list[dict[str, Any]]:
        """What another process needs to go on with the connections that are no link yet (`handover`)."""
        numbers = {connection: number for number, connection in enumerate(self._pairing.pending)}
        return [_record(connection, numbers) for connection in numbers]

    def go_on(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Go on with the connections that another process has accepted: the same bytes lead to the same state. What was
        sent is not sent again.

        Args:
            records: What `hand_over` returned there.
        """
        connections: list[PairingConnection | None] = []
        for record in records:
            pending = _pending(socket.socket(fileno=record["descriptor"]), record["address"])
            connection = None
            if pending is not None:
                pending.stream.socket.set_inheritable(False)
                pending.since, pending.skipped = record["since"], record["sent"]
                if "beginning" in record:
                    pending.beginning = base64.b64decode(record["beginning"])
                if "header" in record:
                    pending.header = ProxyHeader.of_record(record["header"])
                if "listener" in record:
                    pending.listener = socket.socket(fileno=record["listener"]["descriptor"])
                    pending.listener.set_inheritable(False)
                of = record.get("of")
                if of is None:
                    connection = self._replay(pending, record)
                else:
                    self._carry_out(self._pairing.accept_message(pending, connections[of]))
            connections.append(connection)

    def _replay(self, pending: PendingConnection, record: Mapping[str, Any]) -> PairingConnection:
        connection = self._pairing.accept(pending)
        received, spoke_at = base64.b64decode(record["received"]), record.get("spoke_at")
        parts = (received,) if spoke_at is None else (received[:spoke_at], received[spoke_at:])
        for number, part in enumerate(parts):
            if number and spoke_at is not None:
                self._speak(connection)
            if part and connection.reads:
                self._receive_again(connection, part)
        if connection.reads:
            self._read(connection)
        return connection

    # -- what comes in -------------------------------------------------------------------------------------------

    def _read_fresh(self) -> None:
        fresh, self._fresh = self._fresh, []
        for connection in fresh:
            if not connection.transport.stream.ended:  # it was not dropped meanwhile
                self._read(connection)

    def _read(self, connection: PairingConnection) -> None:
        pending = connection.transport
        sent = pending.sent
        size = pending.stream.try_receive(_buffer, answered=True)
        if size is not None:
            data: bytes | None = bytes(_buffer[:size])
            if pending.beginning is not None:
                data = self._behind_header(connection, pending.beginning, bytes(_buffer[:size]))
            if data is not None:
                pending.received += data
                try:
                    events = self._pairing.receive(connection, data)
                except Exception:  # a defect, but the peer must not wait for ever
                    self.drop(connection, "the server failed")
                    raise
                if events:
                    self._carry_out(events)
        if size and pending.sent == sent and not pending.stream.ended:
            pending.stream.acknowledge()
        if not connection.reads:
            if pending.watcher is not None:
                pending.stop_reading()
        elif pending.watcher is None:
            pending.watcher = get_hub().loop.io(pending.stream.socket.fileno(), 1)
            pending.watcher.start(self._read, connection)

    def _receive_again(self, connection: PairingConnection, data: bytes) -> None:
        """Take what another process has received."""
        connection.transport.received += data
        try:
            events = self._pairing.receive(connection, data)
        except Exception:  # a defect, but the peer must not wait for ever
            self.drop(connection, "the server failed")
            raise
        self._carry_out(events)

    def _behind_header(self, connection: PairingConnection, before: bytes, data: bytes) -> bytes | None:
        """What came in behind the PROXY header, if there is one; None if that is nothing, or the connection is dropped.

        Args:
            connection: one that may come from a proxy.
            before: the beginning of a header.
            data: what has come in behind that; b"" for the end.
        """
        pending = connection.transport
        if not data:
            pending.beginning = None
            return data
        data = before + data
        header: ProxyHeader | None = None
        if may_be_header(data):
            try:
                header = read_header(data)
            except RemoteProtocolError as error:
                self.drop(connection, error.message)
                return None
            if header is None:
                pending.beginning = data
                return None
        pending.beginning = None
        peer = pending.address
        if header is not None and header.client is not None:
            pending.peer = f"{address_name(header.client)} via {peer}"
        pending.header = header
        assert self._refusal_behind_proxy is not None
        why = self._refusal_behind_proxy(_host(peer), header)
        if why:
            pending.is_refused = True
            self.drop(connection, why)
            return None
        return (data if header is None else data[header.size :]) or None

    # -- what is to be done --------------------------------------------------------------------------------------

    def _carry_out(self, events: Events) -> None:
        for event in events:
            match event:
                case Send(connection, data):
                    self._send(connection, data)
                case LinkOpened(data, messages, unsent):
                    self._open(data, messages, unsent)
                case Dropped(connection):
                    self._close(connection.transport)
                    self._dropped(event)
                case OpenMessagePort(connection):
                    self._open_message_port(connection)
                case AwaitSilence(connection):
                    self._await_silence(connection)

    def _send(self, connection: PairingConnection, data: bytes) -> None:
        """Send a part of a greeting, which is far smaller than what a new connection takes without its peer's help."""
        pending = connection.transport
        pending.sent += len(data)
        if pending.skipped:
            skipped = min(pending.skipped, len(data))
            pending.skipped -= skipped
            data = data[skipped:]
        try:
            if pending.stream.try_send(data) < len(data):
                self.drop(connection, "it takes no data")
        except ConnectionClosed:
            if connection.reads:
                self._carry_out(self._pairing.receive(connection, b""))
            else:
                self.drop(connection, "it ended")

    def _open(self, data: PairingConnection, messages: PairingConnection, unsent: bytes) -> None:
        pending = data.transport
        for each in (pending, messages.transport):
            if each.watcher is not None:
                each.stop_reading()
            if each.listener is not None:
                each.close_listener()
        version, peer = data.version, data.peer
        assert version is not None and peer is not None
        link = OpenLink(
            pending.stream,
            messages.transport.stream,
            data.leftover(),
            messages.leftover(),
            unsent,
            version,
            pending.address,
            peer.without_kernel,
            pending.header,
        )
        self._opened(link)

    @staticmethod
    def _close(pending: PendingConnection) -> None:
        pending.stop_reading()
        pending.close_listener()
        pending.stream.close()

    # -- peers that wait for our greeting ------------------------------------------------------------------------

    def _await_silence(self, connection: PairingConnection) -> None:
        seconds = max(self._speak_after, 2 * _round_trip_time(connection.transport.stream.socket))
        timer = get_hub().loop.timer(seconds)
        timer.start(self._silent, connection, timer)

    def _silent(self, connection: PairingConnection, timer: Any) -> None:
        timer.stop()
        timer.close()
        self._speak(connection)

    def _speak(self, connection: PairingConnection) -> None:
        pending, received = connection.transport, len(connection.transport.received)
        events = self._pairing.speak(connection, self._speak_version)
        if events and pending.spoke_at is None:
            pending.spoke_at = received
        self._carry_out(events)

    # -- the second port of a classic link -----------------------------------------------------------------------

    def _open_message_port(self, connection: PairingConnection) -> None:
        pending = connection.transport
        local = pending.stream.socket.getsockname()
        if pending.listener is not None:  # it was opened by another process
            self._await_second(connection, pending.listener)
            return
        try:
            listener = socket.create_server(
                local[:1] + (0,) + local[2:], family=pending.stream.socket.family, backlog=_MESSAGE_BACKLOG
            )
        except OSError as error:
            self.drop(connection, f"no port could be opened for its second connection: {error.strerror}")
            return
        listener.setblocking(False)
        pending.listener = listener
        self._await_second(connection, listener)

    def _await_second(self, connection: PairingConnection, listener: socket.socket) -> None:
        pending = connection.transport
        pending.listener_watcher = get_hub().loop.io(listener.fileno(), 1)
        pending.listener_watcher.start(self._accept_second, connection, listener)
        self._carry_out(self._pairing.set_message_port(connection, listener.getsockname()[1]))

    def _accept_second(self, connection: PairingConnection, listener: socket.socket) -> None:
        try:
            connected, address = listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionError):  # the peer is gone already
            return
        except OSError as error:  # most likely no descriptor is left
            self.drop(connection, f"its second connection could not be accepted: {error.strerror}")
            return
        if _same_peer(connection.transport.stream.socket, connected):
            self.accept_message(connected, address_name(address), connection)
        else:
            connected.close()


def _record(connection: PairingConnection, numbers: Mapping[PairingConnection, int]) -> dict[str, Any]:
    """What another process needs to go on with a connection; *numbers* are those of all connections."""
    pending = connection.transport
    record: dict[str, Any] = {
        "descriptor": pending.stream.socket.fileno(),
        "address": pending.address,
        "since": pending.since,
        "received": base64.b64encode(pending.received).decode("ascii"),
        "sent": pending.sent,
    }
    if pending.spoke_at is not None:
        record["spoke_at"] = pending.spoke_at
    if pending.beginning is not None:
        record["beginning"] = base64.b64encode(pending.beginning).decode("ascii")
    if pending.header is not None:
        record["header"] = list(pending.header)
    if pending.listener is not None:
        record["listener"] = {"descriptor": pending.listener.fileno()}
    if connection.peer is None and not pending.received and connection.partner is not None:
        record["of"] = numbers[connection.partner]  # a message connection that says nothing, in classic mode
    return record


def _pending(
    connected: socket.socket, address: tuple[Any, ...] | str, *, has_options: bool = False
) -> PendingConnection | None:
    """None, and closed, if the connection is gone already."""
    try:
        return PendingConnection(Connection(connected, has_options=has_options), address)
    except OSError:
        connected.close()
        return None


def _host(address: str) -> str:
    """The host of an address as `address_name` writes it."""
    return address.rpartition(":")[0].strip("[]")


def _round_trip_time(connected: socket.socket) -> float:
    """Seconds that a packet takes to the peer and back; 0 where the system does not say."""
    if not hasattr(socket, "TCP_INFO"):
        return 0.0
    try:
        information = connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _RTT_OFFSET + _RTT.size)
        return float(_RTT.unpack_from(information, _RTT_OFFSET)[0]) / 1e6
    except (OSError, struct.error):
        return 0.0


def _same_peer(first: socket.socket, second: socket.socket) -> bool:
    """Whether the process that made the first connection made the second one, as far as the system says."""
    try:
        return bool(first.getpeername()[0] == second.getpeername()[0]) and have_same_owner(first, second)
    except OSError:
        return False


class ClientAcceptor:
    """The listening side of the server.

    Handshake and pairing of a connection have GreetingTimeout seconds together. Of more than MaximumUnpairedConnections
    the oldest is dropped.
    """

    def __init__(
        self, settings: ServerSettings, log: Log, serve: Callable[[OpenLink], object], admission: ConnectionRules
    ) -> None:
        """
        Args:
            settings: the limits.
            log: hears of connections that become no links.
            serve: called with each link in a greenlet of its own; returns when the link has ended.
            admission: knows the proxies, and the clients that are admitted behind them.
        """
        self._settings = settings
        self._log = log
        self._serve = serve
        self._admission = admission
        self._handshakes = LinkHandshakes(
            self._opened, self._dropped, refusal_behind_proxy=admission.refusal_behind_proxy
        )
        #: Fires when the oldest connection is due. One for all, because all have the same time.
        self._timer: Any = None
        #: Links that were opened, and connections that were closed because they became none.
        self.opened = self.refused = 0

    def __len__(self) -> int:
        """How many connections are no link yet."""
        return len(self._handshakes.pending)

    def hand_over(self) -> list[dict[str, Any]]:
        """What another process needs to go on with the connections that are no link yet (`handover`)."""
        return self._handshakes.hand_over()

    def go_on(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Go on with the connections that another process has accepted; *records* are what `hand_over` returned."""
        self._handshakes.go_on(records)
        self._drop_overdue()

    def reconfigure(self, settings: ServerSettings) -> None:
        """Take new settings over."""
        self._settings = settings
        self._drop_overdue()

    def handle(self, connected: socket.socket, address: tuple[Any, ...]) -> None:
        """Take one connection that a `LinkServer` has accepted. Returns at once."""
        while len(self._handshakes.pending) >= self._settings.maximum_unpaired_connections:
            self._drop("it has not become a link, and its place is needed by a new connection")
        proxied = self._admission.has_proxies and self._admission.may_be_proxy(address[0])
        self._handshakes.accept(connected, address, may_be_proxied=proxied, has_options=True)
        if self._timer is None:
            self._drop_overdue()

    def _drop(self, reason: str) -> None:
        oldest = self._handshakes.oldest
        if oldest is not None:
            self._handshakes.drop(oldest, reason)

    def _drop_overdue(self) -> None:
        """Drop connections that are overdue, and come back when the next one is."""
        if self._timer is not None:
            self._timer.stop()
            self._timer.close()
            self._timer = None
        now = time.monotonic()
        while (oldest := self._handshakes.oldest) is not None:
            left = oldest.transport.since + self._settings.greeting_timeout - now
            if left > 0:
                self._timer = get_hub().loop.timer(left)
                self._timer.start(self._drop_overdue)
                return
            self._handshakes.drop(oldest, _why_overdue(oldest.transport))

    def _opened(self, link: OpenLink) -> None:
        self.opened += 1
        gevent.spawn(self._serve, link)

    def _dropped(self, event: Dropped[PendingConnection]) -> None:
        pending = event.connection.transport
        address = pending.address
        if pending.is_refused:
            self._admission.refusals.add(address.partition(" ")[0].rpartition(":")[0], address, event.reason)
        elif event.ended:
            self._log.debug(f"A connection from {address} ended during its greeting")
        else:
            self.refused += 1
            self._log.warning(f"Closed a connection from {address}: {event.reason}")


def _why_overdue(pending: PendingConnection) -> str:
    if pending.listener is None:
        return "its greeting did not come in time"
    port = pending.listener.getsockname()[1]
    return (
        f"it was told to make a second connection to port {port}, and none came in time; perhaps a firewall blocks that"
        " port. With -linkoptions 4 a client needs no other port than that of the server"
    )
