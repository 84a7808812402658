"""Mathics' evaluation object, tied to a kernel, and the running of one evaluation to its end, whatever the end is;
and functions of Mathics that are replaced, because they prevent aborts, time limits, or speed.

Each replacement does what the original does, with the difference its docstring names.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any, Protocol

import sympy
from mathics.builtin.numbers import randomnumbers
from mathics.core.atoms import Integer, String
from mathics.core.convert.python import from_python
from mathics.core.definitions import Definitions
from mathics.core.element import BaseElement
from mathics.core.evaluation import MAX_RECURSION_DEPTH, Evaluation, Message, Output
from mathics.core.expression import Expression
from mathics.core.interrupt import (
    AbortInterrupt,
    BreakInterrupt,
    ContinueInterrupt,
    ReturnInterrupt,
    TimeoutInterrupt,
    WLThrowInterrupt,
)
from mathics.core.symbols import Symbol, SymbolNull, fully_qualified_symbol_name
from mathics.core.systemsymbols import (
    SymbolAborted,
    SymbolBreak,
    SymbolContinue,
    SymbolFailed,
    SymbolHold,
    SymbolOverflow,
    SymbolReturn,
    SymbolThrow,
)
from mathics.eval import datetime as mathics_datetime
from mathics.eval import scoping as mathics_scoping

from wstpserver.embedded.interrupts import EvaluationInterrupts, EvaluationScope, TimeLimitReached

#: Messages kept for Check, which looks at the messages of its argument; older ones are dropped.
KEPT_MESSAGES = 1000

#: What Python's numbers say when a power exceeds the memory of the machine; a kernel says Overflow[].
TOO_LARGE_POWERS = ("mpz.pow outrageous exponent", "mpq.pow outrageous exp num")

#: Mathics has the names of these messages, but not their text.
NO_LOOP = "No enclosing For, While, or Do found for {}[]."


#: Characters of an exception's text that are shown to a user.
SHOWN_EXCEPTION = 200


class ValueConverter(Protocol):
    """A direction of conversion."""

    def convert(self, value: Any, /) -> Any:
        """Convert one value."""


class SessionServices(Protocol):
    """What an evaluation needs of its session: to send output and messages at once, and to convert values."""

    @property
    def from_wire(self) -> ValueConverter:
        """Converts values of the wire layer to expressions."""

    @property
    def to_wire(self) -> ValueConverter:
        """Converts expressions to values of the wire layer."""

    def send_text(self, text: str) -> None:
        """Send a TextPacket."""

    def send_message(self, symbol: str, tag: str, text: str) -> None:
        """Send a MessagePacket and its TextPacket."""


class KernelEvaluation(Evaluation):
    """The evaluation object of one kernel: it can be interrupted, and its output is sent as it happens.

    Attributes:
        interrupts: The requests to end this kernel's evaluations.
        session: Set when the kernel has its link; builtins use it to talk to the client.
    """

    def __init__(self, definitions: Definitions, interrupts: EvaluationInterrupts) -> None:
        super().__init__(definitions=definitions, output=_LinkOutput(self), catch_interrupt=False)
        self.interrupts = interrupts
        self.session: SessionServices | None = None

    def check_stopped(self) -> None:
        """Called by Mathics at every step: the place where aborts and time limits take effect."""
        if self.interrupts.due:
            self.interrupts.act()

    def print_out(self, text: Any) -> None:
        """Print. The text is not kept in `out`: Check would take it for a message, and loops would fill the memory."""
        tracing, self.definitions.trace_evaluation = self.definitions.trace_evaluation, False
        try:
            shown = text if isinstance(text, str) else self.format_output(text, "text")
        finally:
            self.definitions.trace_evaluation = tracing
        if self.session is not None:
            self.session.send_text(f"{shown}\n")

    def message(self, symbol_name: str, tag: str, *arguments: Any) -> Any:
        """Issue a message; its arguments are shown in the form that `$MessagePrePrint` names, if it names one."""
        try:
            form = self.definitions.get_ownvalue("System`$MessagePrePrint")
        except ValueError:
            return super().message(symbol_name, tag, *arguments)
        elements = [from_python(argument) for argument in arguments]
        if isinstance(form, Symbol):
            elements = [each if isinstance(each, String) else Expression(form, each) for each in elements]
        return super().message(symbol_name, tag, *elements)

    def say(self, symbol: str, tag: str, text: str) -> None:
        """Issue a message of the kernel itself, whose text needs no definition."""
        self.out.append(Message(symbol, tag, text))
        self.output.out(self.out[-1])

    def reset(self) -> None:
        """Clear the state that an evaluation which was cut short may have left."""
        self.recursion_depth = 0
        self.iteration_count = 0
        self.stopped = False
        self.timeout = False
        self.exc_result = self.SymbolNull
        self.last_eval = None
        self.options = None
        self.quiet_all = False
        self.is_boxing = False
        self.predetermined_out = None
        self.out.clear()


class _LinkOutput(Output):
    """Sends messages as Mathics issues them."""

    def __init__(self, evaluation: KernelEvaluation) -> None:
        self._evaluation = evaluation

    def out(self, out: Any) -> None:
        session = self._evaluation.session
        if session is not None and isinstance(out, Message):
            session.send_message(str(out.symbol), out.tag, out.text)
        if len(self._evaluation.out) > KEPT_MESSAGES:
            del self._evaluation.out[:-KEPT_MESSAGES]

    def clear(self, wait: bool) -> None:  # noqa: FBT001 - the interface of Mathics
        """Nothing is displayed here that could be cleared."""

    def display(self, data: Any, metadata: Any) -> None:
        """Rich output (Manipulate) has no form on a link: its text is sent."""
        self._evaluation.print_out(String(str(data.get("text/plain", ""))) if isinstance(data, dict) else "")


class EvaluationRunner:
    """Runs evaluations of one kernel."""

    def __init__(self, evaluation: KernelEvaluation) -> None:
        self.evaluation = evaluation
        self._interrupts = evaluation.interrupts

    def run(
        self, work: Callable[[], BaseElement | None], on_return: Callable[[BaseElement], None] | None = None
    ) -> BaseElement:
        """Call `work`, which evaluates something, and always come to a value.

        An abort gives $Aborted, an uncaught Throw gives Hold[Throw[...]] and so on, with the messages a kernel issues.
        An exception that Mathics did not catch gives a message and $Failed.

        Args:
            work: Evaluates; None counts as Null.
            on_return: Called with the value of a Return outside of anything it could return from. May raise.

        Returns:
            The value, or what stands for the way the evaluation ended.

        Raises:
            SystemExit: Quit, or the link is gone.
            TimeLimitReached: The time limit of an evaluation around this one has passed.
        """
        scope = self._interrupts.scope()
        try:
            self._interrupts.begin()
            result = work()
            self._interrupts.armed = False
            return SymbolNull if result is None else result
        except Exception as error:
            self._interrupts.armed = False
            if self._belongs_outside(error, scope):
                raise
            self._tidy_up()
            if on_return is not None and isinstance(error, ReturnInterrupt):
                on_return(error.expr)
            return self._stands_for(error)
        finally:
            self._interrupts.end(scope)
            self.evaluation.recursion_depth = 0
            self.evaluation.iteration_count = 0

    def _belongs_outside(self, error: Exception, scope: EvaluationScope) -> bool:
        if not isinstance(error, TimeLimitReached):
            return False
        return self._interrupts.limits.is_among_outermost(error.limit, scope.limits)

    def _tidy_up(self) -> None:
        """Restore what unwinding may have skipped: the evaluation's state, and the cache of definitions."""
        self.evaluation.reset()
        self.evaluation.definitions.clear_cache()

    def _stands_for(self, error: Exception) -> BaseElement:
        """The value of an evaluation that ended with `error`, after the messages that belong to it."""
        if isinstance(error, AbortInterrupt | TimeoutInterrupt | TimeLimitReached):
            return SymbolAborted
        if isinstance(error, ReturnInterrupt):  # as in a Wolfram kernel, Return at the top level stays as it is
            return Expression(SymbolReturn) if error.expr is SymbolNull else Expression(SymbolReturn, error.expr)
        if isinstance(error, WLThrowInterrupt):
            return self._uncaught_throw(error)
        if isinstance(error, BreakInterrupt):
            self.evaluation.say("Break", "nofdw", NO_LOOP.format("Break"))
            return Expression(SymbolHold, Expression(SymbolBreak))
        if isinstance(error, ContinueInterrupt):
            self.evaluation.say("Continue", "nofdw", NO_LOOP.format("Continue"))
            return Expression(SymbolHold, Expression(SymbolContinue))
        if isinstance(error, RecursionError):
            self.evaluation.message("$RecursionLimit", "reclim", MAX_RECURSION_DEPTH)
            return SymbolAborted
        if isinstance(error, OverflowError) or str(error) in TOO_LARGE_POWERS:
            self.evaluation.message("General", "ovfl")
            return Expression(SymbolOverflow)
        return self._escaped(error)

    def _uncaught_throw(self, error: WLThrowInterrupt) -> BaseElement:
        arguments = (error.value,) if error.tag is None else (error.value, error.tag)
        thrown = Expression(SymbolThrow, *arguments)
        self.evaluation.message("Throw", "nocatch", thrown)
        return Expression(SymbolHold, thrown)

    def _escaped(self, error: Exception) -> BaseElement:
        """A Python exception that a builtin did not catch: a fault of Mathics, which must not end the session."""
        trace = "".join(traceback.format_exception(error, limit=-6))
        print(f"wstpkernel: an exception escaped from a builtin\n{trace}", file=sys.stderr, flush=True)
        if isinstance(error, MemoryError):
            self.evaluation.say("General", "nomem", "The current computation was aborted because there was "
                                "insufficient memory available to complete the computation.")  # fmt: skip
            return SymbolAborted
        # Texts of other kinds of exceptions speak of Python's objects.
        reason = f" ({error})" if isinstance(error, ValueError | ArithmeticError | OSError) and str(error) else ""
        self.evaluation.say("General", "escaped", f"The evaluator failed{reason[:SHOWN_EXCEPTION]}. Its standard error "
                            "has the details. The session goes on.")  # fmt: skip
        return SymbolFailed


