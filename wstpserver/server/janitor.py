"""Looks after the limits of pools that nothing but time and memory can pass."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import gevent

from wstpserver.model.limits import MEASURED_STATES, overdue, too_large
from wstpserver.model.states import Kernel, KernelState
from wstpserver.server.initialisation import InitialisationFailed
from wstpserver.server.kernels.process_info import MemoryUnknown, resident_memory

if TYPE_CHECKING:
    from wstpserver.server.broker import Broker
    from wstpserver.server.kernel import KernelServer

#: Seconds between two rounds.
INTERVAL = 1.0


class Janitor:
    """Goes through the kernels once a second, of pools with such a limit only."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._greenlet: gevent.Greenlet | None = None
        #: True once the log has been told that memory cannot be measured here.
        self._cannot_measure = False

    def start(self) -> None:
        """Begin with the rounds."""
        self._greenlet = gevent.spawn(self._run)

    def stop(self) -> None:
        """End them."""
        if self._greenlet is not None:
            self._greenlet.kill()

    def check_fresh(self, kernel: KernelServer) -> None:
        """Raise `InitialisationFailed` for a kernel that is too large before anybody has used it.

        Without this, a limit that is too low would make a pool close and start kernels for ever.
        """
        pool = kernel.record.pool
        if pool is not None and pool.settings.kernel_memory_limit:
            why = too_large(kernel.record, self._measure([kernel]).get(kernel, 0))
            if why is not None:
                raise InitialisationFailed(why)

    def _run(self) -> None:
        while True:
            gevent.sleep(INTERVAL)
            self._close_overdue()
            self._close_large()

    def _close_overdue(self) -> None:
        registry, now = self._broker.registry, time.monotonic()
        for pool in tuple(registry.pools.values()):
            for record, why in overdue(pool, now):
                if record.state is KernelState.RESERVED:  # somebody may miss it
                    self._broker.log.information(f"Kernel {record.id} of pool {pool.name} is closed: {why}")
                registry.close(record, why)
        self._broker.carry_out()

    def _close_large(self) -> None:
        kernels = [
            self._broker.kernels[record]
            for pool in self._broker.registry.pools.values()
            if pool.settings.kernel_memory_limit
            for record in pool.kernels.values()
            if record.state in MEASURED_STATES and record in self._broker.kernels
        ]
        if not kernels:
            return
        for kernel, size in self._measure(kernels).items():
            why = too_large(kernel.record, size)
            if why is not None and kernel.record.state in MEASURED_STATES:
                self._close_one(kernel.record, why)
        self._broker.carry_out()

    def _close_one(self, record: Kernel, why: str) -> None:
        broker = self._broker
        assert record.pool is not None
        broker.log.warning(f"Kernel {record.id} of pool {record.pool.name} is closed: {why}")
        broker.nursery.unfit(record, why)
        broker.registry.close(record, why, told=f"the kernel was closed: {why}")

    def _measure(self, kernels: list[KernelServer]) -> dict[KernelServer, int]:
        by_pid = {kernel.process.pid: kernel for kernel in kernels if not kernel.process.exited.ready()}
        try:
            sizes = resident_memory(by_pid)
        except MemoryUnknown as error:
            if not self._cannot_measure:
                self._cannot_measure = True
                self._broker.log.warning(f"KernelMemoryLimit has no effect on this system: {error}")
            return {}
        return {by_pid[pid]: size for pid, size in sizes.items()}
