"""File descriptor 1: what Python's print or a program started by Run writes there is sent to the client.

Descriptor 1 becomes a pipe. A thread reads it, so that no writer blocks on a full pipe and text appears as it is
written. Before a packet is sent, the main thread reads what is left, so that text precedes the result it belongs to.
Descriptor 2 stays unchanged: it is the log of the server.
"""

from __future__ import annotations

import codecs
import os
import sys
import threading
from collections.abc import Callable
from select import select

#: Bytes read at once.
CHUNK = 65536

#: Whether a pipe can be read without blocking. On Windows only the thread reads, and text may come late.
CAN_POLL = sys.platform != "win32"


class StandardOutput:
    """Descriptor 1 of this process. Each piece of text that is written there is passed to `emit`, in any thread."""

    def __init__(self, emit: Callable[[str], None]) -> None:
        self._emit = emit
        self._lock = threading.Lock()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._reader, writer = os.pipe()
        if CAN_POLL:
            os.set_blocking(self._reader, False)
        sys.stdout.flush()
        os.dup2(writer, 1)
        os.close(writer)
        sys.stdout = open(1, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115

    def start(self) -> None:
        """Begin to read, in a new thread."""
        threading.Thread(target=self._read_on, name="standard output", daemon=True).start()

    def flush(self) -> None:
        """Send what has been written so far. For the main thread."""
        sys.stdout.flush()
        if CAN_POLL:
            self._drain()

    def _drain(self) -> None:
        with self._lock:
            while True:
                try:
                    data = os.read(self._reader, CHUNK)
                except BlockingIOError:
                    return
                self._take(data)

    def _take(self, data: bytes) -> None:
        text = self._decoder.decode(data)
        if text:
            self._emit(text)

    def _read_on(self) -> None:
        try:
            while True:
                if CAN_POLL:
                    select([self._reader], [], [])
                    self._drain()
                else:
                    self._take(os.read(self._reader, CHUNK))
        except SystemExit:  # the link is gone
            return
