"""Every kind of value through the kernel and back."""
import math
import random
from array import array

import pytest

from tests.embedded.harness import call, typed
from wstpserver.wire.values import BigReal, Function, Int8, Int16, Int64, LongDouble, PackedArray, Real32, Symbol

HALF = call("Rational", 1, 2)
SUM = call("Plus", 1, 1)


@pytest.mark.parametrize("value", [
    0, -1, 2**31 - 1, -(2**31), 2**31, 2**63 - 1, 2**63, -(10**30), 3**5000,
    0.0, 1.5, -2.5e-300, 5e-324, 1.7976931348623157e308,
    "", "text", 'quotes " and \\ backslash', "é ä ß", "α ∑ 漢字", "😀", "line\nbreak\ttab", "\x00\x07", "a" * 100_000,
    Symbol("x"), Symbol("True"), Symbol("Null"), Symbol("$Failed"), Symbol("my`context`name"), Symbol("αβ"),
    BigReal("1.5`20."), BigReal("-3.1415926535897932384626433832793`30."), BigReal("1.5`20.*^-400"),
    call("List"), call("List", 1, 2.5, "a"), call("f", call("g", 1), call("List", call("List"))),
    Function(call("f", 1), (2,)), Function(Function(call("f"), ()), (Symbol("y"),)),
    call("Rational", 1, 3), call("Complex", 0, 1), call("Complex", 1.5, -2.5), call("Complex", HALF, 3),
    call("DirectedInfinity", 1), Symbol("Indeterminate"),
    call("Association", call("Rule", "a", 1), call("Rule", "b", call("Association", call("Rule", 1, 2)))),
    call("ByteArray", "AQID/w=="), call("Hold", SUM), call("RuleDelayed", Symbol("x"), SUM),
], ids=lambda value: repr(value)[:40])  # fmt: skip
def test_round_trip(used, value):
    assert used.evaluate(value if isinstance(value, str) is False else call("Identity", value)) == value


@pytest.mark.parametrize("sent, value", [
    (Int8(200), 200), (Int16(-5), -5), (Int64(7), 7), (Real32(1.5), 1.5),
    (LongDouble(bytes.fromhex("00000000000000c0ff3f") + bytes(6)), 1.5),
    (math.inf, call("DirectedInfinity", 1)), (-math.inf, call("DirectedInfinity", -1)),
    (math.nan, Symbol("Indeterminate")),
    (BigReal("1.25"), 1.25), (BigReal("1.5`"), 1.5), (BigReal("2.5``10"), BigReal("2.5`10.")),
    (BigReal("-1.2*^400"), BigReal("-1.2`17.*^400")), (BigReal("not a number"), "not a number"),
    (Symbol("System`Pi"), Symbol("Pi")), (Symbol("Global`q"), Symbol("q")), (call("Complex", 1, 0), 1),
    (call("Rational", 2, 4), call("Rational", 1, 2)), ([1, [2, "a"]], call("List", 1, call("List", 2, "a"))),
], ids=lambda value: repr(value)[:40])  # fmt: skip
def test_other_forms_come_back_as_the_usual_one(used, sent, value):
    assert used.evaluate(sent) == value


def test_atoms_are_atoms_even_where_nothing_evaluates(used):
    held = call("Hold", call("Rational", 1, 3), call("Complex", 1, 2), call("ByteArray", "AQID"), BigReal("1.5`20."))
    value = used.evaluate(call("Apply", Symbol("List"), call("Map", Symbol("AtomQ"), held)))
    assert value == call("List", *[Symbol("True")] * 4)


@pytest.mark.parametrize("text, value", [
    ("N[Pi, 30]", BigReal("3.1415926535897932384626433832793`30.")),
    ("2^0.5", math.sqrt(2)), ("10^40", 10**40), ("1/3 + 2 I", call("Complex", call("Rational", 1, 3), 2)),
    ('<|"a" -> 1|>', call("Association", call("Rule", "a", 1))), ("ByteArray[{1, 2, 3}]", call("ByteArray", "AQID")),
    ('"\\[Alpha]\\[EAcute]"', "αé"), ("{}", call("List")),
    ("x_Integer", call("Pattern", Symbol("x"), call("Blank", Symbol("Integer")))),
    ("Infinity", call("DirectedInfinity", 1)),
])  # fmt: skip
def test_results(used, text, value):
    assert used.evaluate(text) == value


def test_precision_arrives(used):
    assert used.evaluate(call("Precision", BigReal("1.2345`30."))) == 30.0
    pi = "3.14159265358979323846`20."
    assert used.evaluate(call("ToString", BigReal(pi), Symbol("InputForm"))) == pi


