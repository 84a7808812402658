"""A session with a kernel: evaluations with output while they run, time-outs, and aborts that leave it usable."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from wstpserver.client.address import Address
from wstpserver.client.base_session import BaseSession
from wstpserver.client.connecting import CONNECT_TIMEOUT
from wstpserver.client.convert import Results, converter, to_expression
from wstpserver.client.deadline import Deadline
from wstpserver.client.errors import EvaluationAborted, EvaluationError, EvaluationFailed, LinkError
from wstpserver.client.evaluation import Callbacks, Evaluation, ExpressionOutput, TextOutput, drop
from wstpserver.client.link import Link
from wstpserver.client.reconnect import reconnect_time
from wstpserver.client.resync import ABORTED, WINDOW, Batch
from wstpserver.wire.packets import enter_expression_packet, enter_text_packet, evaluate_packet
from wstpserver.wire.values import Expression, Function, Symbol

if TYPE_CHECKING:
    import ssl

    from typing_extensions import Self


_NULL: Final = Symbol("Null")
_FAILED: Final = (Symbol("$Failed"), Symbol("System`$Failed"))
#: Seconds for the kernel to list its functions, for completion.
_NAMES_TIMEOUT: Final = 2.0
#: Messages that an exception quotes.
_QUOTED: Final = 3
_OWN_KEYWORDS = ", and a call takes timeout, callbacks, results and check"


class KernelFunction:
    """A function of a session's kernel: ``session.Plus``, ``session.function("Developer`ToPackedArray")``.

    Calling it evaluates ``name[arguments...]`` and returns the value, as `Session.evaluate` does. Arguments are Python
    values or expressions (`wstpserver.client.convert`); a str is a string. Keywords that begin with a capital are
    options: ``session.StringSplit(a, b, IgnoreCase=True)`` is ``StringSplit[a, b, IgnoreCase -> True]``. The keywords
    `timeout`, `callbacks`, `results` and `check` are those of `Session.evaluate`.

    As an argument of another function it stands for its symbol: ``session.Map(session.Sin, [1, 2])``.

    Args:
        name: The name of the function, with a context where it needs one.
        evaluate: Evaluates an expression, as `Session.evaluate`.

    Attributes:
        name: The name of the function.
    """

    __slots__ = ("_evaluate", "name")

    def __init__(self, name: str, evaluate: Callable[..., Any]) -> None:
        self.name = name
        self._evaluate = evaluate

    def __call__(
        self,
        *arguments: Any,
        timeout: float | None = None,
        callbacks: Callbacks | None = None,
        results: Results | None = None,
        check: bool | None = None,
        **options: Any,
    ) -> Any:
        """Evaluate the function; see `Session.evaluate` for the keywords, the value and the exceptions."""
        return self._evaluate(
            self.of(*arguments, **options), timeout, callbacks=callbacks, results=results, check=check
        )

    def of(self, *arguments: Any, **options: Any) -> Function:
        """Return the expression that a call would evaluate; nothing is sent.

        Args:
            *arguments: The arguments.
            **options: Options, which are appended as rules.

        Returns:
            The expression.

        Raises:
            TypeError: No expression stands for an argument, or an option has a small first letter.
        """
        for name in options:
            if not name[:1].isupper():
                raise TypeError(f"{name}= is no option of {self.name}: options begin with a capital{_OWN_KEYWORDS}")
        rules = [Function(Symbol("Rule"), (Symbol(name), to_expression(value))) for name, value in options.items()]
        return Function(Symbol(self.name), (*map(to_expression, arguments), *rules))

    def as_expression(self) -> Expression:
        """Return the symbol of the function."""
        return Symbol(self.name)

    def __repr__(self) -> str:
        return f"<KernelFunction {self.name}>"


def function_name(attribute: str) -> str:
    """Return the name of the function that an attribute of a session stands for.

    Raises:
        AttributeError: It stands for none.
    """
    if attribute.startswith("_"):
        raise AttributeError(f"a session has no attribute {attribute!r}")
    if "_" in attribute:
        raise AttributeError(
            f"{attribute!r} is neither an attribute of a session nor a function: in names of the Wolfram Language an "
            "underscore stands for a pattern"
        )
    if not attribute[0].isupper():
        raise AttributeError(
            f"a session has no attribute {attribute!r}. Functions of the kernel begin with a capital; "
            f"for others write session.function({attribute!r})"
        )
    return attribute


def attribute_names(names: Iterable[object]) -> list[str]:
    """Return those of a kernel's names that can be attributes of a session, for completion."""
    return [name for name in names if isinstance(name, str) and name.isalnum() and name[:1].isupper()]


