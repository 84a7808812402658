"""Runs one evaluation to its end, whatever the end is."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable

from mathics.core.element import BaseElement
from mathics.core.evaluation import MAX_RECURSION_DEPTH
from mathics.core.expression import Expression
from mathics.core.interrupt import (
    AbortInterrupt,
    BreakInterrupt,
    ContinueInterrupt,
    ReturnInterrupt,
    TimeoutInterrupt,
    WLThrowInterrupt,
)
from mathics.core.symbols import SymbolNull
from mathics.core.systemsymbols import (
    SymbolAborted,
    SymbolBreak,
    SymbolContinue,
    SymbolFailed,
    SymbolHold,
    SymbolOverflow,
    SymbolThrow,
)

from wstpserver.kernel.deadlines import DeadlineReached
from wstpserver.kernel.evaluation import KernelEvaluation
from wstpserver.kernel.interruption import Scope

#: What Python's numbers say when a power does not fit the machine; a kernel says Overflow[].
OUTRAGEOUS_POWERS = ("mpz.pow outrageous exponent", "mpq.pow outrageous exp num")

#: Mathics has the names of these messages, but not their text.
NO_LOOP = "No enclosing For, While, or Do found for {}[]."

#: Characters of an exception's text that are worth showing to a user.
SHOWN_EXCEPTION = 200


class Evaluator:
    """Evaluates for one kernel."""

    def __init__(self, evaluation: KernelEvaluation) -> None:
        self.evaluation = evaluation
        self._interruption = evaluation.interruption

    def run(
        self, work: Callable[[], BaseElement | None], on_return: Callable[[BaseElement], None] | None = None
    ) -> BaseElement:
        """Call `work`, which evaluates, and return its value, or what stands for the way it ended.

        `on_return` is called with the value of a Return that was not inside anything it could return from; it may
        raise.

        An abort gives $Aborted, an uncaught Throw Hold[Throw[...]] and so on, with the messages a kernel issues. An
        exception Mathics let escape gives a message and $Failed. What comes out is SystemExit (Quit, or the link is
        gone), and DeadlineReached if it belongs to an evaluation around this one.
        """
        scope = self._interruption.scope()
        try:
            self._interruption.begin()
            result = work()
            self._interruption.armed = False
            return SymbolNull if result is None else result
        except Exception as error:
            self._interruption.armed = False
            if self._belongs_outside(error, scope):
                raise
            self._tidy_up()
            if on_return is not None and isinstance(error, ReturnInterrupt):
                on_return(error.expr)
            return self._stands_for(error)
        finally:
            self._interruption.end(scope)
            self.evaluation.recursion_depth = 0
            self.evaluation.iteration_count = 0

    def _belongs_outside(self, error: Exception, scope: Scope) -> bool:
        if not isinstance(error, DeadlineReached):
            return False
        return self._interruption.deadlines.is_among_outermost(error.deadline, scope.deadlines)

    def _tidy_up(self) -> None:
        """What unwinding may have skipped: the evaluation's state, and the cache that Block and Do keep in step."""
        self.evaluation.reset()
        self.evaluation.definitions.clear_cache()

    def _stands_for(self, error: Exception) -> BaseElement:
        """The value of an evaluation that ended with `error`, after the messages that belong to it."""
        if isinstance(error, AbortInterrupt | TimeoutInterrupt | DeadlineReached):
            return SymbolAborted
        if isinstance(error, ReturnInterrupt):
            return error.expr
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
        if isinstance(error, OverflowError) or str(error) in OUTRAGEOUS_POWERS:
            self.evaluation.message("General", "ovfl")
            return Expression(SymbolOverflow)
        return self._escaped(error)

    def _uncaught_throw(self, error: WLThrowInterrupt) -> BaseElement:
        arguments = (error.value,) if error.tag is None else (error.value, error.tag)
        thrown = Expression(SymbolThrow, *arguments)
        self.evaluation.message("Throw", "nocatch", thrown)
        return Expression(SymbolHold, thrown)

    def _escaped(self, error: Exception) -> BaseElement:
        """A Python exception that a builtin let out: a bug of Mathics, which must not cost the session."""
        trace = "".join(traceback.format_exception(error, limit=-6))
        print(f"wstpkernel: an exception escaped from a builtin\n{trace}", file=sys.stderr, flush=True)
        if isinstance(error, MemoryError):
            self.evaluation.say("General", "nomem", "The current computation was aborted because there was "
                                "insufficient memory available to complete the computation.")  # fmt: skip
            return SymbolAborted
        shown = f"{type(error).__name__}: {error}"[:SHOWN_EXCEPTION]
        self.evaluation.say("General", "escaped", f"The evaluator failed with {shown}. The session goes on.")
        return SymbolFailed
