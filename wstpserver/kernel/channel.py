"""The kernel's end of its link: whole packets, from any thread, and waiting that an abort can end.

Errors of the link end the session: they come out as SystemExit, which no builtin swallows.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from wstpserver.client.errors import LinkError
from wstpserver.client.link import Link
from wstpserver.kernel.arrivals import Arrivals
from wstpserver.kernel.exits import EXIT_OK, EXIT_PROTOCOL
from wstpserver.kernel.interruption import Interruption
from wstpserver.wire.errors import RemoteProtocolError
from wstpserver.wire.values import Function

#: Seconds between two looks at what is due, while an evaluation waits for the client.
POLL = 0.02


class Channel:
    """Reads in the main thread, writes from any."""

    def __init__(self, link: Link, arrivals: Arrivals, interruption: Interruption) -> None:
        self._link = link
        self._arrivals = arrivals
        self._interruption = interruption
        self._writing = threading.Lock()
        self._deferred: deque[Any] = deque()
        self._arrived: float | None = None  # the first byte of what is being received
        self._latest: float | None = None  # the last piece that was read
        #: Called before packets are written in the main thread, to bring out what was printed before them.
        self.before_writing: Callable[[], None] = lambda: None

    def write(self, *packets: Function) -> None:
        """Send packets in this order, in the main thread. LocalProtocolError, with nothing sent, for what no link can
        carry."""
        with self._interruption.masked():
            self.before_writing()
            self.write_from_thread(*packets)

    def write_from_thread(self, *packets: Function) -> None:
        """Send packets together, none of another thread between them."""
        try:
            with self._writing:
                for one in packets:
                    self._link.put(one)
        except LinkError as error:
            raise SystemExit(EXIT_OK) from error

    def read(self) -> Any:
        """The next expression; waits without limit. Not while an evaluation runs: see `read_during_evaluation`.

        From here on an evaluation counts as begun by what was read: see `Interruption.input_arrived`.
        """
        if self._deferred:
            return self._deferred.popleft()
        while not self._is_complete():
            self._arrivals.wait_for_data(None)
        return self._receive()

    def read_during_evaluation(self, timeout: float | None = None) -> Any:
        """The next expression that arrives, for an evaluation that waits for it; None after `timeout` seconds.

        Raises AbortInterrupt and the like as soon as they are due.
        """
        until = None if timeout is None else time.monotonic() + timeout
        while not self._is_complete():
            if self._interruption.due:
                self._interruption.act()
            if until is not None and time.monotonic() >= until:
                return None
            self._arrivals.wait_for_data(POLL)
        return self._receive()

    def defer(self, expression: Any) -> None:
        """Set aside something that came while another thing was waited for; `read` returns it later."""
        self._deferred.append(expression)

    def _is_complete(self) -> bool:
        """Whether a whole expression is here, or the end; notes when its first byte arrived.

        The connection is read only after the system was asked about the byte that comes next.
        """
        with self._interruption.masked():
            if self._link.holds_one():  # it came together with the one before
                return True
            if not self._arrivals.wait_for_data(0):
                return False
            self._latest = self._arrivals.data_stamp()
            if self._arrived is None:
                self._arrived = self._latest
            return self._link.ready(0)

    def _receive(self) -> Any:
        try:
            with self._interruption.masked():
                expression = self._link.get()
        except LinkError as error:
            raise SystemExit(EXIT_OK) from error
        except RemoteProtocolError as error:
            print(f"wstpkernel: {error}", file=sys.stderr)
            raise SystemExit(EXIT_PROTOCOL) from error
        self._interruption.input_arrived = self._latest if self._arrived is None else self._arrived
        self._arrived = None
        return expression
