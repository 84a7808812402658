"""Cuts results that are too large to be shown as text, as Short does: with <<n>> for n elements left out."""

from __future__ import annotations

from mathics.core.atoms import Integer, MachineReal, String
from mathics.core.element import BaseElement
from mathics.core.expression import Expression
from mathics.core.list import ListExpression

#: What may be shown: one part costs 1 and takes Mathics 0.1 to 0.3 ms.
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


def shortened(expression: BaseElement) -> BaseElement:
    """`expression` itself if its text is of a reasonable size, else a copy with the middle of long parts left out."""
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
            if isinstance(item, Expression):
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
    return 0 if isinstance(item, Expression) else 1


def _cut(expression: BaseElement, budget: float, depth: int) -> BaseElement:
    """A copy that costs about `budget`; each element gets its share."""
    if not isinstance(expression, Expression):
        return _cut_atom(expression, budget)
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


def _cut_atom(atom: BaseElement, budget: float) -> BaseElement:
    """A string or an integer with its middle left out; other atoms are what they are."""
    if isinstance(atom, String):
        room = max(KEPT, int(budget * CHARACTERS_PER_UNIT / 2))
        left_out = len(atom.value) - 2 * room
        return String(f"{atom.value[:room]}<<{left_out}>>{atom.value[-room:]}") if left_out > 0 else atom
    if isinstance(atom, Integer) and atom.value.bit_length() > max(LONG_INTEGER, budget * BITS_PER_UNIT):
        return String(f"<<integer of {atom.value.bit_length()} bits>>")
    return atom


def _gap(count: int) -> String:
    """What stands for elements left out. Mathics shows Skeleton[n] by its name."""
    return String(f"<<{count}>>")
