"""The conversation between a server and its keeper: one JSON object per datagram of a Unix socket, with descriptors.

server -> keeper   {"hello": VERSION, "environment": {...}, "directory": path, "outlive": seconds}
                   {"start": N, "programs": [...], "arguments": [...], "environment": {...} or null,
                    "directory": path or null, "numbers": [...], "mark": M}
                   with the output pipe's writing and reading end, then the descriptors that get these numbers
                   {"known": M}, {"forgotten": M}: a kernel that a prefork parent has forked lives, is gone
                   {"hold": NAME, "record": {...}} with descriptors, {"release": NAME}
                   {"outlive": seconds}, {"goodbye": seconds}
keeper -> server   {"welcome": VERSION, "pid": P}, {"busy": pid of its server}
                   {"started": N, "pid": P}, {"failed": N, "errno": E}
                   {"exited": P, "status": as of os.waitpid}
                   {"process": P, "mark": M} with the reading end of its output, for each one that is running
                   {"held": NAME, "record": {...}} with descriptors, for each thing that is held; {"all": true}

A record that is too long for a datagram travels in a file without a name, which is the last descriptor.
"""

from __future__ import annotations

import array
import json
import os
import socket
import struct
from collections import deque
from collections.abc import Callable, Sequence

TYPE_CHECKING = False  # typing itself is not loaded, see wstpserver/__init__.py
if TYPE_CHECKING:
    from typing import Any, Protocol

    class Watches(Protocol):
        """Waits for descriptors."""

        def watch(self, descriptor: int, ready: Callable[[int], object], events: int = ...) -> None:
            """Call *ready* with the events whenever the descriptor has one of them, until `forget` or `watch`."""

        def forget(self, descriptor: int) -> None:
            """Watch the descriptor no longer, before it is closed."""

#: Of the conversation. A server and a keeper with different versions have nothing to do with each other.
VERSION = 1

#: Environment variable that says which kernel of which keeper a process belongs to: "<keeper>.<kernel>".
MARK = "WSTPSERVER_KERNEL"

#: Largest datagram, in bytes; what is longer goes through a file.
LARGEST = 32768

#: Most descriptors in one datagram (Linux allows 253).
MOST_DESCRIPTORS = 64

#: What is waited for, as select.POLLIN and select.POLLOUT.
READ, WRITE = 1, 4

_CREDENTIALS = struct.Struct("3i")
_RIGHTS_SIZE = socket.CMSG_SPACE(MOST_DESCRIPTORS * array.array("i").itemsize)


class BadMessage(Exception):
    """A datagram that is no message; the text says why."""


def memory_file(name: str) -> int:
    """Make a file without a place in any folder, in memory where the system allows that.

    Args:
        name: What lists of open files show.

    Returns:
        Its descriptor, which belongs to the caller and is not inherited.

    Raises:
        OSError: There is no memory or no space for it.
    """
    try:
        return os.memfd_create(name, os.MFD_CLOEXEC)
    except (AttributeError, OSError):  # another system, or a filter of system calls
        import tempfile

        with tempfile.TemporaryFile() as file:
            return os.dup(file.fileno())


