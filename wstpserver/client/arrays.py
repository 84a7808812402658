"""Arrays of numbers: the kernel's `NumericArray`, packed arrays as nested lists, and NumPy's arrays.

NumPy is imported only where an array is at hand or asked for.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Final

from wstpserver.wire.values import Expression, Function, LongDouble, PackedArray, Symbol

#: The kernel's name of a type -> NumPy's
NUMPY_TYPES: Final = {
    "Integer8": "int8", "Integer16": "int16", "Integer32": "int32", "Integer64": "int64",
    "UnsignedInteger8": "uint8", "UnsignedInteger16": "uint16", "UnsignedInteger32": "uint32",
    "UnsignedInteger64": "uint64", "Real32": "float32", "Real64": "float64",
    "ComplexReal32": "complex64", "ComplexReal64": "complex128",
}  # fmt: skip

#: The range of a signed 64-bit integer, the widest that packed arrays and NumPy share.
INT64: Final = range(-(1 << 63), 1 << 63)
#: Dimensions up to which arrays in a list are joined to one; NumPy has 64 at most.
_DEEPEST: Final = 32
_TYPES: Final = {int: "int64", float: "float64", complex: "complex128"}
_COMPLEX: Final = (Symbol("Complex"), Symbol("System`Complex"))


class NumericArray:
    """``NumericArray[data, "type"]``.

    Attributes:
        data: A `PackedArray`, or nested `List` functions where no packed array holds the type (UnsignedInteger64).
        type: The kernel's name of the type, such as "Real64".
    """

    __slots__ = ("data", "type")

    def __init__(self, data: Expression, type: str) -> None:
        self.data = data
        self.type = type

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, NumericArray):
            return NotImplemented
        return self.data == other.data and self.type == other.type

    def __hash__(self) -> int:
        return hash((self.data, self.type))

    def __repr__(self) -> str:
        return f"NumericArray(data={self.data!r}, type={self.type!r})"

    def as_expression(self) -> Function:
        """Return the expression that this array stands for."""
        return Function(Symbol("NumericArray"), (self.data, self.type))

    def tolist(self) -> list[Any]:
        """Return the numbers in nested lists."""
        if isinstance(self.data, PackedArray):
            values: list[Any] = complex_lists(self.data) if is_complex(self.data) else self.data.tolist()
            return values
        assert isinstance(self.data, Function), "checked when it was made"
        shape: list[int] = []
        level: list[Any] = [self.data]
        while level and isinstance(level[0], Function) and level[0].head not in _COMPLEX:
            shape.append(len(level[0].args))
            level = [leaf for part in level for leaf in part.args]
        leaves = [_number(leaf) for leaf in level]
        return list(nested(leaves, tuple(shape)))

    def to_numpy(self) -> Any:
        """Return a NumPy array of the type.

        Raises:
            ImportError: NumPy is not installed.
        """
        import numpy

        if isinstance(self.data, PackedArray):
            return numpy.array(self.data.to_numpy(), dtype=NUMPY_TYPES[self.type])
        return numpy.array(self.tolist(), dtype=NUMPY_TYPES[self.type])


def numeric_array(arguments: tuple[Expression, ...]) -> NumericArray | None:
    """Read the arguments of a `NumericArray` expression.

    Args:
        arguments: The data and the name of the type.

    Returns:
        The array, or None if the arguments describe none.
    """
    match arguments:
        case (PackedArray() | Function(head=Symbol(name="List" | "System`List")) as data, str(name)):
            if name in NUMPY_TYPES and _has_only_lists(data):
                return NumericArray(data, name)
    return None


def _has_only_lists(data: Expression) -> bool:
    """Whether this is a rectangular array of numbers."""
    if isinstance(data, PackedArray):
        return data.heads is None or set(data.heads[:-1]) <= {"List"}
    assert isinstance(data, Function)
    level: tuple[Expression, ...] = (data,)
    while level and all(isinstance(part, Function) and part.head == data.head for part in level):
        if len({len(part.args) for part in level if isinstance(part, Function)}) > 1:
            return False
        level = tuple(leaf for part in level if isinstance(part, Function) for leaf in part.args)
    return all(isinstance(leaf, (int, float)) or _is_complex_leaf(leaf) for leaf in level)


def _number(leaf: Any) -> Any:
    if isinstance(leaf, Function):
        real, imaginary = leaf.args
        return complex(real, imaginary)  # type: ignore[arg-type]  # _has_only_lists has looked
    return leaf


def _is_complex_leaf(leaf: Expression) -> bool:
    return (
        isinstance(leaf, Function) and leaf.head in _COMPLEX and len(leaf.args) == 2
        and all(isinstance(part, (int, float)) for part in leaf.args)
    )  # fmt: skip


# Packed arrays


def is_complex(item: PackedArray) -> bool:
    """Whether this is a nested list of complex machine numbers, as kernels send it: pairs under the head Complex."""
    if item.heads is None or item.kind not in ("real32", "real64") or not item.data.nbytes:
        return False
    return item.heads[-1] == "Complex" and item.shape[-1] == 2 and set(item.heads[:-1]) <= {"List"}


def complex_lists(item: PackedArray) -> Any:
    """Return the numbers of an array for which `is_complex` holds, in nested lists; one number for no dimension."""
    numbers = item.flat()
    return nested(list(map(complex, numbers[::2], numbers[1::2])), item.shape[:-1])


def nested(flat: list[Any], shape: tuple[int, ...]) -> Any:
    """Arrange values in nested lists.

    Args:
        flat: The values, last dimension first to vary.
        shape: The number of elements on each level, outermost first.

    Returns:
        Nested lists of that shape; the only element where the shape has no dimension.
    """
    for level in range(len(shape) - 1, 0, -1):
        flat = [list(row) for row in _rows(flat, shape[level], math.prod(shape[:level]))]
    return flat if shape else flat[0]


def _rows(flat: list[Any], size: int, count: int) -> Iterable[list[Any]]:
    return (flat[row * size : (row + 1) * size] for row in range(count))


def unpacked(item: PackedArray) -> Function:
    """Return the array as nested functions, the other form in which it can be sent."""
    parts = item.flat()
    heads = item.heads or ("List",) * len(item.shape)
    for level in range(len(item.shape) - 1, -1, -1):
        head = Symbol(heads[level])
        parts = [Function(head, tuple(row)) for row in _rows(parts, item.shape[level], math.prod(item.shape[:level]))]
    whole = parts[0]
    assert isinstance(whole, Function)
    return whole


# NumPy


def array_of(values: list[Any]) -> Any:
    """Make a NumPy array of a list where that loses nothing.

    Args:
        values: The elements, already converted.

    Returns:
        An array if all elements are machine numbers of one kind, or arrays of one shape and type; else the list.
    """
    import numpy

    kinds = set(map(type, values))
    if len(kinds) != 1:
        return values
    kind = kinds.pop()
    if kind in _TYPES:
        if kind is int and not (min(values) in INT64 and max(values) in INT64):
            return values
        return numpy.array(values, _TYPES[kind])
    if kind is numpy.ndarray:
        first = values[0]
        if first.ndim < _DEEPEST and all(first.shape == other.shape and first.dtype == other.dtype for other in values):
            return numpy.stack(values)
    return values


def array_of_packed(packed: PackedArray) -> Any:
    """Return an array of its own memory: int64, float64, complex128 or longdouble.

    The kernel chooses the narrowest integers that hold the numbers; arithmetic must not overflow because of that.
    """
    import numpy

    shared = packed.to_numpy()
    wide = {"i": "int64", "u": "int64", "f": "float64", "c": "complex128"}[shared.dtype.kind]
    return numpy.array(shared, shared.dtype if shared.dtype.char == "g" else wide)


def plain_value(value: Any) -> Any:
    """Return what an array or a number of NumPy stands for.

    Args:
        value: An array or a scalar of NumPy.

    Returns:
        A `PackedArray`. For what cannot be packed (numbers without dimension, unsigned 64-bit integers, truth values,
        text, objects, infinities, times) lists or a Python value, which are still to be converted.

    Raises:
        TypeError: No expression stands for the type.
    """
    import numpy

    kind = value.dtype.kind
    if kind == "M":
        # Days and longer units become dates; microseconds are the finest unit of Python's datetime.
        unit = numpy.datetime_data(value.dtype)[0]
        plain = value.astype("datetime64[D]" if unit in ("Y", "M", "W", "D") else "datetime64[us]")
        return plain.tolist() if isinstance(value, numpy.ndarray) else plain.item()
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
