"""Success and failure objects, and JSON as Wolfram Language values. The docstring of a builtin is what ?name shows."""

from __future__ import annotations

from typing import Any

from mathics.core.atoms import Integer, String
from mathics.core.attributes import A_PROTECTED
from mathics.core.builtin import Builtin
from mathics.core.element import BaseElement
from mathics.core.expression import Expression
from mathics.core.list import ListExpression
from mathics.core.symbols import Symbol, SymbolFalse, SymbolNull, SymbolTrue
from mathics.core.systemsymbols import SymbolAssociation, SymbolRule

from wstpserver.kernel.numbers_in import machine_real

SymbolSuccess, SymbolFailure = Symbol("System`Success"), Symbol("System`Failure")

#: The tag of both objects.
TAG = "WSTPServer"


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
    """The failure object for a command; `status` is the server's word for it."""
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
