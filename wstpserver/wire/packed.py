"""Packed arrays: rectangular blocks of machine numbers (docs/wire-protocol.md, section 3.5)."""
from __future__ import annotations

import sys
from collections.abc import Sequence
from math import prod
from typing import Any, NoReturn

from .scalars import LongDouble
from .tokens import NUMBER_KINDS


class PackedArray:
    """A rectangular array of machine numbers of one kind, held as their bytes.

    data   a C-contiguous buffer of prod(shape) numbers in native byte order; kept, not copied. The
           attribute is a flat memoryview with the format of the kind (plain bytes for real128).
    kind   "int8" (unsigned), "int16", "int32", "int64", "real32", "real64" or "real128"
    shape  the dimensions, outermost first; at least one, zeros allowed
    heads  names of the head symbols, one for each dimension; None if all are List

    Two arrays are equal if shape, heads, kind and bytes are (so a NaN equals itself and 0.0 is not -0.0).
    An array without a single number has no kind on the wire, so kinds are not compared there.
    """

    __slots__ = ("data", "heads", "kind", "shape")
    data: memoryview
    kind: str
    shape: tuple[int, ...]
    heads: tuple[str, ...] | None

    def __init__(
        self, data: Any, kind: str, shape: Sequence[int], heads: Sequence[str] | None = None
    ) -> None:
        """ValueError for an unknown kind, or where the sizes of data, shape and heads do not agree."""
        if kind not in NUMBER_KINDS:
            raise ValueError(f"{kind!r} is no kind of packed array (these are: {', '.join(NUMBER_KINDS)})")
        shape = tuple(shape)
        if not shape or min(shape) < 0:
            raise ValueError(f"{shape} is no shape: one dimension or more, none negative")
        if heads is not None and len(heads) != len(shape):
            raise ValueError(f"{len(heads)} heads for {len(shape)} dimensions")
        set_slot = object.__setattr__
        set_slot(self, "data", _flat_view(data, kind, shape))
        set_slot(self, "kind", kind)
        set_slot(self, "shape", shape)
        plain = heads is None or all(head == "List" for head in heads)
        set_slot(self, "heads", None if plain else tuple(heads or ()))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("PackedArray is immutable")

    def __len__(self) -> int:
        """Size of the outermost dimension."""
        return self.shape[0]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PackedArray):
            return NotImplemented
        if self.shape != other.shape or self.heads != other.heads:
            return False
        if not self.data.nbytes:
            return not other.data.nbytes
        return self.kind == other.kind and self.data.cast("B") == other.data.cast("B")

    def __hash__(self) -> int:
        return hash((self.shape, self.heads))  # not the numbers: their buffer may change

    def __repr__(self) -> str:
        heads = "" if self.heads is None else f", heads={self.heads}"
        return f"PackedArray(<{self.data.nbytes} bytes>, {self.kind!r}, {self.shape}{heads})"

    def __reduce__(self) -> tuple[type[PackedArray], tuple[Any, ...]]:
        return PackedArray, (self.data.tobytes(), self.kind, self.shape, self.heads)

    def flat(self) -> list[Any]:
        """All numbers in one list: ints, floats, or LongDouble for real128."""
        if self.kind == "real128":
            raw = self.data.tobytes()
            return [LongDouble(raw[start : start + 16]) for start in range(0, len(raw), 16)]
        return self.data.tolist()

    def tolist(self) -> list[Any]:
        """The numbers as nested lists, one level for each dimension, whatever the heads are."""
        rows = self.flat()
        for level in range(len(self.shape) - 1, 0, -1):
            size = self.shape[level]
            rows = [rows[row * size : (row + 1) * size] for row in range(prod(self.shape[:level]))]
        return rows

    def reshaped(self, shape: Sequence[int], heads: Sequence[str] | None = None) -> PackedArray:
        """The same numbers in other dimensions; ValueError if their number differs."""
        return PackedArray(self.data, self.kind, shape, heads)

    @classmethod
    def from_list(
        cls, values: Sequence[Any], kind: str | None = None, heads: Sequence[str] | None = None
    ) -> PackedArray:
        """An array of nested lists of numbers.

        Without `kind`: int32 if all are ints that fit, int64 if all are ints, else real64. ValueError if the
        nesting is not rectangular or a number does not fit the kind.
        """
        from .packed_conversion import pack_list

        return pack_list(values, kind, heads)

    @classmethod
    def from_numpy(cls, array: Any) -> PackedArray:
        """The array of a NumPy one, without a copy where the type matches; see
        `packed_conversion.pack_numpy`.
        """
        from .packed_conversion import pack_numpy

        return pack_numpy(array)

    def to_numpy(self) -> Any:
        """A NumPy array on the same memory; ImportError without NumPy. See `packed_conversion.unpack_numpy`.
        """
        from .packed_conversion import unpack_numpy

        return unpack_numpy(self)


def _flat_view(data: Any, kind: str, shape: tuple[int, ...]) -> memoryview:
    """`data` as flat memoryview of numbers of that kind; ValueError if its size is not that of the shape."""
    view = memoryview(data)
    if not view.c_contiguous:
        raise ValueError("the data of a packed array must be C-contiguous")
    expected = prod(shape) * NUMBER_KINDS[kind].width
    if view.nbytes != expected:
        raise ValueError(f"{view.nbytes} bytes of data, but {kind} of shape {shape} takes {expected}")
    if not expected:  # memoryview cannot cast where a dimension is zero
        view = memoryview(b"")
    raw = view.cast("B")
    return raw if kind == "real128" else raw.cast(NUMBER_KINDS[kind].format)  # type: ignore[call-overload]


def reverse_bytes(data: Any, width: int) -> bytes:
    """The numbers in `data`, each of `width` bytes, in the other byte order."""
    raw = bytes(data)
    swapped = bytearray(len(raw))
    for position in range(width):
        swapped[position::width] = raw[width - 1 - position :: width]
    return bytes(swapped)


#: Whether the little-endian numbers every current platform sends are also those of this machine.
NATIVE_IS_LITTLE = sys.byteorder == "little"
