"""A session with a kernel: evaluate, with output while it happens, timeouts, and aborts that leave it usable."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from wstpserver.client.batch import WINDOW, Batch
from wstpserver.client.connecting import CONNECT_TIMEOUT
from wstpserver.client.deadline import Deadline
from wstpserver.client.errors import EvaluationAborted
from wstpserver.client.evaluation import Evaluation
from wstpserver.client.events import Callbacks, ExpressionOutput, TextOutput
from wstpserver.client.expression_values import to_expression
from wstpserver.client.kernel_function import KernelFunction, function_name
from wstpserver.client.link import Link
from wstpserver.client.options import Address
from wstpserver.client.persistent import Persistent
from wstpserver.client.results import Results, converter
from wstpserver.client.step import ABORTED
from wstpserver.wire.packets import enter_expression_packet, enter_text_packet, evaluate_packet
from wstpserver.wire.values import Expression, Function, Symbol

if TYPE_CHECKING:
    from typing_extensions import Self

_NULL: Final = Symbol("Null")


class Session(Persistent):
    """A conversation with one kernel, over `link`: an open Link, or an address to connect to.

    `link`: see `parse_address`; ``wstp://host:port/pool`` takes a kernel of that pool. `timeout`: seconds to connect.
    `callbacks`: who hears of output, messages and questions; each call of `evaluate` may give its own on top.
    `results`: the form in which values come, each call of `evaluate` may name its own: "python" for Python values,
    "numpy" for NumPy arrays among them (both: `wstpserver.client.conversions`), "expression" for what is on the wire.

    Every function of the kernel whose name is made of letters and digits is an attribute: ``session.Plus(2, 2)``.

    One evaluation runs at a time; further threads wait. `abort`, `interrupt` and `close` work from any thread.
    The session opens no thread. It never gives the answer of one evaluation to another: after a timeout or an abort
    it first finds its place in the kernel's answers again.

    `keep_kernel`: what becomes of a server's kernel at `close`. By default the server is told to end it (SetKeepAlive
    False), because a kernel that was used stays reserved and counts against its pool's maximum. With True, or if the
    kernel was asked for by its ID, its own settings decide. When the connection breaks they do as well, so that one
    can come back to the kernel by its ID.

    `reconnect`: True, or seconds to try for (True: 30), to come back to the kernel by itself when the connection has
    broken. Then the session begins with waiting for its kernel (at most `timeout`), asks for its ID, and has the
    server keep it alive and reserved until `close`. See `evaluate` for what becomes of an evaluation under way.

    Raises ConnectError, LinkTimeout, LinkSyntaxError; CommandError for a pool that gives no kernel.
    """

    def __init__(
        self,
        link: Link | str | int | Address = "",
        timeout: float | None = CONNECT_TIMEOUT,
        *,
        callbacks: Callbacks | None = None,
        keep_kernel: bool = False,
        results: Results = "python",
        reconnect: bool | float = False,
    ) -> None:
        converter(results)
        #: The form of results, unless a call names another.
        self.results: Results = results
        super().__init__(link, timeout, callbacks, keep_kernel, reconnect)

    @classmethod
    def from_profile(
        cls,
        path: str | os.PathLike[str] | None = None,
        address: str | int | Address = "",
        timeout: float | None = CONNECT_TIMEOUT,
        *,
        start: bool | None = None,
        callbacks: Callbacks | None = None,
        results: Results = "python",
        reconnect: bool | float = False,
    ) -> Self:
        """A session with the kernel that the profile names (`wstpserver.client.profile`; None for wstpscript's own).

        `start`: False to go back to that kernel only, True to take a new one, None to take a new one if that is gone.
        `address` and a pool in it count for a new kernel, the profile's where they say nothing. `timeout`: seconds
        until the kernel is there; one that is still at work is waited for. What it wrote meanwhile goes to the
        callbacks. The kernel, its server and its pool are written into the profile; `close` leaves it alive.

        Raises ProfileError (with False also for a kernel that is gone), and what `Session` raises.
        """
        from wstpserver.client.profiled import Wish, session_from_profile

        wish = Wish(path, address, start, reconnect)
        session = session_from_profile(partial(cls, callbacks=callbacks, results=results), wish, timeout)
        assert isinstance(session, cls)
        return session

    # Evaluation

    def evaluate(
        self,
        expression: Any,
        timeout: float | None = None,
        *,
        callbacks: Callbacks | None = None,
        results: Results | None = None,
    ) -> Any:
        """The value of `expression`: a Python value or an expression (see `conversions`).

        A str is Wolfram Language text and means ``ToExpression["text"]``. Of several expressions in a text the value
        is that of the last. What a syntax error gives is ``$Failed``, with a message.
        `timeout`: seconds; when they are over the kernel is told to abort and EvaluationTimeout is raised at once, the
        kernel being given time by the next call.

        Raises EvaluationAborted if `abort` ended it; an evaluation that aborts itself returns Symbol("$Aborted").
        Raises LinkClosed when the kernel dies or the link ends, KernelLost when the server put another kernel in its
        place, EvaluationError when it asks for input and nobody gives any, TypeError for a value that no expression
        stands for.

        With ``reconnect``, when the connection breaks: one that had not been sent is evaluated after coming back. Of
        one that had been, the kernel's answer is fetched if the server has kept it, or waited for if it is still at
        work; else EvaluationLost is raised, with the session back at its kernel. Nothing is ever evaluated twice.
        KernelLost if the kernel is gone, LinkClosed if there is no way back in time.
        """
        convert = converter(results or self.results)
        question = _question(expression)
        deadline = Deadline(timeout)
        with self._having_turn(deadline):
            evaluation = self._run(evaluate_packet(question), "ReturnPacket", deadline, callbacks)
            value = _NULL if evaluation.value is None else evaluation.value
            self._settle_abort(evaluation, value == ABORTED)
        return convert(value)

    def evaluate_many(
        self,
        expressions: Iterable[Any],
        timeout: float | None = None,
        *,
        callbacks: Callbacks | None = None,
        results: Results | None = None,
        window: int = WINDOW,
    ) -> Iterator[Any]:
        """The values of `expressions` in order, as `evaluate` gives each of them.

        The next ones are sent while the kernel is still at one of them, at most `window` at a time; `expressions` may
        be endless. `timeout`: seconds for each, from the moment it is asked for. Callbacks hear of an evaluation while
        its value is being asked for.

        An exception comes in the place of the value that it concerns, after all values before it, and is the last:
        those of `evaluate`, what `expressions` itself raises, TypeError for one of them that is no expression. `abort`
        ends it with EvaluationAborted, a broken connection with EvaluationLost (with ``reconnect``) or LinkClosed. Up
        to `window` - 1 evaluations behind the failed one have been sent then: they are aborted as far as they are not
        over, and their values thrown away. An evaluation that asks for input needs ``window=1``.

        Until the iterator is exhausted or closed the session takes nothing else: other threads wait.
        """
        if window < 1:
            raise ValueError(f"window={window}: at least one evaluation must be under way")
        convert = converter(results or self.results)
        return self._many(map(_question, expressions), timeout, callbacks, convert, window)

    def _many(
        self,
        questions: Iterator[Expression],
        timeout: float | None,
        callbacks: Callbacks | None,
        convert: Callable[[Expression], Any],
        window: int,
    ) -> Iterator[Any]:
        with self._having_turn(Deadline(timeout)), self._coming_back(timeout):
            batch = Batch(self._exchange, questions, self._heard(callbacks), timeout, window)
            for value in batch.values():
                yield convert(value)

    def evaluate_text(
        self, text: str, timeout: float | None = None, *, callbacks: Callbacks | None = None
    ) -> TextOutput:
        """Enter a line of text as at a prompt: it counts as ``In[n]``, and its result comes as formatted text.

        Timeouts and errors as `evaluate`.
        """
        deadline = Deadline(timeout)
        with self._having_turn(deadline):
            evaluation = self._run(enter_text_packet(text), "InputNamePacket", deadline, callbacks)
            value = evaluation.value
            self._settle_abort(evaluation, value == "$Aborted" or value == ABORTED)
            shown = value if isinstance(value, str) or value is None else str(value)
            return TextOutput(evaluation.output_name, shown, evaluation.prompt or "", evaluation.syntax_error)

    def enter_expression(
        self,
        expression: Any,
        timeout: float | None = None,
        *,
        callbacks: Callbacks | None = None,
        results: Results | None = None,
    ) -> ExpressionOutput:
        """Enter an expression as at a prompt: it counts as ``In[n]``; a str is a string. Else as `evaluate`."""
        convert = converter(results or self.results)
        question = to_expression(expression)
        deadline = Deadline(timeout)
        with self._having_turn(deadline):
            evaluation = self._run(enter_expression_packet(question), "InputNamePacket", deadline, callbacks)
            value = _NULL if evaluation.value is None else evaluation.value
            self._settle_abort(evaluation, value == ABORTED)
        return ExpressionOutput(evaluation.output_name, convert(value), evaluation.prompt or "")

    def synchronize(self, timeout: float | None = None) -> None:
        """Wait until a kernel is there and has answered everything; raises as `evaluate`.

        Useful after connecting to a server that may first have to start a kernel.
        """
        self.evaluate(_NULL, timeout)

    def _settle_abort(self, evaluation: Evaluation, is_aborted: bool) -> None:
        """EvaluationAborted if an abort was asked for and took place."""
        if not evaluation.abort_requested:
            return
        self._exchange.lose_step()  # the abort, or its repetition, may come too late and must not hit what follows
        if is_aborted:
            raise EvaluationAborted("the evaluation was aborted")

    # Functions

    def function(self, name: str) -> KernelFunction:
        """A function of the kernel by its name, with a context if need be: ``"Developer`ToPackedArray"``."""
        return KernelFunction(name, self.evaluate)

    def __getattr__(self, name: str) -> KernelFunction:
        return KernelFunction(function_name(name), self.evaluate)


def _question(expression: Any) -> Expression:
    """What is to be evaluated: an expression, or the text of one."""
    if isinstance(expression, str):
        return Function(Symbol("ToExpression"), (str(expression),))
    return to_expression(expression)
