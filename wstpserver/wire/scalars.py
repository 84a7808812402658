"""Numbers that Python's int and float do not tell apart: a forced width on the wire, reals beyond a double.

docs/wire-protocol.md, sections 3.3 and 3.4.
"""
from __future__ import annotations

import math
import struct
from decimal import Decimal
from typing import Any, ClassVar, NoReturn

from .real_text import decimal_of, precision_of, text_of


class _FixedWidthInteger(int):
    """An int that travels with the width of its class. Equal to, and hashed as, the plain int."""

    __slots__ = ()
    MINIMUM: ClassVar[int]
    MAXIMUM: ClassVar[int]

    def __new__(cls, value: int) -> Any:
        if not cls.MINIMUM <= value <= cls.MAXIMUM:
            raise ValueError(f"{value} does not fit {cls.__name__} ({cls.MINIMUM} to {cls.MAXIMUM})")
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
    """A real that travels as an IEEE single. Holds the double it was made from: it is rounded when encoded.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"Real32({float(self)!r})"

    __str__ = float.__repr__


class _Frozen:
    """Base of small immutable values: subclasses set their one slot in __init__ through object.__setattr__.
    """

    __slots__ = ()

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is immutable")

    __delattr__ = __setattr__  # type: ignore[assignment]


class BigReal(_Frozen):
    """A real written out in decimal, as InputForm writes it: ``1.5`20.*^-400`` is 1.5 times 10^-400 to 20
    digits.

    Kept as text, so that nothing is lost. Equal if the text is equal.
    """

    __slots__ = ("text",)
    text: str

    def __init__(self, text: str) -> None:
        object.__setattr__(self, "text", text)

    def to_decimal(self) -> Decimal:
        """The number with all digits written; ValueError for a text that is no number, or an exponent
        beyond Decimal's.
        """
        return decimal_of(self.text)

    @property
    def precision(self) -> float | None:
        """The digits to which the number is known, as its mark says; None without a mark. ValueError."""
        return precision_of(self.text)

    @classmethod
    def from_decimal(cls, value: Decimal) -> BigReal:
        """A finite Decimal, known to as many digits as it has. ValueError for infinities and NaN."""
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

    def __reduce__(self) -> tuple[type[BigReal], tuple[str]]:
        return BigReal, (self.text,)


class LongDouble(_Frozen):
    """The 16 bytes of a 128-bit real, little-endian: in practice an x87 extended real and 6 bytes of padding.
    """

    __slots__ = ("data",)
    data: bytes

    def __init__(self, data: bytes) -> None:
        if len(data) != 16:
            raise ValueError(f"a 128-bit real has 16 bytes, not {len(data)}")
        object.__setattr__(self, "data", bytes(data))

    def __float__(self) -> float:
        """The value as x87 extended real (64-bit significand), rounded to a double; inf where it is too
        large.
        """
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
