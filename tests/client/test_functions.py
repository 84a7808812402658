"""Functions of the kernel as attributes of a session, and the form of results."""

import copy
import inspect
import pickle
from fractions import Fraction

import pytest

from wstpserver.client import Function, KernelMessage, PackedArray, Session, Symbol

from .expressions import call
from .helpers import PROMPT, Kernel, Recorder, session_with


class Echo(Kernel):
    """Returns every expression as it is, in a list with its head's name."""

    def _evaluate(self, content):
        if isinstance(content, Function) and content.head != Symbol("ToExpression"):
            return Function(Symbol("List"), (content.head, *content.args))
        return super()._evaluate(content)


@pytest.fixture
def session():
    with session_with(Echo({"1/3": call("Rational", 1, 3)})) as session:
        yield session


def test_functions(session):
    assert session.Plus(2, 2) == [Symbol("Plus"), 2, 2]
    assert session.Join([1, 2], {"a": None}, "text") == [Symbol("Join"), [1, 2], {"a": None}, "text"]
    assert session.function("Developer`ToPackedArray")([1]) == [Symbol("Developer`ToPackedArray"), [1]]
    assert session.F2(Fraction(1, 2), 1j) == [Symbol("F2"), Fraction(1, 2), 1j]


def test_options_and_functions_as_arguments(session):
    value = session.N(session.Sin.of(1), WorkingPrecision=20, timeout=PROMPT)
    assert value == [Symbol("N"), call("Sin", 1), call("Rule", Symbol("WorkingPrecision"), 20)]
    assert session.Map(session.Sin, [1, 2]) == [Symbol("Map"), Symbol("Sin"), [1, 2]]
    with pytest.raises(TypeError, match="precision= is no option of N"):
        session.N(1, precision=20)


def test_results_of_one_call(session):
    assert session.Plus(2, results="expression") == call("List", Symbol("Plus"), 2)
    assert session.evaluate("1/3") == Fraction(1, 3)
    assert session.evaluate("1/3", results="expression") == call("Rational", 1, 3)
    assert session.enter_expression([1, None]).value == [Symbol("List"), 1, None]
    with pytest.raises(ValueError, match="results='arrays'"):
        session.evaluate("1/3", results="arrays")


def test_results_of_a_session():
    numbers = PackedArray.from_list([1.5, 2.5])
    with session_with(Kernel({"x": numbers}), results="numpy") as session:
        assert session.evaluate("x").dtype == "float64"
        assert session.evaluate("x", results="python") == [1.5, 2.5]
        assert list(session.evaluate_many(["x"], results="expression")) == [numbers]
    with pytest.raises(ValueError, match="results="):
        Session("1@127.0.0.1", results="arrays")


def test_callbacks_of_one_call():
    def rule(kernel):
        kernel.message("f", "x", "text")
        return 1

    recorder = Recorder()
    with session_with(Kernel({call("F"): rule})) as session:
        assert session.F(callbacks=recorder.callbacks) == 1
    assert recorder.events == [("message", *KernelMessage("f", "x", "text"))]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("my_function", "underscore stands for a pattern"),
        ("My_function", "underscore stands for a pattern"),
        ("plus", "begin with a capital; for others write session.function"),
        ("_private", "no attribute '_private'"),
        ("__wrapped__", "no attribute"),
        ("_repr_html_", "no attribute"),
    ],
)
def test_what_is_no_function(session, name, says):
    with pytest.raises(AttributeError, match=says):
        getattr(session, name)
    assert not hasattr(session, name)


def test_python_looks_at_a_session_without_harm(session):
    assert inspect.getmembers(session, inspect.ismethod)
    assert not callable(session)
    assert "evaluate" in dir(session)
    assert repr(session).startswith("<")
    assert repr(session.Plus) == "<KernelFunction Plus>"
    for attempt in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="cannot be copied or pickled"):
            attempt(session)
    assert session.evaluate("1/3") == Fraction(1, 3)


def test_a_session_that_was_never_opened():
    """Attributes of an object without __init__ give AttributeError, and no endless recursion."""
    bare = Session.__new__(Session)
    with pytest.raises(AttributeError):
        _ = bare.link


def test_what_no_expression_stands_for(session):
    with pytest.raises(TypeError, match="a Python set"):
        session.Plus({1})
    with pytest.raises(TypeError, match="a Python object"):
        session.evaluate([object()])
    assert session.evaluate("1/3") == Fraction(1, 3)
