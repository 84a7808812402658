"""The functions with which a kernel controls its WSTPServer (GetKernelID and others in the context WSTPServer`).

Their results are those of the specification's section "Wolfram Language Functions": a string for the functions that get
something, an association for GetServerInformation, otherwise a success object; a failure object where the server cannot
carry the command out. An expression with wrong arguments stays unevaluated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mathics.core.atoms import Integer, MachineReal, Rational, String
from mathics.core.attributes import A_PROTECTED
from mathics.core.builtin import Builtin
from mathics.core.element import BaseElement
from mathics.core.expression import Expression
from mathics.core.list import ListExpression
from mathics.core.symbols import Symbol, SymbolFalse, SymbolNull, SymbolTrue
from mathics.core.systemsymbols import SymbolAssociation, SymbolRule

from wstpserver.embedded.arrays import machine_real
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
