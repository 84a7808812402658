"""EvaluationTimeLimit: aborts evaluations that take too long, and closes kernels that do not react to that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gevent
from gevent import get_hub

from wstpserver.model.limits import evaluation_limit
from wstpserver.model.states import KernelState
from wstpserver.server import replies
from wstpserver.wire.messages import MessageCode

if TYPE_CHECKING:
    from wstpserver.server.broker import Broker
    from wstpserver.server.kernel import KernelServer

#: Seconds that a kernel has to answer once it was told to abort.
ABORT_GRACE = 5.0


class EvaluationClock:
    """One timer for each evaluation under way in a pool with a limit; nothing at all for the others.

    The time of an evaluation goes from the moment it is sent to the kernel until the kernel is idle, the dialogs and
    questions in it included, whether a client is bridged all the time or not.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._timers: dict[KernelServer, Any] = {}

    def begun(self, kernel: KernelServer) -> None:
        """An evaluation goes to the kernel, perhaps inside another one."""
        limit = evaluation_limit(kernel.record)
        if limit and kernel not in self._timers:
            self._set(kernel, limit, self._too_long, kernel, limit)

    def ended(self, kernel: KernelServer) -> None:
        """The kernel is idle, or gone."""
        timer = self._timers.pop(kernel, None)
        if timer is not None:
            timer.stop()
            timer.close()

    def _set(self, kernel: KernelServer, seconds: float, action: Any, *arguments: Any) -> None:
        timer = self._timers[kernel] = get_hub().loop.timer(seconds)
        # an action may have to wait, which the hub's own callbacks must not
        timer.start(gevent.spawn, action, *arguments)

    def _too_long(self, kernel: KernelServer, limit: float) -> None:
        if not self._is_due(kernel):
            return
        what = f"an evaluation has taken longer than {limit:g} s (EvaluationTimeLimit)"
        self._broker.log.warning(f"Kernel {kernel.record.id}: {what} and is aborted")
        self._set(kernel, ABORT_GRACE, self._deaf, kernel, what)
        if kernel.session is not None:  # in a greenlet of its own: a client that does not read delays nothing
            gevent.spawn(kernel.session.send, replies.notice(f"{what} and is aborted"))
        kernel.send_message(MessageCode.ABORT, 0)

    def _deaf(self, kernel: KernelServer, what: str) -> None:
        if not self._is_due(kernel):
            return
        why = f"{what} and did not end within {ABORT_GRACE:g} s after it was aborted"
        self._broker.log.warning(f"Kernel {kernel.record.id} is closed: {why}")
        self._broker.registry.close(kernel.record, why, told=f"the kernel was closed: {why}")
        self._broker.carry_out()

    def _is_due(self, kernel: KernelServer) -> bool:
        """Take the timer away; False if the evaluation ended in the moment it fired, or its kernel is closing."""
        timer = self._timers.get(kernel)
        if timer is None or timer.active:  # another evaluation has begun
            return False
        self.ended(kernel)
        return kernel.record.state not in (KernelState.CLOSING, KernelState.GONE)