def install_patches() -> None:
    """Put the replacements in, wherever a loaded module of Mathics has the original by name. Once per process."""
    replace_everywhere("dynamic_scoping", mathics_scoping.dynamic_scoping, dynamic_scoping)
    replace_everywhere("eval_pause", mathics_datetime.eval_pause, eval_pause)
    if hasattr(signal, "setitimer"):
        replace_everywhere("eval_timeconstrained", mathics_datetime.eval_timeconstrained, eval_timeconstrained)
    Integer._sympy = _SympyValue()
    # Mathics writes the whole state of the generator into $RandomState at every call, as an integer of 20,000 bits
    # that it keeps for ever. The state is in NumPy anyway; $RandomState still shows it.
    randomnumbers._RandomEnvBase.__enter__ = lambda environment: environment
    randomnumbers._RandomEnvBase.__exit__ = lambda environment, *exception: None


def replace_everywhere(name: str, original: Callable[..., Any], replacement: Callable[..., Any]) -> None:
    """Put `replacement` where a loaded module of Mathics has `original` under that name."""
    for module_name, module in list(sys.modules.items()):
        if module_name.startswith("mathics.") and getattr(module, name, None) is original:
            setattr(module, name, replacement)
    # The second place it is defined at, in Mathics 10.0.1, is a copy of the first.
    copies = sys.modules.get("mathics.builtin.scoping")
    if copies is not None and getattr(copies, name, replacement) is not replacement:
        replace_everywhere(name, getattr(copies, name), replacement)


