"""What controls the session: aborts, Input, Dialog, the session's number, and its WSTPServer.

The functions in the context WSTPServer` (GetKernelID and others) give the results of the specification's section
"Wolfram Language Functions": a string for the functions that get something, an association for GetServerInformation,
otherwise a success object; a failure object where the server cannot carry the command out. An expression with wrong
arguments stays unevaluated.

Docstrings of classes are what ?name shows, those of methods are the patterns that Mathics matches.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from mathics.core.atoms import Integer, MachineReal, Rational, String
from mathics.core.attributes import A_HOLD_ALL, A_HOLD_FIRST, A_PROTECTED, A_READ_PROTECTED
from mathics.core.builtin import Builtin, Predefined
from mathics.core.element import BaseElement
from mathics.core.expression import Expression
from mathics.core.interrupt import AbortInterrupt, WLThrowInterrupt
from mathics.core.list import ListExpression
from mathics.core.symbols import Symbol, SymbolFalse, SymbolNull, SymbolTrue
from mathics.core.systemsymbols import SymbolAssociation, SymbolFailed, SymbolMatchQ, SymbolRule

from wstpserver.embedded.arrays import machine_real
from wstpserver.embedded.evaluator import KernelEvaluation
from wstpserver.embedded.repl import TextFeeder
from wstpserver.wire.values import Symbol as WireSymbol

SymbolSuccess, SymbolFailure = Symbol("System`Success"), Symbol("System`Failure")

CONTEXT = "WSTPServer`"

#: The tag of success and failure objects.
TAG = "WSTPServer"

#: Seconds the server waits for a busy kernel if no time is given.
DEFAULT_WAIT = 5.0

#: What ``?name`` shows.
_DESCRIPTIONS = {
    "CloseKernel": "closes the kernel with the ID that is given",
    "ConnectKernel": "bridges this connection with a kernel of the default pool, or with the kernel whose ID, or a "
    "kernel of the pool whose name, is given, waiting for it as many seconds as are given",
    "DisconnectKernel": "unbridges this connection from its kernel",
    "GetKernelID": "gives the ID of this kernel",
    "GetPoolName": "gives the name of the pool of this kernel",
    "GetServerInformation": "gives an association of all pools and all kernels",
    "SetAllowSilentKernelReplacement": "sets whether this kernel may be replaced silently when it dies",
    "SetKeepAlive": "sets whether this kernel lives on when it is unbridged",
    "SetReserveKernel": "sets whether this kernel, when it is unbridged, can only be bridged by its ID",
    "StartKernel": "starts a kernel outside of any pool, with the command line that is given, and gives its ID",
}

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


class Success(Builtin):
    """
    <dl>
      <dt>'Success'[$tag$, $assoc$]
      <dd>represents that something was done, with details given by the association.
    </dl>
    """

    context = "System`"
    attributes = A_PROTECTED
    summary_text = "represent the success of an operation"


def success(command: str) -> Expression:
    """The success object for a command."""
    details = {"MessageTemplate": f"{command} succeeded.", "Command": command}
    return Expression(SymbolSuccess, String(TAG), association(details))


def failure(command: str, reason: str, status: str) -> Expression:
    """The failure object for a command; `status` is the status in the server's answer."""
    details = {"MessageTemplate": reason, "Command": command, "Status": status}
    return Expression(SymbolFailure, String(TAG), association(details))


def association(items: dict[str, Any]) -> Expression:
    """<|"key" -> value, ...|> of a JSON object."""
    rules = [Expression(SymbolRule, String(key), from_json(value)) for key, value in items.items()]
    return Expression(SymbolAssociation, *rules)


def from_json(value: Any) -> BaseElement:
    """The value as ImportString[..., "RawJSON"] gives it: objects are associations, null is Null."""
    if value is None:
        return SymbolNull
    if isinstance(value, bool):
        return SymbolTrue if value else SymbolFalse
    if isinstance(value, str):
        return String(value)
    if isinstance(value, int):
        return Integer(value)
    if isinstance(value, float):
        return machine_real(value)
    if isinstance(value, list):
        return ListExpression(*map(from_json, value))
    return association(value)


