"""Packed arrays from and to nested lists and NumPy arrays. NumPy is imported only where it is asked for."""
from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

from .packed import PackedArray
from .scalars import LongDouble
from .tokens import NUMBER_KINDS

_INT32_RANGE = range(-(1 << 31), 1 << 31)


def pack_list(values: Sequence[Any], kind: str | None, heads: Sequence[str] | None) -> PackedArray:
    """See PackedArray.from_list."""
    shape, flat = _flatten(values)
    if kind is None:
        kind = _kind_for(flat)
    if kind not in NUMBER_KINDS:
        raise ValueError(f"{kind!r} is no kind of packed array")
    if kind == "real128":
        return PackedArray(b"".join(_long_double_bytes(value) for value in flat), kind, shape, heads)
    try:
        numbers = array(NUMBER_KINDS[kind].format, flat)
    except (OverflowError, TypeError) as error:
        raise ValueError(f"not all of the values are {kind}: {error}") from None
    return PackedArray(numbers, kind, shape, heads)


def _flatten(values: Sequence[Any]) -> tuple[tuple[int, ...], list[Any]]:
    """(shape, numbers in order) of nested lists or tuples; ValueError if they are not rectangular."""
    shape = [len(values)]
    flat: list[Any] = list(values)
    while flat and isinstance(flat[0], (list, tuple)):
        size = len(flat[0])
        if not all(isinstance(row, (list, tuple)) and len(row) == size for row in flat):
            raise ValueError(f"not a rectangular array: rows at level {len(shape) + 1} differ in length")
        shape.append(size)
        flat = [value for row in flat for value in row]
    if any(isinstance(value, (list, tuple)) for value in flat):
        raise ValueError(f"not a rectangular array: lists and numbers mixed at level {len(shape)}")
    return tuple(shape), flat


def _kind_for(flat: list[Any]) -> str:
    if not all(isinstance(value, int) for value in flat):
        return "real64"
    return "int32" if all(value in _INT32_RANGE for value in flat) else "int64"


def _long_double_bytes(value: Any) -> bytes:
    if not isinstance(value, LongDouble):
        raise ValueError(f"not all of the values are real128: {value!r} is no LongDouble")
    return value.data


def pack_numpy(values: Any) -> PackedArray:
    """A PackedArray of a NumPy array (anything `numpy.asarray` takes).

    Types without a kind of their own go to the next wider one (int8 to int16, uint16 to int32, uint32 to
    int64, float16 to real32). Complex numbers become pairs with head Complex in one more dimension, which
    is how kernels send them. ValueError for other types, uint64 among them, and for arrays without a
    dimension.
    """
    import numpy

    source = numpy.asarray(values)
    heads = None
    if source.dtype.kind == "c":
        real = numpy.float32 if source.dtype.itemsize == 8 else numpy.float64
        complex_type = numpy.complex64 if source.dtype.itemsize == 8 else numpy.complex128
        pairs = numpy.ascontiguousarray(source, complex_type)
        heads = ("List",) * source.ndim + ("Complex",)
        source = pairs.view(real).reshape((*source.shape, 2))
    kind = _NUMPY_KINDS.get((source.dtype.kind, source.dtype.itemsize))
    if kind is None:
        raise ValueError(f"no packed array holds NumPy's {source.dtype}")
    target = numpy.dtype("g" if kind == "real128" else NUMBER_KINDS[kind].format)
    return PackedArray(numpy.ascontiguousarray(source, target), kind, source.shape, heads)


#: (dtype.kind, dtype.itemsize) -> kind of packed array
_NUMPY_KINDS = {
    ("u", 1): "int8", ("i", 1): "int16", ("i", 2): "int16", ("u", 2): "int32", ("i", 4): "int32",
    ("u", 4): "int64", ("i", 8): "int64", ("f", 2): "real32", ("f", 4): "real32", ("f", 8): "real64",
    ("f", 16): "real128",
}  # fmt: skip


def unpack_numpy(packed: PackedArray) -> Any:
    """A NumPy array of the shape; an innermost head Complex over pairs of reals gives complex numbers.

    It shares the memory of `packed` and is read-only where that is. Other heads than List and Complex are
    lost.
    """
    import numpy

    letter = "g" if packed.kind == "real128" else NUMBER_KINDS[packed.kind].format
    numbers = numpy.empty(0, letter)
    if packed.data.nbytes:  # frombuffer refuses an empty buffer
        numbers = numpy.frombuffer(packed.data, letter)
    is_complex = packed.heads is not None and packed.heads[-1] == "Complex" and packed.shape[-1] == 2
    if is_complex and packed.kind in ("real32", "real64"):
        wide = numpy.complex64 if packed.kind == "real32" else numpy.complex128
        return numbers.view(wide).reshape(packed.shape[:-1])
    return numbers.reshape(packed.shape)
