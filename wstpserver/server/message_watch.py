"""Waits for a client's messages without a greenlet: most clients never send one."""

from __future__ import annotations

from collections.abc import Callable

import gevent
from gevent import get_hub

from wstpserver.server.stream import Stream

#: All clients' first messages are received here, one client at a time.
_buffer = memoryview(bytearray(1024))


class MessageWatch:
    """Looks after a message connection. *run* gets the first messages that come in, in a greenlet in which it reads on
    until the connection ends; *ended* is called, in the hub, if it ends before any came."""

    def __init__(
        self, stream: Stream, leftover: bytes, run: Callable[[bytes], None], ended: Callable[[], None]
    ) -> None:
        self._stream = stream
        self._run = run
        self._ended = ended
        self._greenlet: gevent.Greenlet | None = None
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
            self._ended()

    def _begin(self, data: bytes) -> None:
        self._watcher.stop()
        self._greenlet = gevent.spawn(self._run, data)

    def stop(self) -> None:
        """Stop waiting. To be called before the stream is closed; if messages are being read, its end has to come from
        elsewhere. Returns when nobody reads them any more."""
        self._watcher.stop()
        self._watcher.close()
        if self._greenlet is not None:
            self._greenlet.join()

    @property
    def reading(self) -> bool:
        """True once messages have come."""
        return self._greenlet is not None
