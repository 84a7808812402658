"""Packed arrays: rectangular blocks of machine numbers (docs/wire-protocol.md, section 3.5).

The value (`PackedArray`), nested lists and NumPy arrays from and to it, and its bytes in both directions. NumPy is
imported only where it is asked for.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from itertools import repeat
from math import prod
from typing import Any, NamedTuple, NoReturn

from wstpserver.wire.errors import RemoteProtocolError
from wstpserver.wire.numbers import LongDouble
from wstpserver.wire.text import TextStyle, decode_text, encode_plain_text, encode_seven_bit
from wstpserver.wire.tokens import (
    ARRAY_HEADER,
    NUMBER_KINDS,
    NUMBER_TOKENS,
    DecoderLimits,
    Incomplete,
    NumberKind,
    check_limit,
    check_line_feed,
    encode_size,
    read_payload,
    read_size,
    text_item,
)


class PackedArray:
    """A rectangular array of machine numbers of one kind, held as their bytes.

    Two arrays are equal if shape, heads, kind and bytes are (so a NaN equals itself and 0.0 is not -0.0).
    An array without a single number has no kind on the wire, so kinds are not compared there.

    Args:
        data: A C-contiguous buffer of prod(shape) numbers in native byte order; kept, not copied.
        kind: "int8" (unsigned), "int16", "int32", "int64", "real32", "real64" or "real128".
        shape: The dimensions, outermost first; at least one, zeros allowed.
        heads: Names of the head symbols, one for each dimension; None if all are List.

    Attributes:
        data: The numbers as a flat memoryview with the format of the kind (plain bytes for real128).
    """

    __slots__ = ("data", "heads", "kind", "shape")
    data: memoryview
    kind: str
    shape: tuple[int, ...]
    heads: tuple[str, ...] | None

    def __init__(
        self, data: Any, kind: str, shape: Sequence[int], heads: Sequence[str] | None = None
    ) -> None:
        """See the class.

        Raises:
            ValueError: The kind is unknown, or the sizes of data, shape and heads do not agree.
        """
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
        """The same numbers in other dimensions.

        Raises:
            ValueError: They are not as many as the dimensions take.
        """
        return PackedArray(self.data, self.kind, shape, heads)

    @classmethod
    def from_list(
        cls, values: Sequence[Any], kind: str | None = None, heads: Sequence[str] | None = None
    ) -> PackedArray:
        """An array of nested lists of numbers.

        Args:
            values: Lists or tuples, one level for each dimension.
            kind: As `PackedArray.kind`; None: int32 if all are ints that fit, int64 if all are ints, else real64.
            heads: Names of the heads, one for each dimension; None: all List.

        Raises:
            ValueError: The nesting is not rectangular, or a number does not fit the kind.
        """
        return pack_list(values, kind, heads)

    @classmethod
    def from_numpy(cls, array: Any) -> PackedArray:
        """The array of a NumPy one, without a copy where the type matches; see `pack_numpy`."""
        return pack_numpy(array)

    def to_numpy(self) -> Any:
        """A NumPy array on the same memory; see `unpack_numpy`."""
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


# -- nested lists and NumPy -------------------------------------------------------------------------------------------

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
    """A PackedArray of a NumPy array.

    Types without a kind of their own go to the next wider one (int8 to int16, uint16 to int32, uint32 to int64, float16
    to real32). Complex numbers become pairs with head Complex in one more dimension, which is how kernels send them.

    Args:
        values: Anything `numpy.asarray` takes.

    Raises:
        ValueError: The type is another one (uint64 for example), or the array has no dimension.
        ImportError: NumPy is not installed.
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

    It shares the memory of `packed` and is read-only where that is. Other heads than List and Complex are lost.

    Raises:
        ImportError: NumPy is not installed.
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


# -- to bytes ---------------------------------------------------------------------------------------------------------

#: The library writes a one-dimensional list of fewer numbers as function and block, a longer one as array.
ARRAY_FROM = 128


def packed_parts(packed: PackedArray, style: TextStyle) -> list[bytes | memoryview]:
    """The bytes of an array in pieces; numbers are not copied where this machine's byte order is that of the wire."""
    is_list = len(packed.shape) == 1 and packed.heads is None
    if is_list and packed.shape[0] < ARRAY_FROM:
        opening = b"F" + encode_size(packed.shape[0]) + text_item(b"#", encode_plain_text("List", style))
    else:
        opening = _array_header(packed)
    return [opening, *_block(packed)]


