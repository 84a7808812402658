"""Numbers from the wire as Mathics atoms.

Mathics keeps every number it makes in a table for ever, so that equal numbers are one object. Nothing depends on that
but speed, and for the many numbers of an array the table is a loss: those are made past it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import sympy
from mathics.core.atoms import Integer, MachineReal, PrecisionReal
from mathics.core.element import BaseElement
from mathics.core.expression import Expression
from mathics.core.systemsymbols import SymbolDirectedInfinity, SymbolIndeterminate

#: Decimal digits beyond which a number without a precision mark is no machine number.
MACHINE_DIGITS = 17

#: Integers of this size are so common that the table's copies are used.
SMALL_INTEGERS = range(-256, 1025)

_REAL_TEXT = re.compile(
    r"(?P<mantissa>[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))(?P<mark>``?)?(?P<digits>[+-]?[0-9]+\.?[0-9]*)?"
    r"(?:\*\^(?P<exponent>[+-]?[0-9]+))?\Z"
)


def machine_real(value: float) -> BaseElement:
    """A machine real; infinities and not-a-number as the symbols a kernel has for them."""
    if math.isfinite(value):
        return MachineReal(value)
    if math.isnan(value):
        return SymbolIndeterminate
    return Expression(SymbolDirectedInfinity, Integer(1 if value > 0 else -1))


def machine_reals(values: Sequence[float]) -> list[BaseElement]:
    """Many machine reals, not entered into the table (0.4 us each)."""
    if not all(map(math.isfinite, values)):
        return [machine_real(value) for value in values]
    new, kind = object.__new__, MachineReal
    reals: list[BaseElement] = []
    for value in values:
        real = new(kind)
        real._value = value
        real.hash = hash((kind, value))
        reals.append(real)
    return reals


def integers(values: Sequence[int]) -> list[BaseElement]:
    """Many integers, not entered into the table (1 us each). `patches` supplies what SymPy needs of them."""
    new, kind = object.__new__, Integer
    numbers: list[BaseElement] = []
    for value in values:
        if value in SMALL_INTEGERS:
            numbers.append(Integer(value))
            continue
        number = new(kind)
        number._value = value
        number.hash = hash((kind, value))
        numbers.append(number)
    return numbers


def real_from_text(text: str) -> BaseElement | None:
    """The number written as InputForm does: 1.5`20.*^-400, 1.5``30, 1.5*^400. None if it is not one."""
    match = _REAL_TEXT.match(text)
    if match is None or (match["digits"] and not match["mark"]):
        return None
    decimal = f"{match['mantissa']}e{match['exponent'] or 0}"
    digits = _digits(match, decimal)
    if digits is None:
        value = float(decimal)
        if math.isfinite(value) and (value or not match["exponent"]):
            return MachineReal(value)
        digits = MACHINE_DIGITS
    return PrecisionReal(sympy.Float(decimal, max(1, round(digits))))


def _digits(match: re.Match[str], decimal: str) -> float | None:
    """Decimal digits of precision; None for a machine number."""
    if not match["mark"]:
        written = len(re.sub(r"[^0-9]", "", match["mantissa"]).lstrip("0"))
        return written if written > MACHINE_DIGITS else None
    if not match["digits"]:
        return None
    given = float(match["digits"])
    if match["mark"] == "`":
        return given
    size = sympy.Float(decimal, MACHINE_DIGITS)
    return given if size == 0 else given + float(sympy.log(abs(size), 10))
