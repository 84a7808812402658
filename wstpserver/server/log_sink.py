"""Where log entries are written: a file or stdout, in a way that can neither stop nor delay the server.

A full disk, a closed pipe and a reader that does not read are survived alike: what cannot be written now
is kept up to a limit and tried again, and beyond that it is refused.
"""

from __future__ import annotations

import contextlib
import os
import select
import stat
import sys

#: Bytes kept for a stream that does not take them: some thousand entries.
BACKLOG_LIMIT = 1 << 20

#: What a pipe that is reported as writable takes without blocking.
_PIPE_CHUNK = getattr(select, "PIPE_BUF", 512)
_FILE_CHUNK = 1 << 20


class LogSink:
    """Writes bytes to a file (appending) or, with path None or "", to stdout.

    ``failure`` is the reason why the last attempt to write did not succeed, "" after one that did.
    The constructor raises OSError when the file cannot be opened; nothing after that raises.
    """

    def __init__(self, path: str | None = None) -> None:
        self.path = path or None
        self.failure = ""
        self._backlog = bytearray()
        self._attach(self._open())

    def write(self, data: bytes) -> bool:
        """Write, or keep for later; False if there is no room for it."""
        if len(self._backlog) + len(data) > BACKLOG_LIMIT and not self.flush():
            return False
        self._backlog += data
        self.flush()
        return True

    def flush(self) -> bool:
        """Write what can be written now; True if nothing is left."""
        try:
            while self._backlog and self._writable():
                written = os.write(self._descriptor, bytes(self._backlog[: self._chunk]))
                del self._backlog[:written]
                self.failure = ""
        except BlockingIOError:
            self.failure = "its reader does not read"
        except OSError as error:
            self.failure = error.strerror or str(error)
        return not self._backlog

    def reopen(self) -> None:
        """Open the file anew under its name, as after a rotation. Raises OSError and keeps the old one."""
        if self.path is None:
            return
        descriptor = self._open()
        self.flush()
        os.close(self._descriptor)
        self._attach(descriptor)

    def close(self) -> None:
        """Write what can be written and close."""
        self.flush()
        with contextlib.suppress(OSError):
            os.close(self._descriptor)

    def _open(self) -> int:
        if self.path is None:
            return _duplicate_stdout()
        # Without O_NONBLOCK a named pipe that nobody reads would hold up the start.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NONBLOCK", 0)
        return os.open(self.path, flags, 0o640)

    def _attach(self, descriptor: int) -> None:
        self._descriptor = descriptor
        regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
        self._chunk = _FILE_CHUNK if regular else _PIPE_CHUNK
        self._poll = None
        if not regular and hasattr(select, "poll"):
            self._poll = select.poll()
            self._poll.register(descriptor, select.POLLOUT)

    def _writable(self) -> bool:
        """Whether a write would not block. Also true when it would fail, so that the reason shows."""
        if self._poll is None or self._poll.poll(0):
            return True
        self.failure = "its reader does not read"
        return False


def _duplicate_stdout() -> int:
    """A descriptor of our own for stdout, or for nowhere when the server was started without one.

    When descriptor 1 was closed at the start it may by now be a client's connection.
    """
    if sys.__stdout__ is None:
        return os.open(os.devnull, os.O_WRONLY)
    sys.__stdout__.flush()
    return os.dup(1)
