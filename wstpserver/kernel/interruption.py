"""What cuts an evaluation short from outside: aborts, interrupts, the deadlines of TimeConstrained.

Requests come from the thread that reads the message connection, or from the timer; they are carried out in the main
thread, in one of two ways. Mathics calls ``Evaluation.check_stopped()`` at every step of an evaluation: there the
exception is raised in an orderly place (this takes under a millisecond). Code that does not get there, such as a long
SymPy computation, is *enforced* after a while: the signal SIGINT, and the exception comes out of its handler. An
exception from nowhere must not tear things that belong together, so it waits while the main thread writes to the link,
swaps definitions, or is otherwise `masked`, and is tried again a little later.

A request only hits the evaluation it can have been meant for: the one whose packet had arrived when the abort did
(`arrivals`). An abort that came while the kernel was idle, or just as the evaluation before ended, is dropped.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NamedTuple

from mathics.core.interrupt import AbortInterrupt

from wstpserver.kernel.deadlines import DeadlineReached, Deadlines

#: Seconds the orderly way gets before an abort is enforced, and between two attempts to enforce it.
ENFORCE_AFTER = 0.25
ENFORCE_AGAIN = 0.05

#: Seconds an abort without an evaluation is worth watching: its evaluation may still be arriving.
HOLD_FOR = 10.0

#: Source files in which an exception from nowhere would leave half a change behind, and how many frames are looked at.
FRAGILE_FILES = ("mathics/core/definitions.py", "mathics\\core\\definitions.py")
FRAGILE_FRAMES = 6


class Scope(NamedTuple):
    """What was in force when an evaluation began: is it inside another one, of which arrival, how many deadlines."""

    armed: bool
    arrived: float | None
    deadlines: int


class Request(NamedTuple):
    """An abort or an interrupt: when it arrived, whether there was unread input when it was noted, and when that was
    (time.monotonic)."""

    is_abort: bool
    arrived: float | None
    input_waited: bool
    noted: float


class Interruption:
    """The requests to cut short the evaluation of one kernel.

    `request_abort`, `request_interrupt` and `enforce` are called from any thread, everything else from the main thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._main_thread = threading.get_ident()
        self._abort = False
        self._interrupt = False
        self._masked = 0
        self._raised_at = 0.0
        self._held: Request | None = None
        self._arrived: float | None = None
        #: When the packet arrived that evaluations are run for from now on; None if that is not known.
        self.input_arrived: float | None = None
        #: Whether an evaluation is running that a request may hit.
        self.armed = False
        #: Whether `act` has something to do; read at every step of an evaluation.
        self.due = False
        self.deadlines = Deadlines(self._deadline_passed)
        #: Called in the main thread, inside the evaluation, for an interrupt. It may raise AbortInterrupt.
        self.on_interrupt: Callable[[], None] = lambda: None

    def install_signal_handlers(self) -> None:
        """Let SIGINT enforce what was requested. A SIGINT without a request (control-C) does nothing."""
        signal.signal(signal.SIGINT, self._on_signal)
        self.deadlines.install_signal_handler(self._on_signal)

    # The course of an evaluation.

    def scope(self) -> Scope:
        """What is in force, for `end`: evaluations nest (dialogs)."""
        return Scope(self.armed, self._arrived, self.deadlines.count)

    def begin(self) -> None:
        """An evaluation begins: from here on requests count."""
        with self._lock:
            held, self._held = self._held, None
            self._arrived = self.input_arrived
            self.due = held is not None and self._is_meant(held)
            self._abort = self.due and held is not None and held.is_abort
            self._interrupt = self.due and not self._abort
            self.armed = True

    def end(self, scope: Scope) -> None:
        """The evaluation is over, and with it whatever was requested for it.

        After an exception, set `armed` to False first: that is one step, in which no signal can come between.
        """
        self.armed = False
        with self._lock:
            self._abort = self._interrupt = self.due = False
            self.deadlines.keep(scope.deadlines)
            self._arrived = scope.arrived
            self.armed = scope.armed

    # Requests.

    def request_abort(self, arrived: float | None = None, input_waits: bool = False) -> bool:
        """Abort the running evaluation; False if there is none that this is meant for.

        `arrived` is when the message did; `input_waits` says whether there is input the kernel has not read yet, and
        counts where times are not known.
        """
        return self._request(Request(True, arrived, input_waits, time.monotonic()))

    def request_interrupt(self, arrived: float | None = None, input_waits: bool = False) -> bool:
        """Interrupt the running evaluation with a menu. As `request_abort`."""
        return self._request(Request(False, arrived, input_waits, time.monotonic()))

    def _request(self, request: Request) -> bool:
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

    def _is_meant(self, request: Request) -> bool:
        """Whether a request is meant for the evaluation that begins."""
        if request.arrived is None or self._arrived is None:
            return request.input_waited
        return request.arrived >= self._arrived

    @property
    def abort_requested(self) -> bool:
        """Whether an abort was requested and has not ended, or been caught by, the evaluation."""
        return self._abort

    def abort_is_held(self) -> bool:
        """Whether an abort came a short time ago and waits for the evaluation it may be meant for."""
        held = self._held
        return held is not None and held.is_abort and time.monotonic() - held.noted < HOLD_FOR

    def enforce(self) -> None:
        """Make the main thread notice, whatever it does in Python code or in a system call."""
        if hasattr(signal, "pthread_kill"):
            signal.pthread_kill(self._main_thread, signal.SIGINT)
        else:  # Windows
            import _thread

            _thread.interrupt_main()

    # Carrying them out, in the main thread.

    def act(self) -> None:
        """Do what is due: raise AbortInterrupt or DeadlineReached, or show the interrupt menu."""
        if self._abort:
            self._raised_at = time.monotonic()
            raise AbortInterrupt
        reached = self.deadlines.reached()
        if reached is not None:
            raise DeadlineReached(reached)
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
        """Do nothing for that long, or until something is due, which is then carried out."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if self.due:
                self.act()
            time.sleep(min(left, 0.01))

    @contextlib.contextmanager
    def masked(self) -> Iterator[None]:
        """Keep exceptions from nowhere out of a block that must run to its end."""
        self._masked += 1
        try:
            yield
        finally:
            self._masked -= 1

    def _deadline_passed(self) -> None:
        self.due = self.armed

    def _on_signal(self, _number: int, frame: FrameType | None) -> None:
        if not self.armed or self._masked or _is_fragile(frame):
            return
        if self._abort and time.monotonic() - self._raised_at > ENFORCE_AFTER:
            self._raised_at = time.monotonic()
            raise AbortInterrupt
        overdue = self.deadlines.reached(grace=ENFORCE_AFTER)
        if overdue is not None:
            raise DeadlineReached(overdue)


def _is_fragile(frame: FrameType | None) -> bool:
    """Whether the main thread is in the middle of something that must not be torn."""
    for _ in range(FRAGILE_FRAMES):
        if frame is None:
            return False
        if frame.f_code.co_filename.endswith(FRAGILE_FILES):
            return True
        frame = frame.f_back
    return False