def _array_header(packed: PackedArray) -> bytes:
    """`A`, the number of leaves, `D` and the dimensions.

    Heads are in format A whatever the style, as from every library. The dimensions end with the first that is zero:
    nothing can be seen of those further in, and the library does not send them either.
    """
    header = b""
    for dimension, head in zip(packed.shape, packed.heads or repeat("List"), strict=False):
        header += b"F" + encode_size(dimension) + text_item(b"#", encode_seven_bit(head))
        if not dimension:
            break
    header += b"."
    return b"".join((b"A", encode_size(prod(packed.shape)), b"D", encode_size(len(header)), header, b"\n"))


def _block(packed: PackedArray) -> list[bytes | memoryview]:
    """All numbers as one `P` block; nothing for an array without any."""
    count = prod(packed.shape)
    if not count:
        return []
    kind = NUMBER_KINDS[packed.kind]
    numbers = packed.data if NATIVE_IS_LITTLE else reverse_bytes(packed.data, kind.width)
    return [b"P" + encode_size(count) + bytes([kind.little_token]), numbers, b"\n"]


# -- from bytes -------------------------------------------------------------------------------------------------------


class Opened(NamedTuple):
    """An array begins; `missing` leaves follow."""

    missing: int
    shape: tuple[int, ...]
    heads: tuple[str, ...]


class Block(NamedTuple):
    """A packed block: `length` numbers as they came."""

    kind: NumberKind
    is_little: bool
    numbers: memoryview
    length: int


def read_block(data: bytes, position: int, limits: DecoderLimits, missing: int) -> tuple[Block, int]:
    """`P`, count, number token, that many numbers, line feed (section 3.5).

    Args:
        data: What there is of the stream.
        position: Where the token byte is.
        limits: How much is taken.
        missing: How many numbers there is room for.

    Returns:
        (the block, position after it)
    """
    count, start = read_size(data, position + 1)
    if count > missing:
        raise RemoteProtocolError(f"a packed block of {count} numbers where {missing} are missing", position)
    if start >= len(data):
        raise Incomplete(start + 1)
    known = NUMBER_TOKENS.get(data[start])
    if known is None:
        raise RemoteProtocolError(f"{data[start]:#04x} is no number token", start)
    kind, is_little = known
    size = count * kind.width
    check_limit("bytes of a packed block", size, limits.packed, position)
    end = start + 1 + size
    if end >= len(data):
        raise Incomplete(end + 1)
    check_line_feed(data, end)
    numbers = memoryview(data)[start + 1 : end]
    if 2 * size < len(data):  # a view would keep all the other bytes alive
        numbers = memoryview(bytes(numbers))
    return Block(kind, is_little, numbers, count), end + 1


def read_array(data: bytes, position: int, limits: DecoderLimits) -> tuple[Opened, int]:
    """`A`, number of leaves, `D`, size, dimensions, line feed; the leaves follow (section 3.5)."""
    total, start = read_size(data, position + 1)
    check_limit("leaves of an array", total, limits.count, position)
    if start >= len(data):
        raise Incomplete(start + 1)
    if data[start] != ARRAY_HEADER:
        raise RemoteProtocolError(f"the dimensions of an array were due, not {data[start]:#04x}", start)
    size, header = read_size(data, start + 1)
    check_limit("bytes of array dimensions", size, limits.header, start)
    end = header + size
    if end >= len(data):
        raise Incomplete(end + 1)
    check_line_feed(data, end)
    try:
        shape, heads = _read_dimensions(data[header:end])
    except RemoteProtocolError as error:
        raise RemoteProtocolError(error.message, header + (error.offset or 0)) from None
    if prod(shape) != total:
        raise RemoteProtocolError(f"an array of dimensions {shape} cannot have {total} leaves", position)
    return Opened(total, shape, heads), end + 1


def _read_dimensions(header: bytes) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """One `F <dimension> # <head>` for each dimension, then a full stop, which ends the header."""
    shape: list[int] = []
    heads: list[str] = []
    position = 0
    try:
        while header[position : position + 1] == b"F":
            dimension, symbol = read_size(header, position + 1)
            if header[symbol : symbol + 1] != b"#":
                raise RemoteProtocolError("the head of an array dimension is no symbol", symbol)
            payload, start, position = read_payload(header, symbol, _NO_LIMIT)
            shape.append(dimension)
            heads.append(decode_text(payload, start))
    except Incomplete:
        raise RemoteProtocolError("the dimensions of an array break off", position) from None
    if header[position:] != b"." or not shape:
        raise RemoteProtocolError("the dimensions of an array do not end with a full stop", position)
    return tuple(shape), tuple(heads)


#: For what is inside something whose size has been checked.
_NO_LIMIT = 1 << 62
