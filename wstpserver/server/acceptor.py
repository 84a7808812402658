"""Takes accepted connections, has them greeted, and looks after those that do not become links."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any

import gevent
from gevent import get_hub

from wstpserver.server.connection import Connection, ConnectionClosed, address_name
from wstpserver.server.greeter import ClientLink, Greeting
from wstpserver.server.log import Log
from wstpserver.server.pairing import Pairing, Rejected
from wstpserver.settings import ServerSettings


class Acceptor:
    """The listening side of the server.

    *serve* is called with each complete link in a greenlet of its own, and returns when the link has ended. Greeting
    and pairing have GreetingTimeout seconds together. Of more than MaximumUnpairedConnections the oldest has to go.
    """

    def __init__(self, settings: ServerSettings, log: Log, serve: Callable[[ClientLink], None]) -> None:
        self._settings = settings
        self._log = log
        self._serve = serve
        self._pairing: Pairing[Greeting] = Pairing()
        #: Connections that are no link yet, oldest first.
        self.unpaired: dict[Greeting, None] = {}
        #: Those that were accepted in this round of the hub.
        self._fresh: list[Greeting] = []
        #: Fires when the oldest of them is due. One for all, because all have the same time.
        self._timer: Any = None

    def reconfigure(self, settings: ServerSettings) -> None:
        """Take new settings over."""
        self._settings = settings
        self._look_at_the_clock()

    def handle(self, connected: socket.socket, address: tuple[Any, ...]) -> None:
        """Take one accepted connection. Returns at once."""
        try:
            stream = Connection(connected)
        except OSError:  # gone already
            connected.close()
            return
        self._make_room()
        greeting = Greeting(self, self._pairing, stream, address_name(address), time.monotonic())
        self.unpaired[greeting] = None
        if self._timer is None:
            self._look_at_the_clock()
        # After whatever else has come in by now, and with it what older connections sent: of two that say the same,
        # the older one is right.
        if not self._fresh:
            get_hub().loop.run_callback(self._begin)
        self._fresh.append(greeting)

    def _begin(self) -> None:
        fresh, self._fresh = self._fresh, []
        for greeting in fresh:
            if greeting in self.unpaired:
                greeting.go_on()

    def _make_room(self) -> None:
        while len(self.unpaired) >= self._settings.maximum_unpaired_connections:
            oldest = next(iter(self.unpaired))
            del self.unpaired[oldest]
            oldest.fail(Rejected("it has not become a link, and its place is needed by a new connection"))

    def _look_at_the_clock(self) -> None:
        """Reject who is overdue, and come back when the next one is."""
        if self._timer is not None:
            self._timer.stop()
            self._timer.close()
            self._timer = None
        now = time.monotonic()
        while self.unpaired:
            oldest = next(iter(self.unpaired))
            left = oldest.since + self._settings.greeting_timeout - now
            if left > 0:
                self._timer = get_hub().loop.timer(left)
                self._timer.start(self._look_at_the_clock)
                return
            del self.unpaired[oldest]
            oldest.fail(Rejected("its greeting did not come in time"))

    # -- what the greetings tell ---------------------------------------------------------------------------------

    def paired(self, data: Greeting, messages: Greeting | None, link: ClientLink) -> None:
        self.unpaired.pop(data, None)
        if messages is not None:
            self.unpaired.pop(messages, None)
        gevent.spawn(self._serve, link)

    def failed(self, greeting: Greeting, error: Exception) -> None:
        self.unpaired.pop(greeting, None)
        if isinstance(error, ConnectionClosed | OSError):
            self._log.debug(f"A connection from {greeting.address} ended during its greeting")
        else:
            self._log.warning(f"Closed a connection from {greeting.address}: {error}")
