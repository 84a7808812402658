"""Mathics' reals as the wire has them."""

from __future__ import annotations

import math
from typing import Any

from mathics.core.atoms import MachineReal, PrecisionReal
from mathics.core.number import dps
from mpmath.libmp import from_str, round_nearest, to_str

from wstpserver.wire.values import BigReal

#: Decimal digits that carry 53 bits.
MACHINE_DIGITS = 17

#: Decimal digits of one bit.
DIGITS_PER_BIT = 0.30103


def machine_real_value(atom: MachineReal) -> float | BigReal:
    """The float; text for the few machine reals Mathics keeps as mpmath numbers and a double cannot hold."""
    value: Any = atom._value
    if type(value) is float:
        return value
    as_float = float(value)
    return as_float if math.isfinite(as_float) else BigReal(_with_exponent(to_str(value._mpf_, MACHINE_DIGITS)))


def precise_real_text(atom: PrecisionReal) -> str:
    """InputForm with precision mark, such as 1.5`20.: the fewest digits that read back as the same bits."""
    number = atom.value
    most = math.ceil(number._prec * DIGITS_PER_BIT) + 2
    text = ""
    for digits in range(max(1, most - 4), most + 1):
        text = to_str(number._mpf_, digits, strip_zeros=True, min_fixed=-6, max_fixed=digits)
        if from_str(text, number._prec, round_nearest) == number._mpf_:
            break
    mantissa, _, exponent = text.partition("e")
    marked = f"{mantissa}`{dps(atom.get_precision())}."
    return f"{marked}*^{int(exponent)}" if exponent else marked


def _with_exponent(text: str) -> str:
    mantissa, _, exponent = text.partition("e")
    return f"{mantissa}*^{int(exponent)}" if exponent else mantissa
