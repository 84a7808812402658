"""How kernels end: closed by the server, by themselves, or dead."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wstpserver.model.states import Kernel, KernelState
from wstpserver.server.kernel import KernelServer
from wstpserver.server.kernels.process import describe_status

if TYPE_CHECKING:
    from wstpserver.server.broker import Broker

#: Seconds that a kernel whose link has ended has to exit before it counts as dead.
EXIT_GRACE = 0.5

#: States in which somebody else goes on when the link ends: whoever starts or closes the kernel.
_SEEN_TO = (KernelState.CLOSING, KernelState.GONE, KernelState.STARTING)


class KernelEnds:
    """Ends kernels for a broker and tells the registry of those that end by themselves."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def close(self, record: Kernel, why: str) -> None:
        """End a kernel in stages, in a greenlet of its own."""
        self._broker.log.debug(f"Closing kernel {record.id}: {why}")
        self._broker.nursery.adopt(self._end, record)

    def _end(self, record: Kernel) -> None:
        self._broker.nursery.cancel(record)
        kernel = self._broker.kernels.get(record)
        if kernel is not None:
            kernel.stop()
        self._forget(record)

    def link_ended(self, kernel: KernelServer) -> None:
        """The kernel's link has ended, by itself or because the server closes it."""
        if kernel.record.state in _SEEN_TO:
            kernel.pump.lost()
            return
        if kernel.session is None:
            # nobody may be bridged to it while its process ends
            self._broker.registry.set_busy(kernel.record, True)
        self._broker.nursery.adopt(self._bury, kernel)

    def _bury(self, kernel: KernelServer) -> None:
        broker = self._broker
        exited, problem = kernel.process.exited, kernel.problem
        exited.wait(EXIT_GRACE)
        in_good_order = problem is None and exited.ready() and kernel.ended_in_good_order()
        status = describe_status(exited.get()) if exited.ready() else "it closed its link but has not ended"
        self._log(kernel, problem or status, in_good_order)
        broker.nursery.died(kernel.record, problem or status)
        session = kernel.session
        if session is not None and session.writer.in_frame(kernel) and kernel.pump.completion() is None:
            session.record.allow_replacement = False  # it could not be told anything any more
        broker.registry.lost(kernel.record, in_good_order)
        broker.carry_out()
        kernel.pump.lost()
        kernel.stop()
        self._forget(kernel.record)

    def _log(self, kernel: KernelServer, status: str, in_good_order: bool) -> None:
        log = self._broker.log
        if in_good_order:
            log.debug(f"Kernel {kernel.record.id} ended: {status}")
            return
        words = kernel.process.last_words()
        told = f"; its last words:\n{words}" if words else ""
        log.warning(f"Kernel {kernel.record.id} (process {kernel.process.pid}) died: {status}{told}")

    def _forget(self, record: Kernel) -> None:
        broker = self._broker
        kernel = broker.kernels.pop(record, None)
        if kernel is not None:
            broker.executor.forget(kernel)
            broker.clock.ended(kernel)
        broker.registry.gone(record)
        broker.carry_out()
