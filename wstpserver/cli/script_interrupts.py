"""Ctrl-C in an interactive session: at the prompt it throws away what was typed, in an evaluation it aborts."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

from wstpserver.cli.script_terminal import Terminal
from wstpserver.client import LinkError, Session

#: The Ctrl-C, counted from the first of an evaluation, that leaves without waiting for the kernel.
_LEAVING: Final = 3


class Interrupts:
    """A context in which it has Ctrl-C for itself. For the main thread.

    From the first prompt to the last there is a handler that knows what to do. Where the user is `asked` for something
    Ctrl-C raises KeyboardInterrupt; everywhere else, also between an evaluation and the prompt after it, it aborts what
    `session` evaluates, if anything, and disturbs nothing. The second Ctrl-C says that the third one leaves: that
    raises KeyboardInterrupt, too, and `leave` is true.
    """

    def __init__(self, session: Session, terminal: Terminal) -> None:
        self._session = session
        self._terminal = terminal
        self._count = 0
        self._former: Any = None
        #: Whether the user wants to leave a kernel that does not obey.
        self.leave = False

    def __enter__(self) -> None:
        self._former = signal.signal(signal.SIGINT, self._pressed)

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._former)

    @contextmanager
    def asked(self) -> Iterator[None]:
        """Inside, the user is asked for something, which Ctrl-C ends by KeyboardInterrupt."""
        # By Python's own handler: `input` calls one for a second Ctrl-C when that of the first has raised, and then
        # nothing that is written in Python may run.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            self._count = 0
            yield
        finally:
            self.leave = False
            signal.signal(signal.SIGINT, self._pressed)

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Inside, a kernel evaluates. The user may be in the middle of being asked: names are completed so."""
        former = signal.signal(signal.SIGINT, self._pressed)
        try:
            self._count = 0
            self.leave = False
            yield
        finally:
            signal.signal(signal.SIGINT, former)

    def _pressed(self, number: int, frame: FrameType | None) -> None:
        self._count += 1
        if self._count >= _LEAVING:
            self.leave = True
            raise KeyboardInterrupt
        # Not here: this thread may be in the middle of writing, and hold what abort() needs.
        threading.Thread(target=self._abort, args=(self._count,), daemon=True).start()

    def _abort(self, count: int) -> None:
        try:
            if count == _LEAVING - 1:
                self._terminal.error("wstpscript: the kernel was told to abort; once more Ctrl-C leaves it")
            self._session.abort()
        except (LinkError, OSError):
            pass  # the thread that waits hears of it