class Session(BaseSession):
    """A conversation with one kernel.

    Every function of the kernel whose name is made of letters and digits is an attribute: ``session.Plus(2, 2)``.

    A session that is given an address connects without a kernel; the server gives it one when it is first needed, by an
    evaluation or a command. One evaluation runs at a time; further threads wait. `abort`, `interrupt` and `close` work
    from any thread. The session starts no thread. It never gives the answer of one evaluation to another: after a
    time-out or an abort it first skips what the kernel still answers.

    Args:
        link: An open Link, or an address to connect to (see `parse_address`). ``wstp://host:port/pool`` takes a kernel
            of that pool, or the kernel with that ID, at once. By default the server of the environment variable
            WSTPSERVER, or else port 31415 on this machine.
        timeout: Seconds to connect, and for the server to have a kernel where the address names a pool; None for no
            limit.
        callbacks: The functions that are called with output, messages and questions; each call of `evaluate` may give
            its own on top.
        keep_kernel: Whether the kernel stays when the session ends. By default the server is told at once to close it
            at the end of the link, because a kernel that was used stays reserved and counts against its pool's maximum.
            With True, or if the kernel was asked for by its ID, its own settings decide.
        results: The form of values (see `Results`); each call of `evaluate` may name its own.
        check: Whether evaluations raise EvaluationFailed when there are messages or the value is ``$Failed``; each call
            may say otherwise.
        reconnect: True, or seconds to try for (True: 30), to reconnect to the kernel when the connection has broken.
            Then the session takes its kernel at once (within `timeout`), asks for its ID, and has the server keep it
            alive and reserved until `close`. See `evaluate` for what becomes of an evaluation under way.
        token: The access token to say to the server; "" for none. By default the first line of the file that the
            environment variable WSTPSERVER_TOKEN_FILE names.
        tls: How certificates are checked if the address begins with ``wstps://``; by default as
            `ssl.create_default_context` does.

    Attributes:
        results: The form of values, unless a call names another.
        check: Whether evaluations raise EvaluationFailed, unless a call says otherwise.

    Raises:
        ConnectError: Nobody listens there.
        LinkTimeout: The link, or the kernel, was not there in time.
        LinkSyntaxError: `link` is no address.
        AccessDenied: The server does not accept the token.
        CommandError: The server gives no kernel of the pool; the text says why.
    """

    def __init__(
        self,
        link: Link | str | int | Address = "",
        timeout: float | None = CONNECT_TIMEOUT,
        *,
        callbacks: Callbacks | None = None,
        keep_kernel: bool = False,
        results: Results = "python",
        check: bool = False,
        reconnect: bool | float = False,
        token: str | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        converter(results)
        self.results: Results = results
        self.check = check
        self._names: list[str] | None = None
        super().__init__(
            link,
            timeout,
            callbacks=callbacks,
            keep_kernel=keep_kernel,
            reconnect=reconnect_time(reconnect),
            token=token,
            tls=tls,
        )
        if "IPython" in sys.modules:
            from wstpserver.client import interactive  # which is for those that are there

            interactive.register(self)

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
        check: bool = False,
        reconnect: bool | float = False,
        token: str | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> Self:
        """Open a session with the kernel that a profile names.

        The kernel, its server and its pool are written into the profile, and `close` leaves the kernel alive. What it
        wrote since the last session goes to the callbacks.

        Args:
            path: The profile (see `wstpserver.client.profile`); None for the one that wstpscript uses by default.
            address: The server for a new kernel, and its pool; by default the profile's.
            timeout: Seconds until the kernel is there; one that is still at work is waited for.
            start: False to connect only to the profile's kernel, True to take a new one, None to take a new one if that
                is gone.
            callbacks: As for `Session`.
            results: As for `Session`.
            check: As for `Session`.
            reconnect: As for `Session`.
            token: As for `Session`. It is not written into the profile.
            tls: As for `Session`.

        Returns:
            The session.

        Raises:
            ProfileError: The profile cannot be used; with `start` False also if its kernel is gone.
            LinkError: As `Session`.
            CommandError: As `Session`.
        """
        from wstpserver.client.profile import ProfileRequest, session_from_profile  # which others need not wait for

        request = ProfileRequest(path, address, start, reconnect_time(reconnect), token, tls)
        make = partial(cls, callbacks=callbacks, results=results, check=check)
        session = session_from_profile(make, request, timeout)
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
        check: bool | None = None,
    ) -> Any:
        """Evaluate an expression.

        With ``reconnect``, when the connection breaks: an evaluation that had not been sent is sent after reconnecting.
        Of one that had been, the kernel's answer is fetched if the server has kept it, or waited for if the kernel is
        still at work; else EvaluationLost is raised, with the session connected to its kernel. Nothing is evaluated
        twice.

        Args:
            expression: A Python value or an expression (see `wstpserver.client.convert`). A str is Wolfram Language
                text and means ``ToExpression["text"]``; of several expressions in it the last value is returned.
            timeout: Seconds; then the kernel is told to abort and EvaluationTimeout is raised at once. The next call
                gives the kernel time to react. None for no limit.
            callbacks: Functions for this call, on top of those of the session.
            results: The form of the value; by default that of the session.
            check: Whether messages and a value ``$Failed`` raise; by default as the session says.

        Returns:
            The value. A syntax error gives ``$Failed`` and a message; an evaluation that aborts itself gives
            ``Symbol("$Aborted")``.

        Raises:
            EvaluationFailed: With `check`, there were messages, or the value is ``$Failed``.
            EvaluationTimeout: The time-out expired; or there was no kernel in time, and the text says why.
            EvaluationAborted: `abort` ended it.
            EvaluationError: It asks for input and there is no `Callbacks.on_input`.
            EvaluationLost: The connection broke and the answer is lost (with ``reconnect``).
            KernelLost: Another client took the kernel, the server put another kernel in its place, or it is gone.
            LinkClosed: The link has ended, or could not be restored in time.
            TypeError: No expression stands for the value.
        """
        convert = converter(results or self.results)
        question = _question(expression)
        deadline = Deadline(timeout)
        heard, checks = self._checking(callbacks, check)
        with self._having_turn(deadline):
            evaluation = self._run(evaluate_packet(question), "ReturnPacket", deadline, heard)
            self._settle_abort(evaluation, evaluation.value == ABORTED)
        return _value_of(evaluation, convert, checks=checks)

    def evaluate_many(
        self,
        expressions: Iterable[Any],
        timeout: float | None = None,
        *,
        callbacks: Callbacks | None = None,
        results: Results | None = None,
        check: bool | None = None,
        window: int = WINDOW,
    ) -> Iterator[Any]:
        """Evaluate many expressions, sending the next ones while the kernel is still at one of them.

        An exception comes in the place of the value that it concerns, after all values before it, and is the last:
        those of `evaluate`, and what `expressions` itself raises. Up to `window` - 1 evaluations behind the failed one
        have been sent then: they are aborted as far as they are not over, and their values are thrown away.

        Until the iterator is exhausted or closed the session takes nothing else: other threads wait.

        Args:
            expressions: What to evaluate, as for `evaluate`; may be endless.
            timeout: Seconds for each value, from the moment it is asked for.
            callbacks: Functions for this call. They hear of an evaluation while its value is being asked for.
            results: The form of the values; by default that of the session.
            check: Whether messages and a value ``$Failed`` raise; by default as the session says.
            window: The number of evaluations on their way at once. An evaluation that asks for input needs 1.

        Returns:
            An iterator over the values, in order.

        Raises:
            ValueError: `window` is below 1.
            EvaluationAborted: `abort` ended the batch.
            EvaluationLost: The connection broke (with ``reconnect``).
            LinkClosed: The link has ended.
        """
        if window < 1:
            raise ValueError(f"window={window}: at least one evaluation must be under way")
        convert = converter(results or self.results)
        heard, checks = self._checking(callbacks, check)
        value_of = partial(_value_of, convert=convert, checks=checks)
        return self._many(map(_question, expressions), timeout, heard, value_of, window)

    def _many(
        self,
        questions: Iterator[Expression],
        timeout: float | None,
        callbacks: Callbacks | None,
        value_of: Callable[[Evaluation], Any],
        window: int,
    ) -> Iterator[Any]:
        with self._having_turn(Deadline(timeout)), self._surviving(timeout):
            batch = Batch(self._requests, questions, self._heard(callbacks), timeout, window)
            for evaluation in batch.evaluations():
                yield value_of(evaluation)

    def evaluate_text(
        self,
        text: str,
        timeout: float | None = None,
        *,
        callbacks: Callbacks | None = None,
        check: bool | None = None,
    ) -> TextOutput:
        """Enter a line of text as at a prompt: it counts as ``In[n]``, and its result comes as formatted text.

        Args:
            text: The line.
            timeout: As for `evaluate`.
            callbacks: As for `evaluate`.
            check: As for `evaluate`.

        Returns:
            The label, the text of the result, the next prompt, and the position of a syntax error.

        Raises:
            EvaluationError: As `evaluate`.
            LinkClosed: As `evaluate`.
        """
        deadline = Deadline(timeout)
        heard, checks = self._checking(callbacks, check)
        with self._having_turn(deadline):
            evaluation = self._run(enter_text_packet(text), "InputNamePacket", deadline, heard)
            value = evaluation.value
            self._settle_abort(evaluation, value == "$Aborted" or value == ABORTED)
        shown = value if isinstance(value, str) or value is None else str(value)
        output = TextOutput(evaluation.output_name, shown, evaluation.prompt or "", evaluation.syntax_error)
        if checks:
            _check(evaluation, output, failed=shown == "$Failed")
        return output

    def enter_expression(
        self,
        expression: Any,
        timeout: float | None = None,
        *,
        callbacks: Callbacks | None = None,
        results: Results | None = None,
        check: bool | None = None,
    ) -> ExpressionOutput:
        """Enter an expression as at a prompt: it counts as ``In[n]``.

        Args:
            expression: A Python value or an expression; a str is a string.
            timeout: As for `evaluate`.
            callbacks: As for `evaluate`.
            results: As for `evaluate`.
            check: As for `evaluate`.

        Returns:
            The label, the value and the next prompt.

        Raises:
            EvaluationError: As `evaluate`.
            LinkClosed: As `evaluate`.
            TypeError: No expression stands for the value.
        """
        convert = converter(results or self.results)
        question = to_expression(expression)
        deadline = Deadline(timeout)
        heard, checks = self._checking(callbacks, check)
        with self._having_turn(deadline):
            evaluation = self._run(enter_expression_packet(question), "InputNamePacket", deadline, heard)
            self._settle_abort(evaluation, evaluation.value == ABORTED)
        value = _value_of(evaluation, convert, checks=checks)
        return ExpressionOutput(evaluation.output_name, value, evaluation.prompt or "")

    def synchronize(self, timeout: float | None = None) -> None:
        """Wait until a kernel is there and has answered everything.

        Args:
            timeout: Seconds; None for no limit.

        Raises:
            EvaluationError: As `evaluate`.
            LinkClosed: As `evaluate`.
        """
        self.evaluate(_NULL, timeout)

    def _checking(
        self,
        callbacks: Callbacks | None,
        check: bool | None,  # noqa: FBT001 - three values, passed on
    ) -> tuple[Callbacks | None, bool]:
        """The callbacks of a call, and whether it raises EvaluationFailed: messages are no warnings then."""
        checks = self.check if check is None else check
        if not checks or self._heard(callbacks).on_message is not None:
            return callbacks, checks
        return Callbacks(on_message=drop).over(callbacks or Callbacks()), checks

    def _settle_abort(self, evaluation: Evaluation, is_aborted: object) -> None:
        """EvaluationAborted if an abort was asked for and took place."""
        if not evaluation.abort_requested:
            return
        self._requests.desync()  # the abort, or its repetition, may come too late and must not hit what follows
        if is_aborted:
            raise EvaluationAborted("the evaluation was aborted")

    # Functions

    def function(self, name: str) -> KernelFunction:
        """Return a function of the kernel by its name, with a context where it needs one: "Developer`ToPackedArray"."""
        return KernelFunction(name, self.evaluate)

    def __getattr__(self, name: str) -> KernelFunction:
        return KernelFunction(function_name(name), self.evaluate)

    def __dir__(self) -> Iterable[str]:
        """Also the functions of the kernel, for completion; they are asked for once, when the session is idle."""
        own = super().__dir__()
        if self._names is None and not self._turn.locked() and not self.link.ended:
            names = Function(Symbol("Names"), ("System`*",))
            try:
                quiet = Callbacks.quiet()
                listed = self.evaluate(names, _NAMES_TIMEOUT, callbacks=quiet, results="python", check=False)
            except (EvaluationError, LinkError):
                return own
            self._names = attribute_names(listed if isinstance(listed, list) else ())
        return [*own, *(self._names or ())]

    # Display

    def svg(self, expression: Any) -> str | None:
        """Have the kernel draw graphics or an image.

        Args:
            expression: An expression with a head such as Graphics or Image.

        Returns:
            The SVG text; None if the expression is no picture or the kernel cannot draw it.
        """
        from wstpserver.client import interactive

        return interactive.svg(self, to_expression(expression))

    def latex(self, expression: Any) -> str | None:
        """Have the kernel write a formula in LaTeX.

        Args:
            expression: An expression.

        Returns:
            LaTeX between dollar signs; None if the kernel cannot write it.
        """
        from wstpserver.client import interactive

        return interactive.latex(self, to_expression(expression))


def _question(expression: Any) -> Expression:
    """What is to be evaluated: an expression, or the text of one."""
    if isinstance(expression, str):
        return Function(Symbol("ToExpression"), (str(expression),))
    return to_expression(expression)


def _value_of(evaluation: Evaluation, convert: Callable[[Expression], Any], *, checks: bool) -> Any:
    expression = _NULL if evaluation.value is None else evaluation.value
    value = convert(expression)
    if checks:
        _check(evaluation, value, failed=expression in _FAILED)
    return value


def _check(evaluation: Evaluation, value: object, *, failed: bool) -> None:
    """EvaluationFailed if the evaluation gave messages or failed."""
    if not evaluation.messages and not failed:
        return
    texts = [message.text.strip() or f"{message.symbol}::{message.tag}" for message in evaluation.messages]
    shown = "; ".join(texts[:_QUOTED]) + ("; ..." if len(texts) > _QUOTED else "")
    text = f"the value is $Failed{': ' if shown else ''}{shown}" if failed else shown
    raise EvaluationFailed(text, tuple(evaluation.messages), value)
