"""Where kernels make their links: for each two ports to which only the process that was started may connect, and, with
KernelTransport "tcp", an interface to which the agents of kernels on other machines connect.

For such connections the connector has given a token and a secret to the server, and to the agent over the launcher's
standard input. The agent connects twice, once for each connection of the link, and both sides prove that they have the
secret before anything else passes:

    agent    WSTPSERVER-AGENT 1 <token> <channel> <nonce>
    server   <nonce> HMAC(secret, "server" | token | channel | the agent's nonce | the server's nonce)
    agent    HMAC(secret, "agent" | ...)
    server   welcome

From then on the connection is that of the kernel's link. A secret is good for one connection of each channel.

With KernelTransport "stdio" the connector of a kernel elsewhere lends the stream to its agent to the server
(`BorrowedStream`).
"""

from __future__ import annotations

import errno
import hmac
import mmap
import os
import secrets
import select
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gevent
from gevent import get_hub
from gevent.event import AsyncResult, Event
from gevent.socket import wait_read

from wstpserver._native import ffi, lib
from wstpserver.keeper import protocol
from wstpserver.keeper.agent import proof
from wstpserver.keeper.relay import lender_address
from wstpserver.keeper.stream import DATA_CHANNEL, MESSAGE_CHANNEL, VERSION
from wstpserver.server.connection import ConnectionClosed, address_name, peer_name
from wstpserver.server.handshake import LinkHandshakes, OpenLink, PendingConnection
from wstpserver.server.listen import LinkServer
from wstpserver.server.log import Log
from wstpserver.server.peers import belongs_to
from wstpserver.wire.handshake import LOWER_VERSION, OUR_VERSION
from wstpserver.wire.pairing import Dropped

LOOPBACK = "127.0.0.1"

#: Seconds of silence after which a kernel is greeted that waits for us. The kernels of the vendor do not wait, but may
#: be slow while many of them start, and must not hear a lower version than they offer.
KERNEL_SILENCE = 1.0

#: Connections to one port that the system keeps until they are accepted.
BACKLOG = 4

#: Seconds that an agent has to prove who it is; the token may be reported a moment later than it connects.
PROOF_TIMEOUT = 10.0

#: Connections at the same time that have not proved anything yet. Further ones are closed.
MAXIMUM_UNPROVED = 256

#: Seconds that a connector has to answer.
LENDER_TIMEOUT = 10.0

#: Bytes of a line of the conversation at most.
_LONGEST_LINE = 256


class KernelLinkError(Exception):
    """The kernel did not make a link; the text says how far it came."""


class ExpectedLink:
    """The two connections of one kernel's link, which its agent will make."""

    def __init__(self) -> None:
        self._secret = b""
        self._wanted: set[int] = set()
        self._takers: dict[int, Callable[[socket.socket, str], object]] = {}
        self._arrived: dict[int, tuple[socket.socket, str]] = {}
        self._forget: Callable[[], object] = lambda: None

    def begin(self, secret: bytes, forget: Callable[[], object]) -> None:
        """Expect connections that prove they have the secret; *forget* is called when none is expected any more."""
        self._secret, self._forget = secret, forget
        self._wanted = {DATA_CHANNEL, MESSAGE_CHANNEL}

    def take_with(
        self, data: Callable[[socket.socket, str], object], messages: Callable[[socket.socket, str], object]
    ) -> None:
        """Have the connections given to these callbacks, with the address for the log."""
        self._takers = {DATA_CHANNEL: data, MESSAGE_CHANNEL: messages}
        for channel, (connected, name) in sorted(self._arrived.items()):
            self._takers[channel](connected, name)
        self._arrived.clear()

    def proof(self, side: bytes, *words: bytes) -> bytes:
        """What a side has to show."""
        return proof(self._secret, side, *words)

    def reserve(self, channel: int) -> bool:
        """Whether a connection of this channel is still expected; it is not after this."""
        if channel not in self._wanted:
            return False
        self._wanted.discard(channel)
        return True

    def deliver(self, channel: int, connected: socket.socket, name: str) -> None:
        """A connection has proved who it is."""
        if channel in self._takers:
            self._takers[channel](connected, name)
        else:
            self._arrived[channel] = connected, name
        if not self._wanted:
            self._forget()

    def close(self) -> None:
        """Expect nothing more."""
        self._wanted.clear()
        self._forget()
        for connected, _ in self._arrived.values():
            connected.close()
        self._arrived.clear()


