"""Numbers on the wire: forced widths, reals beyond a double, decimal text (docs/wire-protocol.md, 3.3 and 3.4).

Int8 ... LongDouble              a forced width on the wire, reals beyond a double
parse_decimal, format_decimal    integers of any length from and to digits
decimal_of, precision_of ...     reals as InputForm writes them
NUMBER_READERS                   how single machine numbers are read
"""

from __future__ import annotations

import decimal
import math
import re
import struct
from collections.abc import Callable
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal
from functools import partial
from typing import Any, ClassVar, Final, NoReturn, TypeAlias

from wstpserver.wire.tokens import NUMBER_TOKENS

# -- integers in decimal ----------------------------------------------------------------------------------------------
#
# int() and str() refuse more than `sys.get_int_max_str_digits()` digits (4300 unless the program changed it) and take
# quadratic time. Both directions here halve the problem instead and leave that setting alone.

#: Pieces of at most this many digits are left to int() and str(): below the least limit Python can be set to, 640.
_PIECE_DIGITS: Final = 600
_PIECE_BYTES: Final = 240  # 2**1920 has 578 digits


def parse_decimal(digits: str) -> int:
    """The integer of ASCII digits with an optional sign.

    Raises:
        ValueError: It is something else.
    """
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


_EXACT: Final = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[decimal.Inexact])


def _to_decimal(value: int) -> Decimal:
    """`value` as Decimal: that type multiplies in almost linear time and writes its digits in linear time."""
    raw = value.to_bytes((value.bit_length() + 7) // 8, "little")
    pieces = [
        Decimal(int.from_bytes(raw[at : at + _PIECE_BYTES], "little"))
        for at in range(0, len(raw), _PIECE_BYTES)
    ]
    scale = Decimal(1 << 8 * _PIECE_BYTES)
    while len(pieces) > 1:
        if len(pieces) % 2:
            pieces.append(Decimal(0))
        pieces = [_EXACT.fma(pieces[at + 1], scale, pieces[at]) for at in range(0, len(pieces), 2)]
        if len(pieces) > 1:
            scale = _EXACT.multiply(scale, scale)
    return pieces[0]


# -- reals in decimal -------------------------------------------------------------------------------------------------
#
#     1.5`20.*^-400      1.5 times 10^-400 to 20 digits
#     1.5``30            1.5, known to 30 digits behind the point (accuracy)
#     1.5`               a machine number

_FORM: Final = re.compile(
    r"(?P<mantissa>[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))"
    r"(?:(?P<mark>``?)(?P<digits>[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))?)?"
    r"(?:\*\^(?P<exponent>[+-]?[0-9]+))?\Z"
)
_UNROUNDED: Final = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN, clamp=0)


def _parts(text: str) -> re.Match[str]:
    match = _FORM.match(text)
    if match is None:
        raise ValueError(f"{text[:80]!r} is no real in decimal")
    return match


def decimal_of(text: str) -> Decimal:
    """The number as it is written, every digit kept.

    Raises:
        ValueError: It is none, or its exponent is beyond Decimal's.
    """
    match = _parts(text)
    exponent = parse_decimal(match["exponent"] or "0")
    if abs(exponent) > MAX_EMAX // 2:
        raise ValueError(f"{text[:80]!r} has an exponent that Decimal cannot hold")
    return Decimal(match["mantissa"]).scaleb(exponent, _UNROUNDED)


def precision_of(text: str) -> float | None:
    """The digits to which it is known, by its mark; None for a number without one.

    Raises:
        ValueError: It is no number.
    """
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
    return exponent + float(abs(value).scaleb(-exponent, _UNROUNDED).log10(Context(prec=20)))


def text_of(value: Decimal) -> str:
    """A finite Decimal as such a text, known to the digits it has; a zero to the places behind its point."""
    sign, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int), "not finite"
    written = ("-" if sign else "") + "".join(map(str, digits))
    if not any(digits):
        return f"{'-' if sign else ''}0``{-exponent}."
    return f"{written}.`{len(digits)}." + (f"*^{exponent}" if exponent else "")


# -- the values -------------------------------------------------------------------------------------------------------


class _FixedWidthInteger(int):
    """An int that travels with the width of its class. Equal to, and hashed as, the plain int."""

    __slots__ = ()
    MINIMUM: ClassVar[int]
    MAXIMUM: ClassVar[int]

    def __new__(cls, value: int) -> Any:
        if not cls.MINIMUM <= value <= cls.MAXIMUM:
            shown = value if value.bit_length() < 200 else f"an integer of {value.bit_length()} bits"
            raise ValueError(f"{shown} does not fit {cls.__name__} ({cls.MINIMUM} to {cls.MAXIMUM})")
        return super().__new__(cls, value)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({int(self)})"

    __str__ = int.__repr__


class Int8(_FixedWidthInteger):
    """An 8-bit integer; unsigned on the wire."""

    __slots__ = ()
    MINIMUM, MAXIMUM = 0, 0xFF


class Int16(_FixedWidthInteger):
    """A signed 16-bit integer."""

    __slots__ = ()
    MINIMUM, MAXIMUM = -(1 << 15), (1 << 15) - 1


