"""Deadlines: one point in time for a whole operation, however many waits it takes."""

from __future__ import annotations

import select
import socket
import time
from typing import Final

#: Milliseconds; poll takes no more than a C int holds. Callers look at their deadline again.
_LONGEST_POLL: Final = 2**31 - 1


class Deadline:
    """The moment `seconds` from now; None never comes.

    Every wait of an operation asks it what is left, so a peer that trickles bytes cannot stretch the operation.
    """

    __slots__ = ("_at", "seconds")

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        self._at = None if seconds is None else time.monotonic() + seconds

    def remaining(self) -> float | None:
        """Seconds left, never negative; None if there is no limit."""
        return None if self._at is None else max(0.0, self._at - time.monotonic())

    @property
    def expired(self) -> bool:
        return self._at is not None and time.monotonic() >= self._at

    def share(self, parts: int) -> Deadline:
        """A deadline after one of `parts` equal parts of what is left."""
        remaining = self.remaining()
        return Deadline(None if remaining is None else remaining / max(1, parts))

    def __str__(self) -> str:
        """For messages: "within 2 s"."""
        return "ever" if self.seconds is None else f"within {self.seconds:.3g} s"


def wait_for_socket(
    sock: socket.socket, deadline: Deadline, *, read: bool = False, write: bool = False
) -> tuple[bool, bool]:
    """Wait until `sock` can be read or written, or the deadline has come; say which of the two is possible.

    An error or the end of the connection counts as both: the call that follows reports it.
    """
    remaining = deadline.remaining()
    if not hasattr(select, "poll"):  # Windows
        reading, writing = [sock] if read else [], [sock] if write else []
        readable, writable, failed = select.select(reading, writing, [sock], remaining)
        return bool(read and (readable or failed)), bool(write and (writable or failed))
    poll = select.poll()
    poll.register(sock, (select.POLLIN if read else 0) | (select.POLLOUT if write else 0))
    # Rounded up: a wait that ends a little early would be repeated with nothing left.
    events = poll.poll(None if remaining is None else min(int(remaining * 1000) + (remaining > 0), _LONGEST_POLL))
    if not events:
        return False, False
    found = events[0][1]
    failure = select.POLLERR | select.POLLHUP | select.POLLNVAL
    return read and bool(found & (select.POLLIN | failure)), write and bool(found & (select.POLLOUT | failure))
