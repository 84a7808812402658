"""Where the data pumps wait: one epoll set, and one call into C that does the rounds of all that have something to do.

A pump's greenlet waits here until something comes that it must see. What is usual, an evaluation on its way to an idle
kernel or the answer to it, passes in C and is accounted for in the hub, without waking anybody: a greenlet's waking and
going to sleep costs as much as everything else that the server does for a packet.

Only Linux has this; elsewhere each stream waits by itself.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from gevent import get_hub, getcurrent

from wstpserver._wstpscan import ffi, lib
from wstpserver.server import buffers
from wstpserver.wire.frames import HEADS

if TYPE_CHECKING:
    from wstpserver.server.pump import Pump

#: Pumps that get a round before the hub looks at everything else.
MOST = 64

_ALL_SENT = lib.WSTPPUMP_ALL_SENT


class Relay:
    """The waiting pumps of one hub."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._hub = get_hub()
        self._pumps: dict[int, Pump] = {}
        self._next_number = 0
        self._events = ffi.new("struct wstprelay_event[]", MOST)
        self._buffer = buffers.take()
        self._pipe = ffi.new("int32_t[2]")
        lib.wstprelay_make_pipe(self._pipe)
        self._watcher = self._hub.loop.io(descriptor, 1)

    def enter(self, pump: Pump) -> int:
        """Return a number for this pump, by which it is known until it leaves."""
        self._next_number = self._next_number + 1 & 0x7FFFFFFF
        while self._next_number in self._pumps:
            self._next_number = self._next_number + 1 & 0x7FFFFFFF
        if not self._pumps:
            self._watcher.start(self._run)
        self._pumps[self._next_number] = pump
        return self._next_number

    def leave(self, pump: Pump) -> None:
        """Forget a pump, before its connection is closed."""
        lib.wstprelay_unwatch(self._descriptor, pump.state)
        self._pumps.pop(pump.state.number, None)
        if not self._pumps:
            self._watcher.stop()

    def wait(self, pump: Pump) -> bool:
        """Wait in the pump's greenlet until there is something that it must see, which it finds in its `arrival`.
        Returns False at once if its connection cannot be waited for here."""
        state = pump.state
        if not state.watched and lib.wstprelay_watch(self._descriptor, state) < 0:
            return False
        pump.greenlet = getcurrent()
        state.parked = 1
        try:
            self._hub.switch()
        finally:
            state.parked = 0
            pump.greenlet = None
        return True

    def _run(self) -> None:
        """Rounds for those who have something to do; called in the hub, where nothing may wait."""
        # One that has something to see ends a round, and many may: of the clients that come and go, all that go.
        for _ in range(MOST):
            if not self._run_until_woken():
                return

    def _run_until_woken(self) -> bool:
        """A round; True if it woke somebody, and others may have something to do as well."""
        buffer, events = self._buffer, self._events
        count = lib.wstprelay_run(
            self._descriptor, buffer.pointer, buffers.BUFFER_SIZE, self._pipe, events, MOST
        )
        answers, woken = [], []
        for index in range(count):
            event = events[index]
            pump = self._pumps[event.number]
            if not pump.state.parked:  # the last one, with something to see
                self._buffer = buffers.take()
                pump.arrival = (buffer, event.verdict)
                woken.append(pump)  # and the first to be woken: it may have bytes in hand that its frame lacks
            elif pump.asks:
                pump.account_for(HEADS[event.head])
            else:
                answers.append((pump, HEADS[event.head]))
        # What was asked comes first: an answer may be what somebody else has waited for to take a kernel away.
        for pump, head in answers:
            if not pump.account_for(head):
                pump.arrival = (None, _ALL_SENT)
                woken.append(pump)
        for pump in woken:  # whatever they do now, everything that has passed is accounted for
            pump.wake()
        return bool(woken)


_local = threading.local()


def get() -> Relay | None:
    """The relay of this thread's hub; None if the system has none."""
    relay: Relay | None = getattr(_local, "relay", None)
    if relay is None and not getattr(_local, "missing", False):
        descriptor = lib.wstprelay_open()
        if descriptor < 0:
            _local.missing = True
            return None
        relay = _local.relay = Relay(descriptor)
    return relay
