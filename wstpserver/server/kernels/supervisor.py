"""Kernels from the decision to start one until its process is gone: launch, initialisation, pauses after failures, and
how they end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import gevent
from gevent.event import AsyncResult
from gevent.pool import Group

from wstpserver.pools.limits import start_timeout
from wstpserver.pools.registry import Registry
from wstpserver.pools.states import Kernel, KernelState, Pool
from wstpserver.server import GracePeriods
from wstpserver.server.bridge.kernel_session import KernelOwner, KernelSession
from wstpserver.server.handover import link_of_record
from wstpserver.server.kernels.initialise import InitialisationFailed, ResetFailed, initialise, reset
from wstpserver.server.kernels.launcher import Launcher, LaunchFailed, command_line
from wstpserver.server.kernels.notes import KernelNotes
from wstpserver.server.kernels.persistence import scan_of
from wstpserver.server.kernels.process import KernelProcess
from wstpserver.server.kernels.spawn import INHERITED, Surroundings, elsewhere_of
from wstpserver.server.log import Log
from wstpserver.server.trace import trace_link
from wstpserver.settings import PoolSettings, ServerSettings
from wstpserver.settings.discovery import kernel_kind

#: Seconds between a failed start and the next, and how far they grow.
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0

#: A kernel that dies sooner than this many seconds after it was ready, before a client was bridged to it, counts as a
#: failed start: a pool whose kernels all do so must not spin.
SHORT_LIFE = 1.0

#: Seconds that a kernel whose link has ended has to exit before it counts as dead: on this machine, and elsewhere,
#: where its output and how it ended come by one stream.
EXIT_GRACE, EXIT_GRACE_ELSEWHERE = 0.5, 1.5

#: Seconds after which a kernel on another machine that has not been started yet takes no turn of others any more: it
#: waits in the queue of an engine, perhaps for hours.
LONGEST_TURN = 5.0

#: States of a kernel with a session that end by themselves soon.
_UNSETTLED = frozenset({KernelState.RESETTING, KernelState.DYING})


@dataclass(slots=True)
class _Start:
    """A kernel that is starting."""

    #: Starts it; None while it waits for its turn.
    greenlet: gevent.Greenlet | None = None
    #: Its process, once there is one.
    process: KernelProcess | None = None
    #: For a kernel outside pools: None once it is ready, or why it did not start.
    outcome: AsyncResult = field(default_factory=AsyncResult)


@dataclass(slots=True)
class _Record:
    """What is remembered of the starts of a pool."""

    #: When its first kernel was started, by the monotonic clock, and whether its readiness was reported.
    began: float
    reported: bool = False
    #: Why its last start failed, "" if it did not.
    trouble: str = ""
    #: The pause under way, when the last began, and how long the next will be.
    pause: gevent.Greenlet | None = None
    paused_at: float = 0.0
    next_pause: float = FIRST_PAUSE
    #: How many bridges its kernels had had then.
    bridges: int = 0


class Supervisor:
    """Starts and ends the kernels of a server.

    Args:
        registry: Hears how starts and ends come out.
        launcher: Starts processes.
        log: The log.
        settings: Returns the configuration.
        owner: Hears of the kernels' links and commands.
        check_fresh: Raises `InitialisationFailed` for a kernel that must not be given to anybody.
        start_failed: Called when a kernel of a pool did not start, or cannot be used; `trouble` says why.
        grace: How long kernels have to come to their end.
    """

    def __init__(
        self,
        registry: Registry,
        launcher: Launcher,
        log: Log,
        settings: Callable[[], ServerSettings],
        owner: KernelOwner,
        check_fresh: Callable[[KernelSession], None],
        start_failed: Callable[[Pool], None],
        grace: GracePeriods,
    ) -> None:
        self._registry = registry
        self._launcher = launcher
        self._persistence = launcher.persistence
        self._log = log
        self._settings = settings
        self._owner = owner
        self._check_fresh = check_fresh
        self._start_failed = start_failed
        self._grace = grace
        #: All kernels whose link is made and whose process is not known to be gone.
        self.sessions: dict[Kernel, KernelSession] = {}
        #: True once the server is being stopped.
        self.stopping = False
        self._starts: dict[Kernel, _Start] = {}
        self._pools: dict[str, _Record] = {}
        self._group = Group()

    @property
    def is_settled(self) -> bool:
        """Whether no kernel is being started or reset, and of none that has ended it is open how."""
        starting = any(start.greenlet is not None for start in self._starts.values())
        return not starting and not any(session.record.state in _UNSETTLED for session in self.sessions.values())

    def join(self) -> None:
        """Wait until every kernel that is starting or ending has done so."""
        self._group.join()

    def reconfigure(self, settings: ServerSettings) -> None:
        """Take new settings over: pauses end, because what they wait for may have been repaired."""
        self._persistence.set_outlive(settings.kernels_outlive_server)
        for kernel in self.sessions.values():
            kernel.backlog.limit = settings.missed_output_limit
        for record in self._pools.values():
            if record.pause is not None:
                record.pause.kill(block=False)
                record.pause = None
            record.next_pause = FIRST_PAUSE

    # -- starting ----------------------------------------------------------------------------------------------

    def start(self, kernel: Kernel) -> None:
        """Start a kernel; the registry hears of its readiness or failure."""
        if kernel.pool is not None:
            self._of(kernel.pool)
        self._starts[kernel] = _Start()
        self._launcher.line.join(kernel, self._begin)

    def _begin(self, kernel: Kernel) -> None:
        self._starts[kernel].greenlet = self._group.spawn(self._run, kernel)

    def wait_until_started(self, kernel: Kernel) -> str | None:
        """Wait for a kernel that was just asked for; None if it is ready, else why it is not."""
        outcome: str | None = self._starts[kernel].outcome.get()
        return outcome

    def _run(self, kernel: Kernel) -> None:
        began = time.monotonic()
        session = None
        try:
            try:
                path, options = self._program(kernel)
                session = self._launch(kernel, path, options)
            finally:
                self._launcher.line.leave(kernel)
            launched = time.monotonic()
            remote = session.process.remote
            embedded = kernel_kind(path if remote is None else remote.path) == "embedded"
            initialise(session, embedded=embedded, settings=self._settings(), log=self._log)
            self._check_fresh(session)
        except (LaunchFailed, InitialisationFailed, ValueError) as error:
            self._failed(kernel, session, str(error))
            return
        if not self._registry.ready(kernel):
            return  # it is being closed, and `_end` ends this greenlet
        self._persistence.keep(session)
        self._settle(kernel, None)
        self._report(kernel, session, launched - began, time.monotonic() - began)

    def _program(self, kernel: Kernel) -> tuple[str, tuple[str, ...]]:
        """The program that a kernel runs, and its options. Raises ValueError for a bad command line."""
        if kernel.command_line is not None:
            return command_line(kernel.command_line)
        settings = self._pool_settings(kernel)
        return settings.kernel_path, settings.launch_options

    def _pool_settings(self, kernel: Kernel) -> PoolSettings:
        """The settings of its pool; those of the default pool for a kernel outside pools."""
        return kernel.pool.settings if kernel.pool is not None else self._settings().default_pool

    def _surroundings(self, kernel: Kernel) -> Surroundings:
        if kernel.command_line is not None:
            return INHERITED
        settings = self._pool_settings(kernel)
        return Surroundings(settings.kernel_directory, settings.kernel_environment)

    def _launch(self, kernel: Kernel, path: str, options: tuple[str, ...]) -> KernelSession:
        settings = self._settings()
        timeout = start_timeout(kernel, settings)
        surroundings = self._surroundings(kernel)
        directory, changes = surroundings.directory, surroundings.changes()
        elsewhere = elsewhere_of(settings, self._pool_settings(kernel), kernel.id, directory, changes)
        if elsewhere is not None:
            gevent.spawn_later(LONGEST_TURN, self._launcher.line.leave, kernel)

        def began(process: KernelProcess) -> None:
            self._starts[kernel].process = process

        process, link = self._launcher.launch(kernel.id, path, options, timeout, surroundings, elsewhere, began)
        if self._log.trace_enabled:
            trace_link(self._log, link, f"Kernel {kernel.id}")
        session = KernelSession(self._owner, kernel, process, link, settings.missed_output_limit)
        notes = self._persistence.make_notes(link.data.socket.fileno(), len(link.leftover))
        if notes is not None:
            self._take_notes(session, notes)
        self.sessions[kernel] = session
        return session

    def _take_notes(self, session: KernelSession, notes: KernelNotes, position: int = 0, scan: bytes = b"") -> None:
        kernel, persistence = session.record, self._persistence
        journal = persistence.journal(kernel, session.channel)
        session.take_notes(notes, journal, lambda soon: persistence.changed(kernel, soon=soon), position, scan)

    def go_on(self, kernel: Kernel, process: KernelProcess, record: Mapping[str, Any]) -> KernelSession:
        """Go on with a kernel that another process has started. What it writes is kept until it has a peer.

        Args:
            kernel: What the registry knows of it.
            process: The process.
            record: What `KernelSession.hand_over` returned, with descriptors of this process.

        Raises:
            OSError: Its link does not exist any more.
            KeyError, ValueError: The record is none of a kernel.
        """
        beside = self._persistence.passed_beside(record)
        link = link_of_record(record["link"])
        lent = link.data.handle.lent
        lent.sent, lent.taken = beside
        if self._log.trace_enabled:
            trace_link(self._log, link, f"Kernel {kernel.id}")
        session = KernelSession(self._owner, kernel, process, link, self._settings().missed_output_limit)
        found = self._persistence.find_notes(record, link.data.socket.fileno(), len(link.leftover), lent.taken)
        if found is not None:
            notes, position = found
            notes.keep(link.leftover)
            self._take_notes(session, notes, position, scan_of(record))
        session.go_on(record)
        self._persistence.keep(session)
        self.sessions[kernel] = session
        return session

    def end_process(self, kernel: Kernel, process: KernelProcess | None) -> None:
        """Go on with the end of a kernel that is closing and has no session here."""
        self._group.spawn(self._end_process, kernel, process)

    def _end_process(self, kernel: Kernel, process: KernelProcess | None) -> None:
        if process is not None:
            process.stop(self._grace)
        self._forget(kernel)

    def _report(self, kernel: Kernel, session: KernelSession, linked: float, ready: float) -> None:
        pool = kernel.pool
        where = f"of pool {pool.name}" if pool is not None else "outside pools"
        self._log.debug(
            f"Kernel {kernel.id} {where} is ready: process {session.process.pid},"
            f" link after {linked:.3f} s, initialised after {ready:.3f} s"
        )
        if pool is None:
            return
        record = self._of(pool)
        record.trouble = ""
        if not pool.counts[KernelState.STARTING] and not record.reported:
            record.reported = True
            kernels = "1 kernel" if pool.living == 1 else f"{pool.living} kernels"
            seconds = time.monotonic() - record.began
            self._log.information(f"Pool {pool.name} is ready with {kernels} after {seconds:.3f} s")

    def _failed(self, kernel: Kernel, session: KernelSession | None, reason: str) -> None:
        if session is not None:
            session.stop(self._grace)
        if kernel.state is not KernelState.STARTING:
            return
        self.sessions.pop(kernel, None)
        self._settle(kernel, reason)
        if kernel.pool is None:
            self._log.error(f"Kernel {kernel.id} outside pools did not start: {reason}")
        else:
            self._pause(kernel.pool, reason)
        self._registry.start_failed(kernel)

    def process_of(self, kernel: Kernel) -> KernelProcess | None:
        """The process of a kernel that runs or is starting, None if it has none."""
        session = self.sessions.get(kernel)
        if session is not None:
            return session.process
        start = self._starts.get(kernel)
        return start.process if start is not None else None

    def _settle(self, kernel: Kernel, outcome: str | None) -> None:
        start = self._starts.pop(kernel, None)
        if start is not None:
            start.outcome.set(outcome)

    # -- pauses after failures ---------------------------------------------------------------------------------

    def _of(self, pool: Pool) -> _Record:
        record = self._pools.get(pool.name)
        if record is None:
            record = self._pools[pool.name] = _Record(began=time.monotonic())
        return record

    def trouble(self, pool: Pool) -> str:
        """Why the pool's last start failed, or "" if it did not."""
        return self._of(pool).trouble

    def unfit(self, kernel: Kernel, why: str) -> None:
        """Note that a kernel is going to be closed because of *why*. If no client was bridged to it yet, the kernels
        that would take its place may have to go for the same reason, so its pool pauses.
        """
        if kernel.pool is not None and not kernel.uses:
            self._registry.hold_off(kernel.pool)
            self._pause(kernel.pool, f"nobody had used it yet, but {why}", proved_by_age=False)

    def _died(self, kernel: Kernel, how: str) -> None:
        """A kernel that was ready has ended by itself, and the registry does not know yet."""
        pool = kernel.pool
        if pool is None:
            return
        if not kernel.uses and time.monotonic() - kernel.ready_at < SHORT_LIFE:
            self._registry.hold_off(pool)
            self._pause(pool, f"it died as soon as it was ready: {how}")
        elif kernel.ready_at > self._of(pool).paused_at:
            self._of(pool).next_pause = FIRST_PAUSE

    def _pause(self, pool: Pool, reason: str, *, proved_by_age: bool = True) -> None:
        """Report a failure and see to the end of the pause. Kernels that fail together make one pause.

        Args:
            pool: The pool.
            reason: Why a kernel of it failed.
            proved_by_age: A kernel that was started since the last pause and has lived for a while proves that starts
                succeed, so that the pause is a short one again.
        """
        record = self._of(pool)
        record.trouble = f"The last kernel that was started for it failed: {reason}"
        following = ""
        if record.pause is None:
            now = time.monotonic()
            if pool.bridges > record.bridges:  # its kernels have served clients since
                record.next_pause = FIRST_PAUSE
            if proved_by_age and any(
                one.ready_at > record.paused_at and now - one.ready_at >= SHORT_LIFE for one in pool.kernels.values()
            ):
                record.next_pause = FIRST_PAUSE
            pause, record.paused_at, record.bridges = record.next_pause, now, pool.bridges
            record.next_pause = min(2 * pause, LONGEST_PAUSE)
            record.pause = gevent.spawn_later(pause, self._resume, pool, record)
            following = f"\nThe next attempt follows in {pause:g} seconds"
        self._log.error(f"A kernel of pool {pool.name} did not start: {reason}{following}")
        gevent.spawn(self._start_failed, pool)  # once the registry knows it, too

    def _resume(self, pool: Pool, record: _Record) -> None:
        record.pause = None
        if not self.stopping:
            self._registry.start_again(pool)

    # -- between two clients -----------------------------------------------------------------------------------

    def reset(self, kernel: Kernel) -> None:
        """Run the ResetCode of its pool in a kernel; the registry hears how it went."""
        self._group.spawn(self._reset, kernel)

    def _reset(self, kernel: Kernel) -> None:
        session = self.sessions.get(kernel)
        if session is None or not _is_resetting(session):
            return
        began = time.monotonic()
        try:
            reset(session, self._log, start_timeout(kernel, self._settings()))
        except ResetFailed as error:
            if _is_resetting(session):
                self._log.warning(f"Kernel {kernel.id} is closed: {error}")
                self._registry.close(kernel, str(error))
        else:
            if _is_resetting(session):  # the end of a kernel is settled by `link_ended`
                self._log.debug(f"Kernel {kernel.id} was reset in {time.monotonic() - began:.3f} s")
                self._registry.reset_done(kernel)

    # -- ending ------------------------------------------------------------------------------------------------

    def close(self, kernel: Kernel, why: str) -> None:
        """End a kernel in stages, in a greenlet."""
        self._log.debug(f"Closing kernel {kernel.id}: {why}")
        self._group.spawn(self._end, kernel)

    def _end(self, kernel: Kernel) -> None:
        start = self._starts.get(kernel)
        if start is not None and start.greenlet is not None:
            start.greenlet.kill()
        self._launcher.line.leave(kernel)  # it may have waited for its turn, or was killed before it ran
        self._settle(kernel, "it was closed while it was starting")
        session = self.sessions.get(kernel)
        if session is not None:
            session.stop(self._grace)
        self._forget(kernel)

    def link_ended(self, session: KernelSession) -> None:
        """The link of a kernel has ended, by itself or because the server closes it."""
        kernel = session.record
        self._registry.link_ended(kernel)
        if kernel.state is KernelState.DYING:
            self._group.spawn(self._settle_death, session)
        else:
            session.channel.lost()  # the greenlet that starts or closes it goes on

    def _settle_death(self, session: KernelSession) -> None:
        kernel, exited = session.record, session.process.exited
        exited.wait(EXIT_GRACE if session.process.remote is None else EXIT_GRACE_ELSEWHERE)
        if kernel.state is not KernelState.DYING:
            session.channel.lost()  # it was closed meanwhile
            return
        in_good_order = exited.ready() and session.ended_in_good_order()
        status = session.process.how_it_ended() if exited.ready() else "it closed its link but has not ended"
        how = session.problem or status
        words = "" if in_good_order else session.process.last_output()
        death = f"died: {how}" + (f"; its last output lines:\n{words}" if words else "")
        if in_good_order:
            self._log.debug(f"Kernel {kernel.id} ended: {how}")
        else:
            self._log.warning(f"Kernel {kernel.id} (process {session.process.pid}) {death}")
        self._died(kernel, how)
        can_continue = session.complete_last_packet()
        told = "" if in_good_order else f"the kernel {death}"
        self._registry.lost(kernel, in_good_order=in_good_order, can_continue=can_continue, told=told)
        session.channel.lost()
        session.stop(self._grace)
        self._forget(kernel)

    def _forget(self, kernel: Kernel) -> None:
        self.sessions.pop(kernel, None)
        self._persistence.forget(kernel)
        self._registry.gone(kernel)


def _is_resetting(session: KernelSession) -> bool:
    return session.alive and session.record.state is KernelState.RESETTING
