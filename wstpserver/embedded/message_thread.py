"""The thread that reads the link's messages while the main thread evaluates."""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import NoReturn

from wstpserver.client.errors import LinkError, LinkTimeout
from wstpserver.client.link import Link
from wstpserver.embedded.channel import SocketTimestamps
from wstpserver.embedded.interrupts import ENFORCE_AFTER, ENFORCE_AGAIN, EvaluationInterrupts
from wstpserver.embedded.process import EXIT_OK
from wstpserver.wire.packets import MessageCode

#: Seconds an evaluation has to end after its abort, when the link is closing.
CLOSING_GRACE = 1.0

#: Seconds the kernel has to carry out what was sent before the other side disappeared without a message.
ORPHAN_GRACE = 2.0


class MessageThread:
    """Turns messages into requests of `EvaluationInterrupts`, and enforces them."""

    def __init__(self, link: Link, timestamps: SocketTimestamps, interrupts: EvaluationInterrupts) -> None:
        self._link = link
        self._timestamps = timestamps
        self._interrupts = interrupts
        self._arrived: float | None = None  # when the last of the messages arrived that were read together

    def start(self) -> None:
        """Look at the messages that are there, then read on in a new thread."""
        wait = self._next(0)
        threading.Thread(target=self._run, args=(wait,), name="messages", daemon=True).start()

    def _run(self, wait: float | None) -> None:
        while True:
            wait = self._next(wait)

    def _next(self, wait: float | None) -> float | None:
        """Wait `wait` seconds for a message and carry it out; returns how long to wait for the next."""
        try:
            code, _ = self._link.next_message(wait, on_arrival=self._note_arrival)
        except LinkTimeout:
            return self._enforce(just_requested=False)
        except LinkError:
            time.sleep(ORPHAN_GRACE)
            self._end()
        self._carry_out(code)
        return self._enforce(just_requested=True)

    def _note_arrival(self) -> int | None:
        self._arrived, count = self._timestamps.message_stamp()
        return count or None

    def _carry_out(self, code: int) -> None:
        if code in (MessageCode.ABORT, MessageCode.INTERRUPT):
            interrupts = self._interrupts
            request = interrupts.request_abort if code == MessageCode.ABORT else interrupts.request_interrupt
            request(self._arrived, input_waits=self._timestamps.wait_for_data(0))
        elif code in (MessageCode.TERMINATE, MessageCode.LINK_CLOSING):
            self._end()

    def _enforce(self, *, just_requested: bool) -> float | None:
        """Enforce a pending abort; returns the seconds until the next attempt, None if there is nothing to enforce."""
        if not self._interrupts.abort_requested:
            return ENFORCE_AFTER if self._interrupts.abort_is_held() else None
        if just_requested:
            return ENFORCE_AFTER
        self._interrupts.enforce()
        return ENFORCE_AGAIN

    def _end(self) -> NoReturn:
        """The link is closing: abort the evaluation, and end the process even if the evaluation does not end."""
        until = time.monotonic() + CLOSING_GRACE
        while self._interrupts.request_abort() and time.monotonic() < until:
            self._interrupts.enforce()
            time.sleep(ENFORCE_AGAIN)
        sys.stderr.flush()
        os._exit(EXIT_OK)
