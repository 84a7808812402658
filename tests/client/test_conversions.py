"""Expressions to Python values and back: nothing is lost, whatever the way."""

import array
import datetime
import decimal
import enum
import fractions
import math
import pickle
import subprocess
import sys
import zoneinfo

import pytest
from hypothesis import given, settings

from tests.support.cases import for_all
from wstpserver.client import BigReal, Function, NumericArray, PackedArray, Symbol, to_expression, to_python
from wstpserver.wire.decode import decode
from wstpserver.wire.encode import encode
from wstpserver.wire.values import Int8, Int64, LongDouble, Real32

from .expressions import call, canonical, expressions

LIST, ASSOCIATION = Symbol("List"), Symbol("Association")
RULES = (call("Rule", "a", 1), call("Rule", 2, call("List", Symbol("True"))))
X = Symbol("x")


class Level(enum.IntEnum):
    HIGH = 3


class Shout(str):
    pass


#: (expression, its value, of exactly that type)
PAIRS = [
    (5, 5),
    (Int64(5), 5),
    (Int8(5), 5),
    (1 << 80, 1 << 80),
    (1.5, 1.5),
    (Real32(0.5), 0.5),
    ("text", "text"),
    (Symbol("True"), True),
    (Symbol("System`False"), False),
    (Symbol("Null"), None),
    (call("DirectedInfinity", 1), math.inf),
    (call("DirectedInfinity", -1), -math.inf),
    (call("Rational", 1, 3), fractions.Fraction(1, 3)),
    (call("Rational", -7, 1 << 70), fractions.Fraction(-7, 1 << 70)),
    (call("System`Complex", 1.0, -0.0), complex(1, -0.0)),
    (call("List"), []),
    (call("List", 1, call("List", "a")), [1, ["a"]]),
    (call("Association"), {}),
    (Function(ASSOCIATION, RULES), {"a": 1, 2: [True]}),
    (call("Association", call("Rule", call("Rational", 1, 2), 1)), {fractions.Fraction(1, 2): 1}),
    (call("ByteArray", "AAEC/w=="), b"\0\1\2\xff"),
    (call("ByteArray", ""), b""),
    (PackedArray.from_list([1, 2]), [1, 2]),
    (PackedArray.from_list([[1.5], [2.5]]), [[1.5], [2.5]]),
    (PackedArray(b"", "int32", (2, 0)), [[], []]),
    (PackedArray.from_list([[1.0, 2.0]], heads=("List", "Complex")), [1 + 2j]),
    (PackedArray.from_list([1.0, 2.0], heads=("Complex",)), 1 + 2j),
    (PackedArray.from_list([1, 3], heads=("Rational",)), fractions.Fraction(1, 3)),
    (PackedArray.from_list([[1, 3], [2, 4]], heads=("Association", "Rule")), {1: 3, 2: 4}),
]

#: What stays as it is: Python has nothing for it, or nothing that keeps it apart from something else.
KEPT = [
    Symbol("x"),
    Symbol("$Failed"),
    BigReal("1.5`20."),
    LongDouble(bytes(16)),
    call("f", call("List", 1), call("Rational", 1, 3)),
    call("DateObject", call("List", 2026, 1), "Month"),
    call("DateObject", call("List", 2026, 13, 1), "Day"),
    call("DateObject", call("List", -44, 3, 15), "Day"),
    call("DateObject", call("List", 2026, 1, 1), "Day", "Julian", 1.0),
    call("DateObject", call("List", 2026, 1, 1, 0, 0, 0.0), "Instant"),
    call("DateObject", call("List", 2026, 1, 1, 0, 0, 60.0), "Instant", "Gregorian", 1.0),
    call("DateObject", call("List", 2026, 1, 1, 0, 0, 0.0), "Instant", "Gregorian", "No/Where"),
    call("DateObject", call("List", 2026, 1, 1, 0, 0, 0.0), "Instant", "Gregorian", X),
    call("Complex", 1, 2),
    call("Complex", 0, 1.5),
    call("Complex", BigReal("1.5`20."), BigReal("1.5`20.")),
    call("Rational", 2, 4),
    call("Rational", 1, 0),
    call("Rational", X, 3),
    call("DirectedInfinity"),
    call("DirectedInfinity", call("Complex", 0, 1)),
    call("ByteArray", "not base64"),
    call("ByteArray", "AAEC"[:3]),
    call("ByteArray", "AB=="),  # bits that no encoder leaves
    call("Association", X),
    call("Association", call("RuleDelayed", 1, 2)),
    call("Association", call("Rule", 1, 2, 3)),
    call("Association", call("Rule", call("List", 1), 2)),
    call("Association", call("Rule", 1, "a"), call("Rule", 1.0, "b")),
    call("Association", call("Rule", 1, "a"), call("Rule", Symbol("True"), "b")),
    call("NumericArray", call("List", 1), "Unknown"),
    call("NumericArray", call("List", X), "Real64"),
    Function(call("f", 1), (2,)),
    PackedArray.from_list([1.0, 2.0], heads=("f",)),
]


