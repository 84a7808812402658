"""What ends an evaluation from outside: aborts, interrupts, and the time limits of TimeConstrained.

Requests come from the thread that reads the message connection, or from a timer; the main thread carries them out, in
one of two ways. Mathics calls `Evaluation.check_stopped()` at every step of an evaluation, and the exception is raised
there, at a well-defined place (within a millisecond). Code that does not reach this call, such as a long SymPy
computation, is *enforced* after a while: the signal SIGINT is sent, and its handler raises the exception. An exception
at an arbitrary place must not separate operations that belong together. Therefore it is postponed while the main thread
writes to the link, changes definitions, or is otherwise `masked`, and tried again a little later.

A request only affects the evaluation it was sent for: the one whose packet had arrived before the request did
(`channel.SocketTimestamps`). An abort that arrived while the kernel was idle, or just as the previous evaluation ended,
is dropped.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import FrameType
from typing import NamedTuple

from mathics.core.interrupt import AbortInterrupt, EvaluationInterrupt

#: Seconds an evaluation has to reach `check_stopped` before an abort is enforced, and between two enforcements.
ENFORCE_AFTER = 0.25
ENFORCE_AGAIN = 0.05

#: Seconds for which an abort without an evaluation is kept: its evaluation may still be arriving.
HOLD_FOR = 10.0

#: Seconds between two signals of the timer once a time limit has passed.
TIMER_AGAIN = 0.05

#: Source files in which an exception at an arbitrary place would leave half a change, and how many frames are searched.
FRAGILE_FILES = ("mathics/core/definitions.py", "mathics\\core\\definitions.py")
FRAGILE_FRAMES = 6


class TimeLimit:
    """One time limit, compared by identity. `at` is in seconds of `time.monotonic()`."""

    __slots__ = ("at",)

    def __init__(self, at: float) -> None:
        self.at = at


class TimeLimitReached(EvaluationInterrupt):
    """Unwinds an evaluation to the TimeConstrained that set `limit`.

    Not Mathics' TimeoutInterrupt, which its pattern matcher takes for "no match".
    """

    def __init__(self, limit: TimeLimit) -> None:
        super().__init__()
        self.limit = limit


class TimeLimits:
    """The limits in force, innermost last, on one interval timer (none on systems without such a timer).

    Used by the main thread alone; signal handlers run there too.
    """

    def __init__(self, on_passed: Callable[[], None]) -> None:
        self._active: list[TimeLimit] = []
        self._on_passed = on_passed
        self._enforce: Callable[[int, FrameType | None], None] | None = None

    def install_signal_handler(self, enforce: Callable[[int, FrameType | None], None]) -> None:
        """Receive the timer's signal; each one calls `on_passed`, then `enforce`."""
        self._enforce = enforce
        if hasattr(signal, "SIGALRM"):
            signal.signal(signal.SIGALRM, self._on_alarm)

    def add(self, seconds: float) -> TimeLimit:
        """Set a limit `seconds` from now."""
        limit = TimeLimit(time.monotonic() + seconds)
        self._active.append(limit)
        self._set_timer()
        return limit

    def remove(self, limit: TimeLimit) -> None:
        """Remove a limit; unknown ones are ignored."""
        if limit in self._active:
            self._active.remove(limit)
            self._set_timer()

    @property
    def count(self) -> int:
        """How many limits are in force."""
        return len(self._active)

    def keep(self, count: int) -> None:
        """Remove all limits but the outermost `count`."""
        if len(self._active) > count:
            del self._active[count:]
            self._set_timer()

    def is_among_outermost(self, limit: TimeLimit, count: int) -> bool:
        """Whether `limit` is one of the outermost `count` limits in force."""
        return limit in self._active[:count]

    def reached(self, grace: float = 0.0) -> TimeLimit | None:
        """The outermost limit that passed more than `grace` seconds ago."""
        if not self._active:
            return None
        now = time.monotonic() - grace
        return next((limit for limit in self._active if limit.at <= now), None)

    def _set_timer(self) -> None:
        if not hasattr(signal, "setitimer"):
            return
        if not self._active:
            signal.setitimer(signal.ITIMER_REAL, 0)
            return
        left = min(limit.at for limit in self._active) - time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, max(left, 0.000_1), TIMER_AGAIN)

    def _on_alarm(self, number: int, frame: FrameType | None) -> None:
        if self.reached() is not None:
            self._on_passed()
            if self._enforce is not None:
                self._enforce(number, frame)


class EvaluationScope(NamedTuple):
    """What was in force when an evaluation began, to be restored when it ends (evaluations nest in dialogs).

    Attributes:
        armed: Whether an outer evaluation was running.
        arrived: When the packet of the outer evaluation arrived.
        limits: How many time limits were in force.
    """

    armed: bool
    arrived: float | None
    limits: int


@dataclass(frozen=True, kw_only=True)
class InterruptRequest:
    """An abort or an interrupt.

    Attributes:
        is_abort: False for an interrupt.
        arrived: When the message arrived, in seconds of the clock of socket timestamps; None if unknown.
        input_waited: Whether there was unread input when the request was noted.
        noted: When the request was noted, in seconds of `time.monotonic()`.
    """

    is_abort: bool
    arrived: float | None
    input_waited: bool
    noted: float = field(default_factory=time.monotonic)