class BorrowedStream:
    """The stream to the agent of a kernel elsewhere, as its connector lends it (cext/wstplend.h).

    Args:
        pid: the process of the connector.
        wait: waits until this descriptor is readable; raises TimeoutError. Usually other greenlets run meanwhile.

    Raises:
        ConnectionRefusedError: this connector has never lent its stream, and does not.
        OSError: it does not answer.

    Attributes:
        lend: cffi `struct wstplend *`; valid until `close`.
    """

    def __init__(self, pid: int, wait: Callable[[int], object] = lambda descriptor: _wait_for(descriptor)) -> None:
        if not sys.platform.startswith("linux"):
            raise ConnectionRefusedError(errno.ECONNREFUSED, "nothing is lent on this system")
        self._connector = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._connector.setblocking(False)
        self._descriptors: list[int] = []
        try:
            self._connector.connect(lender_address(pid))
            if protocol.peer(self._connector)[0] != pid:
                raise ConnectionRefusedError(errno.ECONNREFUSED, "something else has the address of the connector")
            wait(self._connector.fileno())
            received = protocol.receive(self._connector)
            if received is None:
                raise ConnectionResetError(errno.ECONNRESET, "the connector has ended")
            self._descriptors = received[1]
            incoming, outgoing, file = self._descriptors
            self._memory = mmap.mmap(file, mmap.PAGESIZE)
        except (OSError, ValueError, protocol.BadMessage) as error:
            self.close()
            raise error if isinstance(error, OSError) else OSError(errno.EPROTO, str(error)) from None
        os.close(self._descriptors.pop())
        self._page = ffi.cast("struct wstplend_page *", ffi.from_buffer(self._memory))
        self.lend = ffi.new("struct wstplend *")
        self.lend.page, self.lend.bell = self._page, self._connector.fileno()
        self.lend.incoming, self.lend.outgoing = incoming, outgoing

    @property
    def totals(self) -> tuple[int, int]:
        """Bytes that have been sent to the kernel and taken from it in this way by any server."""
        totals = lib.wstplend_totals(self._page)
        return totals.sent, totals.taken

    def close(self) -> None:
        """Close the descriptors; nobody may use `lend` any more."""
        self._connector.close()
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors = []


def _wait_for(descriptor: int) -> None:
    wait_read(descriptor, LENDER_TIMEOUT, TimeoutError())


