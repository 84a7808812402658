"""The text of results, as ReturnTextPacket carries it, cut to a reasonable size as by Short.

Mathics renders OutputForm element by element and takes 0.2 ms for each. Lists of plain numbers, the only large results
that are common, are rendered here, with the same text.
"""

from __future__ import annotations

from typing import Any

from mathics.core.atoms import Complex, Integer, MachineReal, Rational, String
from mathics.core.element import BaseElement
from mathics.core.evaluation import Evaluation
from mathics.core.expression import Expression
from mathics.core.list import ListExpression
from mathics.core.symbols import Symbol
from mathics.core.systemsymbols import SymbolFullForm, SymbolInputForm
from mathics.format.box import formatvalues
from mathics.format.form import outputform

from wstpserver.embedded.arrays import PackedList, list_of_array
from wstpserver.embedded.evaluator import replace_everywhere

#: Lists shorter than this are left to Mathics.
FAST_FROM = 16

#: OutputForm shows so many digits of a machine real, and no exponent within these bounds.
SHOWN_DIGITS = 6
PLAIN_FROM, PLAIN_BELOW = 1e-5, 1e6

#: Largest cost of a result that is shown whole: one part costs 1 and takes Mathics 0.1 to 0.3 ms.
BUDGET = 10_000

#: Plain numbers in a list are cheap, and so many of them cost 1.
NUMBERS_PER_UNIT = 50

#: Characters of a string, or bits of a long integer, that cost 1.
CHARACTERS_PER_UNIT, BITS_PER_UNIT = 500, 40

#: Bits from which on an integer is long.
LONG_INTEGER = 1000

#: Levels of nesting shown: rendering recurses, and Mathics counts that against $RecursionLimit.
DEPTH = 150

#: Elements kept at each end of a list that is cut.
KEPT = 20

_NUMBERS = {Integer, MachineReal}
_mathics_do_format = formatvalues.do_format


def install_fast_lists() -> None:
    """Make Mathics use the rendering of this module for lists. Once per process."""
    outputform.EXPR_TO_OUTPUTFORM_TEXT_MAP["System`List"] = _render_list
    replace_everywhere("do_format", _mathics_do_format, _do_format)


def text_of(expression: BaseElement, evaluation: Evaluation) -> str:
    """The text a kernel shows for a result; results of more than some 10,000 parts are shortened with <<n>>."""
    if expression.has_form("FullForm", 1):
        return full_form_text(shortened(expression), evaluation)
    shown = evaluation.format_output(shortened(expression), "text")
    if shown is None:  # boxes without a text; Mathics has issued a message
        shown = evaluation.format_output(Expression(SymbolFullForm, expression), "text")
    return str(shown)


def full_form_text(expression: BaseElement, evaluation: Evaluation) -> str:
    """FullForm as text: every function, lists too, as head[arguments]."""
    if isinstance(expression, Expression):
        if expression.head is SymbolFullForm and len(expression.elements) == 1:
            return full_form_text(expression.elements[0], evaluation)
        arguments = ", ".join(full_form_text(element, evaluation) for element in expression.elements)
        return f"{full_form_text(expression.head, evaluation)}[{arguments}]"
    if isinstance(expression, Rational):
        return f"Rational[{expression.value.numerator}, {expression.value.denominator}]"
    if isinstance(expression, Complex):
        parts = (full_form_text(part, evaluation) for part in (expression.real, expression.imag))
        return f"Complex[{', '.join(parts)}]"
    if isinstance(expression, MachineReal):
        return str(evaluation.format_output(Expression(SymbolInputForm, expression), "text")) + "`"
    if isinstance(expression, Integer):
        return str(expression.value)
    return str(evaluation.format_output(Expression(SymbolInputForm, expression), "text"))


def _do_format(element: BaseElement, evaluation: Evaluation, form: Symbol) -> Any:
    """Mathics' do_format, which looks at every element for formatting rules: numbers have none."""
    if _is_number_list(element):
        return element
    return _mathics_do_format(element, evaluation, form)


def _is_number_list(element: BaseElement) -> bool:
    if type(element) is PackedList:
        return bool(element.array.ndim == 1)
    return (
        type(element) is ListExpression
        and len(element.elements) >= FAST_FROM
        and _NUMBERS.issuperset(map(type, element.elements))
    )


