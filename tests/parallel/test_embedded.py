"""The executor on embedded kernels: the language as it is."""

import pytest

from wstpserver.client.parallel import KernelExecutor, ParallelError
from wstpserver.wire.values import Function, Symbol

DEADLINE = 60


@pytest.fixture
def executor(address):
    with KernelExecutor(address, 2, initialisation="square[x_] := x^2; SetAttributes[held, HoldAll]") as executor:
        yield executor


@pytest.mark.parametrize(
    ("function", "argument", "value"),
    [
        ("Prime", 1000, 7919),
        ("#^2 &", 12, 144),
        ("square", 5, 25),
        ("Function[x, x + 1]", 1.5, 2.5),
        ("FactorInteger", 360, [[2, 3], [3, 2], [5, 1]]),
        ("StringReverse", "hello", "olleh"),
        ("Total", [1, 2, 3], 6),
        ('#["a"] &', {"a": 7}, 7),
        ("EvenQ", 4, True),
    ],
)
def test_submit(executor, function, argument, value):
    assert executor.submit(function, argument).result(DEADLINE) == value


@pytest.mark.parametrize("chunksize", [None, 5])
def test_map(executor, chunksize):
    assert list(executor.map("#^2 &", range(100), chunksize=chunksize)) == [number**2 for number in range(100)]


@pytest.mark.parametrize("text", ["Sequence[1, 2]", "Sequence[]", "Nothing", "Abort[]", "Throw[1]", "Return[3]", "f[["])
def test_values_that_break_lists_change_nothing_for_others(executor, text):
    single = [executor.submit(each).result(DEADLINE) for each in ("1", text, "{2., 3.}")]
    assert list(executor.map("ToExpression", ["1", text, "{2., 3.}"], chunksize=3)) == single
    assert (single[0], single[2]) == (1, [2.0, 3.0])


def test_expressions_come_as_they_are(executor):
    value = executor.submit("Expand", Function(Symbol("Power"), (Function(Symbol("Plus"), (Symbol("a"), 1)), 2)))
    assert value.result(DEADLINE).head in (Symbol("Plus"), Symbol("System`Plus"))


def test_an_initialisation_with_a_syntax_error(address):
    with pytest.raises(ParallelError, match=r"the initialisation gave \$Failed: Syntax::"):
        KernelExecutor(address, 1, initialisation="f[x_ := ")