@for_all(("expression", "value"), PAIRS, ids=repr)
def test_what_python_has_a_type_for(expression, value):
    result = to_python(expression)
    assert result == value
    assert type(result) is type(value)
    assert repr(result) == repr(value), "also inside, and with the sign of zeros"
    assert canonical(to_expression(value)) == canonical(expression)


@for_all("expression", KEPT, ids=repr)
def test_what_stays_an_expression(expression):
    assert to_python(expression) is expression
    assert to_expression(expression) == expression


def test_not_a_number():
    assert math.isnan(to_python(Symbol("Indeterminate")))
    assert to_expression(math.nan) == Symbol("Indeterminate")


def test_expressions_among_values_stay_expressions():
    inner = call("f", call("List", 1))
    assert to_python(call("List", inner, call("Association", call("Rule", "k", inner)))) == [inner, {"k": inner}]


@settings(max_examples=2 * settings().max_examples)
@given(expressions)
def test_round_trip(expression):
    """to_expression(to_python(e)) is e, with and without the wire between them."""
    there = to_python(expression)
    assert canonical(to_expression(there)) == canonical(expression)
    sent = decode(encode(expression, ascii=False))
    assert canonical(to_expression(to_python(sent))) == canonical(expression)
    back = decode(encode(to_expression(there), ascii=False))
    assert canonical(back) == canonical(expression)


@settings(max_examples=2 * settings().max_examples)
@given(expressions)
def test_round_trip_with_numpy(expression):
    """Nothing is lost but what the documentation says: that an array was a NumericArray."""
    numpy = pytest.importorskip("numpy")
    there = to_python(expression, numpy=True)
    back = canonical(to_expression(there))
    assert _without_numeric_arrays(back) == _without_numeric_arrays(canonical(expression))
    if isinstance(there, numpy.ndarray):
        assert there.dtype.name in ("int64", "float64", "complex128", "uint64")


def _without_numeric_arrays(tree):
    if tree[0] != "function":
        return tree
    if tree[1] == ("symbol", "NumericArray") and len(tree[2]) == 2:
        return _without_numeric_arrays(tree[2][0])
    return (*tree[:1], _without_numeric_arrays(tree[1]), tuple(map(_without_numeric_arrays, tree[2])))


@for_all(
    ("value", "expression"),
    [
        ((1, "a"), call("List", 1, "a")),
        (range(3), call("List", 0, 1, 2)),
        (Level.HIGH, 3),
        (Shout("a"), "a"),
        (fractions.Fraction(4, 2), 2),
        (bytearray(b"a"), call("ByteArray", "YQ==")),
        (memoryview(b"a"), call("ByteArray", "YQ==")),
        (array.array("h", [1, 2]), call("List", 1, 2)),
        (decimal.Decimal("-1.50"), BigReal("-150.`3.*^-2")),
        (decimal.Decimal("Infinity"), call("DirectedInfinity", 1)),
        (decimal.Decimal("NaN"), Symbol("Indeterminate")),
        (call("f", {"a": None}, [1.5]), call("f", call("Association", call("Rule", "a", Symbol("Null"))), [1.5])),
        (NumericArray(PackedArray.from_list([1.5]), "Real64"), call("NumericArray", [1.5], "Real64")),
    ],
    ids=lambda part: type(part).__name__,
)
def test_further_types(value, expression):
    assert canonical(to_expression(value)) == canonical(expression)
    encode(to_expression(value))


