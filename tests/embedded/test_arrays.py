"""Packed lists: they come and go as arrays, arithmetic leaves them packed, and they are lists like any other."""
import math
import statistics
from array import array

import pytest

from tests.embedded.harness import call, typed
from wstpserver.wire.values import Function, PackedArray, Symbol

#: Enough for a packed list.
REALS = [0.25 + 0.001 * place * (-1) ** place for place in range(300)]
POSITIVE = [abs(value) + 0.5 for value in REALS]
INTEGERS = [place * 7 % 41 - 20 for place in range(300)]


def packed(values):
    return PackedArray.from_list(values)


@pytest.fixture(scope="module")
def lists(warm_parent):
    """A kernel in which x, p and n are packed lists, and m a matrix."""
    kernel = warm_parent.launch()
    matrix = [POSITIVE[start : start + 20] for start in range(0, 300, 20)]
    for name, values in (("x", REALS), ("p", POSITIVE), ("n", INTEGERS), ("m", matrix)):
        kernel.evaluate(call("CompoundExpression", call("Set", Symbol(name), packed(values)), Symbol("Null")))
    yield kernel
    kernel.close()
    warm_parent.event("exited", pid=kernel.pid)


@pytest.mark.parametrize("values", [
    packed(REALS), packed(INTEGERS), packed([2**40 + place for place in range(300)]),
    packed([REALS[:100], REALS[100:200], REALS[200:]]),
    PackedArray(array("d", range(300_000)), "real64", (3, 100_000)),
], ids=["reals", "integers", "long integers", "matrix", "large"])  # fmt: skip
def test_an_array_comes_back_as_it_was(lists, values):
    assert lists.evaluate(values) == values


def test_an_array_with_infinities_is_a_list_with_the_expressions_for_them(lists):
    sent = PackedArray(array("d", [math.inf, math.nan, *REALS]), "real64", (302,))
    assert lists.evaluate(call("Take", sent, 2)).args == (call("DirectedInfinity", 1), Symbol("Indeterminate"))


def test_another_head_is_kept(lists):
    sent = PackedArray(array("d", REALS), "real64", (300,), ("f",))
    assert lists.evaluate(sent) == Function(Symbol("f"), tuple(REALS))


@pytest.mark.parametrize("text, values", [
    ("2 x + 1", [2 * value + 1 for value in REALS]),
    ("x - x^2", [value - value * value for value in REALS]),
    ("1/p", [1 / value for value in POSITIVE]),
    ("Sqrt[p]", [math.sqrt(value) for value in POSITIVE]),
    ("Map[Sin, x]", [math.sin(value) for value in REALS]),
    ("E^x", [math.exp(value) for value in REALS]),
    ("#^2 + Pi & /@ x", [value * value + math.pi for value in REALS]),
    ("Map[Function[z, z/2 - 1], x]", [value / 2 - 1 for value in REALS]),
    ("n^2 + 3", [number * number + 3 for number in INTEGERS]),
    ("Mod[n, 5]", [number % 5 for number in INTEGERS]),
    ("Abs[n]", [abs(number) for number in INTEGERS]),
    ("Floor[10 x]", [math.floor(10 * value) for value in REALS]),
    ("Table[N[i], {i, 300}]", [float(number) for number in range(1, 301)]),
    ("Table[i^2 - 1, {i, 300}]", [number * number - 1 for number in range(1, 301)]),
    ("Table[Cos[0.5 i], {i, 300}]", [math.cos(0.5 * number) for number in range(1, 301)]),
    ("Table[N[Sin[i]], {i, 300}]", [math.sin(number) for number in range(1, 301)]),
    ("Table[x[[i]] + n[[i + 1]], {i, 299}]", [REALS[place] + INTEGERS[place + 1] for place in range(299)]),
    ("Range[0.5, 200, 0.5]", [0.5 * number for number in range(1, 401)]),
    ("Accumulate[n]", [sum(INTEGERS[: place + 1]) for place in range(300)]),
    ("Differences[n]", [b - a for a, b in zip(INTEGERS, INTEGERS[1:], strict=False)]),
    ("Sort[x]", sorted(REALS)),
    ("Reverse[n]", INTEGERS[::-1]),
    ("Join[x, x]", REALS + REALS),
    ("Rest[x]", REALS[1:]),
    ("Most[x]", REALS[:-1]),
    ("Drop[x, -2]", REALS[:-2]),
    ("x[[2 ;; -2]]", REALS[1:-1]),
    ("Select[p, # > 0.51 && ! # > 2 &]", [value for value in POSITIVE if 0.51 < value <= 2]),
    ("Flatten[m]", POSITIVE),
    ("Transpose[Transpose[m]]", [POSITIVE[start : start + 20] for start in range(0, 300, 20)]),
    ("Clip[10 x, {-1., 1.}]", [min(1.0, max(-1.0, 10 * value)) for value in REALS]),
    ("{n, n}", [INTEGERS, INTEGERS]),
])  # fmt: skip
def test_values_of_packed_lists_are_packed(lists, text, values):
    got = lists.evaluate(text)
    assert isinstance(got, PackedArray)
    if len(got.shape) == 1:
        values, got = pytest.approx(values), got.tolist()
    assert got == (packed(values) if isinstance(got, PackedArray) else values)


