"""TCP as links need it: connecting, listening, and bytes in and out, every wait with a deadline."""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from wstpserver.client.address import Endpoint
from wstpserver.client.deadline import Deadline, wait_for_either, wait_for_socket
from wstpserver.client.errors import ConnectError, LinkClosed, LinkTimeout, ListenError

_SMALLEST_RECEIVE: Final = 1 << 14
LARGEST_RECEIVE: Final = 1 << 20


class Connection:
    """One TCP connection of a link. One thread may receive while another sends; `wake` ends the waits of both.

    Args:
        sock: A connected socket that `prepare` has set up.
        where: The name of the link in errors.

    Attributes:
        end_reason: Why the stream ended, once it has.
    """

    def __init__(self, sock: socket.socket, where: str) -> None:
        self._socket = sock
        self._where = where
        self._receive_size = _SMALLEST_RECEIVE
        self._ended = False
        self._unsent = memoryview(b"")
        self.end_reason = "the other side closed the link"

    @property
    def ended(self) -> bool:
        """Whether the peer's end of the stream has been read."""
        return self._ended

    @property
    def _holds_data(self) -> bool:
        """Whether something has been received that `receive_now` has not returned."""
        return False

    def fileno(self) -> int:
        """Return the descriptor of the socket."""
        return self._socket.fileno()

    def receive_now(self, at_most: int | None = None) -> bytes | None:
        """Receive what is there.

        Args:
            at_most: The number of bytes to receive at most; None for a suitable number.

        Returns:
            The bytes; None if nothing is there; b"" at the end of the stream, which a reset is too.
        """
        if self._ended:
            return b""
        data = self._receive(at_most)
        self._ended = data == b""
        return data

    def _receive(self, at_most: int | None) -> bytes | None:
        """As `receive_now`, from the socket."""
        try:
            data = self._socket.recv(self._receive_size if at_most is None else at_most)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError as error:
            self.end_reason = _end_reason(error)
            return b""
        if not data:
            return data
        acknowledge_at_once(self._socket)
        # A link that moves megabytes gets a large buffer, one that moves packets does not pay for it.
        if at_most is not None:
            return data
        if len(data) == self._receive_size:
            self._receive_size = min(self._receive_size * 4, LARGEST_RECEIVE)
        elif len(data) < self._receive_size // 8:
            self._receive_size = max(self._receive_size // 4, _SMALLEST_RECEIVE)
        return data

    def receive(self, deadline: Deadline) -> bytes | None:
        """Wait for bytes.

        Returns:
            The next bytes; b"" at the end of the stream; None if the deadline comes first.
        """
        while True:
            if not self.wait_readable(deadline):
                return None
            data = self.receive_now()
            if data is not None:
                return data

    def wait_readable(self, deadline: Deadline) -> bool:
        """Wait until there is something to receive, or the stream has ended; False if the deadline comes first."""
        if self._ended or self._holds_data:
            return True
        try:
            return wait_for_socket(self._socket, deadline, read=True)[0]
        except (OSError, ValueError):  # closed by another thread
            self._ended = True
            return True

    def wait_with(self, other: Connection | None, deadline: Deadline) -> tuple[bool, bool]:
        """Wait until this connection or the other one has something to receive; return whether each has."""
        if self._ended or self._holds_data:
            return True, False
        try:
            if other is None:
                return wait_for_socket(self._socket, deadline, read=True)[0], False
            return wait_for_either(self._socket, other._socket, deadline)
        except (OSError, ValueError):  # one of them was closed by another thread
            self._ended = self._ended or self._socket.fileno() < 0
            return self._ended, not self._ended

    def send(
        self,
        data: bytes | bytearray | memoryview,
        deadline: Deadline,
        on_readable: Callable[[], bool] | None = None,
    ) -> int:
        """Send what was left over before, then `data`, in one write if the peer takes it.

        What cannot be sent before the deadline, or when an exception such as KeyboardInterrupt comes in between, is
        kept for the next call: no frame is ever cut.

        Args:
            data: The bytes.
            deadline: When to give up.
            on_readable: Called when something can be received while the peer is slow, since two peers that both send
                much and read nothing would wait for each other for ever. Returns whether to call it again.

        Returns:
            The number of bytes left over.

        Raises:
            LinkClosed: The peer has closed the connection, or another thread of this program has.
        """
        self._unsent = memoryview(b"".join((self._unsent, data)) if self._unsent else data).cast("B")
        while self._unsent:
            try:
                self._unsent = self._unsent[self._socket.send(self._unsent) :]
                continue
            except (BlockingIOError, InterruptedError):
                pass
            except OSError as error:
                self._unsent = memoryview(b"")
                raise LinkClosed(_end_reason(error), self._where) from error
            readable, writable = self._wait_to_send(deadline, read=on_readable is not None)
            if readable and on_readable is not None and not on_readable():
                on_readable = None
            if not readable and not writable and deadline.expired:
                self._unsent = memoryview(bytes(self._unsent))  # the caller may change what it gave us
                break
        return len(self._unsent)

    def _wait_to_send(self, deadline: Deadline, *, read: bool) -> tuple[bool, bool]:
        try:
            return wait_for_socket(self._socket, deadline, read=read and not self._ended, write=True)
        except (OSError, ValueError) as error:
            raise LinkClosed("the link was closed by this program", self._where) from error

    def finish_sending(self) -> None:
        """Tell the peer that nothing more will come; everything sent so far is delivered before that."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the connection is already gone

    def linger(self, deadline: Deadline) -> None:
        """Receive and drop until the peer ends, or has acknowledged everything sent and is silent, or the deadline.

        A socket closed with unread input resets the connection, and a reset can destroy what the peer has not yet
        received: that is why what comes must be read to the end.
        """
        while not self._ended:
            if self.receive_now() is not None:
                if deadline.expired:
                    return
                continue
            unacknowledged = self._unacknowledged()
            if unacknowledged is None or unacknowledged == 0 or deadline.expired:
                return
            pause = Deadline(0.002)
            remaining = deadline.remaining()
            wait_for_socket(self._socket, pause if remaining is None or remaining > 0.002 else deadline, read=True)

    def _unacknowledged(self) -> int | None:
        """Bytes sent that the peer has not acknowledged; None where the system does not say."""
        try:
            if sys.platform == "linux":
                import fcntl

                answer = fcntl.ioctl(self._socket.fileno(), _SIOCOUTQ, bytes(4))
                return int(struct.unpack("i", answer)[0])
            if sys.platform == "darwin":
                return self._socket.getsockopt(socket.SOL_SOCKET, _SO_NWRITE)
        except OSError:
            return 0
        return None

    def flush(self, deadline: Deadline) -> None:
        """Send what was left over, and wait until the peer's system has acknowledged everything.

        What the peer sends stays unread. Returns at the deadline, at the end, and where the system does not tell.
        """
        try:
            self.send(b"", deadline)
        except LinkClosed:
            return
        while not self._ended and self._unacknowledged() and not deadline.expired:
            time.sleep(_ACKNOWLEDGED)

    def wake(self) -> None:
        """End both directions at once: threads that wait on this connection see its end."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def close(self) -> None:
        """Give the socket back. No thread may be waiting on it: `wake` them first."""
        self._ended = True
        self._socket.close()


def _end_reason(error: OSError) -> str:
    """What an error of the system means for the link."""
    if isinstance(error, ConnectionResetError):
        return "the other side closed the link (connection reset)"
    if isinstance(error, BrokenPipeError):
        return "the other side closed the link"
    return f"the connection broke: {error.strerror}"


#: Seconds between two looks whether everything was acknowledged.
_ACKNOWLEDGED: Final = 0.001
_SIOCOUTQ: Final = 0x5411
_SO_NWRITE: Final = 0x1024


#: Linux: acknowledge at once. The library sends one frame in several small writes with Nagle's algorithm on, and
#: would wait 40 ms for a delayed acknowledgement (docs/wire-protocol.md, section 7). Linux clears it by itself.
_QUICKACK: Final[int | None] = getattr(socket, "TCP_QUICKACK", None)
#: Seconds without traffic after which the system asks a silent peer for a sign, and between two such questions.
_KEEPALIVE_IDLE: Final = 60
_KEEPALIVE_INTERVAL: Final = 10

_IN_PROGRESS: Final = (errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EALREADY, getattr(errno, "WSAEWOULDBLOCK", -1))


def prepare(sock: socket.socket) -> None:
    """Set what every connection of a link needs: non-blocking, no delay of small writes, keep-alive."""
    sock.setblocking(False)  # noqa: FBT003 - the system's
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", _KEEPALIVE_IDLE), ("TCP_KEEPALIVE", _KEEPALIVE_IDLE), ("TCP_KEEPINTVL", _KEEPALIVE_INTERVAL)
    ):  # fmt: skip
        option = getattr(socket, name, None)
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
    acknowledge_at_once(sock)


