"""A place in the answers of a kernel: no answer ever goes to another question.

Answers carry no number on the wire. After anything that was given up (a timeout, an abort that came too late, an
exception) some may still be under way, so the next question is preceded by one that nobody else asks, the evaluation
of a random number, and everything up to its answer is skipped.
"""

from __future__ import annotations

import secrets
from typing import Final

from wstpserver.client.deadline import Deadline
from wstpserver.client.errors import EvaluationAborted, LinkClosed, LinkTimeout
from wstpserver.client.evaluation import NOTICE_PREFIX, Evaluation
from wstpserver.client.link import Link, Packet
from wstpserver.wire.messages import MessageCode
from wstpserver.wire.packets import evaluate_packet
from wstpserver.wire.values import Symbol

ABORTED: Final = Symbol("$Aborted")

#: Seconds after which an abort without effect is repeated: one that reaches a kernel before it has read the
#: evaluation is lost.
_REPEAT_ABORT: Final = 1.0
#: Seconds for the message connection to take an abort.
_SEND_ABORT: Final = 1.0


def note_abort(evaluation: Evaluation, patience: float | None) -> None:
    """The kernel is told to abort `evaluation`, which is given up after `patience` seconds."""
    evaluation.abort_requested = True
    evaluation.patience = Deadline(patience)
    evaluation.repeat_abort = Deadline(_REPEAT_ABORT)


def wants_another_abort(evaluation: Evaluation) -> bool:
    """Not too soon: one that the kernel does not need any more would end the dialog around the evaluation."""
    again = evaluation.repeat_abort
    return evaluation.abort_requested and (again is None or again.expired)


class Step:
    """Keeps the place, and reads packets from it. For one thread at a time."""

    def __init__(self, link: Link) -> None:
        self.link = link
        #: The kernel's last prompt; None before the first one.
        self.prompt: str | None = None
        self._in_step = True
        self._abandoned = False  # an evaluation that was given up may still be running
        self._notice: str | None = None

    def lose_step(self) -> None:
        """Answers may come from now on that belong to nothing."""
        self._in_step = False

    def abandon(self) -> None:
        """Give up what runs: the kernel is told, and what it still answers will be skipped."""
        self._in_step = False
        self._abandoned = True
        try:
            self.link.send_message(MessageCode.ABORT, 0, _SEND_ABORT)
        except (LinkClosed, LinkTimeout):
            pass  # the next call will find the link closed

    def _get(self, deadline: Deadline, evaluation: Evaluation | None) -> Packet:
        """The next packet, repeating an abort that has no effect. LinkTimeout, LinkClosed."""
        while True:
            try:
                return self.link.get_packet(deadline.at_most(_REPEAT_ABORT).remaining())
            except LinkTimeout:
                if deadline.expired:
                    raise
            if evaluation is not None and evaluation.patience is not None and evaluation.patience.expired:
                raise EvaluationAborted("the kernel did not react to the abort in time; what it answers is thrown away")
            if self._abandoned if evaluation is None else wants_another_abort(evaluation):
                self.link.abort()

    def _skip(self, deadline: Deadline) -> Packet:
        """The next packet, only looked at for prompts and for a notice that may be the last words."""
        packet = self._get(deadline, None)
        text = packet.arguments[0] if packet.arguments else None
        self._notice = None
        if isinstance(text, str):
            if packet.name == "InputNamePacket":
                self.prompt = text
            elif packet.name == "TextPacket" and text.startswith(NOTICE_PREFIX):
                self._notice = text
        return packet

    def find_step(self, deadline: Deadline) -> None:
        """Skip all answers to what was given up. A late abort may hit the token itself: then another is asked for."""
        if self._in_step:
            return
        token = self._ask_token(deadline)
        while True:
            packet = self._skip(deadline)
            if packet.name != "ReturnPacket":
                continue
            if packet.arguments == (token,):
                break
            if packet.arguments == (ABORTED,):
                self._abandoned = False
                token = self._ask_token(deadline)
        self._in_step = True
        self._abandoned = False

    def _ask_token(self, deadline: Deadline) -> int:
        token = secrets.randbits(62)
        self.link.put(evaluate_packet(token), deadline.remaining())
        return token