def _wait_alone_for(descriptor: int) -> None:
    """The same while no other greenlet runs."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    if not poll.poll(LENDER_TIMEOUT * 1000):
        raise TimeoutError


def passed_beside(pid: int) -> tuple[int, int]:
    """How many bytes were sent to the kernel of a connector and taken from it that did not pass over the connection of
    its link. No other greenlet runs meanwhile.

    Raises:
        OSError: the connector does not answer.
    """
    try:
        stream = BorrowedStream(pid, _wait_alone_for)
    except ConnectionRefusedError:
        return 0, 0
    totals = stream.totals
    stream.close()
    return totals


class KernelListener:
    """Waits for the two connections of one kernel after the other."""

    def __init__(self) -> None:
        """Open two ports. Raises OSError."""
        self._data = socket.create_server((LOOPBACK, 0), backlog=BACKLOG)
        self._messages = socket.create_server((LOOPBACK, 0), backlog=BACKLOG)
        for listener in (self._data, self._messages):
            listener.setblocking(False)

    def arguments(self) -> list[str]:
        """The link arguments that the vendor's library gives to a child that it launches."""
        ports = (self._data.getsockname()[1], self._messages.getsockname()[1])
        name = ",".join(f"{port}@{LOOPBACK}" for port in ports)
        return ["-linkprotocol", "TCPIP", "-linkconnect", "-linkname", name]

    @contextmanager
    def expect(
        self, pid: int, warn: Callable[[str], None], *, embedded: bool = False, elsewhere: ExpectedLink | None = None
    ) -> Iterator[AsyncResult]:
        """Accept the link that process *pid* makes, while the block runs.

        Args:
            pid: the process. Connections of others, except its descendants, are closed and reported.
            warn: gets these reports.
            embedded: whether it is the embedded kernel, which waits for our greeting before it sends its own.
            elsewhere: gives connections from another machine, whose maker is known.

        Yields:
            what becomes the `OpenLink`, or raises `KernelLinkError` if the kernel ends its connection or does not speak
            WSTP.
        """
        made: AsyncResult = AsyncResult()

        def opened(link: OpenLink) -> None:
            try:
                link.data.try_send(link.unsent)  # nothing of ours follows at once that it could go together with
                link.unsent = b""
            except ConnectionClosed as error:
                fail(KernelLinkError(f"it closed its link during the greeting ({error})"))
            if made.ready():
                link.close()
            else:
                made.set(link)

        def dropped(event: Dropped[PendingConnection]) -> None:
            if event.ended:
                fail(KernelLinkError("it closed its link during the greeting"))
            else:
                fail(KernelLinkError(f"it does not speak WSTP: {event.reason}"))

        def fail(error: Exception) -> None:
            if not made.ready():
                made.set_exception(error)

        handshakes = LinkHandshakes(
            opened,
            dropped,
            message_port=self._messages.getsockname()[1],
            speak_after=0.0 if embedded else KERNEL_SILENCE,
            speak_version=OUR_VERSION if embedded else LOWER_VERSION,
        )
        ways = ((self._data, handshakes.accept), (self._messages, handshakes.accept_message))
        watchers = [get_hub().loop.io(listener.fileno(), 1) for listener, _ in ways]
        for watcher, (listener, take) in zip(watchers, ways, strict=True):
            watcher.start(_accept, listener, pid, warn, take, fail)
        if elsewhere is not None:
            elsewhere.take_with(handshakes.accept, handshakes.accept_message)
        try:
            yield made
        except BaseException:
            if made.successful():
                made.get().close()
            raise
        finally:
            for watcher in watchers:
                watcher.stop()
                watcher.close()
            handshakes.close()

    def close(self) -> None:
        """Stop listening."""
        self._data.close()
        self._messages.close()


def _accept(
    listener: socket.socket,
    pid: int,
    warn: Callable[[str], None],
    take: Callable[[socket.socket, str], None],
    fail: Callable[[Exception], None],
) -> None:
    """Accept one connection, in the hub."""
    try:
        connected, _ = listener.accept()
    except (BlockingIOError, InterruptedError, ConnectionError):  # the peer is gone already
        return
    except OSError as error:  # most likely no descriptor is left
        fail(error)
        return
    name = peer_name(connected)
    try:
        belongs = belongs_to(connected, pid)
    except OSError:  # gone already
        belongs = False
    if belongs:
        take(connected, name)
        return
    warn(
        f"Turned away a connection from {name} to the port of kernel process {pid}: it does not come from that process"
    )
    connected.close()


# Connections of agents


class TransportUnavailable(Exception):
    """The server cannot listen for agents; the text says why."""


