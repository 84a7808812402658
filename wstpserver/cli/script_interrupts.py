"""Ctrl-C while a kernel evaluates: abort, keep the session; leave when the kernel does not obey."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, Final

from wstpserver.cli.script_terminal import Terminal
from wstpserver.client import LinkError, Session

#: The Ctrl-C, counted from the first of an evaluation, that leaves without waiting for the kernel.
_LEAVING: Final = 3


class Interrupts:
    """A context in which Ctrl-C aborts what `session` evaluates. For the main thread.

    The second Ctrl-C says that the third one leaves: it raises KeyboardInterrupt, and `leave` is true.
    """

    def __init__(self, session: Session, terminal: Terminal) -> None:
        self._session = session
        self._terminal = terminal
        self._count = 0
        self._former: Any = None
        self._asking = False
        #: Whether the user wants to leave a kernel that does not obey.
        self.leave = False
        self._ask, terminal.read_line = terminal.read_line, self._read_line

    def _read_line(self, prompt: str) -> str:
        """The answer to a question of the kernel. Ctrl-C there gives the evaluation up by KeyboardInterrupt."""
        self._asking = True
        try:
            return self._ask(prompt)
        finally:
            self._asking = False

    def __enter__(self) -> None:
        self._count = 0
        self._former = signal.signal(signal.SIGINT, self._pressed)

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._former)

    def _pressed(self, number: int, frame: FrameType | None) -> None:
        if self._asking:
            raise KeyboardInterrupt
        self._count += 1
        if self._count >= _LEAVING:
            self.leave = True
            raise KeyboardInterrupt
        if self._count == _LEAVING - 1:
            self._terminal.error("wstpscript: the kernel was told to abort; once more Ctrl-C leaves it")
        # Not here: the thread that waits for the evaluation may hold what abort() needs, and it is this one.
        threading.Thread(target=self._abort, daemon=True).start()

    def _abort(self) -> None:
        try:
            self._session.abort()
        except LinkError:
            pass  # the thread that waits hears of it
