"""Clients that wait for a kernel: their time-outs, what they are told meanwhile, and how the wait ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gevent
from gevent.event import Event

from wstpserver.pools.limits import is_hopeless, is_stuck, occupancy, remedy
from wstpserver.pools.registry import Registry
from wstpserver.pools.states import Kernel, Pool, Purpose, WaitingClient, WaitState
from wstpserver.server.log import Log

#: Seconds that a client waits before it is told why.
NOTICE_DELAY = 0.8


@dataclass(slots=True)
class _Wait:
    settled: Callable[[WaitingClient], None]
    timers: list[gevent.Greenlet]
    #: When the time-out is, by the monotonic clock.
    ends: float
    #: Tells the client why it waits; None where nothing may be written to it.
    tell: Callable[[str], None] | None = None
    #: Whether the client has been told why it waits.
    told: bool = False
    #: Whether it has waited for so long that it hears of what goes wrong; why a start failed, as it was told.
    listens: bool = False
    heard: str = ""


class WaitingClients:
    """All clients that wait, whether they asked by a command or have just connected.

    A wait ends once: it is granted, it fails, or it times out. Then the callback given to `begin` is called.

    Args:
        registry: Decides which client gets a kernel.
        log: Gets an entry for each wait, with its reason.
        trouble: Returns why the last start of a kernel of a pool failed, or "".
    """

    def __init__(self, registry: Registry, log: Log, trouble: Callable[[Pool], str]) -> None:
        self._registry = registry
        self._log = log
        self._trouble = trouble
        self._waits: dict[WaitingClient, _Wait] = {}

    def hand_over(self, waiting: WaitingClient) -> dict[str, Any]:
        """What another process needs to go on with the time-out of a wait (`handover`)."""
        wait = self._waits[waiting]
        return {"ends": wait.ends, "told": wait.told}

    def begin(
        self,
        waiting: WaitingClient,
        seconds: float,
        settled: Callable[[WaitingClient], None],
        tell: Callable[[str], None] | None = None,
        insists: Callable[[], bool] = lambda: False,
    ) -> None:
        """Limit the wait of a client.

        Where nothing can free a kernel in time, the wait fails at once. A client that has just connected is told so at
        once, and is given a moment: it may be about to name a reserved kernel by its ID. `needed` ends that moment.

        Args:
            waiting: The client and its target.
            seconds: The time-out.
            settled: Called when the wait has ended; at once if it has already. Must not wait.
            tell: Tells the client why it waits; None where nothing may be written to it.
            insists: Returns whether the client is kept waiting even where nothing can free a kernel.
        """
        if waiting.state is not WaitState.WAITING:
            settled(waiting)
            return
        wait = self._waits[waiting] = _Wait(settled, [], time.monotonic() + seconds, tell)
        hopeless = self._hopeless(waiting, seconds) if not insists() else ""
        if hopeless and (waiting.purpose is not Purpose.AUTOMATIC or tell is None or seconds <= NOTICE_DELAY):
            self._registry.give_up(waiting.client, hopeless)
            return
        self._report(waiting, seconds)
        if hopeless:
            assert tell is not None
            wait.told = True
            tell(f"{hopeless}; the link is closed unless the client names a kernel by its ID now")
        wait.timers.append(gevent.spawn_later(seconds, self._overdue, waiting, seconds))
        if tell is not None and seconds > NOTICE_DELAY:
            wait.timers.append(gevent.spawn_later(NOTICE_DELAY, self._tell, waiting, insists))

    def wait(self, waiting: WaitingClient, seconds: float) -> None:
        """Wait until a wait has ended, in the greenlet that calls this."""
        ended = Event()
        self.begin(waiting, seconds, lambda _waiting: ended.set())
        ended.wait()

    def settle(self, waiting: WaitingClient) -> None:
        """The registry has decided what becomes of a client that waited."""
        wait = self._waits.pop(waiting, None)
        if wait is not None:
            for timer in wait.timers:
                timer.kill(block=False)
            wait.settled(waiting)

    def needed(self, waiting: WaitingClient) -> None:
        """The client has sent something for the kernel that it waits for: if none can come in time, it is told now."""
        wait = self._waits.get(waiting)
        hopeless = self._hopeless(waiting, wait.ends - time.monotonic()) if wait is not None else ""
        if hopeless:
            self._registry.give_up(waiting.client, hopeless)

    def start_failed(self, pool: Pool) -> None:
        """A kernel of *pool* did not start: clients that wait for one and have not been told so are told now."""
        for waiting in list(pool.waiting):
            wait = self._waits.get(waiting)
            if wait is not None and wait.listens and not wait.heard:
                self._explain(waiting, wait)

    def _hopeless(self, waiting: WaitingClient, seconds: float) -> str:
        """Why no kernel can come within so many seconds; "" where one can."""
        target = waiting.target
        if not isinstance(target, Pool) or not is_hopeless(target, time.monotonic(), seconds):
            return ""
        return f"no kernel of pool {target.name} can become available: {occupancy(target)}; {remedy(target)}"

    def _report(self, waiting: WaitingClient, seconds: float) -> None:
        target = waiting.target
        text = f"{waiting.client.name} waits up to {seconds:g} s for {_what(target)}"
        if isinstance(target, Pool) and is_stuck(target):
            self._log.information(f"{text}; {remedy(target)}")
        else:
            self._log.debug(text)

    def _tell(self, waiting: WaitingClient, insists: Callable[[], bool]) -> None:
        """Tell a client why it waits unless it was told before, or give it up where no kernel can come."""
        if waiting.state is not WaitState.WAITING:
            return
        wait = self._waits[waiting]
        hopeless = self._hopeless(waiting, wait.ends - time.monotonic()) if not insists() else ""
        if hopeless:
            self._registry.give_up(waiting.client, hopeless)
            return
        wait.listens = True
        target = waiting.target
        if isinstance(target, Pool) and is_stuck(target) and not wait.told:
            self._explain(waiting, wait)

    def _explain(self, waiting: WaitingClient, wait: _Wait) -> None:
        """Tell a client that waits for a pool for what it waits, and why the last start failed if it did."""
        pool = waiting.target
        assert isinstance(pool, Pool) and wait.tell is not None
        ways = remedy(pool)
        wait.told = True
        wait.heard = self._trouble(pool)
        left = max(0.0, wait.ends - time.monotonic())
        why = f"waiting up to {left:.0f} s for {_what(pool)}{f'; {ways}' if ways else ''}"
        wait.tell(f"{why}\n{wait.heard}" if wait.heard else why)

    def _overdue(self, waiting: WaitingClient, seconds: float) -> None:
        target = waiting.target
        if isinstance(target, Kernel):
            why = f"kernel {target.id} did not become available within {seconds:g} seconds"
        else:
            why = f"no kernel of pool {target.name} became available within {seconds:g} seconds: {occupancy(target)}"
            trouble = self._trouble(target)
            why = f"{why}\n{trouble}" if trouble else why
        if waiting.state is WaitState.WAITING:
            self._registry.give_up(waiting.client, why, state=WaitState.TIMED_OUT)


def _what(target: Kernel | Pool) -> str:
    if isinstance(target, Pool):
        return f"a kernel of pool {target.name}: {occupancy(target)}"
    return f"kernel {target.id}, which is {'busy' if target.busy else target.state.value}"
