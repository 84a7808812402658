"""The time limits of nested TimeConstrained calls, on one interval timer (or none, where there is no such timer)."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from types import FrameType

from mathics.core.interrupt import EvaluationInterrupt

#: Seconds between two signals of the timer once a deadline has passed.
TIMER_AGAIN = 0.05


class Deadline:
    """One time limit; compared by identity. `at` is in seconds of time.monotonic()."""

    __slots__ = ("at",)

    def __init__(self, at: float) -> None:
        self.at = at


class DeadlineReached(EvaluationInterrupt):
    """Unwinds an evaluation to the TimeConstrained that set `deadline`.

    Not Mathics' TimeoutInterrupt, which its pattern matcher takes for "no match".
    """

    def __init__(self, deadline: Deadline) -> None:
        super().__init__()
        self.deadline = deadline


class Deadlines:
    """The limits in force, innermost last. Used by the main thread alone (signal handlers run there too)."""

    def __init__(self, on_passed: Callable[[], None]) -> None:
        self._active: list[Deadline] = []
        self._on_passed = on_passed
        self._enforce: Callable[[int, FrameType | None], None] | None = None

    def install_signal_handler(self, enforce: Callable[[int, FrameType | None], None]) -> None:
        """Receive the timer's signal; `enforce` is called at each one, after `on_passed`."""
        self._enforce = enforce
        if hasattr(signal, "SIGALRM"):
            signal.signal(signal.SIGALRM, self._on_alarm)

    def add(self, seconds: float) -> Deadline:
        """Set a limit that many seconds from now."""
        deadline = Deadline(time.monotonic() + seconds)
        self._active.append(deadline)
        self._set_timer()
        return deadline

    def remove(self, deadline: Deadline) -> None:
        """Lift a limit; unknown ones are ignored."""
        if deadline in self._active:
            self._active.remove(deadline)
            self._set_timer()

    @property
    def count(self) -> int:
        """How many limits are in force."""
        return len(self._active)

    def keep(self, count: int) -> None:
        """Lift all limits but the outermost `count`."""
        if len(self._active) > count:
            del self._active[count:]
            self._set_timer()

    def is_among_outermost(self, deadline: Deadline, count: int) -> bool:
        """Whether `deadline` is one of the outermost `count` that are in force."""
        return deadline in self._active[:count]

    def reached(self, grace: float = 0.0) -> Deadline | None:
        """The outermost limit that passed more than `grace` seconds ago."""
        if not self._active:
            return None
        now = time.monotonic() - grace
        return next((deadline for deadline in self._active if deadline.at <= now), None)

    def _set_timer(self) -> None:
        if not hasattr(signal, "setitimer"):
            return
        if not self._active:
            signal.setitimer(signal.ITIMER_REAL, 0)
            return
        left = min(deadline.at for deadline in self._active) - time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, max(left, 0.000_1), TIMER_AGAIN)

    def _on_alarm(self, number: int, frame: FrameType | None) -> None:
        if self.reached() is not None:
            self._on_passed()
            if self._enforce is not None:
                self._enforce(number, frame)
