"""Which process holds the other end of a TCP connection on this machine (Linux; unknown elsewhere)."""

from __future__ import annotations

import os
import socket
import struct
import sys
from collections.abc import Iterator
from typing import Any

from wstpserver.server import sock_diag

#: Whether this system tells who holds the other end.
OWNERS_ARE_KNOWN = sys.platform.startswith("linux")

_TABLES = {socket.AF_INET: "/proc/net/tcp", socket.AF_INET6: "/proc/net/tcp6"}


def belongs_to(connected: socket.socket, pid: int) -> bool:
    """Tell whether the peer of *connected* is process *pid* or one of its descendants.

    Where the system does not tell, the answer is True: the port was known to that process only. Raises OSError if the
    connection is gone.
    """
    if not OWNERS_ARE_KNOWN:
        return True
    inode = peer_inode(connected)
    if inode is None:
        return False
    wanted = f"socket:[{inode}]"
    return any(_has_open(process, wanted) for process in family(pid))


def peer_inode(connected: socket.socket) -> int | None:
    """The inode of the socket at the other end; None if nobody has it open any more."""
    remote, local = connected.getpeername(), connected.getsockname()
    try:
        inode = sock_diag.inode(connected.family, remote, local)
        # Our own end is there, as its descriptor shows: who does not know it either does not know about TCP.
        if inode is not None or sock_diag.inode(connected.family, local, remote) is not None:
            return inode
    except OSError:  # a system without sock_diag, or one that keeps it from us
        pass
    return listed_inode(connected.family, remote, local)


def listed_inode(family: int, local: tuple[Any, ...], remote: tuple[Any, ...]) -> int | None:
    """`sock_diag.inode` from the list of all sockets in /proc, for systems without that. Takes the longer the more
    sockets there are."""
    wanted = (_hexadecimal(family, local), _hexadecimal(family, remote))
    with open(_TABLES[socket.AddressFamily(family)], encoding="ascii") as table:
        for line in table:
            fields = line.split(None, 10)
            if (fields[1], fields[2]) == wanted:
                return int(fields[9]) or None
    return None


def _hexadecimal(family: int, address: tuple[Any, ...]) -> str:
    """An address as /proc shows it: 32-bit words in the machine's own order of bytes, and the port."""
    packed = socket.inet_pton(family, address[0].partition("%")[0])
    words = struct.unpack(f"={len(packed) // 4}I", packed)
    return "".join(f"{word:08X}" for word in words) + f":{address[1]:04X}"


def _has_open(pid: int, wanted: str) -> bool:
    """Whether one of the process's descriptors is a link with this text."""
    folder = f"/proc/{pid}/fd"
    try:
        names = os.listdir(folder)
    except OSError:  # gone, or not ours
        return False
    for name in names:
        try:
            if os.readlink(f"{folder}/{name}") == wanted:
                return True
        except OSError:
            continue
    return False


def family(pid: int) -> Iterator[int]:
    """The process and its descendants, nearest first."""
    waiting = [pid]
    while waiting:
        current = waiting.pop(0)
        yield current
        try:
            with open(f"/proc/{current}/task/{current}/children", encoding="ascii") as children:
                waiting.extend(int(child) for child in children.read().split())
        except OSError:
            continue