class Int64(_FixedWidthInteger):
    """A signed 64-bit integer. A plain int travels as 32 bits where it fits."""

    __slots__ = ()
    MINIMUM, MAXIMUM = -(1 << 63), (1 << 63) - 1


class Real32(float):
    """A real that travels as an IEEE single. Holds the double it was made from: it is rounded when encoded."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"Real32({float(self)!r})"

    __str__ = float.__repr__


class _Frozen:
    """Base of small immutable values: subclasses set their one slot in __init__ through object.__setattr__."""

    __slots__ = ()

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is immutable")

    __delattr__ = __setattr__  # type: ignore[assignment]


class BigReal(_Frozen):
    """A real written out in decimal, as InputForm writes it: ``1.5`20.*^-400`` is 1.5 times 10^-400 to 20 digits.

    Kept as text, so that nothing is lost. Equal if the text is equal.
    """

    __slots__ = ("text",)
    text: str

    def __init__(self, text: str) -> None:
        object.__setattr__(self, "text", text)

    def to_decimal(self) -> Decimal:
        """The number with all digits written.

        Raises:
            ValueError: The text is no number, or its exponent is beyond Decimal's.
        """
        return decimal_of(self.text)

    @property
    def precision(self) -> float | None:
        """The digits to which the number is known, as its mark says; None without a mark.

        Raises:
            ValueError: The text is no number.
        """
        return precision_of(self.text)

    @classmethod
    def from_decimal(cls, value: Decimal) -> BigReal:
        """A finite Decimal, known to as many digits as it has.

        Raises:
            ValueError: It is an infinity or NaN.
        """
        if not value.is_finite():
            raise ValueError(f"{value} is no real number")
        return cls(text_of(value))

    def __float__(self) -> float:
        """The nearest double; inf or 0.0 where it is beyond a double's range."""
        return float(self.to_decimal())

    def __eq__(self, other: object) -> bool:
        return self.text == other.text if isinstance(other, BigReal) else NotImplemented

    def __hash__(self) -> int:
        return hash((BigReal, self.text))

    def __repr__(self) -> str:
        return f"BigReal({self.text!r})"

    def __str__(self) -> str:
        return self.text

    def __reduce__(self) -> tuple[type[BigReal], tuple[str]]:
        return BigReal, (self.text,)


class LongDouble(_Frozen):
    """The 16 bytes of a 128-bit real, little-endian: in practice an x87 extended real and 6 bytes of padding."""

    __slots__ = ("data",)
    data: bytes

    def __init__(self, data: bytes) -> None:
        if len(data) != 16:
            raise ValueError(f"a 128-bit real has 16 bytes, not {len(data)}")
        object.__setattr__(self, "data", bytes(data))

    def __float__(self) -> float:
        """The value as x87 extended real (64-bit significand), rounded to a double; inf where it is too large."""
        significand, sign_and_exponent = struct.unpack_from("<QH", self.data)
        sign = -1.0 if sign_and_exponent & 0x8000 else 1.0
        exponent = sign_and_exponent & 0x7FFF
        if exponent == 0x7FFF:  # the integer bit is always set, the rest tells infinity from not-a-number
            return sign * math.inf if significand << 1 & (1 << 64) - 1 == 0 else math.nan
        try:
            return sign * math.ldexp(significand, max(exponent, 1) - 16383 - 63)
        except OverflowError:
            return sign * math.inf

    def __eq__(self, other: object) -> bool:
        return self.data == other.data if isinstance(other, LongDouble) else NotImplemented

    def __hash__(self) -> int:
        return hash((LongDouble, self.data))

    def __repr__(self) -> str:
        return f"LongDouble(bytes.fromhex({self.data.hex()!r}))"

    def __reduce__(self) -> tuple[type[LongDouble], tuple[bytes]]:
        return LongDouble, (self.data,)


# -- machine numbers from bytes (section 3.4) -------------------------------------------------------------------------

#: (bytes from the token to the line feed, unpack_from, what makes the value; None if it is the number unpacked)
NumberReader: TypeAlias = tuple[int, Callable[..., Any], Callable[[Any], Any] | None]

_WRAPPERS: Final[dict[str, Callable[[Any], Any]]] = {
    "int8": partial(int.__new__, Int8),  # without the check of the range: the width has made it
    "int16": partial(int.__new__, Int16),
    "int64": partial(int.__new__, Int64),
    "real32": Real32,
    "real128": LongDouble,
}


def _number_readers() -> list[NumberReader | None]:
    table: list[NumberReader | None] = [None] * 256
    for token, (kind, is_little) in NUMBER_TOKENS.items():
        unpack = struct.Struct(("<" if is_little else ">") + kind.format).unpack_from
        wrapper = _WRAPPERS.get(kind.name)
        if kind.name == "real128" and not is_little:
            wrapper = _long_double_from_big
        table[token] = (kind.width + 2, unpack, wrapper)
    return table


def _long_double_from_big(data: bytes) -> LongDouble:
    return LongDouble(data[::-1])


#: A reader for every token byte, None where no machine number begins with that byte.
NUMBER_READERS: Final = _number_readers()
