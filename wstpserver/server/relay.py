"""Where the data pumps wait: one epoll set, and one call into C that does the rounds of all that have something to do.

A pump's greenlet waits here until something comes that it must see. What is usual, an evaluation on its way to an idle
kernel or the answer to it, passes in C and is accounted for in the hub, without waking anybody: a greenlet's waking and
going to sleep costs as much as everything else that the server does for a packet.

Only Linux has this; elsewhere each stream waits by itself.
"""

from __future__ import annotations

import threading
from time import monotonic
from typing import TYPE_CHECKING

from gevent import get_hub, getcurrent

from wstpserver._native import ffi, lib
from wstpserver.server import buffers
from wstpserver.server.turnstile import TURN
from wstpserver.wire.frames import HEADS

if TYPE_CHECKING:
    from wstpserver.server.sleeper import Sleeper
    from wstpserver.wire.packets import PacketHead

#: Pumps that are accounted for together, at most.
MOST = 256


class Relay:
    """The waiting pumps of one hub."""

    def __init__(self, descriptor: int) -> None:
        self._hub = get_hub()
        self._loop = self._hub.loop
        #: Whether the loop tells what else it has to do. The list of callbacks is not a public attribute of gevent's.
        self._loop_tells = hasattr(self._loop, "pendingcnt") and hasattr(self._loop, "_callbacks")
        self._pumps: dict[int, Sleeper] = {}
        self._next_number = 0
        self._buffer = buffers.take()
        self._events = ffi.new("struct wstprelay_event[]", MOST)
        state = self._state = ffi.new("struct wstprelay *")
        state.descriptor, state.others = descriptor, self._loop.fileno()
        state.most, state.size, state.portion = MOST, buffers.BUFFER_SIZE, buffers.PORTION
        state.buffer, state.events = self._buffer.pointer, self._events
        lib.wstprelay_make_pipe(state.pipe)
        self._watcher = self._hub.loop.io(descriptor, 1)

    def enter(self, pump: Sleeper) -> int:
        """Return a number for this pump, by which it is known until it leaves."""
        self._next_number = self._next_number + 1 & 0x7FFFFFFF
        while self._next_number in self._pumps:
            self._next_number = self._next_number + 1 & 0x7FFFFFFF
        if not self._pumps:
            self._watcher.start(self._run)
        self._pumps[self._next_number] = pump
        return self._next_number

    def leave(self, pump: Sleeper) -> None:
        """Forget a pump, before its connection is closed."""
        lib.wstprelay_unwatch(self._state.descriptor, pump.state)
        self._pumps.pop(pump.state.number, None)
        if not self._pumps:
            self._watcher.stop()

    def wait(self, pump: Sleeper) -> bool:
        """Wait in the pump's greenlet until there is something that it must see, which it finds in its `arrival`, or
        until it had better look by itself. Returns False at once if its connection cannot be waited for here."""
        state = pump.state
        if not state.watched:
            # Something came while the pump did not wait, or it never has. It looks now, or others whose turn came later
            # would be first: a kernel's answer before the end of the client that has left.
            return bool(lib.wstprelay_watch(self._state.descriptor, state) == 0)
        pump.greenlet = getcurrent()
        state.parked = 1
        try:
            self._hub.switch()
        finally:
            state.parked = 0
            pump.greenlet = None
        return True

    def _run(self) -> None:
        """Rounds for those who have something to do; called in the hub, where nothing may wait for long."""
        # One that has something to see ends a round, and many may: of the clients that come and go, all that go.
        alone = self._loop_tells and not self._loop.pendingcnt and not self._loop._callbacks
        if self._run_once(alone):
            ends = monotonic() + TURN
            while self._run_once(False) and monotonic() < ends:
                pass

    def _run_once(self, alone: bool) -> bool:
        """A round, or as many as there is time for if nobody else wants the hub; True if it woke somebody."""
        count = lib.wstprelay_run(self._state, alone)
        woken: list[Sleeper] = []
        answers: dict[Sleeper, tuple[Sleeper, PacketHead]] = {}
        for index in range(count):
            event = self._events[index]
            if not event.number:
                continue
            pump = self._pumps[event.number]
            if not event.asleep:
                self._hand_over(pump, event.verdict)
                woken.append(pump)  # and the first to be woken: it may have bytes in hand that its frame lacks
            elif pump.asks:
                if pump in answers:  # an answer that came before this
                    self._account_for(*answers.pop(pump), woken)
                answering = pump.asked(HEADS[event.head], event.begun, event.answered)
                if answering is not None:
                    answers[pump] = (answering, HEADS[answering.state.paired])
                if event.large:
                    pump.frame_begun()
            elif event.large:
                pump.frame_begun()
            else:
                answers[pump] = (pump, HEADS[event.head])
        # What was asked comes first: an answer may be what somebody else has waited for to take a kernel away.
        for answering, head in answers.values():
            self._account_for(answering, head, woken)
        for pump in woken:  # whatever they do now, everything that has passed is accounted for
            pump.wake()
        return bool(woken)

    @staticmethod
    def _account_for(answering: Sleeper, head: PacketHead, woken: list[Sleeper]) -> None:
        if not answering.account_for(head):
            answering.late_answer = head
            if answering not in woken:
                woken.append(answering)

    def _hand_over(self, pump: Sleeper, verdict: int) -> None:
        """The pump gets the buffer, the relay another one."""
        pump.arrival = (self._buffer, verdict)
        self._buffer = buffers.take()
        self._state.buffer = self._buffer.pointer


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
