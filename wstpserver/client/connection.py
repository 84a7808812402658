"""One TCP connection of a link: bytes in and out, every wait with a deadline.

One thread may receive while another sends. Neither blocks without a deadline's leave, and `close` wakes both.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Callable
from typing import Final

from wstpserver.client.deadline import Deadline, wait_for_either, wait_for_socket
from wstpserver.client.errors import LinkClosed
from wstpserver.client.sockets import acknowledge_at_once

_SMALLEST_RECEIVE: Final = 1 << 14
_LARGEST_RECEIVE: Final = 1 << 20


class Connection:
    """A connected, prepared socket (`sockets.prepare`). `where` names the link in errors."""

    def __init__(self, sock: socket.socket, where: str) -> None:
        self._socket = sock
        self._where = where
        self._receive_size = _SMALLEST_RECEIVE
        self._ended = False
        self._unsent = memoryview(b"")
        #: Why the stream ended, once it has.
        self.end_reason = "the other side closed the link"

    @property
    def ended(self) -> bool:
        """Whether the peer's end of the stream has been read."""
        return self._ended

    def fileno(self) -> int:
        return self._socket.fileno()

    def receive_now(self, at_most: int | None = None) -> bytes | None:
        """What is there, or its first bytes; None if nothing is; b"" at the end of the stream, a reset connection
        included.
        """
        if self._ended:
            return b""
        try:
            data = self._socket.recv(self._receive_size if at_most is None else at_most)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError as error:
            self.end_reason = f"the connection broke ({error.strerror})"
            data = b""
        if not data:
            self._ended = True
            return data
        acknowledge_at_once(self._socket)
        # A link that moves megabytes gets a large buffer, one that moves packets does not pay for it.
        if at_most is not None:
            return data
        if len(data) == self._receive_size:
            self._receive_size = min(self._receive_size * 4, _LARGEST_RECEIVE)
        elif len(data) < self._receive_size // 8:
            self._receive_size = max(self._receive_size // 4, _SMALLEST_RECEIVE)
        return data

    def receive(self, deadline: Deadline, at_most: int | None = None) -> bytes | None:
        """The next bytes; b"" at the end of the stream; None if the deadline comes first."""
        while True:
            if not self.wait_readable(deadline):
                return None
            data = self.receive_now(at_most)
            if data is not None:
                return data

    def wait_readable(self, deadline: Deadline) -> bool:
        """Whether there is something to receive (the end of the stream included) before the deadline."""
        if self._ended:
            return True
        try:
            return wait_for_socket(self._socket, deadline, read=True)[0]
        except (OSError, ValueError):  # closed by another thread
            self._ended = True
            return True

    def wait_with(self, other: Connection | None, deadline: Deadline) -> tuple[bool, bool]:
        """Whether this connection and the other have something to receive; waits for the first of them."""
        if self._ended:
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
        """Send what was left over before, then `data`, in one write if the peer takes it; bytes left over now.

        What cannot be sent before the deadline, or when an exception such as KeyboardInterrupt comes in between, is
        kept for the next call: no frame is ever cut. LinkClosed if the peer takes no more at all.
        While the peer is slow, `on_readable` is called when something can be received: two peers that both send
        much and read nothing would wait for each other for ever. It says whether it wants to be called again.
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
                raise LinkClosed(f"the other side has gone ({error.strerror})", self._where) from error
            readable, writable = self._wait_to_send(deadline, on_readable is not None)
            if readable and on_readable is not None and not on_readable():
                on_readable = None
            if not readable and not writable and deadline.expired:
                self._unsent = memoryview(bytes(self._unsent))  # the caller may change what it gave us
                break
        return len(self._unsent)

    def _wait_to_send(self, deadline: Deadline, read: bool) -> tuple[bool, bool]:
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


_SIOCOUTQ: Final = 0x5411
_SO_NWRITE: Final = 0x1024
