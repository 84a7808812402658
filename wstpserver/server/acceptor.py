"""Accepts connections, greets them, and makes links of those that belong together."""

from __future__ import annotations

import errno
import socket
from collections import deque
from collections.abc import Callable
from typing import Any

import gevent
from gevent import get_hub, getcurrent
from gevent.server import StreamServer

from wstpserver.server.greeter import ClientLink, Greeter, Pairing, Rejected
from wstpserver.server.log import Log
from wstpserver.server.stream import Stream, StreamClosed, peer_name
from wstpserver.settings import ServerSettings
from wstpserver.wire.errors import ProtocolError

#: Errors of an accept that say that there is too little of something now.
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

#: Seconds until the next attempt after such an error.
EXHAUSTED_PAUSE = 0.5


class LinkServer(StreamServer):  # type: ignore[misc]
    """A StreamServer that leaves its sockets to the handler: they go into links, which close them.

    When the system has nothing left for another connection, the log says so once, and those who want to connect wait.
    """

    def __init__(self, listener: gevent.socket.socket, handle: Callable[..., None], log: Log) -> None:
        super().__init__(listener, handle)
        self._log = log
        self._exhausted = False

    def do_read(self) -> tuple[Any, ...] | None:
        """Accept a connection; None if there is none, or none is possible."""
        try:
            accepted: tuple[Any, ...] | None = super().do_read()
        except OSError as error:
            if error.errno not in _EXHAUSTED:
                raise
            if not self._exhausted:
                self._exhausted = True
                self._log.error(f"No connection can be accepted any more: {error.strerror}; further ones have to wait")
            self.stop_accepting()
            gevent.spawn_later(EXHAUSTED_PAUSE, self._go_on)
            return None
        if accepted is not None and self._exhausted:
            self._exhausted = False
            self._log.information("Connections can be accepted again")
        return accepted

    def _go_on(self) -> None:
        if self.started:
            self.start_accepting()

    def do_close(self, *arguments: object) -> None:
        """Nothing: see the class."""


class _Unpaired:
    """A connection that is no link yet, and the greenlet that waits for it to become one."""

    def __init__(self) -> None:
        self._greenlet = getcurrent()
        self._eviction: Any = None

    def evict(self) -> None:
        """Raise `Rejected` in the greenlet at its next turn, unless it is done by then."""
        reason = Rejected("it has not become a link, and its place is needed by a new connection")
        self._eviction = get_hub().loop.run_callback(self._greenlet.throw, reason)

    def done(self) -> None:
        """The greenlet goes on to other things."""
        if self._eviction is not None:
            self._eviction.stop()


class Acceptor:
    """The listening side of the server.

    *serve* is called with each complete link in the greenlet of its data connection, and returns when the link
    has ended. Greeting and pairing have GreetingTimeout seconds together. Of more than
    MaximumUnpairedConnections the oldest has to go.
    """

    def __init__(self, settings: ServerSettings, log: Log, serve: Callable[[ClientLink], None]) -> None:
        self.settings = settings
        self._log = log
        self._serve = serve
        self._pairing = Pairing()
        #: Connections that are no link yet, oldest first.
        self.unpaired: deque[_Unpaired] = deque()

    def handle(self, accepted: gevent.socket.socket, _address: object) -> None:
        """Take one accepted connection."""
        connected = socket.socket(fileno=accepted.detach())
        address = peer_name(connected)
        try:
            stream = Stream(connected)
        except OSError:  # gone already
            connected.close()
            return
        while len(self.unpaired) >= self.settings.maximum_unpaired_connections:
            self.unpaired.popleft().evict()
        place = _Unpaired()
        self.unpaired.append(place)
        link = None
        kept = False
        try:
            with gevent.Timeout(self.settings.greeting_timeout, Rejected("its greeting did not come in time")):
                link = Greeter(self._pairing, stream, address).run()
                kept = link is None  # a message connection, which belongs to its data connection now
        except (Rejected, ProtocolError) as error:
            self._log.warning(f"Closed a connection from {address}: {error}")
        except (StreamClosed, OSError):
            self._log.debug(f"A connection from {address} ended during its greeting")
        finally:
            place.done()
            if place in self.unpaired:
                self.unpaired.remove(place)
            if link is None and not kept:
                stream.close()
        if link is not None:
            self._serve(link)