class Transports:
    """Listens for agents on the interfaces that the configuration names, from the first kernel on that needs one."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._servers: dict[str, tuple[LinkServer, tuple[str, int]]] = {}
        self._links: dict[str, ExpectedLink] = {}
        self._unproved = 0
        #: Set, and made anew, whenever a token becomes known.
        self._known = Event()

    def address(self, interface: str) -> tuple[str, int]:
        """Listen on an interface, if not done already.

        Args:
            interface: a host, or a host and a port.

        Returns:
            The host and the port that agents connect to.

        Raises:
            TransportUnavailable: it cannot be listened on.
        """
        if interface not in self._servers:
            host, port = split_interface(interface)
            try:
                family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
                listener = socket.create_server(address[:2], family=family, backlog=128)
            except OSError as error:
                raise TransportUnavailable(
                    f"the server cannot listen on KernelTransportInterface {interface}: {error.strerror or error}"
                ) from None
            server = LinkServer(listener, self._accept, self._log)
            server.start()
            self._servers[interface] = server, (host, listener.getsockname()[1])
            self._log.information(f"Listening for kernels on other machines on {address_name(listener.getsockname())}")
        return self._servers[interface][1]

    def expect(self, link: ExpectedLink, token: str, secret: bytes) -> None:
        """Take connections that show this token and have the secret as those of *link*."""
        self._links[token] = link
        link.begin(secret, lambda: self._links.pop(token, None))
        known, self._known = self._known, Event()
        known.set()

    def close(self) -> None:
        """Stop listening."""
        for server, _ in self._servers.values():
            server.stop()
        self._servers.clear()

    # -- connections ---------------------------------------------------------------------------------------------

    def _accept(self, connected: socket.socket, address: tuple[Any, ...]) -> None:
        if self._unproved >= MAXIMUM_UNPROVED:
            connected.close()
            return
        self._unproved += 1
        gevent.spawn(self._admit, connected, address_name(address))

    def _admit(self, connected: socket.socket, name: str) -> None:
        """Find out whose connection it is."""
        try:
            connected.setblocking(False)
            with gevent.Timeout(PROOF_TIMEOUT, _NoProof("it took too long")):
                link, channel = self._converse(connected)
        except (_NoProof, OSError) as error:
            connected.close()
            self._log.warning(f"Turned away a connection from {name} to the port of KernelTransportInterface: {error}")
            return
        finally:
            self._unproved -= 1
        link.deliver(channel, connected, name)

    def _converse(self, connected: socket.socket) -> tuple[ExpectedLink, int]:
        words = _line(connected).split(b" ")
        if len(words) != 5 or words[:2] != [b"WSTPSERVER-AGENT", b"%d" % VERSION] or not words[3].isdigit():
            raise _NoProof("it is not an agent")
        _, _, token, channel, theirs = words
        link = self._link(token.decode("ascii", "replace"))
        ours = secrets.token_hex(16).encode()
        said = (token, channel, theirs, ours)
        connected.send(ours + b" " + link.proof(b"server", *said) + b"\n")
        if not hmac.compare_digest(_line(connected), link.proof(b"agent", *said)):
            raise _NoProof("it does not have the secret")
        if not link.reserve(int(channel)):
            raise _NoProof("it is not expected any more")
        connected.send(b"welcome\n")
        return link, int(channel)

    def _link(self, token: str) -> ExpectedLink:
        while token not in self._links:
            self._known.wait()
        return self._links[token]


class _NoProof(Exception):
    """A connection has not proved that it is the agent of a kernel; the text says how."""


def _line(connected: socket.socket) -> bytes:
    """The next line, and not a byte more."""
    line = b""
    while not line.endswith(b"\n"):
        if len(line) > _LONGEST_LINE:
            raise _NoProof("it is not an agent")
        wait_read(connected.fileno())
        try:
            byte = connected.recv(1)
        except BlockingIOError:
            continue
        if not byte:
            raise _NoProof("it ended")
        line += byte
    return line[:-1]


def split_interface(text: str) -> tuple[str, int]:
    """The host and the port of KernelTransportInterface; port 0 if there is none.

    Raises:
        ValueError: it is neither a host nor a host and a port.
    """
    host, colon, port = text.rpartition(":")
    if not colon or (":" in host and not host.startswith("[")) or text.endswith("]"):
        host, port = text, "0"
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"expected a host, or a host and a port such as node0:4000, got {text!r}")
    return host, int(port)
