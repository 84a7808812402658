"""Many evaluations one after the other, the next ones on their way while the kernel is still at one of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from wstpserver.client.deadline import Deadline
from wstpserver.client.errors import EvaluationAborted, EvaluationError
from wstpserver.client.evaluation import Evaluation
from wstpserver.client.events import Callbacks
from wstpserver.client.exchange import Exchange
from wstpserver.client.step import ABORTED
from wstpserver.wire.packets import evaluate_packet
from wstpserver.wire.values import Expression, Symbol

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
