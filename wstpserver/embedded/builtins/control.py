"""Aborts, interrupts, Input, Dialog, and the session's number.

Docstrings of classes are what ?name shows, those of methods are the patterns that Mathics matches.
"""

from __future__ import annotations

import os
from typing import Any

from mathics.core.atoms import Integer, String
from mathics.core.attributes import A_HOLD_ALL, A_HOLD_FIRST, A_PROTECTED, A_READ_PROTECTED
from mathics.core.builtin import Builtin, Predefined
from mathics.core.element import BaseElement
from mathics.core.expression import Expression
from mathics.core.interrupt import AbortInterrupt, WLThrowInterrupt
from mathics.core.symbols import SymbolNull, SymbolTrue
from mathics.core.systemsymbols import SymbolFailed, SymbolMatchQ

from wstpserver.embedded.evaluator import KernelEvaluation
from wstpserver.embedded.repl import TextFeeder

#: Prompt of Input[] and InputString[].
DEFAULT_PROMPT = "? "


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
        """CheckAbort[expr_, failexpr_]"""
        depth = evaluation.recursion_depth
        try:
            return expr.evaluate(evaluation)
        except AbortInterrupt:
            if isinstance(evaluation, KernelEvaluation):
                evaluation.interrupts.absorb_abort()
            evaluation.recursion_depth = depth
            evaluation.definitions.clear_cache()
            return failexpr


class Catch(Builtin):
    """
    <dl>
      <dt>'Catch'[$expr$]
      <dd>evaluates $expr$, and gives the argument of the first 'Throw' in it.
      <dt>'Catch'[$expr$, $form$]
      <dd>catches only a 'Throw'[$value$, $tag$] whose $tag$ matches $form$.
      <dt>'Catch'[$expr$, $form$, $f$]
      <dd>gives $f$[$value$, $tag$].
    </dl>
    """

    # That of Mathics fails for a Throw without a tag inside of a Catch with a form, which must not catch it.
    context = "System`"
    attributes = A_HOLD_FIRST | A_PROTECTED
    summary_text = "handle an exception raised by a 'Throw'"

    def eval(self, expr: BaseElement, evaluation: Any) -> BaseElement | None:
        """Catch[expr_]"""
        try:
            return expr.evaluate(evaluation)
        except WLThrowInterrupt as thrown:
            caught: BaseElement = thrown.value
            return caught

    def eval_form(self, expr: BaseElement, form: BaseElement, evaluation: Any) -> BaseElement | None:
        """Catch[expr_, form_]"""
        try:
            return expr.evaluate(evaluation)
        except WLThrowInterrupt as thrown:
            if not _has_form(thrown, form, evaluation):
                raise
            caught: BaseElement = thrown.value
            return caught

    def eval_function(
        self, expr: BaseElement, form: BaseElement, f: BaseElement, evaluation: Any
    ) -> BaseElement | None:
        """Catch[expr_, form_, f_]"""
        try:
            return expr.evaluate(evaluation)
        except WLThrowInterrupt as thrown:
            if not _has_form(thrown, form, evaluation):
                raise
            return Expression(f, thrown.value, thrown.tag)


def _has_form(thrown: WLThrowInterrupt, form: BaseElement, evaluation: Any) -> bool:
    """Whether there is a tag, and it matches."""
    if thrown.tag is None:
        return False
    return bool(Expression(SymbolMatchQ, thrown.tag, form).evaluate(evaluation) is SymbolTrue)


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
        """Interrupt[]"""
        if isinstance(evaluation, KernelEvaluation):
            evaluation.interrupts.on_interrupt()
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


class Input(Builtin):
    """
    <dl>
      <dt>'Input'[]
      <dd>asks the user for an expression, and gives its value.
      <dt>'Input'[$prompt$]
      <dd>asks with that prompt.
    </dl>
    """

    context = "System`"
    attributes = A_PROTECTED | A_READ_PROTECTED
    summary_text = "ask the user for an expression"

    def eval(self, evaluation: Any) -> BaseElement | None:
        """Input[]"""
        return self._ask(DEFAULT_PROMPT, evaluation)

    def eval_prompt(self, prompt: BaseElement, evaluation: Any) -> BaseElement | None:
        """Input[prompt_]"""
        return self._ask(_prompt_text(prompt, evaluation), evaluation)

    def _ask(self, prompt: str, evaluation: Any) -> BaseElement | None:
        session = getattr(evaluation, "session", None)
        if session is None:
            return None
        answer = session.questions.input("InputPacket", prompt)
        if not isinstance(answer, str):
            return session.from_wire.convert(answer)
        return _parse_all(answer, evaluation)


class InputString(Builtin):
    """
    <dl>
      <dt>'InputString'[]
      <dd>asks the user for a line of text, and gives it as a string.
      <dt>'InputString'[$prompt$]
      <dd>asks with that prompt.
    </dl>
    """

    context = "System`"
    attributes = A_PROTECTED | A_READ_PROTECTED
    summary_text = "ask the user for a string"

    def eval(self, evaluation: Any) -> BaseElement | None:
        """InputString[]"""
        return self._ask(DEFAULT_PROMPT, evaluation)

    def eval_prompt(self, prompt: BaseElement, evaluation: Any) -> BaseElement | None:
        """InputString[prompt_]"""
        return self._ask(_prompt_text(prompt, evaluation), evaluation)

    def _ask(self, prompt: str, evaluation: Any) -> BaseElement | None:
        session = getattr(evaluation, "session", None)
        if session is None:
            return None
        answer = session.questions.input("InputStringPacket", prompt)
        if not isinstance(answer, str):
            answer = evaluation.format_output(session.from_wire.convert(answer), "text")
        return String(answer)


class Dialog(Builtin):
    """
    <dl>
      <dt>'Dialog'[]
      <dd>opens a session inside the evaluation, which 'Return'[$value$] ends with that value.
      <dt>'Dialog'[$expr$]
      <dd>begins it by evaluating $expr$.
    </dl>
    """

    context = "System`"
    attributes = A_HOLD_ALL | A_PROTECTED
    summary_text = "open an interactive session inside an evaluation"

    def eval(self, evaluation: Any) -> BaseElement | None:
        """Dialog[]"""
        session = getattr(evaluation, "session", None)
        return None if session is None else session.dialog()

    def eval_expression(self, expr: BaseElement, evaluation: Any) -> BaseElement | None:
        """Dialog[expr_]"""
        session = getattr(evaluation, "session", None)
        return None if session is None else session.dialog(expr)


def _prompt_text(prompt: BaseElement, evaluation: Any) -> str:
    return str(evaluation.format_output(prompt, "text"))


def _parse_all(text: str, evaluation: Any) -> BaseElement:
    """The last expression in the text, after evaluating those before it; $Failed after a syntax error."""
    feeder = TextFeeder(text, "Input")
    last: BaseElement = SymbolNull
    while not feeder.empty():
        expression, _, messages = evaluation.parse_feeder_returning_code_and_messages(feeder)
        if expression is None and messages:
            return SymbolFailed
        if expression is not None:
            last = expression.evaluate(evaluation) or SymbolNull
    return last


CONTROL_BUILTINS = (CheckAbort, Catch, Interrupt, SessionID, Input, InputString, Dialog)
