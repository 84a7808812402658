"""WXF and expressions: wolframclient writes what is read here, and reads what is written here."""

from decimal import Decimal
from fractions import Fraction

import pytest

numpy = pytest.importorskip("numpy")
pytest.importorskip("wolframclient", reason="wstpserver[wolframclient] is not installed")

from wolframclient.deserializers import binary_deserialize  # noqa: E402
from wolframclient.language import wl  # noqa: E402
from wolframclient.serializers import export  # noqa: E402

from tests.support.cases import for_all  # noqa: E402
from wstpserver.client import to_expression, to_python  # noqa: E402
from wstpserver.client.wxf import expression_to_wxf, wxf_to_expression  # noqa: E402
from wstpserver.wire.values import BigReal, Function, PackedArray, Symbol  # noqa: E402


def read(value, **options):
    """The expression of what wolframclient writes for a Python value."""
    return wxf_to_expression(export(value, target_format="wxf", **options))


def written(expression):
    """What wolframclient reads."""
    return binary_deserialize(expression_to_wxf(expression))


@for_all(
    "value",
    [0, -1, 127, 128, -(2**31), 2**63 - 1, 2**63, -(2**200), 1.5, 1e308, "", "ä𝄞\n\\", b"", b"\x00\xff", True, None],
)
def test_leaves(value):
    assert to_python(read(value)) == value
    assert written(to_expression(value)) == value


def test_functions_and_symbols():
    assert read(wl.Plot(wl.Global.x, [1, 2])) == Function(
        Symbol("System`Plot"), (Symbol("Global`x"), Function(Symbol("System`List"), (1, 2)))
    )
    assert written(Function(Symbol("System`f"), (Symbol("Global`x"), Symbol("ä")))) == wl.f(wl.Global.x, wl.ä)
    assert written(Function(Function(Symbol("f"), (1,)), ())) == wl.f(1)()
    assert written(to_expression(Fraction(1, 3))) == wl.Rational(1, 3)


def test_associations():
    value = {"a": [1, {2: "x"}], 3: {}}
    assert to_python(read(value)) == value
    assert written(to_expression(value)) == {"a": (1, {2: "x"}), 3: {}}
    delayed = Function(Symbol("Association"), (Function(Symbol("RuleDelayed"), ("k", 1)),))
    assert expression_to_wxf(delayed) == b"8:A\x01:S\x01kC\x01"
    assert wxf_to_expression(expression_to_wxf(delayed)).args[0].head == Symbol("System`RuleDelayed")
    no_rules = Function(Symbol("Association"), (1,))
    assert written(no_rules) == wl.Association(1)


@for_all("kind", ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "float32", "float64"])
def test_arrays(kind):
    array = numpy.arange(12).reshape(3, 4).astype(kind)
    expression = read(array)
    assert isinstance(expression, PackedArray) and expression.shape == (3, 4)
    assert expression.tolist() == array.tolist()
    assert written(expression).tolist() == array.tolist()


def test_arrays_that_need_more_room():
    bytes_array = numpy.array([[0, 255]], "uint8")
    assert written(PackedArray.from_numpy(bytes_array)).tolist() == [[0, 255]]
    assert to_python(read(numpy.array([[2**64 - 1, 0]], "uint64"))) == [[2**64 - 1, 0]]
    assert to_python(read(numpy.array([7], "uint64"))) == [7]
    assert written(PackedArray.from_numpy(numpy.array([1.5], "longdouble"))).tolist() == [1.5]


@for_all("kind", ["complex64", "complex128"])
def test_complex_arrays(kind):
    array = numpy.array([[1 + 2j], [3j]], kind)
    assert to_python(read(array)) == array.tolist()
    back = written(read(array))
    assert back.dtype == kind and back.tolist() == array.tolist()


def test_arrays_with_other_heads_are_functions():
    assert written(PackedArray.from_list([[1, 2]], heads=("List", "f"))) == (wl.f(1, 2),)
    assert written(PackedArray.from_list([[], []])) == ((), ())


def test_numeric_arrays_are_written_as_such():
    array = Function(Symbol("NumericArray"), (PackedArray.from_list([1, 2]), "UnsignedInteger8"))
    assert expression_to_wxf(array) == b"8:\xc2\x10\x01\x02\x01\x02"


def test_precise_numbers():
    assert read(Decimal("1.5")).to_decimal() == Decimal("1.5")
    assert written(BigReal("1.25`20.*^-400")) == Decimal("1.25e-400")


def test_depth_is_no_limit():
    expression = 1
    for _ in range(10_000):
        expression = Function(Symbol("System`f"), (expression,))
    assert wxf_to_expression(expression_to_wxf(expression)) == expression


def test_compressed():
    assert to_python(read(["x" * 1000] * 10, compress=True)) == ["x" * 1000] * 10


@for_all(
    "data", [b"", b"8", b"9:C\x01", b"8:", b"8:f\x02s\x01f", b"8:S\x05abc", b"8:-C\x01C\x02", b"8C:abc",
             b"8:\xc1\x23\x01\x00", b"8:S\x01\xff", b"8:I\x01x",
             b"8:f\xff\xff\xff\xff\xff\xff\xff\xff\x01s\x01f", b"8:?"],
)  # fmt: skip
def test_what_is_not_wxf(data):
    with pytest.raises(ValueError, match="it is not WXF"):
        wxf_to_expression(data)
