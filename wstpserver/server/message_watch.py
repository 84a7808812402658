"""Waits for the messages of a peer without a greenlet: most clients never send one, and kernels one when they end."""

from __future__ import annotations

from collections.abc import Callable

import gevent
from gevent import get_hub
from gevent.event import Event

from wstpserver.server.connection import Connection

#: All first messages are received here, one connection at a time.
_buffer = memoryview(bytearray(1024))


class MessageWatch:
    """Watches a message connection."""

    __slots__ = ("_ended", "_finished", "_greenlet", "_happened", "_run", "_stream", "_watcher")

    def __init__(
        self, stream: Connection, leftover: bytes, run: Callable[[bytes], None], ended: Callable[[], None]
    ) -> None:
        """
        Args:
            stream: the connection.
            leftover: what has come in on it already.
            run: gets the first messages, in a greenlet in which it reads on until the connection ends.
            ended: called in the hub if the connection ends before any message came.
        """
        self._stream = stream
        self._run = run
        self._ended = ended
        self._greenlet: gevent.Greenlet | None = None
        self._finished = False
        #: Set when messages have come or the connection has ended; made only when somebody waits for it.
        self._happened: Event | None = None
        self._watcher = get_hub().loop.io(stream.socket.fileno(), 1)
        if leftover:
            self._begin(leftover)
        else:
            self._watcher.start(self._arrived)

    def _arrived(self) -> None:
        size = self._stream.try_receive(_buffer)
        if size:
            self._begin(bytes(_buffer[:size]))
        elif size == 0:
            self._watcher.stop()
            self._finished = True
            self._tell()
            self._ended()

    def _begin(self, data: bytes) -> None:
        self._watcher.stop()
        self._greenlet = gevent.spawn(self._run, data)
        self._tell()

    def _tell(self) -> None:
        if self._happened is not None:
            self._happened.set()

    def join(self, seconds: float) -> None:
        """Wait until all messages have been read, or for so many seconds."""
        with gevent.Timeout(seconds, exception=False):
            if self._greenlet is None and not self._finished:
                self._happened = self._happened or Event()
                self._happened.wait()
            if self._greenlet is not None:
                self._greenlet.join()

    def stop(self) -> None:
        """Stop waiting; returns when the messages are not read any more.

        To be called before the connection is closed. If messages are being read, somebody else must end the connection.
        """
        self._watcher.stop()
        self._watcher.close()
        if self._greenlet is not None:
            self._greenlet.join()

    @property
    def reading(self) -> bool:
        """Whether messages have come."""
        return self._greenlet is not None
