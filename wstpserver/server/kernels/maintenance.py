"""Enforces the limits of pools on age, memory and the time of evaluations, and that of clients on idle time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import gevent
from gevent import get_hub

from wstpserver.pools.evaluation import BEGUN, IDLE, PASSED, EvaluationChange
from wstpserver.pools.limits import MEASURED_STATES, evaluation_limit, overdue, too_large
from wstpserver.pools.registry import Registry
from wstpserver.pools.states import ENDING, Client, Kernel, KernelState, Reason
from wstpserver.server.bridge.client_session import ClientSession
from wstpserver.server.bridge.kernel_session import KernelSession
from wstpserver.server.kernels.initialise import InitialisationFailed
from wstpserver.server.kernels.process import resident_memory
from wstpserver.server.kernels.process_info import MemoryUnknown
from wstpserver.server.log import Log

#: Seconds between two rounds.
INTERVAL = 1.0

#: Clients looked at before other greenlets have their turn.
ROUND = 200


class Maintenance:
    """Goes through the kernels once a second, of pools with such a limit only, and through clients if they have one.

    Args:
        registry: All kernels and pools.
        log: Is told of kernels that are closed.
        close_unfit: Closes a kernel that uses too much memory, for the reason given.
        send_away: Closes the link of a client, for the reason given.
    """

    def __init__(
        self,
        registry: Registry,
        log: Log,
        close_unfit: Callable[[Kernel, str], None],
        send_away: Callable[[ClientSession, Reason], None],
    ) -> None:
        self._registry = registry
        self._log = log
        self._close_unfit = close_unfit
        self._send_away = send_away
        self._greenlet: gevent.Greenlet | None = None
        #: True once the log has been told that memory cannot be measured here.
        self._cannot_measure = False

    def start(self, sessions: Mapping[Kernel, KernelSession], clients: Mapping[Client, ClientSession]) -> None:
        """Begin with the rounds through these kernels and clients."""
        self._greenlet = gevent.spawn(self._run, sessions, clients)

    def stop(self) -> None:
        """End them."""
        if self._greenlet is not None:
            self._greenlet.kill()

    def check_fresh(self, kernel: KernelSession) -> None:
        """Check a kernel before anybody has used it. Without this, a limit that is too low would make a pool close and
        start kernels for ever.

        Raises:
            InitialisationFailed: It is too large.
        """
        pool = kernel.record.pool
        if pool is not None and pool.settings.kernel_memory_limit:
            why = too_large(kernel.record, self._measure([kernel]).get(kernel, 0))
            if why is not None:
                raise InitialisationFailed(why)

    def _run(self, sessions: Mapping[Kernel, KernelSession], clients: Mapping[Client, ClientSession]) -> None:
        while True:
            gevent.sleep(INTERVAL)
            self._close_overdue()
            self._close_large(sessions)
            self._close_idle(clients)

    def _close_idle(self, clients: Mapping[Client, ClientSession]) -> None:
        limit = self._registry.settings.client_idle_timeout
        if not limit:
            return
        for number, session in enumerate(tuple(clients.values()), 1):
            if number % ROUND == 0:
                gevent.sleep(0)
            if session.has_been_idle_for(limit):
                self._log.information(f"The link of {session.name} is closed: {Reason.IDLE.value}")
                self._send_away(session, Reason.IDLE)

    def _close_overdue(self) -> None:
        now = time.monotonic()
        for pool in tuple(self._registry.pools.values()):
            for kernel, why in overdue(pool, now):
                if kernel.state is KernelState.RESERVED:  # its client may miss it
                    self._log.information(f"Kernel {kernel.id} of pool {pool.name} is closed: {why}")
                self._registry.close(kernel, why)

    def _close_large(self, sessions: Mapping[Kernel, KernelSession]) -> None:
        kernels = [
            sessions[kernel]
            for pool in self._registry.pools.values()
            if pool.settings.kernel_memory_limit
            for kernel in pool.kernels.values()
            if kernel.state in MEASURED_STATES and kernel in sessions
        ]
        for session, size in self._measure(kernels).items() if kernels else ():
            kernel = session.record
            why = too_large(kernel, size)
            if why is not None and kernel.state in MEASURED_STATES:
                assert kernel.pool is not None
                self._log.warning(f"Kernel {kernel.id} of pool {kernel.pool.name} is closed: {why}")
                self._close_unfit(kernel, why)

    def _measure(self, kernels: list[KernelSession]) -> dict[KernelSession, int]:
        by_process = {kernel.process: kernel for kernel in kernels}
        sizes = resident_memory(by_process, self._tell_unknown)
        return {by_process[process]: size for process, size in sizes.items()}

    def _tell_unknown(self, error: MemoryUnknown) -> None:
        """KernelMemoryLimit cannot be kept here: say so once."""
        if not self._cannot_measure:
            self._cannot_measure = True
            self._log.warning(f"KernelMemoryLimit has no effect on this system: {error}")


class EvaluationTimer:
    """EvaluationTimeLimit: aborts evaluations that take too long, and closes kernels that do not react to that.

    There is one timer for each evaluation in a pool with a limit; nothing at all for the others, and evaluations are
    not heard of before there is such a pool. The time of an evaluation goes from the moment it is sent to the kernel
    until the kernel is idle, the dialogs and questions in it included, whether a client is bridged all the time or not.

    Args:
        registry: Closes kernels.
        log: Is told of what is aborted and closed.
        abort: Tells the client of a kernel what is aborted, and the kernel to abort.
        grace: Seconds that a kernel has to answer once it was told to abort.
    """

    def __init__(self, registry: Registry, log: Log, abort: Callable[[Kernel, str], None], grace: float) -> None:
        self._registry = registry
        self._log = log
        self._abort = abort
        self._grace = grace
        self._timers: dict[Kernel, Any] = {}
        #: When each of them fires, by the monotonic clock, and what is aborted already.
        self._due: dict[Kernel, tuple[float, str]] = {}
        self._observes = False
        self.update()

    def update(self) -> None:
        """Begin to hear of evaluations if a pool limits them. To be called when the pools or their settings change."""
        pools = self._registry.pools.values()
        if any(pool.settings.evaluation_time_limit for pool in pools):
            self._observe()

    def _observe(self) -> None:
        if not self._observes:
            self._observes = True
            self._registry.observe(evaluated=self._evaluated, moved=self._moved)

    def hand_over(self, kernel: Kernel) -> dict[str, Any] | None:
        """What another process needs to go on with the limit of a kernel's evaluation; None if there is none."""
        if kernel not in self._timers:
            return None
        due, aborted = self._due[kernel]
        return {"due": due, "aborted": aborted}

    def go_on(self, kernel: Kernel, record: Mapping[str, Any]) -> None:
        """Go on with a limit; *record* is what `hand_over` returned in another process."""
        self._observe()  # the pool may have no limit any more
        left, what = max(0.0, record["due"] - time.monotonic()), record["aborted"]
        if what:
            self._set(kernel, left, self._not_aborted, kernel, what, aborted=what)
        else:
            self._set(kernel, left, self._too_long, kernel, evaluation_limit(kernel))

    def _moved(self, kernel: Kernel, _before: KernelState | None, _since: float) -> None:
        if kernel.state in ENDING:
            self._forget(kernel)

    def _forget(self, kernel: Kernel) -> None:
        timer = self._timers.pop(kernel, None)
        if timer is not None:
            del self._due[kernel]
            timer.stop()
            timer.close()

    def _evaluated(self, kernel: Kernel, change: EvaluationChange, _number: int, _since: float) -> None:
        if not self._timers and (kernel.pool is None or not kernel.pool.settings.evaluation_time_limit):
            return
        if change is IDLE:
            self._forget(kernel)
        elif change is BEGUN:
            if kernel not in self._timers:
                self._begin(kernel)
        elif change is PASSED and kernel.busy:  # with another one than before
            self._forget(kernel)
            self._begin(kernel)

    def _begin(self, kernel: Kernel) -> None:
        limit = evaluation_limit(kernel)
        if limit:
            self._set(kernel, limit, self._too_long, kernel, limit)

    def _set(self, kernel: Kernel, seconds: float, action: Any, *arguments: Any, aborted: str = "") -> None:
        self._due[kernel] = (time.monotonic() + seconds, aborted)
        timer = self._timers[kernel] = get_hub().loop.timer(seconds)
        # an action may have to wait, which the hub's own callbacks must not
        timer.start(gevent.spawn, action, *arguments)

    def _too_long(self, kernel: Kernel, limit: float) -> None:
        if not self._is_due(kernel):
            return
        what = f"an evaluation has taken longer than {limit:g} s (EvaluationTimeLimit)"
        self._log.warning(f"Kernel {kernel.id}: {what} and is aborted")
        self._set(kernel, self._grace, self._not_aborted, kernel, what, aborted=what)
        self._abort(kernel, f"{what} and is aborted")

    def _not_aborted(self, kernel: Kernel, what: str) -> None:
        if not self._is_due(kernel):
            return
        why = f"{what} and did not end within {self._grace:g} s after it was aborted"
        self._log.warning(f"Kernel {kernel.id} is closed: {why}")
        self._registry.close(kernel, why, told=f"the kernel was closed: {why}")

    def _is_due(self, kernel: Kernel) -> bool:
        """Take the timer away; False if the evaluation ended in the moment it fired, or its kernel is ending."""
        timer = self._timers.get(kernel)
        if timer is None or timer.active:  # another evaluation has begun
            return False
        self._forget(kernel)
        return kernel.state not in ENDING