def acknowledge_at_once(sock: socket.socket) -> None:
    """Acknowledge what was received at once, where the system has that. To be called again after each receive."""
    if _QUICKACK is not None:
        try:
            sock.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
        except OSError:
            pass  # the connection has just ended, which the next receive reports


def connect_socket(endpoint: Endpoint, deadline: Deadline) -> socket.socket:
    """Connect to an endpoint, trying each of its addresses.

    Args:
        endpoint: Where to.
        deadline: When to give up.

    Returns:
        A prepared socket.

    Raises:
        ConnectError: Nobody listens there, or the name does not resolve.
        LinkTimeout: The deadline came first.
    """
    where = str(endpoint)
    addresses = _resolve(endpoint, deadline)
    failure: OSError | None = None
    for position, (family, kind, protocol, _, address) in enumerate(addresses):
        sock = socket.socket(family, kind, protocol)
        try:
            prepare(sock)
            failure = _connect_one(sock, address, deadline.share(len(addresses) - position))
        except BaseException:
            sock.close()
            raise
        if failure is None:
            return sock
        sock.close()
        if deadline.expired:
            raise LinkTimeout(f"no answer to the connection request {deadline}", where, _IS_IT_THE_HOST) from None
    raise ConnectError(_reason(failure), where, _advice(failure)) from failure


