"""When the bytes of a link arrived, as the system noted it.

An abort comes on another connection than the evaluation it is meant for, so the order in which two threads happen to
look at the two connections says nothing. Linux can tell when the first unread byte of a socket arrived (20 us after it
was sent on the same machine, whatever the load); elsewhere nothing is known and `Interruption` goes by what it sees.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import sys

from wstpserver.client.link import Link

#: SO_TIMESTAMPNS of Linux on all processors Python runs on but SPARC and PA-RISC, for which the option is refused.
_SO_TIMESTAMPNS = 35
_TIMESPEC = struct.Struct("@qq")
_ANCILLARY_SIZE = 64

#: Bytes of messages looked at together.
_PEEKED_MESSAGES = 4096


class Arrivals:
    """Looks at both connections of a link without reading from them."""

    def __init__(self, link: Link) -> None:
        self._data = _peeking_socket(link.fileno())
        self._messages = _peeking_socket(link.message_fileno())
        self._can_stamp = sys.platform == "linux" and struct.calcsize("P") == 8
        if self._can_stamp:
            try:
                for sock in (self._data, self._messages):
                    sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            except OSError:
                self._can_stamp = False

    def wait_for_data(self, timeout: float | None) -> bool:
        """Whether there is unread data, or the end of it, before `timeout` seconds have passed."""
        return _readable(self._data, timeout)

    def data_stamp(self) -> float | None:
        """When the first unread byte of data arrived, in seconds of one clock for both connections; None if that is not
        known."""
        return self._peek(self._data, 1)[0]

    def message_stamp(self) -> tuple[float | None, int]:
        """When the last of the unread messages arrived, and how many bytes of them there are."""
        return self._peek(self._messages, _PEEKED_MESSAGES)

    def _peek(self, sock: socket.socket, size: int) -> tuple[float | None, int]:
        """When the last of the first `size` unread bytes arrived, and how many of them there are."""
        if not self._can_stamp:
            return None, 0
        try:
            data, ancillary, _, _ = sock.recvmsg(size, _ANCILLARY_SIZE, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except OSError:
            return None, 0
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
                seconds, nanoseconds = _TIMESPEC.unpack(content)
                return float(seconds + nanoseconds / 1e9), len(data)
        return None, len(data)


def _peeking_socket(descriptor: int) -> socket.socket:
    """The same socket, under a descriptor of its own where the system has that (a SOCKET of Windows is no descriptor).

    Not by socket.dup(): that makes the socket blocking, for its other owner too.
    """
    return socket.socket(fileno=descriptor if sys.platform == "win32" else os.dup(descriptor))


def _readable(sock: socket.socket, timeout: float | None) -> bool:
    if not hasattr(select, "poll"):
        return bool(select.select([sock], [], [], timeout)[0])
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(None if timeout is None else int(timeout * 1000)))
