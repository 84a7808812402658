"""TCP sockets as links want them: options, resolving and connecting with a deadline, listening."""

from __future__ import annotations

import errno
import os
import socket
import threading
from typing import Any, Final

from wstpserver.client.deadline import Deadline, wait_for_socket
from wstpserver.client.errors import ConnectError, LinkTimeout, ListenError
from wstpserver.client.options import Endpoint

#: Linux: acknowledge at once. The library sends one frame in several small writes with Nagle's algorithm on, and
#: would wait 40 ms for a delayed acknowledgement (docs/wire-protocol.md, section 7). Linux clears it by itself.
_QUICKACK: Final[int | None] = getattr(socket, "TCP_QUICKACK", None)
#: Seconds without traffic after which a peer that is gone without a word is asked for, and between two such questions.
_KEEPALIVE_IDLE: Final = 60
_KEEPALIVE_INTERVAL: Final = 10

_IN_PROGRESS: Final = (errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EALREADY, getattr(errno, "WSAEWOULDBLOCK", -1))


def prepare(sock: socket.socket) -> None:
    """Set what every connection of a link needs: non-blocking, no Nagle, keep-alive."""
    sock.setblocking(False)
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
    """To be called again after each receive, where the system has it."""
    if _QUICKACK is not None:
        try:
            sock.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
        except OSError:
            pass  # the connection has just died; whoever reads it will see


def connect_socket(endpoint: Endpoint, deadline: Deadline) -> socket.socket:
    """A prepared socket connected to `endpoint`, trying each of its addresses. ConnectError, LinkTimeout."""
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
    raise ConnectError(_reason(failure), where, _IS_IT_RUNNING) from failure


def connect_again(sock: socket.socket, port: int | None, endpoint: Endpoint, deadline: Deadline) -> socket.socket:
    """Another prepared socket to the very address that `sock` is connected to, at `port` or the same one.

    A name may stand for several machines; both connections of a link must reach the same.
    """
    try:
        address = list(sock.getpeername())
    except OSError as error:
        raise ConnectError("the connection was closed at once", str(endpoint), _IS_IT_RUNNING) from error
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
    raise ConnectError(f"the second connection: {_reason(failure)}", str(endpoint), _IS_IT_RUNNING) from failure


_IS_IT_RUNNING: Final = "Check that wstpserver is running there and listens on this port and interface"
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
        errno.ETIMEDOUT: "no answer to the connection request",
        errno.EHOSTUNREACH: "the host cannot be reached",
        errno.ENETUNREACH: "the network cannot be reached",
    }.get(code) or os.strerror(code)


def _reason(failure: OSError | None) -> str:
    return "no address" if failure is None else str(failure.strerror)


def _resolve(endpoint: Endpoint, deadline: Deadline) -> list[Any]:
    """The addresses of `endpoint`. The system's resolver knows no deadline: a thread asks it and may be left behind."""
    answer: list[list[Any] | OSError | UnicodeError] = []

    def ask() -> None:
        try:
            answer.append(socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM))
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
    """A non-blocking socket that listens on `endpoint`; port 0 takes any free one. ListenError."""
    where = str(endpoint)
    for family, kind, protocol, _, address in _resolve_to_listen(endpoint):
        sock = socket.socket(family, kind, protocol)
        try:
            # On Windows this option would let two programs have one port.
            if not hasattr(socket, "SO_EXCLUSIVEADDRUSE"):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
            sock.listen(128)
            sock.setblocking(False)
            return sock
        except OSError as error:
            sock.close()
            text = "the port is in use" if error.errno == errno.EADDRINUSE else f"cannot listen: {error.strerror}"
            failure = ListenError(text, where, "Choose another port, or 0 for any free one")
            failure.__cause__ = error
    raise failure


def _resolve_to_listen(endpoint: Endpoint) -> list[Any]:
    try:
        found = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ListenError(f"the host name {endpoint.host!r} does not resolve", str(endpoint), "Check it") from error
    # IPv4 first: it is what the vendor's library takes when it is given a name.
    return sorted(found, key=lambda entry: entry[0] != socket.AF_INET)
