"""Functions of Mathics that are replaced, because they prevent aborts, time limits, or speed.

Each replacement does what the original does, with the difference its docstring names.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import sympy
from mathics.builtin.numbers import randomnumbers
from mathics.core.atoms import Integer
from mathics.core.element import BaseElement
from mathics.core.symbols import fully_qualified_symbol_name
from mathics.eval import datetime as mathics_datetime
from mathics.eval import scoping as mathics_scoping

from wstpserver.embedded.evaluator import KernelEvaluation
from wstpserver.embedded.interrupts import TimeLimitReached


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