def _render_list(expression: Expression, evaluation: Evaluation, **options: Any) -> str:
    """Render {a, b, c}."""
    if not options.get("_numberform_args") and _is_number_list(expression):
        parts = [number_text(element) or outputform.render_output_form(element, evaluation, **options)
                 for element in expression.elements]  # fmt: skip
    else:
        parts = [outputform.render_output_form(element, evaluation, **options) for element in expression.elements]
    if any("\n" in part for part in parts):  # a table within a list would break its line
        parts = [
            f"Dataset[{outputform.render_output_form(element.elements[0], evaluation, **options)}]"
            if element.has_form("Dataset", 1) else part
            for element, part in zip(expression.elements, parts, strict=True)
        ]  # fmt: skip
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


def shortened(expression: BaseElement) -> BaseElement:
    """`expression` itself if its text has a reasonable size, else a copy with <<n>> for n elements left out."""
    if _cost_within(expression, BUDGET):
        return expression
    return _cut(expression, BUDGET / 10, 0)


def _cost_within(expression: BaseElement, budget: float) -> bool:
    """Whether showing costs no more than `budget`, and the nesting is not too deep; looks no further than that."""
    level: list[BaseElement] = [expression]
    for _ in range(DEPTH):
        below: list[BaseElement] = []
        for item in level:
            budget -= _own_cost(item)
            if budget < 0:
                return False
            if isinstance(item, Expression) and type(item) is not PackedList:
                below.append(item.head)
                below.extend(item.elements)
        if not below:
            return True
        level = below
    return False


def _own_cost(item: BaseElement) -> float:
    kind = type(item)
    if kind is MachineReal:
        return 1 / NUMBERS_PER_UNIT
    if kind is Integer:
        bits = item.value.bit_length()
        return 1 / NUMBERS_PER_UNIT if bits < LONG_INTEGER else bits / BITS_PER_UNIT
    if kind is String:
        return 1 + len(item.value) / CHARACTERS_PER_UNIT
    if type(item) is PackedList:
        return float(item.array.size) / NUMBERS_PER_UNIT
    return 0 if isinstance(item, Expression) else 1


def _cut(expression: BaseElement, budget: float, depth: int) -> BaseElement:
    """A copy that costs about `budget`; each element gets its share."""
    if not isinstance(expression, Expression):
        return _cut_atom(expression, budget)
    if type(expression) is PackedList:
        return _cut_array(expression.array)
    elements = expression.elements
    if depth > DEPTH // 2:
        return _gap(len(elements))
    kept = elements
    gap: list[BaseElement] = []
    if len(elements) > 2 * KEPT:
        kept = (*elements[:KEPT], *elements[-KEPT:])
        gap = [_gap(len(elements) - len(kept))]
    share = budget / max(1, len(kept))
    shown = [element if _cost_within(element, share) else _cut(element, share, depth + 1) for element in kept]
    if gap:
        shown[KEPT:KEPT] = gap
    if isinstance(expression, ListExpression):
        return ListExpression(*shown)
    return Expression(expression.head, *shown)


def _cut_array(array: Any) -> BaseElement:
    """The list of a large array with the middle of each dimension left out."""
    kept = list_of_array(array[:KEPT]), list_of_array(array[-KEPT:])
    if len(array) <= 2 * KEPT:
        kept = list_of_array(array), ListExpression()
    gap = [_gap(len(array) - 2 * KEPT)] if len(array) > 2 * KEPT else []
    rows = [*kept[0].elements, *gap, *kept[1].elements]
    return ListExpression(*(_cut_array(row.array) if type(row) is PackedList else row for row in rows))


def _cut_atom(atom: BaseElement, budget: float) -> BaseElement:
    """A long string with its middle left out, or a text for a long integer; other atoms are returned unchanged."""
    if isinstance(atom, String):
        room = max(KEPT, int(budget * CHARACTERS_PER_UNIT / 2))
        left_out = len(atom.value) - 2 * room
        return String(f"{atom.value[:room]}<<{left_out}>>{atom.value[-room:]}") if left_out > 0 else atom
    if isinstance(atom, Integer) and atom.value.bit_length() > max(LONG_INTEGER, budget * BITS_PER_UNIT):
        return String(f"<<integer of {atom.value.bit_length()} bits>>")
    return atom


def _gap(count: int) -> String:
    """Stands for `count` elements left out. Mathics shows Skeleton[n] by its name."""
    return String(f"<<{count}>>")
