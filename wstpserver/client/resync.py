"""A place in the answers of a kernel: no answer ever goes to another question.

Answers carry no number on the wire. After anything that was given up (a timeout, an abort that came too late, an
exception) some may still be under way, so the next question is preceded by one that nobody else asks, the evaluation
of a random number, and everything up to its answer is skipped.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from wstpserver.client.deadline import Deadline
from wstpserver.client.errors import EvaluationAborted, EvaluationError, EvaluationTimeout, LinkClosed, LinkTimeout
from wstpserver.client.evaluation import NOTICE_PREFIX, QUESTIONS, Evaluation
from wstpserver.client.events import Callbacks
from wstpserver.client.link import Link, Packet
from wstpserver.wire.messages import MessageCode
from wstpserver.wire.packets import command_packet, evaluate_packet
from wstpserver.wire.values import Expression, Symbol

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


class Exchange(Step):
    """The kernel's side of a session. One thread at a time runs; any thread may abort and interrupt."""

    def __init__(self, link: Link, callbacks: Callbacks) -> None:
        super().__init__(link)
        self._callbacks = callbacks
        self._taken_over = False  # the kernel may be in the middle of somebody else's evaluation
        self._question: Packet | None = None  # from there, came during a command
        self._state = threading.Lock()  # guards _current and its abort_requested
        self._current: Evaluation | None = None

    def relink(self, link: Link, prompt: str | None, busy: bool, question: Packet | None) -> None:
        """Go on with another link to the same kernel. `busy`: it is in the middle of something, and has asked that."""
        self.link = link
        self.prompt = prompt or self.prompt
        self._in_step = True
        self._abandoned = False
        self._taken_over = busy
        self._question = question
        self._notice = None

    # Evaluations

    def run(self, evaluation: Evaluation, question: Expression, deadline: Deadline, *, mark: bool) -> None:
        """Send `question` and give `evaluation` the kernel's packets until its last one.

        `mark`: tell where its answers begin even if all seems well. Raises EvaluationTimeout, LinkClosed, and what
        the evaluation raises; then, and if it left an abort without effect, the next call finds its step first.
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
        """Get what came before out of the way; from now on aborts mean `evaluation`."""
        self.find_step(deadline)
        self.current(evaluation)
        if self._taken_over:
            self._settle(evaluation, deadline)

    def finish(self, evaluation: Evaluation, deadline: Deadline) -> None:
        """Give `evaluation` the packets up to its last one. To be called while it is `running`."""
        while not evaluation.take(self._get(deadline, evaluation)):
            pass

    def current(self, evaluation: Evaluation | None) -> None:
        """From now on aborts mean this evaluation."""
        with self._state:
            self._current = evaluation

    @contextmanager
    def running(self, evaluation: Evaluation, deadline: Deadline) -> Iterator[None]:
        """What happens inside belongs to `evaluation`; whatever goes wrong leaves the exchange able to go on."""
        try:
            yield
        except LinkTimeout as error:
            self.abandon()
            raise EvaluationTimeout(f"no result {deadline}; the kernel was told to abort") from error
        except LinkClosed as error:
            self._notice = evaluation.notice or self._notice
            raise self._with_notice(error) from error
        except BaseException:
            self.abandon()
            raise
        finally:
            self.current(None)
            self._remember_prompt(evaluation)

    def abort(self, patience: float | None) -> bool:
        """Abort what runs, or give it up after `patience` seconds; False if nothing does."""
        with self._state:
            if self._current is None:
                return False
            note_abort(self._current, patience)
        try:
            self.link.abort()
        except LinkClosed:
            pass  # whoever waits for the evaluation learns that
        return True

    def interrupt(self) -> bool:
        """Interrupt what runs; False if nothing does."""
        with self._state:
            if self._current is None:
                return False
        self.link.interrupt()
        return True

    # Packets

    def _overhear_until(self, token: int, evaluation: Evaluation, deadline: Deadline) -> None:
        """Hand on what still comes from before `evaluation`, up to the answer that stands before its own."""
        while True:
            packet = self._get(deadline, evaluation)
            if packet.name == "ReturnPacket" and packet.arguments in ((token,), (ABORTED,)):
                return
            evaluation.overhear(packet)

    def _settle(self, evaluation: Evaluation, deadline: Deadline) -> None:
        """Wait for the end of what a kernel was in the middle of that was taken over by its ID, or for the prompt of
        the dialog it is in. `evaluation` overhears, and answers its questions. EvaluationAborted."""
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
            self.lose_step()
            raise EvaluationAborted("aborted while the kernel was finishing what it had been given before")

    # The server

    def command(self, name: str, arguments: tuple[Expression, ...], deadline: Deadline) -> Packet:
        """The server's ReturnPacket to a command. Output that comes before it goes to the session's callbacks."""
        listener = self.listen_for("ReturnPacket", self._callbacks, deadline)
        try:
            self.find_step(deadline)
            self._in_step = False  # unless the answer comes
            self.link.put(command_packet(name, *arguments), deadline.remaining())
            while (packet := self._get(deadline, None)).name != "ReturnPacket":
                if packet.name in QUESTIONS:
                    self._question = packet
                else:
                    listener.overhear(packet)
        except LinkClosed as error:
            self._notice = listener.notice or self._notice
            raise self._with_notice(error) from error
        finally:
            self._remember_prompt(listener)
        self._in_step = True
        if name.startswith("Connect"):
            self._taken_over = True
        return packet

    def listen_for(self, last: str, callbacks: Callbacks, deadline: Deadline) -> Evaluation:
        """An evaluation of this exchange that ends with a packet of that name."""
        return Evaluation(last, callbacks, lambda answer: self.link.put(answer, deadline.remaining()))

    def _remember_prompt(self, evaluation: Evaluation) -> None:
        if evaluation.prompt is not None:
            self.prompt = evaluation.prompt

    def _with_notice(self, error: LinkClosed) -> LinkClosed:
        """The error with the reason that the server gave before it closed the link."""
        if self._notice is None:
            return error
        reason = self._notice.removeprefix(NOTICE_PREFIX).strip().rstrip(".")
        return LinkClosed(f"{error.message}; the server says: {reason}", error.where, error.advice)


#: Evaluations on their way at once, where nothing else is said.
WINDOW: Final = 16
#: Bytes sent at once. An evaluation that is larger goes alone.
_LARGEST_WRITE: Final = 1 << 20


class Batch:
    """The evaluations of `questions` on `exchange`, at most `window` on their way, `timeout` seconds for each."""

    def __init__(
        self,
        exchange: Exchange,
        questions: Iterator[Expression],
        callbacks: Callbacks,
        timeout: float | None,
        window: int,
    ) -> None:
        self._exchange = exchange
        self._questions = questions
        self._callbacks = callbacks
        self._timeout = timeout
        self._window = window
        self._under_way = 0
        self._done = 0
        self._problem: BaseException | None = None  # in place of the question that follows
        self._exhausted = False
        self._deadline = Deadline(None)

    def values(self) -> Iterator[Expression]:
        """The values in order. Raises as `Session.evaluate_many`."""
        evaluation = self._next()
        try:
            while True:
                self._deadline = Deadline(self._timeout)
                with self._exchange.running(evaluation, self._deadline):
                    if self._done:
                        self._exchange.current(evaluation)
                    else:
                        self._exchange.prepare(evaluation, self._deadline)
                    self._end_after_abort(evaluation)
                    if 2 * self._under_way <= self._window:
                        self._send()
                    if not self._under_way:
                        break
                    self._exchange.finish(evaluation, self._deadline)
                    value = self._settle(evaluation)
                following = self._next()
                following.abort_requested, following.patience = evaluation.abort_requested, evaluation.patience
                evaluation = following
                # Until the next one is asked for the kernel may be at it already: an abort means that.
                self._exchange.current(evaluation if self._under_way else None)
                yield value
        except GeneratorExit:  # nobody wants the rest
            if self._under_way:
                self._exchange.abandon()
            raise
        finally:
            self._exchange.current(None)
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
                parts.append(self._exchange.link.encode(evaluate_packet(question)))
            except Exception as error:
                self._problem = error
                break
            size += len(parts[-1])
        if parts:
            self._under_way += len(parts)
            self._exchange.link.put_raw(b"".join(parts), self._deadline.remaining())

    def _end_after_abort(self, evaluation: Evaluation) -> None:
        """EvaluationAborted if there was an abort and anything is left to do."""
        if evaluation.abort_requested and (self._under_way or not self._exhausted):
            raise EvaluationAborted(f"the batch was aborted after {self._done} evaluations")

    def _settle(self, evaluation: Evaluation) -> Expression:
        """The value of an evaluation that is over. EvaluationAborted if an abort hit it."""
        self._under_way -= 1
        self._done += 1
        value = Symbol("Null") if evaluation.value is None else evaluation.value
        if evaluation.abort_requested:
            self._exchange.lose_step()
            if value == ABORTED:
                raise EvaluationAborted(f"evaluation {self._done} of the batch was aborted, and the rest with it")
        return value

    def _answer(self, answer: Expression) -> None:
        """Answer a question of the kernel: it reads what follows the evaluation, which must be this."""
        if self._under_way > 1:
            raise EvaluationError(
                f"evaluation {self._done + 1} of the batch asks for something while others are on their way already: "
                "give it window=1"
            )
        self._exchange.link.put(answer, self._deadline.remaining())
