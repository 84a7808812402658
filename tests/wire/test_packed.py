"""Packed arrays: construction, comparison, nested lists, NumPy."""
from __future__ import annotations

import math
import struct
from array import array

import pytest

from tests.support.cases import for_all
from wstpserver.wire.decode import decode
from wstpserver.wire.encode import encode
from wstpserver.wire.values import LongDouble, PackedArray

DOUBLES = array("d", [1, 2, 3, 4])


@for_all("data", [DOUBLES, memoryview(DOUBLES), DOUBLES.tobytes(), bytearray(DOUBLES.tobytes())])
def test_any_buffer_will_do(data: bytes) -> None:
    packed = PackedArray(data, "real64", (2, 2))
    assert packed.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert packed == PackedArray.from_list([[1.0, 2.0], [3.0, 4.0]])
    assert (len(packed), packed.data.format, packed.data.nbytes) == (2, "d", 32)


@for_all(
    ("data", "kind", "shape", "heads", "message"),
    [
        (b"", "int4", (0,), None, "'int4' is no kind"),
        (b"", "int8", (), None, "is no shape"),
        (b"", "int8", (2, -1), None, "is no shape"),
        (bytes(5), "int8", (2, 3), None, "5 bytes of data, but int8 of shape .2, 3. takes 6"),
        (bytes(6), "int8", (2, 3), ("List",), "1 heads for 2 dimensions"),
        (memoryview(bytes(8))[::2], "int8", (4,), None, "C-contiguous"),
    ],
)
def test_sizes_must_agree(data: bytes, kind: str, shape: tuple[int, ...], heads: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PackedArray(data, kind, shape, heads)


def test_equality() -> None:
    one = PackedArray.from_list([1, 2], "int32")
    assert one == PackedArray(struct.pack("<2i", 1, 2), "int32", (2,), ("List",))
    assert hash(one) == hash(PackedArray.from_list([1, 2], "int32"))
    for other in (
        PackedArray.from_list([1, 3], "int32"),
        PackedArray.from_list([1, 2], "int64"),
        PackedArray.from_list([[1, 2]], "int32"),
        PackedArray.from_list([1, 2], "int32", ["f"]),
        [1, 2],
    ):
        assert one != other
    assert PackedArray.from_list([math.nan]) == PackedArray.from_list([math.nan])
    assert PackedArray.from_list([0.0]) != PackedArray.from_list([-0.0])
    assert PackedArray(b"", "int8", (2, 0)) == PackedArray(b"", "real64", (2, 0)) != PackedArray(b"", "int8", (0,))


@for_all(
    ("values", "kind", "shape"),
    [
        ([1, 2], "int32", (2,)),
        ([2**31], "int64", (1,)),
        ([1, 2.0], "real64", (2,)),
        ([[1, 2, 3], (4, 5, 6)], "int32", (2, 3)),
        ([[[1], [2]]], "int32", (1, 2, 1)),
        ([], "int32", (0,)),
        ([[], []], "int32", (2, 0)),
    ],
)
def test_from_nested_lists(values: list[object], kind: str, shape: tuple[int, ...]) -> None:
    packed = PackedArray.from_list(values)
    assert (packed.kind, packed.shape) == (kind, shape)
    assert packed.tolist() == [list(row) if isinstance(row, tuple) else row for row in values]


@for_all(
    ("values", "kind"),
    [
        ([[1, 2], [3]], None), ([[1, 2], 3], None), ([1, [2]], None), ([[1], [[2]]], None), (["x"], None),
        ([1.5], "int32"), ([256], "int8"), ([-1], "int8"), ([2**63], None), ([1.5], "real128"), ([1], "int4"),
    ],
)  # fmt: skip
def test_from_lists_that_do_not_fit(values: list[object], kind: str | None) -> None:
    with pytest.raises(ValueError, match=r"rectangular|not all of the values|no kind"):
        PackedArray.from_list(values, kind)


def test_lists_with_zero_dimensions() -> None:
    assert PackedArray(b"", "int8", (0, 3)).tolist() == []
    assert PackedArray(b"", "int8", (2, 0, 3)).tolist() == [[], []]
    assert PackedArray(b"", "int8", (2, 1, 0)).tolist() == [[[]], [[]]]


def test_long_doubles() -> None:
    values = [LongDouble(bytes([n]) * 16) for n in range(4)]
    packed = PackedArray.from_list([values[:2], values[2:]], "real128")
    assert packed.tolist() == [values[:2], values[2:]]
    assert decode(encode(packed)) == packed


def test_many_dimensions() -> None:
    packed = PackedArray(bytes([7]), "int8", (1,) * 200)
    assert decode(encode(packed)) == packed
    nested = packed.tolist()
    for _ in range(199):
        (nested,) = nested
    assert nested == [7]


def test_other_byte_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a big-endian machine the numbers are turned round on their way in and out."""
    wire = encode(PackedArray.from_list([1, 2], "int32"))
    import wstpserver.wire.decode
    import wstpserver.wire.packed

    monkeypatch.setattr(wstpserver.wire.decode, "NATIVE_IS_LITTLE", False)
    monkeypatch.setattr(wstpserver.wire.packed, "NATIVE_IS_LITTLE", False)
    turned = decode(wire)
    assert isinstance(turned, PackedArray)
    assert turned.data.tobytes() == struct.pack(">2i", 1, 2)
    assert encode(turned) == wire


class TestNumPy:
    numpy = None

    @pytest.fixture(autouse=True)
    def _import(self) -> None:
        self.numpy = pytest.importorskip("numpy")

    @pytest.mark.parametrize(
        ("dtype", "kind"),
        [
            ("uint8", "int8"), ("int8", "int16"), ("int16", "int16"), ("uint16", "int32"), ("int32", "int32"),
            ("uint32", "int64"), ("int64", "int64"), ("float16", "real32"), ("float32", "real32"),
            ("float64", "real64"), ("longdouble", "real128"), (">i4", "int32"), (">f8", "real64"),
        ],
    )  # fmt: skip
    def test_types(self, dtype: str, kind: str) -> None:
        source = self.numpy.arange(6).astype(dtype).reshape(2, 3)
        packed = PackedArray.from_numpy(source)
        assert (packed.kind, packed.shape) == (kind, (2, 3))
        back = decode(encode(packed)).to_numpy()
        assert back.shape == (2, 3)
        assert (back == source).all()

    @pytest.mark.parametrize(("dtype", "kind"), [("complex128", "real64"), ("complex64", "real32")])
    def test_complex(self, dtype: str, kind: str) -> None:
        source = self.numpy.array([1 + 2j, 3 - 4j], dtype)
        packed = PackedArray.from_numpy(source)
        assert (packed.kind, packed.shape, packed.heads) == (kind, (2, 2), ("List", "Complex"))
        assert (packed.to_numpy() == source).all()
        assert packed.to_numpy().dtype == source.dtype

    def test_other_layouts(self) -> None:
        source = self.numpy.arange(12.0).reshape(3, 4)
        assert PackedArray.from_numpy(source.T).tolist() == source.T.tolist()
        assert PackedArray.from_numpy(source[:, ::2]).tolist() == source[:, ::2].tolist()
        assert PackedArray.from_numpy(self.numpy.empty((2, 0))).to_numpy().shape == (2, 0)
        assert PackedArray.from_numpy([[1, 2]]).tolist() == [[1, 2]]

    def test_shares_memory(self) -> None:
        source = self.numpy.arange(4.0)
        packed = PackedArray.from_numpy(source)
        source[0] = 7.0
        assert packed.tolist()[0] == 7.0
        assert self.numpy.shares_memory(packed.to_numpy(), source)

    @pytest.mark.parametrize("values", [5, ["x"], [True], [None]])
    def test_what_no_array_holds(self, values: object) -> None:
        with pytest.raises(ValueError, match="no packed array holds|is no shape"):
            PackedArray.from_numpy(values)
        with pytest.raises(ValueError, match="no packed array holds"):
            PackedArray.from_numpy(self.numpy.array([1], "uint64"))