@for_all(
    ("value", "packed"),
    [
        (list(range(249)), False),
        (list(range(250)), True),
        ([[1.5] * 25] * 10, True),
        ([[1.5] * 25] * 9 + [[1.5] * 24], False),
        ([1.5] * 249 + [1], False),
        ([1.5] * 249 + [math.inf], False),
        ([1] * 249 + [1 << 63], False),
        ([True] * 250, False),
        (["a"] * 250, False),
        ([[1]] + [2] * 300, False),
    ],
    ids=lambda value: str(value)[:20],
)
def test_long_lists_of_numbers_are_packed(value, packed):
    result = to_expression(value)
    assert isinstance(result, PackedArray) is packed
    assert to_python(result) == value


DAY = call("DateObject", call("List", 2026, 1, 1), "Day")


def moment(*parts, zone):
    return call("DateObject", call("List", *parts), "Instant", "Gregorian", zone)


@for_all(
    ("value", "expression"),
    [
        (datetime.date(2026, 1, 1), DAY),
        (datetime.datetime(2026, 11, 27, 8, 30, 15, 500_000), moment(2026, 11, 27, 8, 30, 15.5, zone=Symbol("None"))),
        (
            datetime.datetime(2026, 11, 27, 8, 30, tzinfo=datetime.timezone(datetime.timedelta(hours=-3.5))),
            moment(2026, 11, 27, 8, 30, 0.0, zone=-3.5),
        ),
        (
            datetime.datetime(2026, 7, 1, 8, 30, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")),
            moment(2026, 7, 1, 8, 30, 0.0, zone="Europe/Berlin"),
        ),
    ],
    ids=["date", "without a time zone", "offset", "named time zone"],
)
def test_dates_both_ways(value, expression):
    assert to_expression(value) == expression
    assert to_python(expression) == value
    back = to_python(to_expression([value]))[0]
    assert back == value
    assert type(back) is type(value)


def test_a_day_of_a_kernel_names_its_calendar_and_time_zone():
    expression = call("DateObject", PackedArray.from_list([2026, 1, 1]), "Day", "Gregorian", 1.0)
    assert to_python(expression) == datetime.date(2026, 1, 1)


def test_the_second_of_two_equal_times_in_autumn_goes_by_its_offset():
    second = datetime.datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"))
    assert to_python(to_expression(second)) == second.astimezone(datetime.timezone.utc)


@for_all(
    ("value", "says"),
    [
        ({1}, "a Python set"),
        (object(), "a Python object"),
        ([{"a": [lambda: 0]}], "a Python function"),
        (Symbol, "a Python type"),
        (datetime.time(12, 30), "TimeObject"),
        (datetime.timedelta(hours=1), "Quantity"),
    ],
    ids=["set", "object", "function", "type", "time", "timedelta"],
)
def test_what_no_expression_stands_for(value, says):
    with pytest.raises(TypeError, match=says):
        to_expression(value)


def test_a_container_that_contains_itself():
    endless = [1]
    endless.append({"a": endless})
    with pytest.raises(ValueError, match="a list contains itself"):
        to_expression(endless)
    shared = [1]
    assert to_python(to_expression([shared, shared])) == [[1], [1]]


def test_any_depth():
    depth = 50_000
    expression = 1
    for _ in range(depth):
        expression = Function(LIST, (expression,))
    value = to_python(expression)
    back = to_expression(value)
    assert back == expression
    while isinstance(value, list):
        (value,) = value
        depth -= 1
    assert (value, depth) == (1, 0)


def test_big_reals():
    number = BigReal("1.2345678901234567890123`22.5*^-400")
    assert number.to_decimal() == decimal.Decimal("1.2345678901234567890123E-400")
    assert number.precision == 22.5
    assert to_python(number) is number
    assert BigReal("2.5``30").precision == pytest.approx(30.39794)
    assert BigReal("0``20.").precision == 0
    assert BigReal("1.5`").precision is None
    assert float(BigReal("1.5`20.*^400")) == math.inf
    with pytest.raises(ValueError, match="no real"):
        BigReal("x").to_decimal()
    with pytest.raises(ValueError, match="exponent"):
        BigReal("1`5*^999999999999999999999").to_decimal()


@for_all("text", ["1.50", "-0.001", "1E+30", "0", "0.00", "12345678901234567890.5", "-1E-999"])
def test_decimals(text):
    value = decimal.Decimal(text)
    number = to_expression(value)
    assert number.to_decimal() == value
    assert number.precision == (len(value.as_tuple().digits) if value else 0)


# NumPy


def test_arrays():
    numpy = pytest.importorskip("numpy")

    def array_of(value, dtype, shape):
        result = to_python(decode(encode(to_expression(value))), numpy=True)
        assert isinstance(result, numpy.ndarray)
        assert (result.dtype.name, result.shape) == (dtype, shape)
        assert result.flags.writeable
        assert result.tolist() == numpy.asarray(value).tolist()

    array_of([1, 2, 3], "int64", (3,))
    array_of(list(range(300)), "int64", (300,))  # 32 bits each on the wire
    array_of([[1.5, 2.5], [3.5, 4.5]], "float64", (2, 2))
    array_of([1j, 2.0 + 0j], "complex128", (2,))
    array_of(numpy.arange(24.0).reshape(2, 3, 4), "float64", (2, 3, 4))
    array_of(numpy.array([[1j, 2], [3, 4]]), "complex128", (2, 2))


def test_what_is_no_array():
    numpy = pytest.importorskip("numpy")
    for value in ([], [1, 2.5], ["a"], [1 << 63], [True], 5, 1.5, 1j, "a", None):
        assert type(to_python(to_expression(value), numpy=True)) is type(value)
    ragged = to_python(to_expression([[1, 2], [3]]), numpy=True)
    assert [part.tolist() for part in ragged] == [[1, 2], [3]]
    assert all(isinstance(part, numpy.ndarray) for part in ragged)
    inside = to_python(to_expression({"a": [1.5]}), numpy=True)
    assert inside["a"].dtype == "float64"


@pytest.mark.parametrize(
    "type_name",
    ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float16", "float32", "bool"],
)
def test_every_type_of_numpy(type_name):
    numpy = pytest.importorskip("numpy")
    values = numpy.array([[0, 1], [1, 0]], type_name)
    assert to_python(to_expression(values)) == values.tolist()
    assert to_python(to_expression(values[0, 0])) == values[0, 0].item()
    assert to_python(to_expression(numpy.array(1, type_name))) == 1


def test_odd_arrays():
    numpy = pytest.importorskip("numpy")
    assert to_expression(numpy.array([1.0, math.inf])) == Function(LIST, (1.0, call("DirectedInfinity", 1)))
    assert to_python(to_expression(numpy.array([["a", None]], object))) == [["a", None]]
    assert to_python(to_expression(numpy.zeros((2, 0)))) == [[], []]
    assert float(to_expression(numpy.longdouble(1.5))) == 1.5
    assert to_expression(numpy.longdouble(1.5)).data[10:] == bytes(6), "no leftovers of memory"
    with pytest.raises(TypeError, match="timedelta64"):
        to_expression(numpy.array([1], "timedelta64[D]"))
    assert to_expression(numpy.array(["2026-01-01"], "datetime64[D]")) == Function(LIST, (DAY,))
    assert to_python(to_expression(numpy.datetime64("2026-01-01T12:00"))) == datetime.datetime(2026, 1, 1, 12)


def test_numeric_arrays():
    numpy = pytest.importorskip("numpy")
    expression = call("NumericArray", PackedArray.from_list([[1, 2], [3, 4]]), "Integer16")
    value = to_python(expression)
    assert isinstance(value, NumericArray)
    assert value.tolist() == [[1, 2], [3, 4]]
    assert value.to_numpy().dtype == "int16"
    assert to_expression(value) == expression
    assert pickle.loads(pickle.dumps(value)) == value
    assert to_python(expression, numpy=True).dtype == "int16"
    largest = call("NumericArray", call("List", (1 << 64) - 1), "UnsignedInteger64")
    assert to_python(largest, numpy=True).tolist() == [(1 << 64) - 1]
    pairs = call("NumericArray", PackedArray.from_list([[1.0, 2.0]], heads=("List", "Complex")), "ComplexReal32")
    assert to_python(pairs, numpy=True).dtype == numpy.complex64


def test_numpy_is_imported_only_where_it_is_wished():
    program = """
import sys
from wstpserver.client import *
to_python(to_expression([1.5] * 1000))
to_python(to_expression({"a": [1, 2], "b": b"c"}))
assert "numpy" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)