def connect_again(sock: socket.socket, port: int | None, endpoint: Endpoint, deadline: Deadline) -> socket.socket:
    """Make another connection to the very address that a socket is connected to.

    A name may stand for several machines; both connections of a link must reach the same.

    Args:
        sock: The first connection.
        port: The port; None for the same one.
        endpoint: The name of that address in errors.
        deadline: When to give up.

    Returns:
        A prepared socket.

    Raises:
        ConnectError: Nobody listens there.
        LinkTimeout: The deadline came first.
    """
    try:
        address = list(sock.getpeername())
    except OSError as error:
        raise ConnectError("the other side closed the connection at once", str(endpoint), NOT_ADMITTED) from error
    if port is not None:
        address[1] = port
    other = socket.socket(sock.family, sock.type)
    try:
        prepare(other)
        failure = _connect_one(other, tuple(address), deadline)
    except BaseException:
        other.close()
        raise
    if failure is None:
        return other
    other.close()
    if deadline.expired:
        raise LinkTimeout(f"no answer to the second connection {deadline}", str(endpoint), _IS_IT_THE_HOST)
    raise ConnectError(f"the second connection: {_reason(failure)}", str(endpoint), _advice(failure)) from failure


_IS_IT_RUNNING: Final = "Check that wstpserver is running there and listens on this port and interface"
#: What to look at where the other side takes a connection and ends it before it has said anything.
NOT_ADMITTED: Final = (
    "A WSTPServer closes connections of users and addresses that it does not admit (AllowedUsers, AllowedAddresses); "
    "its log says so"
)
_IS_IT_THE_HOST: Final = "Check the host's name, its firewall, and that it is up"


