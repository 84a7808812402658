"""Which process holds the other end of a TCP connection on this machine (Linux; unknown elsewhere)."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator


def belongs_to(connected: socket.socket, pid: int) -> bool:
    """Tell whether the peer of *connected* (IPv4 loopback) is process *pid* or one of its descendants.

    Where the system does not tell, the answer is True: the port was known to that process only.
    """
    if not sys.platform.startswith("linux"):
        return True
    inode = _inode(connected.getpeername(), connected.getsockname())
    if inode is None:
        return False
    wanted = f"socket:[{inode}]"
    return any(wanted in _descriptors(process) for process in family(pid))


def _inode(local: tuple[str, int], remote: tuple[str, int]) -> str | None:
    """The inode of the socket with these addresses, as /proc/net/tcp shows it."""
    wanted = (_hexadecimal(local), _hexadecimal(remote))
    with open("/proc/net/tcp", encoding="ascii") as table:
        for line in table:
            fields = line.split(None, 10)
            if (fields[1], fields[2]) == wanted:
                return fields[9]
    return None


def _hexadecimal(address: tuple[str, int]) -> str:
    number = int.from_bytes(socket.inet_aton(address[0]), sys.byteorder)
    return f"{number:08X}:{address[1]:04X}"


def _descriptors(pid: int) -> set[str]:
    folder = f"/proc/{pid}/fd"
    found = set()
    try:
        for name in os.listdir(folder):
            try:
                found.add(os.readlink(f"{folder}/{name}"))
            except OSError:
                continue
    except OSError:
        pass
    return found


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
