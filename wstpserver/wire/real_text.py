"""Reals written out in decimal, as InputForm writes them: digits, a precision mark, an exponent.

    1.5`20.*^-400      1.5 times 10^-400 to 20 digits
    1.5``30            1.5, known to 30 digits behind the point (accuracy)
    1.5`               a machine number
"""
from __future__ import annotations

import re
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal

_FORM = re.compile(
    r"(?P<mantissa>[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))"
    r"(?:(?P<mark>``?)(?P<digits>[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))?)?"
    r"(?:\*\^(?P<exponent>[+-]?[0-9]+))?\Z"
)
_EXACT = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN, clamp=0)


def _parts(text: str) -> re.Match[str]:
    match = _FORM.match(text)
    if match is None:
        raise ValueError(f"{text[:80]!r} is no real in decimal")
    return match


def decimal_of(text: str) -> Decimal:
    """The number as it is written, every digit kept. ValueError if it is none or its exponent is beyond Decimal's."""
    match = _parts(text)
    exponent = int(match["exponent"] or 0)
    if abs(exponent) > MAX_EMAX // 2:
        raise ValueError(f"{text[:80]!r} has an exponent that Decimal cannot hold")
    return Decimal(match["mantissa"]).scaleb(exponent, _EXACT)


def precision_of(text: str) -> float | None:
    """The digits to which it is known, by its mark; None for a number without one. ValueError if it is no number."""
    match = _parts(text)
    if match["mark"] is None or match["digits"] is None:
        return None
    digits = float(match["digits"])
    if match["mark"] == "`":
        return digits
    value = decimal_of(text)
    # Precision is accuracy and the digits before the point; a zero has none.
    return max(0.0, digits + _logarithm(value)) if value else 0.0


def _logarithm(value: Decimal) -> float:
    """The decimal logarithm of a number's size, good to some 15 digits."""
    exponent = value.adjusted()
    return exponent + float(abs(value).scaleb(-exponent, _EXACT).log10(Context(prec=20)))


def text_of(value: Decimal) -> str:
    """A finite Decimal as such a text, known to the digits it has; a zero to the places behind its point."""
    sign, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int), "not finite"
    written = ("-" if sign else "") + "".join(map(str, digits))
    if not any(digits):
        return f"{'-' if sign else ''}0``{-exponent}."
    return f"{written}.`{len(digits)}." + (f"*^{exponent}" if exponent else "")
