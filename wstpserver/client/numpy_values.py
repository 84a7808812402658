"""NumPy's arrays and numbers from and to values. NumPy is imported only where an array is at hand or wished."""

from __future__ import annotations

from typing import Any, Final

from wstpserver.wire.values import LongDouble, PackedArray

_INT64: Final = range(-(1 << 63), 1 << 63)
#: Dimensions up to which arrays in a list are joined to one; NumPy knows no more than 64.
_DEEPEST: Final = 32
_TYPES: Final = {int: "int64", float: "float64", complex: "complex128"}


def array_of(values: list[Any]) -> Any:
    """`values` as an array if they are all machine numbers of one kind, or all arrays of one shape and type; else
    the list itself.
    """
    import numpy

    kinds = set(map(type, values))
    if len(kinds) != 1:
        return values
    kind = kinds.pop()
    if kind in _TYPES:
        if kind is int and not (min(values) in _INT64 and max(values) in _INT64):
            return values
        return numpy.array(values, _TYPES[kind])
    if kind is numpy.ndarray:
        first = values[0]
        if first.ndim < _DEEPEST and all(_alike(first, other) for other in values):
            return numpy.stack(values)
    return values


def _alike(one: Any, other: Any) -> bool:
    return bool(one.shape == other.shape and one.dtype == other.dtype)


def array_of_packed(packed: PackedArray) -> Any:
    """An array of its own memory: int64, float64, complex128 or longdouble.

    The kernel chooses the narrowest integers that hold the numbers; arithmetic must not overflow because of that.
    """
    import numpy

    shared = packed.to_numpy()
    wide = {"i": "int64", "u": "int64", "f": "float64", "c": "complex128"}[shared.dtype.kind]
    return numpy.array(shared, shared.dtype if shared.dtype.char == "g" else wide)


def plain_value(value: Any) -> Any:
    """The packed array of an array; lists or a Python number, which are still to be converted, of what cannot be
    packed: numbers without dimension, unsigned 64-bit integers, truth values, text, objects, infinities.

    TypeError for types that no expression stands for, such as times.
    """
    import numpy

    kind = value.dtype.kind
    if kind not in "biufcOSU":
        raise TypeError(f"no expression stands for NumPy's {value.dtype}")
    if isinstance(value, numpy.ndarray) and value.ndim and kind in "iufc" and value.size:
        wide = kind == "u" and value.dtype.itemsize == 8
        if not wide and (kind in "iu" or bool(numpy.isfinite(value).all())):
            return PackedArray.from_numpy(value)
    plain = value.tolist() if isinstance(value, numpy.ndarray) else value.item()
    if type(plain).__module__ == "numpy":  # a longdouble, which Python has nothing for
        packed = PackedArray.from_numpy(numpy.array([value]))
        return LongDouble(bytes(packed.data[:10]) + bytes(6))  # the padding holds whatever was in memory
    return plain
