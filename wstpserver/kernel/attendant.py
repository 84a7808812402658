"""The thread that reads the link's messages while the main thread evaluates."""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import NoReturn

from wstpserver.client.errors import LinkError, LinkTimeout
from wstpserver.client.link import Link
from wstpserver.kernel.arrivals import Arrivals
from wstpserver.kernel.exits import EXIT_OK
from wstpserver.kernel.interruption import ENFORCE_AFTER, ENFORCE_AGAIN, Interruption
from wstpserver.wire.messages import MessageCode

#: Seconds an evaluation gets to end once it was told to, because the link is closing.
CLOSING_GRACE = 1.0

#: Seconds the kernel gets to carry out what was sent before the other side went away without a word.
ORPHAN_GRACE = 2.0


class Attendant:
    """Turns messages into requests, and enforces them."""

    def __init__(self, link: Link, arrivals: Arrivals, interruption: Interruption) -> None:
        self._link = link
        self._arrivals = arrivals
        self._interruption = interruption
        #: When the last of the messages arrived that were read together.
        self._arrived: float | None = None

    def start(self) -> None:
        """Begin to read in a thread of its own. From the return on, nobody else does."""
        wait = self._look(0)
        threading.Thread(target=self._attend, args=(wait,), name="messages", daemon=True).start()

    def _attend(self, wait: float | None) -> None:
        while True:
            wait = self._look(wait)

    def _look(self, wait: float | None) -> float | None:
        """Wait for a message that long and carry it out; returns how long to wait for the next."""
        try:
            code, _ = self._link.next_message(wait, on_arrival=self._note_arrival)
        except LinkTimeout:
            return self._enforce(asked_now=False)
        except LinkError:
            time.sleep(ORPHAN_GRACE)
            self._end()
        self._take(code)
        return self._enforce(asked_now=True)

    def _note_arrival(self) -> int | None:
        self._arrived, count = self._arrivals.message_stamp()
        return count or None

    def _take(self, code: int) -> None:
        if code in (MessageCode.ABORT, MessageCode.INTERRUPT):
            interruption = self._interruption
            request = interruption.request_abort if code == MessageCode.ABORT else interruption.request_interrupt
            request(self._arrived, input_waits=self._arrivals.wait_for_data(0))
        elif code in (MessageCode.TERMINATE, MessageCode.LINK_CLOSING):
            self._end()

    def _enforce(self, asked_now: bool) -> float | None:
        """Make the main thread obey; seconds until the next look, None if there is nothing to enforce."""
        if not self._interruption.abort_requested:
            return ENFORCE_AFTER if self._interruption.abort_is_held() else None
        if asked_now:
            return ENFORCE_AFTER
        self._interruption.enforce()
        return ENFORCE_AGAIN

    def _end(self) -> NoReturn:
        """The link is closing: the kernel ends, with the evaluation if that does not end first."""
        until = time.monotonic() + CLOSING_GRACE
        while self._interruption.request_abort() and time.monotonic() < until:
            self._interruption.enforce()
            time.sleep(ENFORCE_AGAIN)
        sys.stderr.flush()
        os._exit(EXIT_OK)
