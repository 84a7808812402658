"""Kernels on their way from a decision to readiness: launch, first prompt, initialisation, pauses after failures."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import gevent
from gevent.event import AsyncResult
from gevent.pool import Group

from wstpserver.model.states import Kernel, KernelState, Pool
from wstpserver.server.initialisation import InitialisationFailed, initialise
from wstpserver.server.kernel import KernelServer
from wstpserver.server.kernels.launcher import Launcher, LaunchFailed, command_line
from wstpserver.server.trace import trace_link
from wstpserver.settings.discovery import kernel_kind

if TYPE_CHECKING:
    from wstpserver.server.broker import Broker

#: Seconds between a failed start and the next, and how far they grow.
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0

#: A kernel that dies sooner than this many seconds after it was ready, with nobody bridged to it yet, counts as a
#: failed start: a pool whose kernels all do so must not spin.
SHORT_LIFE = 1.0


class Nursery:
    """Starts kernels for a broker, and runs the greenlets in which kernels end."""

    def __init__(self, broker: Broker, launcher: Launcher) -> None:
        self._broker = broker
        self._launcher = launcher
        self._starting: dict[Kernel, gevent.Greenlet] = {}
        self._group = Group()
        #: The next pause of each pool after a failure; the pools that pause now.
        self._pauses: dict[str, float] = {}
        self._pausing: set[str] = set()
        self._troubles: dict[str, str] = {}
        #: When the first kernel of each pool was started, and the pools whose readiness was reported.
        self._began: dict[str, float] = {}
        self._reported: set[str] = set()
        #: For each kernel outside pools that is starting: None once it is ready, or why it did not start.
        self._outcomes: dict[Kernel, AsyncResult] = {}

    def start(self, record: Kernel) -> None:
        """Start a kernel; the registry hears of its readiness or failure."""
        if record.pool is None:
            self._outcomes[record] = AsyncResult()
        else:
            self._began.setdefault(record.pool.name, time.monotonic())
        self._launcher.line.join(record, self._begin)

    def _begin(self, record: Kernel) -> None:
        self._starting[record] = self._group.spawn(self._run, record)

    def wait_until_started(self, record: Kernel) -> str | None:
        """Wait for a kernel outside pools; None if it is ready, else why it is not."""
        outcome: str | None = self._outcomes[record].get()
        return outcome

    def _settle(self, record: Kernel, outcome: str | None) -> None:
        waiting = self._outcomes.pop(record, None)
        if waiting is not None:
            waiting.set(outcome)

    def cancel(self, record: Kernel) -> None:
        """Stop starting a kernel; returns when nothing of it is left."""
        greenlet = self._starting.pop(record, None)
        if greenlet is not None:
            greenlet.kill()
        self._launcher.line.leave(record)  # it may have been waiting, or killed before it ran
        self._settle(record, "it was closed while it was starting")

    def adopt(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Run something that `join` has to wait for."""
        self._group.spawn(function, *arguments)

    def join(self) -> None:
        """Wait until every kernel that is starting or ending has done so."""
        self._group.join()

    def trouble(self, pool: Pool) -> str:
        """Why the pool's last start failed, or an empty text if it did not."""
        return self._troubles.get(pool.name, "")

    def _run(self, record: Kernel) -> None:
        broker = self._broker
        began = time.monotonic()
        kernel = None
        try:
            try:
                path, options = self._program(record)
                kernel = self._launch(record, path, options)
            finally:
                self._launcher.line.leave(record)
            launched = time.monotonic()
            initialise(kernel, record, kernel_kind(path) == "embedded", broker.settings, broker.log)
            broker.janitor.check_fresh(kernel)
        except (LaunchFailed, InitialisationFailed, ValueError) as error:
            self._failed(record, kernel, str(error))
            return
        except gevent.GreenletExit:
            raise  # `cancel`: whoever called it ends the kernel
        finally:
            self._starting.pop(record, None)
        self._succeeded(record, kernel, launched - began, time.monotonic() - began)

    def _program(self, record: Kernel) -> tuple[str, tuple[str, ...]]:
        """The program that a kernel runs, and its options. Raises ValueError for a bad command line."""
        if record.command_line is not None:
            return command_line(record.command_line)
        settings = record.pool.settings if record.pool is not None else self._broker.settings.default_pool
        return settings.kernel_path, settings.launch_options

    def _launch(self, record: Kernel, path: str, options: tuple[str, ...]) -> KernelServer:
        broker = self._broker
        timeout = broker.settings.kernel_start_timeout
        process, link = self._launcher.launch(record.id, path, options, timeout)
        if broker.log.trace_enabled:
            trace_link(broker.log, link, f"Kernel {record.id}")
        kernel = KernelServer(broker, record, process, link, broker.settings.missed_output_limit)
        broker.kernels[record] = kernel
        return kernel

    def _succeeded(self, record: Kernel, kernel: KernelServer, linked: float, ready: float) -> None:
        broker = self._broker
        where = f"of pool {record.pool.name}" if record.pool else "outside pools"
        broker.log.debug(
            f"Kernel {record.id} {where} is ready: process {kernel.process.pid},"
            f" link after {linked:.3f} s, initialised after {ready:.3f} s"
        )
        if record.pool is not None:
            self._troubles.pop(record.pool.name, None)
        broker.registry.ready(record)
        broker.carry_out()
        self._settle(record, None)
        self._report_pool(record.pool)

    def _report_pool(self, pool: Pool | None) -> None:
        if pool is None or pool.counts[KernelState.STARTING] or pool.name in self._reported:
            return
        self._reported.add(pool.name)
        kernels = "1 kernel" if pool.living == 1 else f"{pool.living} kernels"
        seconds = time.monotonic() - self._began[pool.name]
        self._broker.log.information(f"Pool {pool.name} is ready with {kernels} after {seconds:.3f} s")

    def _failed(self, record: Kernel, kernel: KernelServer | None, reason: str) -> None:
        broker, pool = self._broker, record.pool
        if kernel is not None:
            kernel.stop()
            broker.kernels.pop(record, None)
        if record.state is not KernelState.STARTING:
            return
        broker.registry.start_failed(record)
        if pool is None:
            self._settle(record, reason)
            broker.log.error(f"Kernel {record.id} outside pools did not start: {reason}")
        else:
            self._pause(pool, reason)
        broker.carry_out()

    def died(self, record: Kernel, how: str) -> None:
        """A kernel that was ready has ended by itself; to be called before the registry hears of it."""
        pool = record.pool
        if pool is not None and not record.uses and time.monotonic() - record.since < SHORT_LIFE:
            pool.holding_off = True
            self._pause(pool, f"it died as soon as it was ready: {how}")

    def unfit(self, record: Kernel, why: str) -> None:
        """A kernel is going to be closed because of *why*; if nobody was bridged to it yet, those that would take its
        place may well have to go for the same reason, so its pool pauses."""
        if record.pool is not None and not record.uses:
            record.pool.holding_off = True
            self._pause(record.pool, f"nobody had used it yet, but {why}")

    def proved(self, pool: Pool) -> None:
        """A kernel of the pool serves a client: should one fail later, the first pause is a short one again."""
        self._pauses.pop(pool.name, None)

    def _pause(self, pool: Pool, reason: str) -> None:
        """Report a failure and see to the end of the pause. Kernels that fail together make one pause."""
        self._troubles[pool.name] = f"The last kernel that was started for it failed: {reason}"
        following = ""
        if pool.name not in self._pausing:
            self._pausing.add(pool.name)
            pause = self._pauses.get(pool.name, FIRST_PAUSE)
            self._pauses[pool.name] = min(2 * pause, LONGEST_PAUSE)
            gevent.spawn_later(pause, self._resume, pool)
            following = f"\nThe next attempt follows in {pause:g} seconds"
        self._broker.log.error(f"A kernel of pool {pool.name} did not start: {reason}{following}")

    def _resume(self, pool: Pool) -> None:
        self._pausing.discard(pool.name)
        if not self._broker.stopping:
            self._broker.registry.resume(pool)
            self._broker.carry_out()