class _SympyValue:
    """The SymPy integer of a Mathics Integer that was made without one (`convert`), computed when it is asked for.

    Not a data descriptor: an attribute of the instance takes precedence.
    """

    def __get__(self, integer: Any, owner: type | None = None) -> Any:
        if integer is None:
            return self
        value = sympy.Integer(integer._value)
        integer.__dict__["_sympy"] = value
        return value


def _uninterrupted(evaluation: Any) -> contextlib.AbstractContextManager[None]:
    """A block that no abort may interrupt. Some builtins make plain evaluation objects, which are never aborted."""
    if isinstance(evaluation, KernelEvaluation):
        return evaluation.interrupts.masked()
    return contextlib.nullcontext()


def dynamic_scoping(
    func: Callable[[KernelEvaluation], BaseElement], vars: dict[str, Any], evaluation: KernelEvaluation
) -> BaseElement:
    """Evaluate with temporary values of variables (Block, Do, Table, Sum ...).

    The difference: the old values come back even if a new value could not be evaluated, and no abort can come between.
    """
    definitions = evaluation.definitions
    originals: dict[str, Any] = {}
    try:
        for name, value in vars.items():
            assert fully_qualified_symbol_name(name)
            with _uninterrupted(evaluation):
                originals[name] = definitions.get_user_definition(name)
                definitions.reset_user_definition(name)
            if value is not None:
                definitions.set_ownvalue(name, value.evaluate(evaluation))
        return func(evaluation)
    finally:
        with _uninterrupted(evaluation):
            for name, definition in originals.items():
                definitions.add_user_definition(name, definition)


def eval_pause(sleeptime: float, evaluation: KernelEvaluation) -> None:
    """Pause. The difference: it can be aborted, and does not count its own steps."""
    if isinstance(evaluation, KernelEvaluation):
        evaluation.interrupts.sleep(sleeptime)
    else:
        time.sleep(sleeptime)


def eval_timeconstrained(
    expr: BaseElement, timeout: float, failexpr: BaseElement, evaluation: KernelEvaluation
) -> BaseElement | None:
    """TimeConstrained. The difference: a timer instead of a thread, and masked blocks are not interrupted."""
    limits = evaluation.interrupts.limits
    limit = limits.add(timeout)
    depth = evaluation.recursion_depth
    evaluation.timeout_queue.append((timeout, time.time()))
    try:
        return expr.evaluate(evaluation)
    except TimeLimitReached as reached:
        if reached.limit is not limit:
            raise
    finally:
        limits.remove(limit)
        evaluation.timeout_queue.pop()
    evaluation.recursion_depth = depth
    evaluation.definitions.clear_cache()
    return failexpr.evaluate(evaluation)
