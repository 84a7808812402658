"""Ctrl-C at a prompt of readline's, which is deaf to it at two moments.

Python's readline module waits for a key with select() and looks for signals only when one interrupts that. A Ctrl-C
that comes while readline draws, or between two looks, would have no effect until the next key. And a terminal throws
away at Ctrl-C what was typed: if that happens when select() has announced a key, readline waits for it in a read that
goes on through all signals, and no further Ctrl-C is heard.
"""

from __future__ import annotations

import os
import signal
import sys
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

#: Seconds after which a Ctrl-C that has had no effect is looked after, again and again.
_PATIENCE: Final = 0.02
#: Wakes readline as if the window had been resized. It has no handler in Python, which matters: `input` looks for
#: signals once more after a KeyboardInterrupt, and cannot bear that one is handled then.
_WAKE: Final = signal.SIGWINCH
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
                time.sleep(_PATIENCE)
                if self._reading != reading:
                    break
                signal.pthread_kill(main_thread, _WAKE)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """For what reads a line, and ends with KeyboardInterrupt at Ctrl-C.

        Inside, a terminal on standard input keeps what was typed before Ctrl-C; readline throws it away.
        """
        changed = _throw_away(False)
        self._reading += 1
        try:
            yield
        finally:
            self._reading += 1
            if changed:
                _throw_away(True)


def _throw_away(wanted: bool) -> bool:
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