def send(connection: socket.socket, message: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
    """Send one message.

    Args:
        connection: The socket.
        message: What JSON can express.
        descriptors: Descriptors that go along; the caller's stay open.

    Raises:
        BlockingIOError: The socket does not block, and the peer takes nothing now.
        OSError: The peer is gone.
    """
    data = json.dumps(message).encode()
    if len(data) <= LARGEST:
        _send(connection, data, descriptors)
        return
    file = memory_file("wstpserver-message")
    try:
        with open(os.dup(file), "wb") as writer:
            writer.write(data)
        _send(connection, b"{}", [*descriptors, file])
    finally:
        os.close(file)


def _send(connection: socket.socket, data: bytes, descriptors: Sequence[int]) -> None:
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    connection.sendmsg([data], rights, socket.MSG_NOSIGNAL)


def receive(connection: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """Receive one message.

    Returns:
        The message and its descriptors, which belong to the caller and are not inherited; None if the peer is gone.

    Raises:
        BlockingIOError: The socket does not block, and nothing is there.
        BadMessage: What came is no message.
    """
    try:
        data, ancillary, flags, _ = connection.recvmsg(2 * LARGEST, _RIGHTS_SIZE, socket.MSG_CMSG_CLOEXEC)
    except ConnectionError:
        return None
    descriptors: list[int] = []
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            numbers = array.array("i")
            numbers.frombytes(content[: len(content) - len(content) % numbers.itemsize])
            descriptors += numbers
    if not data:
        close(descriptors)
        return None
    try:
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            raise BadMessage("it is too long, or no descriptor is left for what came with it")
        if data == b"{}" and descriptors:
            data = _read(descriptors.pop())
        message = json.loads(data)
        if not isinstance(message, dict):
            raise BadMessage("it is no JSON object")
    except (BadMessage, ValueError) as error:
        close(descriptors)
        raise BadMessage(str(error)) from None
    return message, descriptors


def _read(file: int) -> bytes:
    with open(file, "rb") as reader:
        reader.seek(0)
        return reader.read()


def close(descriptors: Sequence[int]) -> None:
    """Close all of these descriptors."""
    for descriptor in descriptors:
        os.close(descriptor)


def peer(connection: socket.socket) -> tuple[int, int]:
    """The process ID and the user ID of the process at the other end."""
    size = _CREDENTIALS.size
    pid, user, _ = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return pid, user


def accept(listener: socket.socket) -> socket.socket | None:
    """The next connection of this user or of root; None if there is none. A connection of somebody else is closed."""
    try:
        connection, _ = listener.accept()
    except OSError:
        return None
    if peer(connection)[1] not in (os.getuid(), 0):
        connection.close()
        return None
    return connection


class Peer:
    """One end of the conversation. What the other end does not take at once waits.

    Args:
        connection: The socket.
        poller: Waits for it.
        take: Called with the peer and each message; the descriptors belong to it.
        gone: Called once when the connection has ended.
    """

    def __init__(
        self,
        connection: socket.socket,
        poller: Watches,
        take: Callable[[Peer, dict[str, Any], list[int]], object],
        gone: Callable[[Peer], object],
    ) -> None:
        connection.setblocking(False)
        self.connection = connection
        self.pid = peer(connection)[0]
        self._poller = poller
        self._take = take
        self._gone = gone
        self._waiting: deque[tuple[dict[str, Any], list[int]]] = deque()
        self._open = True
        poller.watch(connection.fileno(), self._ready)

    def send(self, message: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
        """Send a message, now or later. The descriptors stay the caller's."""
        if not self._open:
            return
        if not self._waiting:
            try:
                send(self.connection, message, descriptors)
                return
            except BlockingIOError:
                self._poller.watch(self.connection.fileno(), self._ready, READ | WRITE)
            except OSError:
                return  # its end is noticed by the next look at it
        self._waiting.append((message, [os.dup(one) for one in descriptors]))

    def flush(self) -> None:
        """Send what waits, and wait for that."""
        self.connection.setblocking(True)
        try:
            self._send_on()
        finally:
            self.connection.setblocking(False)

    def close(self) -> None:
        """Close the connection; *gone* is not called."""
        if self._open:
            self._open = False
            self._poller.forget(self.connection.fileno())
            self.connection.close()
            for _, descriptors in self._waiting:
                close(descriptors)

    def _ready(self, events: int) -> None:
        if events & WRITE:
            self._send_on()
        if events & ~WRITE:
            self._receive()

    def _send_on(self) -> None:
        while self._waiting:
            message, descriptors = self._waiting[0]
            try:
                send(self.connection, message, descriptors)
            except BlockingIOError:
                return
            except OSError:
                pass
            close(descriptors)
            self._waiting.popleft()
        self._poller.watch(self.connection.fileno(), self._ready)

    def _receive(self) -> None:
        try:
            received = receive(self.connection)
        except BlockingIOError:
            return
        except BadMessage as error:
            self.send({"trouble": f"a message could not be read: {error}"})
            return
        except OSError:
            received = None
        if received is None:
            self.close()
            self._gone(self)
        else:
            self._take(self, *received)
