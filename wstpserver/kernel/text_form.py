"""The text of results, as ReturnTextPacket carries it.

Mathics renders OutputForm element by element and takes 0.2 ms for each; lists of plain numbers, the only large results
that are common, are rendered here. Both ways give the same text.
"""

from __future__ import annotations

from typing import Any

from mathics.core.atoms import Integer, MachineReal
from mathics.core.element import BaseElement
from mathics.core.evaluation import Evaluation
from mathics.core.expression import Expression
from mathics.core.list import ListExpression
from mathics.core.symbols import Symbol
from mathics.core.systemsymbols import SymbolFullForm
from mathics.format.box import formatvalues
from mathics.format.form import outputform

from wstpserver.kernel.patches import replace_everywhere
from wstpserver.kernel.shorten import shortened

#: Lists shorter than this are left to Mathics.
FAST_FROM = 16

#: OutputForm shows so many digits of a machine real, and no exponent within these bounds.
SHOWN_DIGITS = 6
PLAIN_FROM, PLAIN_BELOW = 1e-5, 1e6

_NUMBERS = {Integer, MachineReal}
_mathics_do_format = formatvalues.do_format


def install_fast_lists() -> None:
    """Make Mathics use the rendering of this module for lists. Once per process."""
    outputform.EXPR_TO_OUTPUTFORM_TEXT_MAP["System`List"] = _render_list
    replace_everywhere("do_format", _mathics_do_format, _do_format)


def text_of(expression: BaseElement, evaluation: Evaluation) -> str:
    """The text a kernel shows for a result; results of more than some 10,000 parts are shortened with <<n>>."""
    shown = evaluation.format_output(shortened(expression), "text")
    if shown is None:  # boxes without a text; Mathics has issued a message
        shown = evaluation.format_output(Expression(SymbolFullForm, expression), "text")
    return str(shown)


def _do_format(element: BaseElement, evaluation: Evaluation, form: Symbol) -> Any:
    """Mathics' do_format, which looks at every element for formatting rules: numbers have none."""
    if _is_number_list(element):
        return element
    return _mathics_do_format(element, evaluation, form)


def _is_number_list(element: BaseElement) -> bool:
    return (
        type(element) is ListExpression
        and len(element.elements) >= FAST_FROM
        and _NUMBERS.issuperset(map(type, element.elements))
    )


def _render_list(expression: Expression, evaluation: Evaluation, **options: Any) -> str:
    """{a, b, c}"""
    if not options.get("_numberform_args") and _is_number_list(expression):
        parts = [number_text(element) or outputform.render_output_form(element, evaluation, **options)
                 for element in expression.elements]  # fmt: skip
    else:
        parts = [outputform.render_output_form(element, evaluation, **options) for element in expression.elements]
    return "{" + ", ".join(parts) + "}"


def number_text(atom: Integer | MachineReal) -> str | None:
    """OutputForm of a number, where it is simple; None where Mathics has to be asked."""
    value = atom._value
    if type(atom) is Integer:
        return str(value)
    if type(value) is not float or not PLAIN_FROM <= abs(value) < PLAIN_BELOW:
        return "0." if value == 0 else None
    digits = repr(value).replace(".", "").lstrip("-0")
    if len(digits) == SHOWN_DIGITS + 1 and digits.endswith("5"):
        return None  # just between two roundings
    text = f"{value:.{SHOWN_DIGITS}g}"
    if "e" in text:
        return None  # rounded up to the next power of ten
    return text if "." in text else text + "."
