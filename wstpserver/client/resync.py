"""Requests to a kernel and to its server, and their answers: no answer is ever given to another request.

Answers carry no number on the wire. After anything that was given up (a time-out, an abort that came too late, an
exception) some may still be under way. So the next request is preceded by one that nobody else makes, the evaluation of
a random number (a *token*), and everything up to its answer is skipped: that is a *resync*.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from wstpserver.client.deadline import Deadline
from wstpserver.client.errors import (
    EvaluationAborted,
    EvaluationError,
    EvaluationTimeout,
    KernelLost,
    LinkClosed,
    LinkTimeout,
)
from wstpserver.client.evaluation import (
    NOTICE_PREFIX,
    QUESTIONS,
    REPLACED,
    Callbacks,
    Evaluation,
    is_taken_over,
    replaced,
)
from wstpserver.client.link import Link, Packet
from wstpserver.wire.packets import MessageCode, command_packet, evaluate_packet
from wstpserver.wire.values import Expression, Symbol

ABORTED: Final = Symbol("$Aborted")

#: Evaluations of a batch on their way at once, by default.
WINDOW: Final = 16
#: Bytes of a batch sent at once. An evaluation that is larger goes alone.
_LARGEST_WRITE: Final = 1 << 20

#: Seconds after which an abort without effect is repeated: a kernel that gets it before it has read the evaluation
#: ignores it.
REPEAT_ABORT: Final = 1.0
#: Seconds for the message connection to take an abort.
_SEND_ABORT: Final = 1.0
#: Seconds for the kernel to leave a question because of an abort, before anything is sent that it could take for an
#: answer.
_LEAVES_QUESTION: Final = 5.0
#: Packets by which an evaluation ends that was aborted.
_ENDS: Final = frozenset({"ReturnPacket", "InputNamePacket"})
#: Seconds without an answer after which the caller learns what is waited for.
_SLOW: Final = 0.8
#: Seconds without another packet after which a notice of the server is handed on. A notice that is the reason for the
#: link's end is followed by the end at once.
_NOTICE_STANDS: Final = 0.2
#: Seconds in which a notice follows the end of an evaluation that the server ended. Both are sent together.
_NOTICE_FOLLOWS: Final = 0.05


def note_abort(evaluation: Evaluation, grace: float | None) -> None:
    """Note that the kernel is told to abort `evaluation`, which is given up after `grace` seconds."""
    evaluation.abort_requested = True
    evaluation.grace = Deadline(grace)
    evaluation.repeat_abort = Deadline(REPEAT_ABORT)


def wants_another_abort(evaluation: Evaluation) -> bool:
    """Whether the abort is to be repeated. Not too soon: one too many would end the dialog around the evaluation."""
    again = evaluation.repeat_abort
    return evaluation.abort_requested and (again is None or again.expired)


class RequestStream:
    """The requests of one session on its link. One thread at a time makes requests; any may abort and interrupt.

    Args:
        link: The link.
        callbacks: Called with output that comes during the server's commands.

    Attributes:
        link: The link.
        prompt: The kernel's last prompt; None before the first one.
        lost: Why the session has no kernel any more; None while it has one.
        on_slow: Called again and again while there is no kernel yet and no answer comes; None once there is a kernel.
    """

    def __init__(self, link: Link, callbacks: Callbacks) -> None:
        self.link = link
        self.prompt: str | None = None
        self.lost: str | None = None
        self.on_slow: Callable[[], None] | None = None
        self._callbacks = callbacks
        self._pending: deque[Packet] = deque()  # received ahead
        self._synced = True
        self._abandoned = False  # an evaluation that was given up may still be running
        self._at_question = False  # and wait for the answer to its question
        self._notice: str | None = None
        self._taken_over = False  # the kernel may be in the middle of somebody else's evaluation
        self._question: Packet | None = None  # from there, came during a command
        self._state = threading.Lock()  # guards _current and its abort_requested
        self._current: Evaluation | None = None

    def relink(self, link: Link, prompt: str | None, question: Packet | None, *, busy: bool) -> None:
        """Continue on another link to the same kernel.

        Args:
            link: The new link.
            prompt: The kernel's prompt there; None if none came.
            question: What the kernel waits for an answer to; None if it asked nothing.
            busy: Whether the kernel is in the middle of an evaluation.
        """
        self.link = link
        self.prompt = prompt or self.prompt
        self.lost = None
        self._pending.clear()
        self._synced = True
        self._abandoned = self._at_question = False
        self._taken_over = busy
        self._question = question
        self._notice = None

    def listen_for(self, last: str, callbacks: Callbacks, deadline: Deadline) -> Evaluation:
        """Make an evaluation of this stream that ends with a packet named `last`."""
        return Evaluation(last, callbacks, lambda answer: self.link.put(answer, deadline.remaining()))

    # Evaluations

    def run(self, evaluation: Evaluation, question: Expression, deadline: Deadline, *, mark: bool) -> None:
        """Send a question and give `evaluation` the kernel's packets until its last one.

        Args:
            evaluation: Takes the packets.
            question: The packet to send.
            deadline: When to give up.
            mark: Whether a token tells where the answers begin even if nothing was given up before.

        Raises:
            EvaluationTimeout: The deadline came first.
            LinkClosed: The link has ended.
            KernelLost: The session has no kernel any more. The question was not sent, or answered by no kernel.
            Exception: What `evaluation` raises. After this and a time-out the next request resyncs first.
        """
        with self.running(evaluation, deadline):
            self.prepare(evaluation, deadline)
            evaluation.token = self._ask_token(deadline) if mark else None
            evaluation.asked = True
            self.link.put(question, deadline.remaining())
            if evaluation.token is not None:
                self._overhear_until(evaluation.token, evaluation, deadline)
            self.finish(evaluation, deadline)

    def prepare(self, evaluation: Evaluation, deadline: Deadline) -> None:
        """Process what came before; from now on aborts mean `evaluation`."""
        self.check_kernel()
        self.resync(deadline)
        self.set_current(evaluation)
        if self._taken_over:
            self._settle(evaluation, deadline)

    def finish(self, evaluation: Evaluation, deadline: Deadline) -> None:
        """Give `evaluation` the packets up to its last one. To be called while it is `running`."""
        while not evaluation.take(self._get(deadline, evaluation)):
            pass
        if evaluation.value == ABORTED and not evaluation.abort_requested:
            self._look_for_reason(evaluation)

    def set_current(self, evaluation: Evaluation | None) -> None:
        """From now on aborts mean this evaluation."""
        with self._state:
            self._current = evaluation

    @contextmanager
    def running(self, evaluation: Evaluation, deadline: Deadline) -> Iterator[None]:
        """What happens inside belongs to `evaluation`; whatever goes wrong leaves the stream able to go on."""
        try:
            yield
        except LinkTimeout as error:
            raise self._timed_out(evaluation, deadline) from error
        except LinkClosed as error:
            self._notice = evaluation.notice or self._notice
            raise self._with_notice(error) from error
        except KernelLost:
            self._synced = False  # and no abort: it would wait for the next kernel
            raise
        except BaseException:
            self._at_question = evaluation.unanswered
            self.abandon()
            raise
        finally:
            self.set_current(None)
            self._remember_prompt(evaluation)

    def _timed_out(self, evaluation: Evaluation, deadline: Deadline) -> EvaluationTimeout:
        """Give up what runs; the exception says what was waited for."""
        if self.on_slow is not None:  # there is no kernel yet that could be told to abort
            self._synced = False
            return EvaluationTimeout(f"no kernel {deadline}")
        was_abandoned = self._abandoned
        self._at_question = self._at_question or evaluation.unanswered
        self.abandon()
        if evaluation.asked:
            return EvaluationTimeout(f"no result {deadline}; the kernel was told to abort")
        if was_abandoned or self._taken_over:
            return EvaluationTimeout(f"no result {deadline}: the kernel is still at work on what it was given before")
        return EvaluationTimeout(f"no answer {deadline}")

    def abort(self, grace: float | None) -> bool:
        """Abort what runs, or give it up after `grace` seconds; False if nothing runs."""
        with self._state:
            if self._current is None:
                return False
            note_abort(self._current, grace)
        try:
            self.link.abort()
        except LinkClosed:
            pass  # whoever waits for the evaluation learns that
        return True

    def interrupt(self) -> bool:
        """Interrupt what runs; False if nothing runs."""
        with self._state:
            if self._current is None:
                return False
        self.link.interrupt()
        return True

    # The state of the kernel

    def check_kernel(self) -> None:
        """Take in what has come, before anything is sent.

        Raises:
            KernelLost: Another client has the kernel.
        """
        if self.lost is None:
            self._take_in()
        if self.lost is not None:
            raise KernelLost(self.lost)

    def _take_in(self) -> None:
        """Keep the packets that are here for later, and look whether one says that the kernel is gone."""
        try:
            while self.link.ready(0):
                packet = self.link.get_packet(0)
                if is_taken_over(packet):
                    self._lose(str(packet.arguments[0]))
                    return
                self._pending.append(packet)
        except (LinkClosed, LinkTimeout):
            pass  # who sends or receives next learns that

    def connected(self) -> None:
        """The server has connected the link to a kernel again."""
        self.lost = None

    def _lose(self, notice: str) -> None:
        self.lost = notice.removeprefix(NOTICE_PREFIX).strip()
        self._pending.clear()
        self._at_question = self._taken_over = False
        self._question = None

    def _look_for_reason(self, evaluation: Evaluation) -> None:
        """After an end of an evaluation that nobody here asked for: see whether the server says why. KernelLost."""
        if not self._pending and not self.link.ready(_NOTICE_FOLLOWS):
            return
        self._take_in()
        if self.lost is not None:
            raise KernelLost(self.lost)
        if self._pending and self._pending[0].name == "TextPacket":
            evaluation.take(self._pending.popleft())
            if evaluation.notice is not None and REPLACED in evaluation.notice:
                raise replaced(evaluation.notice)  # the prompt of the new kernel comes when there is one

    # Packets

    def _get(self, deadline: Deadline, evaluation: Evaluation | None) -> Packet:
        """The next packet, repeating an abort that has no effect. LinkTimeout, LinkClosed."""
        while True:
            if self._pending:
                return self._pending.popleft()
            notice = evaluation is not None and evaluation.notice is not None
            slice_ = _NOTICE_STANDS if notice else _SLOW if self.on_slow is not None else REPEAT_ABORT
            try:
                packet = self.link.get_packet(deadline.at_most(slice_).remaining())
            except LinkTimeout:
                if deadline.expired:
                    raise
            else:
                if is_taken_over(packet):
                    self._lose(str(packet.arguments[0]))
                return packet
            self._while_waiting(evaluation)
            if self._abandoned if evaluation is None else wants_another_abort(evaluation):
                self.link.abort()

    def _while_waiting(self, evaluation: Evaluation | None) -> None:
        if evaluation is not None:
            evaluation.tell_notice()
            if evaluation.grace is not None and evaluation.grace.expired:
                raise EvaluationAborted("the kernel did not react to the abort in time; what it answers is thrown away")
        if self.on_slow is not None:
            self.on_slow()

    def _overhear_until(self, token: int, evaluation: Evaluation, deadline: Deadline) -> None:
        """Hand on what still comes from before `evaluation`, up to the answer that stands before its own."""
        while True:
            packet = self._get(deadline, evaluation)
            if packet.name == "ReturnPacket" and packet.arguments in ((token,), (ABORTED,)):
                return
            evaluation.overhear(packet)

    def _settle(self, evaluation: Evaluation, deadline: Deadline) -> None:
        """Wait for the end of what a kernel was in the middle of that was taken over by its ID, or for the prompt of
        the dialog it is in. `evaluation` overhears, and answers its questions. EvaluationAborted.
        """
        question, self._question = self._question, None
        if question is not None:
            evaluation.overhear(question)
        token = self._ask_token(deadline)
        while (packet := self._get(deadline, evaluation)) != ("ReturnPacket", (token,)):
            if packet == ("ReturnPacket", (ABORTED,)):  # the end of that evaluation, or of our token
                token = self._ask_token(deadline)
            evaluation.overhear(packet)
        self._taken_over = False
        if evaluation.abort_requested:
            self.desync()
            raise EvaluationAborted("aborted while the kernel was finishing what it had been given before")

    # Resync

    def desync(self) -> None:
        """Note that answers may come from now on that belong to no request."""
        self._synced = False

    def abandon(self) -> None:
        """Give up what runs: the kernel is told, and what it still answers will be skipped."""
        self._synced = False
        self._abandoned = True
        try:
            self.link.send_message(MessageCode.ABORT, 0, _SEND_ABORT)
        except (LinkClosed, LinkTimeout):
            pass  # the next call will find the link closed

    def resync(self, deadline: Deadline) -> None:
        """Skip all answers to what was given up. A late abort may hit the token itself: then another is sent.

        Raises:
            LinkTimeout: The deadline came first.
            LinkClosed: The link has ended.
            KernelLost: Another client has the kernel.
        """
        if self._synced:
            return
        if self._at_question:
            self._leave_question(deadline)
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
        self._synced = True
        self._abandoned = False

    def _leave_question(self, deadline: Deadline) -> None:
        """Wait for the end of an evaluation that was aborted at a question: a token would be read as the answer to it,
        where it comes before the abort, which takes another connection. Raises as `resync`.
        """
        limit = deadline.at_most(_LEAVES_QUESTION)
        try:
            while self._skip(limit).name not in _ENDS:
                pass
            self._abandoned = False
        except LinkTimeout:
            if deadline.expired:
                raise
        self._at_question = False

    def _skip(self, deadline: Deadline) -> Packet:
        """The next packet, only looked at for prompts and for a notice that may be the last packet.

        Raises:
            KernelLost: It says that another client has the kernel.
        """
        packet = self._get(deadline, None)
        if self.lost is not None:
            raise KernelLost(self.lost)
        text = packet.arguments[0] if packet.arguments else None
        self._notice = None
        if isinstance(text, str):
            if packet.name == "InputNamePacket":
                self.prompt = text
            elif packet.name == "TextPacket" and text.startswith(NOTICE_PREFIX):
                self._notice = text
        return packet

    def _ask_token(self, deadline: Deadline) -> int:
        token = int.from_bytes(os.urandom(8), "big") >> 2
        self.link.put(evaluate_packet(token), deadline.remaining())
        return token

    # The server

    def command(self, name: str, arguments: tuple[Expression, ...], deadline: Deadline) -> Packet:
        """Give the server a command. Output that comes before its answer goes to the session's callbacks.

        Args:
            name: The command.
            arguments: Its arguments.
            deadline: When to give up.

        Returns:
            The server's ReturnPacket.

        Raises:
            LinkTimeout: The deadline came first.
            LinkClosed: The link has ended.
        """
        listener = self.listen_for("ReturnPacket", self._callbacks, deadline)
        try:
            self._take_in()
            if self.lost is not None:
                self._synced = True  # there is no kernel that still answers anything
            self.resync(deadline)
            self._synced = False  # unless the answer comes
            self.link.put(command_packet(name, *arguments), deadline.remaining())
            while (packet := self._get(deadline, listener)).name != "ReturnPacket":
                if packet.name in QUESTIONS:
                    self._question = packet
                elif not is_taken_over(packet):
                    listener.overhear(packet)
        except LinkClosed as error:
            self._notice = listener.notice or self._notice
            raise self._with_notice(error) from error
        finally:
            self._remember_prompt(listener)
        self._synced = True
        if name.startswith("Connect"):
            self._taken_over = True
        return packet

    def send_command(self, name: str, arguments: tuple[Expression, ...], deadline: Deadline) -> None:
        """Give the server a command and do not wait: what it or a kernel without a server answers is skipped."""
        self.desync()
        self.link.put(command_packet(name, *arguments), deadline.remaining())

    def _remember_prompt(self, evaluation: Evaluation) -> None:
        if evaluation.prompt is not None:
            self.prompt = evaluation.prompt

    def _with_notice(self, error: LinkClosed) -> LinkClosed:
        """The error with the reason that the server gave before it closed the link."""
        if self._notice is None:
            return error
        reason = self._notice.removeprefix(NOTICE_PREFIX).strip().rstrip(".")
        return LinkClosed(f"{error.message}; the server says: {reason}", error.where, error.advice)


class Batch:
    """Many evaluations one after the other; the next ones are sent while the kernel is still at one of them.

    Args:
        requests: Where to send them.
        questions: What to evaluate.
        callbacks: Called while the value of an evaluation is being asked for.
        timeout: Seconds for each value, from the moment it is asked for; None for no limit.
        window: The number of evaluations on their way at once.
    """

    def __init__(
        self,
        requests: RequestStream,
        questions: Iterator[Expression],
        callbacks: Callbacks,
        timeout: float | None,
        window: int,
    ) -> None:
        self._requests = requests
        self._questions = questions
        self._callbacks = callbacks
        self._timeout = timeout
        self._window = window
        self._under_way = 0
        self._done = 0
        self._problem: BaseException | None = None  # in place of the question that follows
        self._exhausted = False
        self._deadline = Deadline(None)

    def evaluations(self) -> Iterator[Evaluation]:
        """The evaluations in order, each when it is over. Raises as `Session.evaluate_many`."""
        evaluation = self._next()
        try:
            while True:
                self._deadline = Deadline(self._timeout)
                with self._requests.running(evaluation, self._deadline):
                    if self._done:
                        self._requests.set_current(evaluation)
                    else:
                        self._requests.prepare(evaluation, self._deadline)
                    self._end_after_abort(evaluation)
                    if 2 * self._under_way <= self._window:
                        self._send()
                    if not self._under_way:
                        break
                    evaluation.asked = True
                    self._requests.finish(evaluation, self._deadline)
                    self._settle(evaluation)
                finished, evaluation = evaluation, self._next()
                evaluation.abort_requested, evaluation.grace = finished.abort_requested, finished.grace
                # Until the next one is asked for the kernel may be at it already: an abort means that.
                self._requests.set_current(evaluation if self._under_way else None)
                yield finished
        except GeneratorExit:  # nobody wants the rest
            if self._under_way:
                self._requests.abandon()
            raise
        finally:
            self._requests.set_current(None)
        if self._problem is not None:
            raise self._problem

    def _next(self) -> Evaluation:
        return Evaluation("ReturnPacket", self._callbacks, self._answer)

    def _send(self) -> None:
        """Send as many questions as there is room for, in one write."""
        parts: list[bytes] = []
        size = 0
        while self._problem is None and self._under_way + len(parts) < self._window and size < _LARGEST_WRITE:
            try:
                question = next(self._questions, None)
                if question is None:
                    self._exhausted = True
                    break
                parts.append(self._requests.link.encode(evaluate_packet(question)))
            except Exception as error:
                self._problem = error
                break
            size += len(parts[-1])
        if parts:
            self._under_way += len(parts)
            self._requests.link.put_raw(b"".join(parts), self._deadline.remaining())

    def _end_after_abort(self, evaluation: Evaluation) -> None:
        """EvaluationAborted if there was an abort and anything is left to do."""
        if evaluation.abort_requested and (self._under_way or not self._exhausted):
            raise EvaluationAborted(f"the batch was aborted after {self._done} evaluations")

    def _settle(self, evaluation: Evaluation) -> None:
        """Count an evaluation that is over. EvaluationAborted if an abort hit it."""
        self._under_way -= 1
        self._done += 1
        if evaluation.abort_requested:
            self._requests.desync()
            if evaluation.value == ABORTED:
                raise EvaluationAborted(f"evaluation {self._done} of the batch was aborted, and the rest with it")

    def _answer(self, answer: Expression) -> None:
        """Answer a question of the kernel: it reads what follows the evaluation, which must be this."""
        if self._under_way > 1:
            raise EvaluationError(
                f"evaluation {self._done + 1} of the batch asks for something while others are on their way already: "
                "give it window=1"
            )
        self._requests.link.put(answer, self._deadline.remaining())
