"""A planned restart: the program is executed again in the same process, and goes on with everything (`handover`).

First the program is tried in a child process: where that could not start, nothing happens. Then, while everybody is
still served, no kernel is launched any more, and those that are starting, and the frames that are under way, come to
their end. Then nothing more is received, so that every link comes to a frame boundary; what a peer does not take at
once is kept. Then the state is written to a file without a name, which the next program inherits with all connections.
The process stays the same, so kernels stay its children, and a service manager notices nothing.

If the program cannot be executed after all, this one goes on as if nothing had happened.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import gevent
from gevent import subprocess
from gevent.event import Event

from wstpserver.server import CAN_START, HANDOVER_VARIABLE, systemd
from wstpserver.server.bridge.dispatcher import Dispatcher
from wstpserver.server.connection import yield_to_loop
from wstpserver.server.handover import FORMAT, descriptors, set_inheritable, store
from wstpserver.server.kernels.keeper_client import NOT_INHERITED
from wstpserver.server.kernels.launcher import Launcher
from wstpserver.server.log import Log

#: Seconds that the program has to say that it could start.
CHECK_TIME = 30.0

#: Seconds between two looks at what is still under way, while everybody is served and while nobody is.
SERVING_INTERVAL = 0.02
HALTED_INTERVAL = 0.001

#: Seconds for what follows when a link was closed in the middle of a frame.
CLOSING_TIME = 1.0

#: Seconds after which the program is tried once more before it is executed.
STALE = 1.0

#: How often the loop has to poll with nothing to do before everything counts as halted: what one greenlet leaves to
#: another that is just starting is done by then.
QUIET_TURNS = 3

#: Signals that wait while the program is executed: the next one has no handlers at first.
BLOCKED_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD)


def command_line() -> list[str]:
    """The command line of this process, which executes the program again."""
    return [sys.executable, *sys.orig_argv[1:]]


def check_words(port: int, interface: str) -> str:
    """What asks a program whether it could take over from this one (`read_check_words`).

    Args:
        port: The port that this server was asked to listen on.
        interface: The interface.
    """
    return f"check {FORMAT} {port} {interface}"


def read_check_words(words: str) -> tuple[int, int, str]:
    """The format, the port and the interface in what `check_words` of the server returned that asks.

    Raises:
        ValueError: There are none.
    """
    _, number, port, interface = words.split(" ", 3)
    return int(number), int(port), interface


def start_trial(words: str) -> subprocess.Popen:
    """Start a child process that finds out whether the program could start.

    Args:
        words: From `check_words`.

    Raises:
        OSError: It cannot be executed.
    """
    environment = {name: value for name, value in os.environ.items() if name not in NOT_INHERITED}
    environment[HANDOVER_VARIABLE] = words
    return subprocess.Popen(
        command_line(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        start_new_session=True,
    )


def outcome_of(child: subprocess.Popen) -> str:
    """Wait for a trial; returns why the program could not start, or ""."""
    try:
        output, errors = child.communicate(timeout=CHECK_TIME)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
        return f"the program did not say within {CHECK_TIME:g} seconds that it could start"
    if child.returncode == 0 and CAN_START in output.decode("utf-8", "replace").splitlines():
        return ""
    told = errors.decode("utf-8", "replace").strip() or output.decode("utf-8", "replace").strip()
    return told or f"the program ended with exit status {child.returncode}"


class Restart:
    """Restarts one server.

    Args:
        log: The log.
        dispatcher: All sessions and kernels.
        launcher: Starts kernels.
        stopping: Set when the server is asked to stop, which ends a restart.
        timeout: Returns how long it waits for what is under way (RestartTimeout), in seconds.
        words: What asks the program whether it could start.
        prepare: Withdraws the advertisement; may wait.
        halt: Stops accepting connections.
        resume: The opposite of both.
        others: Returns what is handed over beside the sessions and kernels.
    """

    def __init__(
        self,
        log: Log,
        dispatcher: Dispatcher,
        launcher: Launcher,
        stopping: Event,
        timeout: Callable[[], float],
        words: str,
        prepare: Callable[[], None],
        halt: Callable[[], None],
        resume: Callable[[], None],
        others: Callable[[], Mapping[str, Any]],
    ) -> None:
        self._log = log
        self._dispatcher = dispatcher
        self._launcher = launcher
        self._stopping = stopping
        self._timeout = timeout
        self._words = words
        self._prepare = prepare
        self._halt_others = halt
        self._resume_others = resume
        self._others = others
        self._under_way = False
        self._trial: subprocess.Popen | None = None

    def stop(self) -> None:
        """Give up, because the server stops."""
        if self._trial is not None:
            self._trial.kill()

    def run(self) -> str:
        """Restart; does not return if the program was executed.

        Returns:
            Why it was not, for the administrator.
        """
        if self._under_way:
            return "a restart is under way already"
        self._under_way = True
        self._log.information("Restarting")
        try:
            reason = self._run()
        finally:
            self._under_way = False
        self._log.error(f"The server was not restarted and goes on as before: {reason}")
        return reason

    def _try_program(self) -> str:
        """Try whether the program could start; returns why not, or ""."""
        try:
            self._trial = start_trial(self._words)
        except OSError as error:
            return f"the program cannot be executed: {error.strerror}"
        try:
            reason = outcome_of(self._trial)
        finally:
            self._trial = None
        return "it is being stopped" if self._stopping.is_set() else reason

    def _run(self) -> str:
        reason = self._try_program()
        if reason:
            return reason
        tried = time.monotonic()
        self._launcher.line.hold()
        try:
            self._prepare()
            stuck = self._await_frames()
            if time.monotonic() - tried > STALE:
                reason = self._try_program()
                if reason:
                    return reason
            if self._stopping.is_set():
                return "it is being stopped"
            return self._halt_and_execute(stuck)
        finally:
            self._resume_others()
            self._launcher.line.release()

    def _await_frames(self) -> set[Any]:
        """Wait, while everybody is served, for kernels that are starting and for the frames that are under way.

        Returns:
            The clients and kernels whose frame has not come to its end in time.
        """
        deadline = time.monotonic() + self._timeout()
        before = self._dispatcher.frames_under_way()
        while not self._stopping.is_set():
            before &= self._dispatcher.frames_under_way()
            if not before and self._dispatcher.supervisor.is_settled:
                break
            if time.monotonic() >= deadline:
                break
            gevent.sleep(SERVING_INTERVAL)
        return {end for end, _ in before}

    def _halt_and_execute(self, stuck: set[Any]) -> str:
        began = time.monotonic()
        self._halt_others()
        try:
            if stuck:
                self._dispatcher.close_unhalted(stuck)
            self._halt(began + self._timeout())
            if self._stopping.is_set():
                return "it is being stopped"
            systemd.reloading()
            record = {**self._others(), **self._dispatcher.hand_over(), "began": began, "halted": time.monotonic()}
            return self._execute(record)
        finally:
            self._dispatcher.resume()

    def _halt(self, deadline: float) -> None:
        """Wait until everything can be handed over."""
        quiet, closed = 0, False
        while quiet < QUIET_TURNS and not self._stopping.is_set():
            if self._dispatcher.halt():
                quiet += 1
                yield_to_loop()
                continue
            quiet = 0
            if time.monotonic() >= deadline:
                if closed:
                    return
                self._dispatcher.close_unhalted()
                closed, deadline = True, deadline + CLOSING_TIME
            gevent.sleep(HALTED_INTERVAL)

    def _execute(self, record: Mapping[str, Any]) -> str:
        """Execute the program; returns why that is not possible."""
        numbers = descriptors(record)
        try:
            stored = store(record)
        except OSError as error:
            return f"what is under way cannot be handed over: {error.strerror}"
        signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKED_SIGNALS)
        set_inheritable([*numbers, stored], inheritable=True)
        self._log.flush()
        sys.stdout.flush()
        environment = {**os.environ, HANDOVER_VARIABLE: str(stored)}
        try:
            os.execve(sys.executable, command_line(), environment)
        except OSError as error:
            set_inheritable(numbers, inheritable=False)
            os.close(stored)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, BLOCKED_SIGNALS)
            return f"the program cannot be executed: {error.strerror}"
