"""Asks Linux for one TCP socket by its addresses: sock_diag(7), an exact lookup that takes as long among ten thousand
sockets as among ten."""

from __future__ import annotations

import errno
import os
import socket
import struct
from typing import Any

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLM_F_REQUEST = 1
_NLMSG_ERROR = 2

#: struct nlmsghdr: length, type, flags, sequence, port.
_HEADER = struct.Struct("=IHHII")
#: struct inet_diag_req_v2 without its addresses: family, protocol, what else is wanted, padding, states.
_REQUEST = struct.Struct("=BBBBI")
#: struct inet_diag_sockid: ports, addresses, interface, and the cookie that stands for any socket.
_PORTS = struct.Struct(">HH")
_REST = struct.Struct("=III")
_NO_COOKIE = 0xFFFFFFFF
#: struct inet_diag_msg: family and state, then the addresses, and some numbers of which the inode is the last.
_STATE = struct.Struct("=BB")
_TCP_LISTEN = 10
_INODE = struct.Struct("=I")
_INODE_OFFSET = _HEADER.size + 68

#: Most bytes of an answer about one socket without further attributes; there are a few of those at times.
_ANSWER_SIZE = 4096

#: Seconds for an answer, which the system gives before `send` returns.
_TIMEOUT = 1.0


def inode(family: int, local: tuple[Any, ...], remote: tuple[Any, ...]) -> int | None:
    """The inode of the TCP socket with these addresses as seen from its end; None if there is no such socket, or
    nobody has it open any more. *family* is AF_INET or AF_INET6, the addresses are as ``getsockname`` gives them.

    Raises OSError where the system does not know such requests. One that knows them, but not for TCP, says as well
    that there is no such socket.
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as netlink:
        netlink.settimeout(_TIMEOUT)
        netlink.send(_question(family, local, remote))
        answer = netlink.recv(_ANSWER_SIZE)
    _, kind, _, _, _ = _HEADER.unpack_from(answer)
    if kind == _NLMSG_ERROR:
        error = -struct.unpack_from("=i", answer, _HEADER.size)[0]
        if error == errno.ENOENT:
            return None
        raise OSError(error, os.strerror(error))
    if kind != _SOCK_DIAG_BY_FAMILY:
        raise OSError(errno.EPROTO, f"an answer of kind {kind}")
    _, state = _STATE.unpack_from(answer, _HEADER.size)
    if state == _TCP_LISTEN:  # what would take a packet with these addresses: there is no such connection
        return None
    return int(_INODE.unpack_from(answer, _INODE_OFFSET)[0]) or None


def _question(family: int, local: tuple[Any, ...], remote: tuple[Any, ...]) -> bytes:
    body = b"".join(
        (
            _REQUEST.pack(family, socket.IPPROTO_TCP, 0, 0, _NO_COOKIE),
            _PORTS.pack(local[1], remote[1]),
            _packed(family, local),
            _packed(family, remote),
            # a link-local address is one only together with its interface
            _REST.pack(local[3] if family == socket.AF_INET6 else 0, _NO_COOKIE, _NO_COOKIE),
        )
    )
    return _HEADER.pack(_HEADER.size + len(body), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0) + body


def _packed(family: int, address: tuple[Any, ...]) -> bytes:
    host = address[0].partition("%")[0]
    return socket.inet_pton(family, host).ljust(16, b"\0")