@pytest.mark.parametrize("array_sent", [
    PackedArray(array("d", [random.random() for _ in range(1000)]), "real64", (1000,)),
    PackedArray(array("d", range(600)), "real64", (20, 10, 3)),
    PackedArray(array("i", range(-500, 500)), "int32", (1000,)),
    PackedArray(array("q", range(2**40, 2**40 + 1000)), "int64", (10, 100)),
], ids=["reals", "three dimensions", "integers", "wide integers"])  # fmt: skip
def test_packed_array_round_trip(used, array_sent):
    assert used.evaluate(array_sent) == array_sent


def test_arrays_are_lists_to_the_kernel(used):
    matrix = PackedArray.from_list([[1, 2], [3, 4]])
    assert used.evaluate(call("Total", matrix)) == call("List", 4, 6)
    assert used.evaluate(call("Dot", matrix, PackedArray.from_list([1.0, 2.0]))) == call("List", 5.0, 11.0)
    assert used.evaluate(call("MatchQ", PackedArray.from_list([1, 2]), typed("{__Integer}"))) == Symbol("True")


def test_array_of_other_heads(used):
    pairs = PackedArray(array("d", [1, 2, 3, 4]), "real64", (2, 2), ("List", "Complex"))
    assert used.evaluate(pairs) == call("List", call("Complex", 1.0, 2.0), call("Complex", 3.0, 4.0))
    empty = PackedArray(b"", "int32", (2, 0))
    assert used.evaluate(empty) == call("List", call("List"), call("List"))


def test_what_is_not_rectangular_is_not_packed(used):
    ragged = used.evaluate("{Range[300], Range[3]}")
    assert ragged.args[0] == PackedArray(array("i", range(1, 301)), "int32", (300,))
    assert ragged.args[1] == call("List", 1, 2, 3)
    assert isinstance(used.evaluate("Append[Range[300], x]"), Function)
    assert isinstance(used.evaluate("Append[Range[300], 1.5]"), Function)
    assert isinstance(used.evaluate("2^70 + Range[300]"), Function)


def test_numeric_array(used):
    value = used.evaluate('NumericArray[Range[300] + 0.5, "Real64"]')
    assert value == call("NumericArray", PackedArray.from_list([n + 0.5 for n in range(1, 301)]), "Real64")


@pytest.mark.parametrize("kind", ["real64", "real32", "int32", "int64"])
def test_numeric_array_both_ways(used, kind):
    """It is kept as it came."""
    code = {"real64": "d", "real32": "f", "int32": "i", "int64": "q"}[kind]
    name = {"real64": "Real64", "real32": "Real32", "int32": "Integer32", "int64": "Integer64"}[kind]
    sent = call("NumericArray", PackedArray(array(code, range(600)), kind, (2, 300)), name)
    assert used.evaluate(call("Head", call("Set", Symbol("kept"), sent))) == Symbol("NumericArray")
    assert used.evaluate(Symbol("kept")) == sent


def test_numeric_array_of_another_type_is_an_expression(used):
    sent = call("NumericArray", PackedArray(array("i", range(300)), "int32", (300,)), "Real64")
    assert used.evaluate(sent) == sent


def test_large_array_both_ways(used):
    values = array("d", [random.random() for _ in range(100_000)])
    sent = PackedArray(values, "real64", (100_000,))
    assert used.evaluate(sent) == sent
    assert used.evaluate(call("Length", call("Set", Symbol("kept"), sent))) == 100_000
    assert used.evaluate(Symbol("kept")) == sent


def test_deep_expression_goes_out(used):
    depth = 0
    value = used.evaluate("Nest[f, x, 2000]")
    while isinstance(value, Function):
        depth, value = depth + 1, value.args[0]
    assert (depth, value) == (2000, Symbol("x"))


def test_objects_without_parts_are_named(used):
    assert used.evaluate("Image[{{0, 1}, {1, 0}}]").head == Symbol("Image")


def test_symbols_keep_their_context_unless_it_is_on_the_path(kernel):
    kernel.evaluate('$ContextPath = Prepend[$ContextPath, "seen`"]; seen`a = 1; unseen`b = 2;')
    assert kernel.evaluate("Hold[seen`a, unseen`b]") == call("Hold", Symbol("a"), Symbol("unseen`b"))
    assert kernel.evaluate(call("Plus", Symbol("a"), Symbol("unseen`b"))) == 3
