"""What a kernel prints: read as it comes, so that the kernel never blocks on a full pipe, and the last lines kept."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable

from gevent import get_hub
from gevent.event import Event

#: How much of what a kernel printed last is kept for the log and for its client.
LAST_LINES = 10

#: Bytes that are read before everybody else has their turn. Each line of them is an entry of the log at level debug.
TURN_SIZE = 8192

#: How much of a line that has not ended is kept, in bytes, and how much of one is shown, in characters.
_KEPT = 4096
_SHOWN = 1000


class KernelOutput:
    """The reading end of a kernel's output. It is read in the hub: most kernels print a few lines at their start, or
    none, and a greenlet for each would need more memory than all the rest of a kernel.

    The descriptor is given back when the kernel and its children have closed theirs, or by `close`.
    """

    __slots__ = ("_descriptor", "_ended", "_lines", "_log_line", "_rest", "_watcher")

    def __init__(self, descriptor: int, log_line: Callable[[str], None]) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._log_line = log_line
        self._lines: deque[str] | None = None
        self._rest = b""
        #: Set at the end, for those who wait for that.
        self._ended: Event | None = None
        self._watcher = get_hub().loop.io(descriptor, 1)
        self._watcher.start(self._read)

    def _read(self) -> None:
        try:
            chunk = os.read(self._descriptor, TURN_SIZE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            chunk = b""
        if not chunk:
            if self._rest:
                self._take_line(self._rest)
            self.close()
            return
        *lines, rest = (self._rest + chunk).split(b"\n")
        self._rest = rest[-_KEPT:]
        for line in lines:
            self._take_line(line)

    def _take_line(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace").rstrip()[:_SHOWN]
        if text:
            if self._lines is None:
                self._lines = deque(maxlen=LAST_LINES)
            self._lines.append(text)
            self._log_line(text)

    @property
    def last_lines(self) -> tuple[str, ...]:
        """What was printed last, oldest first."""
        return tuple(self._lines or ())

    def wait(self, seconds: float) -> None:
        """Wait for the end, or for so many seconds."""
        if self._descriptor >= 0:
            if self._ended is None:
                self._ended = Event()
            self._ended.wait(seconds)

    def close(self) -> None:
        """Read no more."""
        if self._descriptor < 0:
            return
        self._watcher.stop()
        self._watcher.close()
        os.close(self._descriptor)
        self._descriptor = -1
        if self._ended is not None:
            self._ended.set()
