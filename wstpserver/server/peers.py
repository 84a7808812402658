"""Which process holds the other end of a TCP connection on this computer (Linux; unknown elsewhere).

Kernels connect back to ports of the server, and so does the message connection of a client in classic mode. Any process
of the computer could connect to these ports, so the server asks the system who did.

sock_diag(7) looks one socket up by its addresses, which takes as long among ten thousand sockets as among ten. Where it
is refused (by a seccomp filter, or by a kernel without it), the list of all sockets in /proc is searched.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from collections.abc import Iterator
from functools import cache, lru_cache
from typing import Any, NamedTuple

from wstpserver._native import ffi, lib
from wstpserver.keeper.processes import has_open
from wstpserver.server.kernels import process_info

_LINUX = sys.platform.startswith("linux")

_TABLES = {socket.AF_INET: "/proc/net/tcp", socket.AF_INET6: "/proc/net/tcp6"}

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLM_F_REQUEST = 1
_NLMSG_ERROR = 2

#: struct nlmsghdr: length, type, flags, sequence, port.
_HEADER = struct.Struct("=IHHII")
#: struct inet_diag_req_v2 without its addresses: family, protocol, extensions, padding, states.
_REQUEST = struct.Struct("=BBBBI")
#: struct inet_diag_sockid: ports, addresses, interface, and the cookie that stands for any socket.
_PORTS = struct.Struct(">HH")
_REST = struct.Struct("=III")
_NO_COOKIE = 0xFFFFFFFF
#: struct inet_diag_msg: family and state, then the addresses, and some numbers of which uid and inode are the last.
_STATE = struct.Struct("=BB")
_TCP_LISTEN = 10
_OWNER = struct.Struct("=II")
_OWNER_OFFSET = _HEADER.size + 64

#: Bytes of an answer about one socket without further attributes, at most.
_ANSWER_SIZE = 4096

#: Bytes of an address in a question.
_ADDRESS_SIZE = 16
_REST_OF_MOST = _REST.pack(0, _NO_COOKIE, _NO_COOKIE)


class SocketOwner(NamedTuple):
    """The inode of a socket and the user who opened it."""

    inode: int
    user: int


def owners_are_known() -> bool:
    """Whether this system says who holds the other end of a connection."""
    return _LINUX and process_info.is_available()


def belongs_to(connected: socket.socket, pid: int) -> bool:
    """Whether the peer of *connected* is process *pid* or one of its descendants.

    Where the system does not say, the answer is True: only that process was told the port.

    Raises:
        OSError: the connection is gone.
    """
    if not owners_are_known():
        return True
    return holder(connected, pid) is not None


def holder(connected: socket.socket, pid: int) -> int | None:
    """Which process of the family of *pid* holds the other end; None if none does or the system does not say.

    Raises:
        OSError: the connection is gone.
    """
    owner = peer_owner(connected)
    if owner is None:
        return None
    return next((process for process in process_info.family(pid) if has_open(process, owner.inode)), None)


def have_same_owner(first: socket.socket, second: socket.socket) -> bool:
    """Whether one process holds the other ends of both connections.

    Where that cannot be found out the answer is True: the peer is on another computer, the system does not say, or it
    hides the processes of other users. Even then both must belong to the same user where that is known.

    Raises:
        OSError: a connection is gone.
    """
    if not owners_are_known():
        return True
    owner = peer_owner(first)
    if owner is None:
        return True
    other = peer_owner(second)
    if other is None or other.user != owner.user:
        return False
    holders = list(_holders(owner.inode))
    if not holders:
        return True
    return any(has_open(pid, other.inode) for pid in holders)


def peer_owner(connected: socket.socket) -> SocketOwner | None:
    """Who opened the socket at the other end; None if it is not on this computer or not open any more.

    Raises:
        OSError: the connection is gone, or nothing can be found out.
    """
    return owner_of(connected.family, connected.getpeername(), connected.getsockname())


def quick_user(connected: socket.socket) -> int | None:
    """The user who opened the socket at the other end of *connected*, found in the quickest way there is.

    Returns:
        None if that does not find it: `owner_of` tries more, and tells why.
    """
    try:
        found = lib.wstppeer_user(_netlink().fileno(), connected.fileno(), _user) if _LINUX else 0
    except OSError:  # a system without sock_diag
        return None
    if found < 0:
        _netlink.cache_clear()  # a late answer must not be taken for that to the next question
    return int(_user[0]) if found == 1 else None


_user = ffi.new("uint32_t *")


def owner_of(family: int, remote: tuple[Any, ...], local: tuple[Any, ...]) -> SocketOwner | None:
    """Who opened the socket at one end of a TCP connection; None if that is not on this computer or not open any more.

    Args:
        family: AF_INET or AF_INET6.
        remote: the address of that end.
        local: the address of the other end, which is on this computer.

    Raises:
        OSError: nothing can be found out.
    """
    if not _LINUX:
        raise OSError(errno.ENOSYS, "this system does not tell the owners of sockets")
    try:
        owner = diagnosed_owner(family, remote, local)
        # This end exists, as its descriptor shows. A system that does not find it either does not know about TCP.
        if owner is not None or diagnosed_owner(family, local, remote) is not None:
            return owner
    except OSError:  # a system without sock_diag, or one that refuses it
        pass
    return listed_owner(family, remote, local)


def diagnosed_owner(family: int, local: tuple[Any, ...], remote: tuple[Any, ...]) -> SocketOwner | None:
    """Ask sock_diag(7) for the TCP socket with these addresses, as seen from its end.

    Args:
        family: AF_INET or AF_INET6.
        local: its address, as `getsockname` gives it.
        remote: the address of its peer.

    Returns:
        None if there is no such socket or nobody has it open any more. A system that knows such requests but not for
        TCP gives the same answer.

    Raises:
        OSError: the system does not know such requests.
    """
    question = _question(family, local, remote)
    try:
        netlink = _netlink()
        netlink.send(question)
        answer = netlink.recv(_ANSWER_SIZE)
    except OSError:
        _netlink.cache_clear()  # a late answer must not be taken for that to the next question
        raise
    _, kind, _, _, _ = _HEADER.unpack_from(answer)
    if kind == _NLMSG_ERROR:
        error = -struct.unpack_from("=i", answer, _HEADER.size)[0]
        if error == errno.ENOENT:
            return None
        raise OSError(error, os.strerror(error))
    if kind != _SOCK_DIAG_BY_FAMILY:
        raise OSError(errno.EPROTO, f"an answer of kind {kind}")
    _, state = _STATE.unpack_from(answer, _HEADER.size)
    if state == _TCP_LISTEN:  # the listener that would take a packet with these addresses: there is no connection
        return None
    user, inode = _OWNER.unpack_from(answer, _OWNER_OFFSET)
    return SocketOwner(inode, user) if inode else None


def open_netlink() -> socket.socket | None:
    """A socket for `wstppeer_user`, for one question at a time; None where the system has none."""
    try:
        return _open_netlink() if _LINUX else None
    except OSError:
        return None


def _open_netlink() -> socket.socket:
    netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG)
    netlink.setblocking(False)  # noqa: FBT003 - the system's; the answer is there when `send` returns
    return netlink


@lru_cache(maxsize=1)
def _netlink() -> socket.socket:
    """One for all questions, which are asked one at a time: to open one takes longer than the answer."""
    return _open_netlink()


def _question(family: int, local: tuple[Any, ...], remote: tuple[Any, ...]) -> bytes:
    return b"".join(
        (
            _beginning(family),
            _PORTS.pack(local[1], remote[1]),
            _packed(family, local[0]),
            _packed(family, remote[0]),
            # a link-local address identifies a host only together with its interface
            _REST.pack(local[3], _NO_COOKIE, _NO_COOKIE) if len(local) > 2 else _REST_OF_MOST,
        )
    )


@cache
def _beginning(family: int) -> bytes:
    """The header of a question, and what comes before the ports."""
    request = _REQUEST.pack(family, socket.IPPROTO_TCP, 0, 0, _NO_COOKIE)
    size = _HEADER.size + len(request) + _PORTS.size + 2 * _ADDRESS_SIZE + _REST.size
    return _HEADER.pack(size, _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0) + request


@lru_cache(maxsize=1024)
def _packed(family: int, host: str) -> bytes:
    return socket.inet_pton(family, host.partition("%")[0]).ljust(_ADDRESS_SIZE, b"\0")


def listed_owner(family: int, local: tuple[Any, ...], remote: tuple[Any, ...]) -> SocketOwner | None:
    """The same as `diagnosed_owner`, from the list of all sockets in /proc. Takes longer the more sockets there are."""
    wanted = (_hexadecimal(family, local), _hexadecimal(family, remote))
    with open(_TABLES[socket.AddressFamily(family)], encoding="ascii") as table:
        for line in table:
            fields = line.split(None, 10)
            if (fields[1], fields[2]) == wanted:
                inode = int(fields[9])
                return SocketOwner(inode, int(fields[7])) if inode else None
    return None


def _hexadecimal(family: int, address: tuple[Any, ...]) -> str:
    """An address as /proc shows it: 32-bit words in the byte order of the machine, and the port."""
    packed = socket.inet_pton(family, address[0].partition("%")[0])
    words = struct.unpack(f"={len(packed) // 4}I", packed)
    return "".join(f"{word:08X}" for word in words) + f":{address[1]:04X}"


def _holders(inode: int) -> Iterator[int]:
    """The processes that have the socket open; the newest are asked first, because clients are newer than kernels."""
    return (pid for pid in reversed(process_info.pids()) if has_open(pid, inode))
