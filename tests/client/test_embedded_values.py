"""Values through a real kernel: what it returns and takes, with the types of Python."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.embedded.harness import DEADLINE
from wstpserver.client import Function, Session, Symbol, to_expression, to_python

from .expressions import canonical, expressions


@pytest.fixture(scope="module")
def session(warm_parent):
    """One kernel for all: nothing is defined here."""
    with Session(warm_parent.launch().link) as session:
        yield session


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2^100", 2**100),
        ("1/3", Fraction(1, 3)),
        ("0.1", 0.1),
        ("1.5 + 2. I", 1.5 + 2j),
        ("True && False", False),
        ("Null", None),
        ('{1, "a", {2.5}}', [1, "a", [2.5]]),
        ('<|"a" -> 1, 2 -> {3}|>', {"a": 1, 2: [3]}),
        ("ByteArray[{1, 2, 255}]", b"\1\2\xff"),
        ("Range[1000]", list(range(1, 1001))),
        ("Infinity", float("inf")),
        ("Sqrt[x]", Function(Symbol("Power"), (Symbol("x"), to_expression(Fraction(1, 2))))),
    ],
)
def test_what_a_kernel_returns(session, text, value):
    result = session.evaluate(text, DEADLINE)
    assert (result, type(result)) == (value, type(value))


def test_a_number_of_high_precision(session):
    number = session.evaluate("N[Pi, 40]", DEADLINE)
    assert str(number.to_decimal()).startswith("3.14159265358979323846264338327950288419")
    assert number.precision == pytest.approx(40, abs=0.5)
    assert session.Equal(session.evaluate("Pi"), number, timeout=DEADLINE) is True


def test_functions_with_python_values(session):
    assert session.Plus(Fraction(1, 3), Fraction(2, 3)) == 1
    assert session.StringReverse("hello") == "olleh"
    assert session.Total([1.5, 2.5]) == 4.0
    assert session.Map(session.Length, [[1, 2], []]) == [2, 0]
    assert session.Total(list(range(10_000))) == sum(range(10_000))
    assert session.Keys({"a": [1, 2], 3: None}) == ["a", 3]


def test_numpy_both_ways(session):
    numpy = pytest.importorskip("numpy")
    values = numpy.arange(12.0).reshape(3, 4)
    transposed = session.Transpose(values, results="numpy", timeout=DEADLINE)
    assert transposed.dtype == "float64"
    assert numpy.array_equal(transposed, values.T)


def without_signs_of_zero(tree):
    """The engine takes all zeros for one and the same number."""
    if isinstance(tree, tuple):
        return tuple(map(without_signs_of_zero, tree))
    return tree.replace("-0x0.0p+0", "0x0.0p+0") if isinstance(tree, str) else tree


#: What evaluates to itself, in any place: numbers, text, lists, associations with different keys.
inert = st.recursive(
    st.one_of(
        st.integers(-(10**30), 10**30),
        st.floats(allow_nan=False, allow_infinity=False).map(lambda number: number + 0.0),
        st.text(max_size=10),
        st.booleans(),
        st.none(),
        st.fractions(max_denominator=10**12).filter(lambda number: number.denominator > 1),
        st.binary(max_size=10),
        st.sampled_from([Symbol("x"), float("inf")]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=5), inner, max_size=4)),
    max_leaves=10,
)


@settings(max_examples=60, deadline=None)
@given(inert)
def test_python_values_come_back(session, value):
    result = session.evaluate([value], DEADLINE)
    assert result == [value]
    assert repr(result) == repr([value]), "of the same types"


@settings(max_examples=60, deadline=None)
@given(expressions)
def test_what_a_kernel_holds_comes_back(session, expression):
    """An expression that it does not evaluate is the same after its way through Python."""
    held = Function(Symbol("HoldComplete"), (expression,))
    first = session.evaluate(held, DEADLINE, results="expression")
    (content,) = first.args
    again = session.evaluate(Function(Symbol("HoldComplete"), (to_expression(to_python(content)),)), DEADLINE)
    assert without_signs_of_zero(canonical(again)) == without_signs_of_zero(canonical(first))
