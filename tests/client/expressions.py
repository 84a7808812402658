"""Strategies that make expressions as kernels send them, and the form in which two of them are compared."""

import base64
import math
from array import array

from hypothesis import strategies as st

from wstpserver.wire.values import BigReal, Function, Int64, PackedArray, Real32, Symbol

LIST = Symbol("List")
_NAMES = st.sampled_from(["x", "Global`y", "Pi", "f", "DateObject", "Developer`Z", "Automatic"])

integers = st.one_of(st.integers(-10, 10), st.integers(-(1 << 70), 1 << 70), st.integers(-(10**60), 10**60))
finite = st.floats(allow_nan=False, allow_infinity=False)
big_reals = st.builds(
    lambda digits, exponent, precision: BigReal(f"{digits}`{precision}.*^{exponent}"),
    st.integers(-(10**40), 10**40), st.integers(-900, 900), st.integers(1, 60),
)  # fmt: skip
rationals = st.fractions().filter(lambda number: number.denominator > 1).map(
    lambda number: Function(Symbol("Rational"), (number.numerator, number.denominator))
)
symbols = st.one_of(_NAMES, st.sampled_from(["True", "False", "Null", "Indeterminate"])).map(Symbol)
strings = st.text(max_size=20)


def call(name, *arguments):
    return Function(Symbol(name), tuple(arguments))


complex_numbers = st.one_of(
    st.builds(lambda a, b: call("Complex", a, b), finite, finite),
    st.builds(lambda a, b: call("Complex", a, b), integers, integers),
    st.builds(lambda a, b: call("Complex", a, b), big_reals, rationals),
)
infinities = st.sampled_from([call("DirectedInfinity", 1), call("DirectedInfinity", -1), call("DirectedInfinity")])
byte_arrays = st.binary(max_size=30).map(
    lambda data: call("ByteArray", base64.b64encode(data).decode("ascii"))
)


def _packed(values, kind, heads=None):
    codes = {"int8": "B", "int16": "h", "int32": "i", "int64": "q", "real32": "f", "real64": "d"}
    shape = (len(values),) if heads is None or len(heads) == 1 else (len(values) // 2, 2)
    return PackedArray(array(codes[kind], values), kind, shape, heads)


_pairs = st.lists(finite, min_size=2, max_size=8).filter(lambda values: len(values) % 2 == 0)
packed_arrays = st.one_of(
    st.lists(st.integers(0, 255), max_size=8).map(lambda values: _packed(values, "int8")),
    st.lists(st.integers(-(1 << 31), (1 << 31) - 1), max_size=8).map(lambda values: _packed(values, "int32")),
    st.lists(st.integers(-(1 << 63), (1 << 63) - 1), max_size=8).map(lambda values: _packed(values, "int64")),
    st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=8).map(
        lambda values: _packed(values, "real32")
    ),
    st.lists(finite, max_size=8).map(lambda values: _packed(values, "real64")),
    _pairs.map(lambda values: _packed(values, "real64", ("List", "List"))),
    _pairs.map(lambda values: _packed(values, "real64", ("List", "Complex"))),
    _pairs.map(lambda values: _packed(values, "real64", ("List", "f"))),
    st.lists(finite, min_size=1, max_size=4).map(lambda values: _packed(values, "real64", ("f",))),
    st.tuples(finite, finite).map(lambda pair: _packed(pair, "real64", ("Complex",))),
    st.tuples(st.integers(0, 100), st.integers(0, 9)).map(lambda pair: _packed(pair, "int32", ("Rational",))),
)
numeric_arrays = st.one_of(
    st.lists(finite, min_size=1, max_size=6).map(lambda v: call("NumericArray", _packed(v, "real64"), "Real64")),
    st.lists(st.integers(0, (1 << 64) - 1), min_size=1, max_size=6).map(
        lambda v: call("NumericArray", Function(LIST, tuple(v)), "UnsignedInteger64")
    ),
)
leaves = st.one_of(
    integers, finite, strings, symbols, big_reals, rationals, complex_numbers, infinities, byte_arrays, packed_arrays,
    numeric_arrays, st.integers(-(1 << 63), (1 << 63) - 1).map(Int64), st.floats(width=32, allow_nan=False,
    allow_infinity=False).map(Real32),
)  # fmt: skip


def _rules(head):
    return lambda pairs: Function(Symbol("Association"), tuple(call(head, key, value) for key, value in pairs))


def _compound(inner):
    several = st.lists(inner, max_size=4).map(tuple)
    pairs = st.lists(st.tuples(inner, inner), max_size=4)
    return st.one_of(
        st.builds(Function, st.just(LIST), several),
        st.builds(Function, symbols, several),
        st.builds(Function, inner.filter(lambda head: isinstance(head, Function)), several),
        pairs.map(_rules("Rule")),
        pairs.map(_rules("RuleDelayed")),
        st.builds(lambda text, value: _rules("Rule")([(text, value)]), strings, inner),
    )


expressions = st.recursive(leaves, _compound, max_leaves=20)


def canonical(expression):
    """The same for expressions that differ only in how they travel: packed or not, widths of machine numbers."""
    if isinstance(expression, PackedArray):
        rows = [_leaf(leaf) for leaf in expression.flat()]
        heads = expression.heads or ("List",) * len(expression.shape)
        for level in range(len(heads) - 1, -1, -1):
            size = expression.shape[level]
            count = math.prod(expression.shape[:level])
            head = ("symbol", heads[level])
            rows = [("function", head, tuple(rows[row * size : (row + 1) * size])) for row in range(count)]
        return rows[0]
    if isinstance(expression, (list, tuple)):
        return ("function", ("symbol", "List"), tuple(map(canonical, expression)))
    if isinstance(expression, Function):
        return ("function", canonical(expression.head), tuple(map(canonical, expression.args)))
    return _leaf(expression)


def _leaf(value):
    if isinstance(value, Symbol):
        return ("symbol", value.name.removeprefix("System`"))
    if isinstance(value, int):
        return ("integer", int(value))
    if isinstance(value, float):
        return ("real", float(value).hex())
    return (type(value).__name__, value)
