"""Deadlines, one point in time for a whole operation however many waits it takes, and what waits until one."""

from __future__ import annotations

import math
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from wstpserver.client.errors import LinkTimeout

#: Milliseconds; poll takes no more than a C int holds. Callers look at their deadline again.
_LONGEST_POLL: Final = 2**31 - 1


class Deadline:
    """A moment. Every wait of an operation asks it what is left, so a peer that trickles bytes cannot prolong it.

    Args:
        seconds: Seconds from now; None and infinity for a moment that never comes.

    Attributes:
        seconds: The seconds that were given; None for never.
    """

    __slots__ = ("_at", "seconds")

    def __init__(self, seconds: float | None) -> None:
        self.seconds = None if seconds == math.inf else seconds
        self._at = None if self.seconds is None else time.monotonic() + self.seconds

    def remaining(self) -> float | None:
        """Return the seconds left, never negative; None if there is no limit."""
        return None if self._at is None else max(0.0, self._at - time.monotonic())

    @property
    def expired(self) -> bool:
        """Whether the moment has come."""
        return self._at is not None and time.monotonic() >= self._at

    def share(self, parts: int) -> Deadline:
        """Return a deadline after one of `parts` equal parts of what is left."""
        remaining = self.remaining()
        return Deadline(None if remaining is None else remaining / max(1, parts))

    def at_most(self, seconds: float) -> Deadline:
        """Return the sooner of this deadline and the moment `seconds` from now."""
        remaining = self.remaining()
        return Deadline(seconds if remaining is None else min(seconds, remaining))

    def __str__(self) -> str:
        """For messages: "within 2 s"."""
        return "ever" if self.seconds is None else f"within {self.seconds:.{1 if self.seconds < 1 else 3}g} s"


def wait_for_socket(
    sock: socket.socket, deadline: Deadline, *, read: bool = False, write: bool = False
) -> tuple[bool, bool]:
    """Wait until a socket can be read or written.

    Args:
        sock: The socket.
        deadline: When to give up.
        read: Whether to wait until it can be read.
        write: Whether to wait until it can be written.

    Returns:
        Whether it can be read, and whether it can be written; both False once the deadline has come. An error or the
        end of the connection counts as both: the call that follows reports it.
    """
    (found,) = _wait([(sock, (_READ if read else 0) | (_WRITE if write else 0))], deadline)
    return bool(found & _READ), bool(found & _WRITE)


def wait_for_either(first: socket.socket, second: socket.socket, deadline: Deadline) -> tuple[bool, bool]:
    """Wait until one of two sockets can be read, or the deadline has come; return whether each can be read."""
    found = _wait([(first, _READ), (second, _READ)], deadline)
    return bool(found[0]), bool(found[1])


_READ: Final = 1
_WRITE: Final = 2


def _wait(wanted: list[tuple[socket.socket, int]], deadline: Deadline) -> list[int]:
    """What is possible of what is wanted of each socket; zeros once the deadline has come."""
    return (_wait_by_poll if hasattr(select, "poll") else _wait_by_select)(wanted, deadline.remaining())


def _wait_by_poll(wanted: list[tuple[socket.socket, int]], remaining: float | None) -> list[int]:
    poll = select.poll()
    for sock, what in wanted:
        poll.register(sock, (select.POLLIN if what & _READ else 0) | (select.POLLOUT if what & _WRITE else 0))
    # Rounded up: a wait that ends a little early would be repeated with nothing left.
    timeout = None if remaining is None else min(int(remaining * 1000) + (remaining > 0), _LONGEST_POLL)
    descriptors = [sock.fileno() for sock, _ in wanted]
    possible = [0] * len(wanted)
    for descriptor, events in poll.poll(timeout):
        found = (_READ if events & select.POLLIN else 0) | (_WRITE if events & select.POLLOUT else 0)
        failed = events & (select.POLLERR | select.POLLHUP | select.POLLNVAL)
        position = descriptors.index(descriptor)
        possible[position] = wanted[position][1] if failed else found
    return possible


def _wait_by_select(wanted: list[tuple[socket.socket, int]], remaining: float | None) -> list[int]:
    """For systems without poll (Windows)."""
    reading = [sock for sock, what in wanted if what & _READ]
    writing = [sock for sock, what in wanted if what & _WRITE]
    can_read, can_write, failed = select.select(reading, writing, [sock for sock, _ in wanted], remaining)
    return [
        what if sock in failed else (_READ if sock in can_read else 0) | (_WRITE if sock in can_write else 0)
        for sock, what in wanted
    ]


class OwnedLock:
    """A lock on one half of a link.

    Args:
        where: The link, for the text of LinkTimeout.
        otherwise: What LinkTimeout says while another thread holds the lock.
    """

    def __init__(self, where: str, otherwise: str) -> None:
        self._lock = threading.Lock()
        self._where = where
        self._otherwise = otherwise

    def locked(self) -> bool:
        """Whether a thread holds it."""
        return self._lock.locked()

    @contextmanager
    def within(self, deadline: Deadline) -> Iterator[None]:
        """Hold the lock inside.

        Raises:
            LinkTimeout: Another thread held it until the deadline.
        """
        remaining = deadline.remaining()
        if not self._lock.acquire(timeout=-1 if remaining is None else remaining):
            raise LinkTimeout(f"{self._otherwise}, {deadline}", self._where)
        try:
            yield
        finally:
            self._lock.release()

    @contextmanager
    def if_free(self, timeout: float = 0.0) -> Iterator[bool]:
        """Hold the lock inside if it is free within `timeout` seconds; the value says whether it is held."""
        owned = self._lock.acquire(timeout=timeout)
        try:
            yield owned
        finally:
            if owned:
                self._lock.release()