@pytest.mark.parametrize("text, value", [
    ("Total[n]", sum(INTEGERS)), ("Total[x]", pytest.approx(sum(REALS))), ("Mean[x]", pytest.approx(sum(REALS) / 300)),
    ("Max[n]", max(INTEGERS)), ("Min[x]", min(REALS)), ("Length[m]", 15), ("x[[-1]]", REALS[-1]),
    ("m[[2, 3]]", POSITIVE[22]), ("First[n]", INTEGERS[0]), ("Last[n]", INTEGERS[-1]),
    ("n . n", sum(number * number for number in INTEGERS)),
    ("Norm[x]", pytest.approx(math.hypot(*REALS))), ("Median[p]", pytest.approx(statistics.median(POSITIVE))),
    ("Sum[n[[i]], {i, 300}]", sum(INTEGERS)), ("Count[n, 0]", INTEGERS.count(0)), ("MemberQ[n, 20]", 20 in INTEGERS),
    ("StandardDeviation[{1., 2., 3.}]", 1.0), ("Variance[Range[1., 300.]]", pytest.approx(7525.0)),
])  # fmt: skip
def test_numbers_out_of_packed_lists(lists, text, value):
    got = lists.evaluate(text)
    assert got == (Symbol(str(value)) if isinstance(value, bool) else value)


@pytest.mark.parametrize("text", [
    "x === x + 0.", "Head[x] === List", "VectorQ[x]", "MatrixQ[m]", "ArrayQ[m]", "ListQ[n]", "!VectorQ[m]",
    "Dimensions[m] === {15, 20}", "MatchQ[n, {__Integer}]", "(n /. 0 -> z)[[First[FirstPosition[n, 0]]]] === z",
    "Module[{y = n}, y[[3]] = z; {y[[3]], Length[y]}] === {z, 300}", "n[[3]] =!= z",
    "x[[{1, -1}]] === {First[x], Last[x]}", "(x n)[[3]] === x[[3]] n[[3]]",
    "Append[n, a][[-1]] === a", "Table[2^i, {i, 300}][[-1]] === 2^300", "Table[i^40, {i, 300}][[300]] === 300^40",
    "10^18 Range[300] === Table[i 10^18, {i, 300}]", "(Range[300] - 1)/2 === Table[(i - 1)/2, {i, 300}]",
    "Table[N[Sin[Pi i]], {i, 300}] === ConstantArray[0., 300] || Union[Table[N[Sin[Pi i]], {i, 300}]] === {0.}"
    " || Union[Table[N[Sin[Pi i]], {i, 300}]] === {0}",
    "Head[(x - 10.)[[1]]^(1/2)] === Complex", "Sin[n][[1]] === Sin[First[n]]", "(0 x)[[1]] === 0 x[[1]]",
    "StringQ[ToString[x]]", "Sort[{x, n, {1}}][[1]] === {1}", "SameQ[x, Range[300]] === False",
    "Union[RandomInteger[{3, 4}, 500]] === {3, 4}",
    "(SeedRandom[1]; RandomReal[1, 300]) === (SeedRandom[1]; RandomReal[1, 300])",
    "MinMax[RandomReal[{2, 3}, {20, 20}]][[1]] >= 2", "Select[n, OddQ] === Cases[n, _?OddQ]",
])  # fmt: skip
def test_packed_lists_are_lists(lists, text):
    assert lists.evaluate(text) == Symbol("True")


def test_a_place_that_is_not_there_is_said(lists):
    packets = lists.evaluate_packets(typed("n[[301]]"))
    assert ("MessagePacket", Symbol("Part"), "partw") in packets


def test_no_elements_are_made_of_a_large_list(lists):
    """A million elements take 200 MB, an array of a million numbers 8."""
    sent = PackedArray(array("d", range(1_000_000)), "real64", (1_000_000,))
    lists.evaluate(call("CompoundExpression", call("Set", Symbol("large"), sent), Symbol("Null")))
    before = lists.evaluate("MemoryInUse[]")
    assert lists.evaluate("large") == sent
    work = "2 large + 1; Map[Sin, large]; large - large^2; Total[large]; large . large; large[[1 ;; 10]]; Mean[large]"
    assert lists.evaluate(f"{work}; f[y_List] := Length[y]; f[large]") == 1_000_000
    assert "<<999960>>" in lists.shown("large")
    assert lists.evaluate("MemoryInUse[]") - before < 100_000_000
