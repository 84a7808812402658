"""Accepts connections on one address for as long as there are descriptors for them."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from gevent import get_hub

from wstpserver.server.log import Log

#: Connections that are accepted before everybody else has their turn.
MOST_AT_ONCE = 32

#: Seconds until the next attempt after the system could not give us a connection.
EXHAUSTED_PAUSE = 0.5

#: *handle* gets each connection and the peer's address as the system gives it, in the hub: it must not wait.
Handler = Callable[[socket.socket, tuple[Any, ...]], None]


class LinkListener:
    """Gives accepted connections to a function, between `start` and `stop`.

    When the system has nothing left for another connection, the log says so once, and those who want to connect wait.
    """

    def __init__(self, listener: socket.socket, handle: Handler, log: Log) -> None:
        listener.setblocking(False)
        self.socket = listener
        self._handle = handle
        self._log = log
        self._exhausted = False
        self._watcher = get_hub().loop.io(listener.fileno(), 1)
        self._pause: Any = None

    def start(self) -> None:
        """Accept connections from now on."""
        self._watcher.start(self._accept_some)

    def stop(self) -> None:
        """Close the port."""
        self._watcher.stop()
        self._watcher.close()
        self._end_pause()
        self.socket.close()

    def _accept_some(self) -> None:
        for _ in range(MOST_AT_ONCE):
            try:
                connected, address = self.socket.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionError:  # that one was gone before we came to it
                continue
            except OSError as error:
                self._wait(error)
                return
            if self._exhausted:
                self._exhausted = False
                self._log.information("Connections can be accepted again")
            self._handle(connected, address)

    def _wait(self, error: OSError) -> None:
        """Most likely there are no descriptors left: further attempts would fail as well, again and again."""
        if not self._exhausted:
            self._exhausted = True
            self._log.error(f"No connection can be accepted any more: {error.strerror}; further ones have to wait")
        self._watcher.stop()
        self._pause = get_hub().loop.timer(EXHAUSTED_PAUSE)
        self._pause.start(self._go_on)

    def _go_on(self) -> None:
        self._end_pause()
        self.start()

    def _end_pause(self) -> None:
        pause, self._pause = self._pause, None
        if pause is not None:
            pause.stop()
            pause.close()