def _ask(name: str, arguments: tuple[Any, ...], evaluation: Any, seconds: float = 0.0) -> BaseElement | None:
    """Send the command to the server and convert its answer; None without a link."""
    session = getattr(evaluation, "session", None)
    if session is None:
        return None
    answer = session.questions.command(name, arguments, seconds)
    if answer is None:
        return failure(name, "No WSTPServer answered.", "NoAnswer")
    if "result" in answer:
        result = answer["result"]
        return association(result) if isinstance(result, dict) else from_json(result)
    if answer.get("status") == "ExecutionSuccess":
        return success(name)
    return failure(name, f"{name} failed.", str(answer.get("status", "")))


def _without_arguments(name: str) -> Callable[..., BaseElement | None]:
    def evaluate(self: Builtin, evaluation: Any) -> BaseElement | None:
        return _ask(name, (), evaluation)

    evaluate.__doc__ = f"{CONTEXT}{name}[]"
    return evaluate


def _with_string(name: str) -> Callable[..., BaseElement | None]:
    def evaluate(self: Builtin, text: String, evaluation: Any) -> BaseElement | None:
        return _ask(name, (text.value,), evaluation, DEFAULT_WAIT)

    evaluate.__doc__ = f"{CONTEXT}{name}[text_String]"
    return evaluate


def _with_setting(name: str) -> Callable[..., BaseElement | None]:
    def evaluate(self: Builtin, setting: BaseElement, evaluation: Any) -> BaseElement | None:
        return _ask(name, (WireSymbol("True" if setting is SymbolTrue else "False"),), evaluation)

    evaluate.__doc__ = f"{CONTEXT}{name}[setting:(True|False)]"
    return evaluate


def _with_string_and_seconds(name: str) -> Callable[..., BaseElement | None]:
    def evaluate(self: Builtin, text: String, seconds: BaseElement, evaluation: Any) -> BaseElement | None:
        if not isinstance(seconds, Integer | MachineReal | Rational) or seconds.value < 0:
            return None
        timeout = seconds.value if isinstance(seconds, Integer) else float(seconds.value)
        return _ask(name, (text.value, timeout), evaluation, float(timeout))

    evaluate.__doc__ = f"{CONTEXT}{name}[text_String, seconds_?NumberQ]"
    return evaluate


#: The forms each function has.
_FORMS: dict[str, tuple[Callable[[str], Callable[..., BaseElement | None]], ...]] = {
    "CloseKernel": (_with_string,),
    "ConnectKernel": (_without_arguments, _with_string, _with_string_and_seconds),
    "DisconnectKernel": (_without_arguments,),
    "GetKernelID": (_without_arguments,),
    "GetPoolName": (_without_arguments,),
    "GetServerInformation": (_without_arguments,),
    "SetAllowSilentKernelReplacement": (_with_setting,),
    "SetKeepAlive": (_with_setting,),
    "SetReserveKernel": (_with_setting,),
    "StartKernel": (_without_arguments, _with_string),
}


def _function(name: str) -> type[Builtin]:
    """The builtin class of one function; Mathics takes methods named eval..., with their docstrings as patterns."""
    members: dict[str, Any] = {
        "__doc__": f"<dl>\n<dt>'{CONTEXT}{name}'\n<dd>{_DESCRIPTIONS[name]}.\n</dl>",
        "context": CONTEXT,
        "attributes": A_PROTECTED,
        "summary_text": _DESCRIPTIONS[name].split(",")[0],
    }
    for number, form in enumerate(_FORMS[name]):
        members[f"eval_{number}"] = form(name)
    return type(name, (Builtin,), members)


SERVER_BUILTINS: tuple[type[Builtin], ...] = (Success, *map(_function, _FORMS))
CONTROL_BUILTINS = (CheckAbort, Catch, Interrupt, SessionID, Input, InputString, Dialog)
