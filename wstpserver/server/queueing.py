"""Clients that wait for a kernel without having asked for it by a command."""

from __future__ import annotations

from typing import TYPE_CHECKING

import gevent

from wstpserver.model.occupancy import occupancy
from wstpserver.model.states import Client, Kernel, Pool
from wstpserver.server import replies
from wstpserver.server.session import Session

if TYPE_CHECKING:
    from wstpserver.server.broker import Broker


class Queueing:
    """The clocks of those who wait: after KernelWaitTimeout seconds they are told why, and their links are closed."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._timers: dict[Client, gevent.Greenlet] = {}

    def begin(self, session: Session, pool: Pool) -> None:
        """The client waits for a kernel of *pool* from now on."""
        timeout = self._broker.settings.kernel_wait_timeout
        self.report(session, pool, timeout)
        self._timers[session.record] = gevent.spawn_later(timeout, self._overdue, session, pool, timeout)

    def end(self, client: Client) -> None:
        """The client has a kernel, or does not want one any more: stop its clock."""
        timer = self._timers.pop(client, None)
        if timer is not None:
            timer.kill(block=False)

    def report(self, session: Session, target: Kernel | Pool, seconds: float) -> None:
        """Log that a client waits for at most *seconds*, for what and why."""
        if not self._broker.log.debug_enabled:
            return
        if isinstance(target, Pool):
            what = f"a kernel of pool {target.name}: {occupancy(target)}"
        else:
            what = f"kernel {target.id}, which is {'busy' if target.busy else target.state.value}"
        self._broker.log.debug(f"{session.name} waits up to {seconds:g} s for {what}")

    def _overdue(self, session: Session, pool: Pool, seconds: float) -> None:
        del self._timers[session.record]
        self._broker.registry.give_up(session.record)
        why = f"no kernel of pool {pool.name} became available within {seconds:g} seconds: {occupancy(pool)}"
        trouble = self._broker.nursery.trouble(pool)
        self.turn_away(session, f"{why}\n{trouble}" if trouble else why)

    def turn_away(self, session: Session, why: str) -> None:
        """Tell a client that it gets no kernel, and close its link."""
        self.end(session.record)
        self._broker.log.warning(f"{session.name} was given up on: {why}")
        session.close_link(replies.notice(why))