def _connect_one(sock: socket.socket, address: Any, deadline: Deadline) -> OSError | None:
    """Connect a non-blocking socket; None, or why not."""
    code = sock.connect_ex(address)
    if code in _IN_PROGRESS:
        _, writable = wait_for_socket(sock, deadline, write=True)
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) if writable else errno.ETIMEDOUT
    if code == 0 and _is_connected_to_itself(sock):
        code = errno.ECONNREFUSED
    return OSError(code, _error_text(code)) if code else None


def _is_connected_to_itself(sock: socket.socket) -> bool:
    """A connection to a free local port of the ephemeral range may by chance get that port as its own."""
    try:
        return bool(sock.getsockname() == sock.getpeername())
    except OSError:
        return False


def _error_text(code: int) -> str:
    return {
        errno.ECONNREFUSED: "the connection was refused",
        errno.ECONNRESET: "the other side closed the connection at once",
        errno.ETIMEDOUT: "no answer to the connection request",
        errno.EHOSTUNREACH: "the host cannot be reached",
        errno.ENETUNREACH: "the network cannot be reached",
    }.get(code) or os.strerror(code)


def _advice(failure: OSError | None) -> str:
    return NOT_ADMITTED if failure is not None and failure.errno == errno.ECONNRESET else _IS_IT_RUNNING


def _reason(failure: OSError | None) -> str:
    return "no address" if failure is None else str(failure.strerror)


def encoded_host(host: str) -> str | bytes:
    """A host as `getaddrinfo` takes it without the codec of international names, which takes a while to import."""
    return host.encode() if host.isascii() else host


def _resolve(endpoint: Endpoint, deadline: Deadline) -> list[Any]:
    """The addresses of `endpoint`. The system's resolver knows no deadline: a thread asks it and may be left behind."""
    answer: list[list[Any] | OSError | UnicodeError] = []

    def ask() -> None:
        try:
            answer.append(socket.getaddrinfo(encoded_host(endpoint.host), endpoint.port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            answer.append(error)

    if _needs_no_resolver(endpoint.host):
        ask()
    else:
        thread = threading.Thread(target=ask, name="resolve a host name", daemon=True)
        thread.start()
        thread.join(deadline.remaining())
    if not answer:
        raise LinkTimeout(f"the host name did not resolve {deadline}", str(endpoint), _IS_IT_THE_HOST)
    if isinstance(answer[0], list):
        return answer[0]
    raise ConnectError(
        f"the host name {endpoint.host!r} does not resolve", str(endpoint), "Check the name"
    ) from answer[0]


def _needs_no_resolver(host: str) -> bool:
    if host == "localhost":
        return True
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except (OSError, UnicodeError):
            continue
        return True
    return False


def listen_socket(endpoint: Endpoint) -> socket.socket:
    """Listen on an endpoint; port 0 takes any free one.

    Returns:
        A non-blocking socket.

    Raises:
        ListenError: The endpoint cannot be listened on.
    """
    where = str(endpoint)
    for family, kind, protocol, _, address in _resolve_to_listen(endpoint):
        sock = socket.socket(family, kind, protocol)
        try:
            # On Windows this option would let two programs have one port.
            if not hasattr(socket, "SO_EXCLUSIVEADDRUSE"):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
            sock.listen(128)
            sock.setblocking(False)  # noqa: FBT003 - the system's
            return sock
        except OSError as error:
            sock.close()
            text = "the port is in use" if error.errno == errno.EADDRINUSE else f"cannot listen: {error.strerror}"
            failure = ListenError(text, where, "Choose another port, or 0 for any free one")
            failure.__cause__ = error
    raise failure


def _resolve_to_listen(endpoint: Endpoint) -> list[Any]:
    try:
        found = socket.getaddrinfo(encoded_host(endpoint.host), endpoint.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ListenError(f"the host name {endpoint.host!r} does not resolve", str(endpoint), "Check it") from error
    # IPv4 first: it is what the vendor's library takes when it is given a name.
    return sorted(found, key=lambda entry: entry[0] != socket.AF_INET)
