"""Ctrl-C in an interactive session: at the prompt it discards what was typed, in an evaluation it aborts.

Python's readline module does not hear it at two moments. It waits for a key with select() and looks for signals only
when one interrupts that. A Ctrl-C that comes while readline draws, or between two looks, would have no effect until the
next key. And a terminal discards at Ctrl-C what was typed: if that happens when select() has announced a key, readline
waits for it in a read that goes on through all signals, and no further Ctrl-C is heard. `Attention` mends both.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

from wstpserver.cli.terminal import Terminal
from wstpserver.client import LinkError, Session

try:
    import termios
except ImportError:  # Windows, which has no readline either
    pass


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
            told = self._session.abort()
            if count == _LEAVING - 1:
                done = "the kernel was told to abort" if told else "nothing is being evaluated"
                self._terminal.complain(f"{done}; once more Ctrl-C leaves it")
        except (LinkError, OSError):
            pass  # the thread that waits hears of it


#: Seconds after which a Ctrl-C that has had no effect is looked after, again and again.
_INTERVAL: Final = 0.02
#: Wakes readline as if the window had been resized. It has no handler in Python, which matters: `input` looks for
#: signals once more after a KeyboardInterrupt, and cannot bear that one is handled then.
_WAKE: Final = getattr(signal, "SIGWINCH", None)
_LOCAL_MODES: Final = 3  # in what termios.tcgetattr gives


class Attention:
    """Watches for Ctrl-C from now on as long as the program lives, if the main thread makes it.

    Python notes a signal at once, wherever it comes; but its handler runs when the main thread looks. A thread hears
    of the note, and wakes that thread until it has looked.
    """

    def __init__(self) -> None:
        #: Counts up at the beginning and at the end of each reading, so that it is odd inside.
        self._reading = 0
        if threading.current_thread() is not threading.main_thread():
            return
        receive, send = os.pipe()
        os.set_blocking(send, False)
        signal.set_wakeup_fd(send, warn_on_full_buffer=False)
        threading.Thread(target=self._watch, args=(receive, threading.get_ident()), daemon=True).start()

    def _watch(self, receive: int, main_thread: int) -> None:
        while numbers := os.read(receive, 512):
            if signal.SIGINT not in numbers:
                continue
            reading = self._reading
            while reading % 2:
                time.sleep(_INTERVAL)
                if self._reading != reading:
                    break
                assert _WAKE is not None, "systems with readline have it"
                signal.pthread_kill(main_thread, _WAKE)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """For what reads a line, and ends with KeyboardInterrupt at Ctrl-C.

        Inside, a terminal on standard input keeps what was typed before Ctrl-C; readline throws it away.
        """
        changed = _discard_input(wanted=False)
        self._reading += 1
        try:
            yield
        finally:
            self._reading += 1
            if changed:
                _discard_input(wanted=True)


def _discard_input(*, wanted: bool) -> bool:
    """Whether the terminal is to throw away what was typed at Ctrl-C; False if it is none, or did so before."""
    try:
        terminal = sys.stdin.fileno()
        modes = termios.tcgetattr(terminal)
        if wanted == (not modes[_LOCAL_MODES] & termios.NOFLSH):
            return False
        modes[_LOCAL_MODES] ^= termios.NOFLSH
        termios.tcsetattr(terminal, termios.TCSADRAIN, modes)
    except (OSError, ValueError, termios.error):
        return False
    return True
