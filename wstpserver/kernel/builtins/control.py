"""Aborts, interrupts, and who this kernel is.

Docstrings of classes are what ?name shows, those of methods the patterns Mathics matches.
"""

from __future__ import annotations

import os
from typing import Any

from mathics.core.atoms import Integer
from mathics.core.attributes import A_HOLD_ALL, A_PROTECTED
from mathics.core.builtin import Builtin, Predefined
from mathics.core.element import BaseElement
from mathics.core.interrupt import AbortInterrupt
from mathics.core.symbols import SymbolNull

from wstpserver.kernel.evaluation import KernelEvaluation


class CheckAbort(Builtin):
    """
    <dl>
      <dt>'CheckAbort'[$expr$, $failexpr$]
      <dd>evaluates $expr$, and gives $failexpr$ if it is aborted.
    </dl>
    """

    context = "System`"
    attributes = A_HOLD_ALL | A_PROTECTED
    summary_text = "catch an Abort[] exception"

    def eval(self, expr: BaseElement, failexpr: BaseElement, evaluation: Any) -> BaseElement | None:
        "CheckAbort[expr_, failexpr_]"
        depth = evaluation.recursion_depth
        try:
            return expr.evaluate(evaluation)
        except AbortInterrupt:
            if isinstance(evaluation, KernelEvaluation):
                evaluation.interruption.absorb_abort()
            evaluation.recursion_depth = depth
            evaluation.definitions.clear_cache()
            return failexpr


class Interrupt(Builtin):
    """
    <dl>
      <dt>'Interrupt'[]
      <dd>interrupts the evaluation with a menu.
    </dl>
    """

    context = "System`"
    summary_text = "interrupt the evaluation with a menu"

    def eval(self, evaluation: Any) -> BaseElement:
        "Interrupt[]"
        if isinstance(evaluation, KernelEvaluation):
            evaluation.interruption.on_interrupt()
        return SymbolNull


class SessionID(Predefined):
    """
    <dl>
      <dt>'$SessionID'
      <dd>is a number that no other session has.
    </dl>
    """

    context = "System`"
    name = "$SessionID"
    summary_text = "get a unique session id"

    def evaluate(self, evaluation: Any) -> Integer:  # a docstring would be taken for a pattern
        return Integer(_session_number())


_numbers: dict[int, int] = {}


def _session_number() -> int:
    process = os.getpid()
    if process not in _numbers:
        _numbers[process] = int.from_bytes(os.urandom(8), "big")
    return _numbers[process]


CONTROL_BUILTINS = (CheckAbort, Interrupt, SessionID)
