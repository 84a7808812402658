"""Opening a link from the connecting side, in both modes (docs/wire-protocol.md, section 1)."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from wstpserver.client.address import (
    Address,
    Endpoint,
    LinkOptions,
    default_token,
    parse_address,
    parse_link_options,
)
from wstpserver.client.commands import authenticate
from wstpserver.client.deadline import Deadline
from wstpserver.client.errors import ConnectError, LinkClosed, LinkSyntaxError, LinkTimeout
from wstpserver.client.link import Link
from wstpserver.client.messages import MessageChannel
from wstpserver.client.transport import NOT_ADMITTED, Connection, connect_again, connect_socket
from wstpserver.wire.errors import RemoteProtocolError
from wstpserver.wire.handshake import OUR_VERSION, ConnectAgain, ConnectHandshake, Event, MessagePort
from wstpserver.wire.tokens import DecoderLimits

if TYPE_CHECKING:
    import ssl

#: Seconds for a link to come about.
CONNECT_TIMEOUT: Final = 30.0


def connect(
    address: str | int | Address = "",
    timeout: float | None = CONNECT_TIMEOUT,
    *,
    classic: bool | None = None,
    limits: DecoderLimits | None = None,
    without_kernel: bool = False,
    version: int = OUR_VERSION,
    token: str | None = None,
    tls: ssl.SSLContext | None = None,
) -> Link:
    """Connect to a link server or to a listening link.

    Args:
        address: Where to (see `parse_address`).
        timeout: Seconds for everything together, the host name's resolution and the greeting included; None for no
            limit.
        classic: True for a plain listening link, False for a link server (UUID mode, one port); by default classic if
            the address names two ports.
        limits: How large an expression may be that is received.
        without_kernel: Whether a WSTPServer gives this link no kernel before it is asked for one, by a command or by
            the first packet that needs one.
        version: The version of the greeting to ask a link server for; 4 where bytes from there go on to a link of that
            version.
        token: The access token to say to a WSTPServer; "" for none. By default that of the address, and with
            `without_kernel` that of the environment variable WSTPSERVER_TOKEN_FILE.
        tls: How certificates are checked if the address begins with ``wstps://``; by default as
            `ssl.create_default_context` does.

    Returns:
        The link.

    Raises:
        AccessDenied: The server does not accept the token.
        ConnectError: Nobody listens there, or no WSTP program does.
        LinkTimeout: The link was not open in time.
        LinkSyntaxError: `address` is no address, or names a pool.
    """
    parsed = parse_address(address)
    if parsed.pool is not None:
        raise LinkSyntaxError(f"{address!r} names a kernel pool", None, "Open a Session with it, a link has no pools")
    use_classic = parsed.message is not None if classic is None else classic
    if parsed.tls and use_classic:
        raise LinkSyntaxError(f"{address!r} names TLS, which a plain listening link does not have", None, _NO_CLASSIC)
    token = parsed.token if token is None else token
    if token is None:
        token = default_token() if without_kernel else ""
    deadline = Deadline(timeout)
    parsed = parsed._replace(context=tls or parsed.context)
    link = _opened(parsed, deadline, limits, classic=use_classic, without_kernel=without_kernel, version=version)
    if token:
        try:
            authenticate(link, token, deadline)
        except BaseException:
            link.close(0)
            raise
    return link


def _opened(
    parsed: Address,
    deadline: Deadline,
    limits: DecoderLimits | None,
    *,
    classic: bool,
    without_kernel: bool,
    version: int,
) -> Link:
    """The link, before a token is said. Raises as `connect`."""
    opening = _Opening(parsed, deadline, limits, without_kernel=without_kernel)
    try:
        return opening.classic() if classic else opening.uuid(version)
    except LinkClosed as error:
        opening.give_up()
        message = "the other side closed the connection during the greeting"
        raise ConnectError(message, parsed.link_name, f"{NOT_ADMITTED}. {_ANOTHER_PROGRAM}") from error
    except BaseException:
        opening.give_up()
        raise


class _Opening:
    """A link on its way: its sockets so far, and what is left of the time."""

    def __init__(
        self, address: Address, deadline: Deadline, limits: DecoderLimits | None, *, without_kernel: bool
    ) -> None:
        self._address = address
        self._endpoint = address.data
        self._where = address.link_name
        self._deadline = deadline
        self._limits = limits
        self._without_kernel = without_kernel
        self._sockets: list[socket.socket] = []

    def give_up(self) -> None:
        for sock in self._sockets:
            sock.close()

    def uuid(self, version: int) -> Link:
        link = self._uuid(version)
        if isinstance(link, ConnectAgain):
            self.give_up()
            self._sockets.clear()
            link = self._uuid(link.version)
        if isinstance(link, ConnectAgain):
            raise ConnectError("the link server speaks no known version of WSTP", self._where, _ANOTHER_PROGRAM)
        return link

    def _uuid(self, version: int) -> Link | ConnectAgain:
        """A link with a greeting of this version, or what the link server wants instead."""
        identity = _new_identity()
        data = self._first_connection()
        handshake = ConnectHandshake("uuid", "data", identity, without_kernel=self._without_kernel, version=version)
        self._send(data, handshake)
        messages = self._second_connection(None)
        self._send(messages, ConnectHandshake("uuid", "mesg", identity))
        while not handshake.complete:
            for event in self._step(data, handshake):
                if isinstance(event, ConnectAgain):
                    return event
        return self._link(data, messages, handshake)

    def classic(self) -> Link:
        target = self._address.message
        data = self._first_connection()
        handshake = ConnectHandshake(
            "classic", "data", message_port_known=target is not None, without_kernel=self._without_kernel
        )
        self._send(data, handshake)
        messages: Connection | None = None
        while not handshake.complete:
            events = self._step(data, handshake)
            port = next((event.port for event in events if isinstance(event, MessagePort)), None)
            if messages is None and target is not None and handshake.offset:  # the other side has answered
                messages = self._named_connection(target)
            elif port is not None:
                messages = self._second_connection(port)
        assert messages is not None, "the handshake completes only after the message port is known"
        return self._link(data, messages, handshake)

    def _first_connection(self) -> Connection:
        return self._keep(connect_socket(self._endpoint, self._deadline))

    def _second_connection(self, port: int | None) -> Connection:
        return self._keep(connect_again(self._sockets[0], port, self._endpoint, self._deadline))

    def _named_connection(self, target: Endpoint) -> Connection:
        if target.host == self._endpoint.host:
            return self._second_connection(target.port)
        return self._keep(connect_socket(target, self._deadline))

    def _keep(self, sock: socket.socket) -> Connection:
        self._sockets.append(sock)
        if not self._address.tls:
            return Connection(sock, self._where)
        from wstpserver.client.tls import TlsConnection  # which others need not wait for

        connection = TlsConnection(sock, self._where, self._endpoint.host, self._address.context)
        connection.shake_hands(self._deadline)
        return connection

    def _send(self, connection: Connection, handshake: ConnectHandshake) -> None:
        outgoing = handshake.data_to_send()
        if outgoing and connection.send(outgoing, self._deadline):
            raise self._too_late()

    def _step(self, connection: Connection, handshake: ConnectHandshake) -> list[Event]:
        """Receive once and answer; what has happened."""
        data = connection.receive(self._deadline)
        if data is None:
            raise self._too_late()
        try:
            if not data:
                handshake.receive_end()
            events = handshake.receive_data(data)
        except RemoteProtocolError as error:
            at_once = not data and not handshake.offset and not error.offset
            advice = f"{NOT_ADMITTED}. {_ANOTHER_PROGRAM}" if at_once else _ANOTHER_PROGRAM
            raise ConnectError(error.message, self._where, advice) from error
        self._send(connection, handshake)
        return events

    def _too_late(self) -> LinkTimeout:
        return LinkTimeout(f"connected, but not greeted {self._deadline}", self._where, _ANOTHER_PROGRAM)

    def _link(self, data: Connection, messages: Connection, handshake: ConnectHandshake) -> Link:
        peer = handshake.peer
        assert peer is not None, "a complete handshake has a greeting"
        return Link(
            data,
            MessageChannel(messages, self._where),
            self._where,
            offset=handshake.offset,
            leftover=handshake.leftover(),
            limits=self._limits,
            seven_bit=peer.seven_bit,
            version=handshake.version or OUR_VERSION,
        )


_NO_CLASSIC: Final = "wstps:// is for link servers, in UUID mode (-linkoptions 4)"
_ANOTHER_PROGRAM: Final = (
    "Check the port, and the mode: a link server takes UUID mode (-linkoptions 4), a plain listening link classic mode"
)


def _new_identity() -> str:
    """A UUID of random bytes, version 4, in upper case. The module `uuid` takes longer to import than to connect."""
    text = bytearray(os.urandom(16))
    text[6] = text[6] & 0x0F | 0x40
    text[8] = text[8] & 0x3F | 0x80
    return "-".join((text[:4].hex(), text[4:6].hex(), text[6:8].hex(), text[8:10].hex(), text[10:].hex())).upper()


#: What a launching side's library calls its region; it is a file in this folder.
_REGION_NAME: Final = re.compile(r"[0-9A-Za-z]+_shm")
_REGIONS: Final = "/dev/shm"
#: How a region of shared memory begins: the size of its parts, and the whole.
_REGION_HEAD: Final = (4, 28, 36)
#: Where in it the launched side says that it has come. Nobody is there then, which the launching side notices.
_COME: Final = 32


def refuse_launch(options: Iterable[str]) -> None:
    """Have the link end that a launching program waits for.

    The vendor's library does not notice that a program it has launched ended before the link was open, and its
    `WSActivate` never returns. What it does notice is a link that ends. So a kernel that is not going to serve says so:
    over TCPIP it connects and closes, and of shared memory it sets the word that says that it has come. Nothing happens
    where there is no such link, or nobody waits.

    Args:
        options: The words of the command line, link options and others.
    """
    words = list(options)
    found = {words[place].lower(): words[place + 1] for place in range(len(words) - 1)}
    if found.get("-linkprotocol", "").lower() == "sharedmemory":
        _end_region(found.get("-linkname", ""))
        return
    try:
        parsed = parse_link_options(words)
    except LinkSyntaxError:
        return
    for end in (parsed.address.data, parsed.address.message):
        if parsed.mode == "connect" and end is not None:
            try:
                socket.create_connection((end.host, end.port), _REFUSAL_TIME).close()
            except OSError:
                return


#: Seconds for a connection to a program that waits on this computer.
_REFUSAL_TIME: Final = 2.0


def _end_region(name: str) -> None:
    """Say in a region of shared memory that the launched side has come, if it is one that nobody has come to."""
    if _REGION_NAME.fullmatch(name) is None:
        return
    import mmap  # both of which others need not wait for
    import stat

    try:
        descriptor = os.open(f"{_REGIONS}/{name}", os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_size <= _COME:
            return
        with mmap.mmap(descriptor, status.st_size) as region:
            head = memoryview(region).cast("I")
            if tuple(head[:4]) == (*_REGION_HEAD, status.st_size) and not region[_COME]:
                region[_COME] = 1
            head.release()
    except (OSError, ValueError):
        return  # it is no such region
    finally:
        os.close(descriptor)


def open_link(
    options: str | Iterable[str] | LinkOptions,
    timeout: float | None = CONNECT_TIMEOUT,
    *,
    on_listening: Callable[[str], object] | None = None,
    limits: DecoderLimits | None = None,
) -> Link:
    """Open a link as link options say.

    Args:
        options: One string, or a program's arguments (``sys.argv[1:]``); see `parse_link_options`.
        timeout: Seconds until the link is open; None for no limit.
        on_listening: With ``-linkmode listen``, called with the link name (``PORT@HOST`` with ``-linkoptions 4``, else
            with both ports) before this waits for the other side.
        limits: How large an expression may be that is received.

    Returns:
        The link.

    Raises:
        LinkSyntaxError: The options are not valid, or say ``-linklaunch``.
        ConnectError: Nobody listens there.
        ListenError: The address cannot be listened on.
        LinkTimeout: The link was not open in time.

    Example:
        >>> options = "-linkmode connect -linkprotocol TCPIP -linkname 31415@host -linkoptions 4"
        >>> link = open_link(options)  # doctest: +SKIP
    """
    parsed = options if isinstance(options, LinkOptions) else parse_link_options(options)
    deadline = Deadline(timeout)
    if parsed.mode == "connect":
        return connect(parsed.address, deadline.remaining(), classic=not parsed.uuid, limits=limits)
    from wstpserver.client.listener import listen  # which those who connect need not wait for

    with listen(parsed.address, classic=not parsed.uuid, limits=limits) as listener:
        if on_listening is not None:
            on_listening(listener.link_name)
        return listener.accept_until(deadline)