class EvaluationInterrupts:
    """The requests to end or interrupt the evaluation of one kernel.

    `request_abort`, `request_interrupt` and `enforce` may be called from any thread, everything else from the main
    thread.

    Attributes:
        input_arrived: When the packet arrived for which evaluations run from now on; None if unknown.
        armed: Whether an evaluation is running that a request may affect.
        due: Whether `act` has something to do; read at every step of an evaluation.
        limits: The time limits in force.
        on_interrupt: Called in the main thread, inside the evaluation, for an interrupt. May raise AbortInterrupt.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._main_thread = threading.get_ident()
        self._abort = False
        self._interrupt = False
        self._masked = 0
        self._raised_at = 0.0
        self._held: InterruptRequest | None = None
        self._arrived: float | None = None
        self.input_arrived: float | None = None
        self.armed = False
        self.due = False
        self.limits = TimeLimits(self._limit_passed)
        self.on_interrupt: Callable[[], None] = lambda: None

    def install_signal_handlers(self) -> None:
        """Let SIGINT enforce requests. A SIGINT without a request (control-C) does nothing."""
        signal.signal(signal.SIGINT, self._on_signal)
        self.limits.install_signal_handler(self._on_signal)

    # Begin and end of an evaluation.

    def scope(self) -> EvaluationScope:
        """What is in force, for a later `end`."""
        return EvaluationScope(self.armed, self._arrived, self.limits.count)

    def begin(self) -> None:
        """An evaluation begins: from here on requests take effect."""
        with self._lock:
            held, self._held = self._held, None
            self._arrived = self.input_arrived
            self.due = held is not None and self._is_meant(held)
            self._abort = self.due and held is not None and held.is_abort
            self._interrupt = self.due and not self._abort
            self.armed = True

    def end(self, scope: EvaluationScope) -> None:
        """The evaluation is over, and with it the requests for it.

        After an exception, set `armed` to False first: this is one step, in which no signal can arrive.
        """
        self.armed = False
        with self._lock:
            self._abort = self._interrupt = self.due = False
            self.limits.keep(scope.limits)
            self._arrived = scope.arrived
            self.armed = scope.armed

    # Requests.

    def request_abort(self, arrived: float | None = None, *, input_waits: bool = False) -> bool:
        """Abort the running evaluation.

        Args:
            arrived: When the message arrived; None if unknown.
            input_waits: Whether there is input the kernel has not read yet; used where times are unknown.

        Returns:
            False if no evaluation is running that the abort is meant for.
        """
        return self._request(InterruptRequest(is_abort=True, arrived=arrived, input_waited=input_waits))

    def request_interrupt(self, arrived: float | None = None, *, input_waits: bool = False) -> bool:
        """Interrupt the running evaluation with a menu. Arguments and result are those of `request_abort`."""
        return self._request(InterruptRequest(is_abort=False, arrived=arrived, input_waited=input_waits))

    def _request(self, request: InterruptRequest) -> bool:
        with self._lock:
            if not self.armed:
                self._held = request  # its evaluation may be about to begin
                return False
            if request.arrived is not None and self._arrived is not None and request.arrived < self._arrived:
                return False
            self._abort = self._abort or request.is_abort
            self._interrupt = self._interrupt or not request.is_abort
            self.due = True
            return True

    def _is_meant(self, request: InterruptRequest) -> bool:
        """Whether a request is meant for the evaluation that begins."""
        if request.arrived is None or self._arrived is None:
            return request.input_waited
        return request.arrived >= self._arrived

    @property
    def abort_requested(self) -> bool:
        """Whether there is an abort that has neither ended the evaluation nor been caught by it."""
        return self._abort

    def abort_is_held(self) -> bool:
        """Whether a recent abort waits for the evaluation it may be meant for."""
        held = self._held
        return held is not None and held.is_abort and time.monotonic() - held.noted < HOLD_FOR

    def enforce(self) -> None:
        """Signal the main thread, so that it notices a request inside Python code or a system call."""
        if hasattr(signal, "pthread_kill"):
            signal.pthread_kill(self._main_thread, signal.SIGINT)
        else:  # Windows
            import _thread

            _thread.interrupt_main()

    # Carrying requests out, in the main thread.

    def act(self) -> None:
        """Carry out what is due.

        Raises:
            AbortInterrupt: An abort was requested, or chosen in the interrupt menu.
            TimeLimitReached: A time limit has passed.
        """
        if self._abort:
            self._raised_at = time.monotonic()
            raise AbortInterrupt
        reached = self.limits.reached()
        if reached is not None:
            raise TimeLimitReached(reached)
        if self._interrupt:
            with self._lock:
                self._interrupt = False
                self.due = self._abort
            self.on_interrupt()
            return
        self.due = False

    def absorb_abort(self) -> None:
        """The evaluation caught the abort (CheckAbort) and goes on."""
        with self._lock:
            self._abort = False
            self.due = self._interrupt

    def sleep(self, seconds: float) -> None:
        """Do nothing for `seconds`, or until something is due, which is then carried out."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if self.due:
                self.act()
            time.sleep(min(left, 0.01))

    @contextlib.contextmanager
    def masked(self) -> Iterator[None]:
        """Allow no exception out of a signal handler within the block."""
        self._masked += 1
        try:
            yield
        finally:
            self._masked -= 1

    def _limit_passed(self) -> None:
        self.due = self.armed

    def _on_signal(self, _number: int, frame: FrameType | None) -> None:
        if not self.armed or self._masked or _is_fragile(frame):
            return
        if self._abort and time.monotonic() - self._raised_at > ENFORCE_AFTER:
            self._raised_at = time.monotonic()
            raise AbortInterrupt
        overdue = self.limits.reached(grace=ENFORCE_AFTER)
        if overdue is not None:
            raise TimeLimitReached(overdue)


def _is_fragile(frame: FrameType | None) -> bool:
    """Whether the main thread is inside code that an exception would leave half done."""
    for _ in range(FRAGILE_FRAMES):
        if frame is None:
            return False
        if frame.f_code.co_filename.endswith(FRAGILE_FILES):
            return True
        frame = frame.f_back
    return False
