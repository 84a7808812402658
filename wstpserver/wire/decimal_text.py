"""Integers from and to decimal digits at any length.

int() and str() refuse more than `sys.get_int_max_str_digits()` digits (4300 unless the program changed
it) and take quadratic time. Both directions here halve the problem instead and leave that setting alone.
"""
from __future__ import annotations

import decimal

#: Pieces of at most this many digits are left to int() and str(): below the least limit Python can be set
#: to, 640.
_PIECE_DIGITS = 600
_PIECE_BYTES = 240  # 2**1920 has 578 digits


def parse_decimal(digits: str) -> int:
    """The integer of ASCII digits with an optional sign. ValueError for anything else."""
    negative = digits[:1] == "-"
    magnitude = digits[1:] if digits[:1] in ("-", "+") else digits
    if not (magnitude.isascii() and magnitude.isdigit()):
        raise ValueError("not a decimal integer")
    value = int(magnitude) if len(magnitude) <= _PIECE_DIGITS else _parse_halves(magnitude)
    return -value if negative else value


def _parse_halves(digits: str) -> int:
    """Pairs of pieces are joined, then pairs of pairs: every product is of two numbers of like size."""
    first = len(digits) % _PIECE_DIGITS
    pieces = [int(digits[:first] or "0")]
    pieces += [int(digits[at : at + _PIECE_DIGITS]) for at in range(first, len(digits), _PIECE_DIGITS)]
    scale = 10**_PIECE_DIGITS
    while len(pieces) > 1:
        if len(pieces) % 2:
            pieces.insert(0, 0)
        pieces = [pieces[at] * scale + pieces[at + 1] for at in range(0, len(pieces), 2)]
        if len(pieces) > 1:
            scale *= scale
    return pieces[0]


def format_decimal(value: int) -> str:
    """The decimal digits of an integer, with a `-` if it is negative."""
    if value.bit_length() <= 8 * _PIECE_BYTES:
        return int.__repr__(value)
    sign = "-" if value < 0 else ""
    return sign + str(_to_decimal(abs(value)))


_EXACT = decimal.Context(
    prec=decimal.MAX_PREC, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN, traps=[decimal.Inexact]
)


def _to_decimal(value: int) -> decimal.Decimal:
    """`value` as Decimal: that type multiplies in almost linear time and writes its digits in linear time."""
    raw = value.to_bytes((value.bit_length() + 7) // 8, "little")
    pieces = [
        decimal.Decimal(int.from_bytes(raw[at : at + _PIECE_BYTES], "little"))
        for at in range(0, len(raw), _PIECE_BYTES)
    ]
    scale = decimal.Decimal(1 << 8 * _PIECE_BYTES)
    while len(pieces) > 1:
        if len(pieces) % 2:
            pieces.append(decimal.Decimal(0))
        pieces = [_EXACT.fma(pieces[at + 1], scale, pieces[at]) for at in range(0, len(pieces), 2)]
        if len(pieces) > 1:
            scale = _EXACT.multiply(scale, scale)
    return pieces[0]
