"""Expressions as text, and as pictures and formulas in IPython; when an input goes on in the next line."""

import gc
import sys
import types

import pytest

from tests.support.cases import for_all, for_each
from wstpserver.client import BigReal, Function, PackedArray, Session, Symbol
from wstpserver.client.interactive import completeness, is_incomplete

from .expressions import call
from .helpers import PROMPT, Kernel, peer, session_with

X = Symbol("x")
SVG = "<?xml version='1.0'?><svg></svg>"


@for_all(
    ("expression", "text"),
    [
        (call("Plus", call("Power", Symbol("a"), 3), 1.5), "Plus[Power[a, 3], 1.5]"),
        (call("DirectedInfinity"), "ComplexInfinity"),
        (call("DirectedInfinity", 1), "Infinity"),
        (call("DirectedInfinity", -1), "-Infinity"),
        (call("DirectedInfinity", X), "DirectedInfinity[x]"),
        (call("System`List", Symbol("System`Pi"), 'a "b"\n\\'), '{Pi, "a \\"b\\"\\n\\\\"}'),
        (call("Association", call("Rule", "a", call("List"))), '<|"a" -> {}|>'),
        (call("Association", X), "Association[x]"),
        (call("Rule", call("Rule", 1, 2), 3), "(1 -> 2) -> 3"),
        (call("f", 1e300, 1e-7, -2.0, 0.1), "f[1.*^300, 1.*^-7, -2., 0.1]"),
        (call("f", BigReal("1.5`20.")), "f[1.5`20.]"),
        (call("f", PackedArray.from_list([[1, 2], [3, 4]])), "f[{{1, 2}, {3, 4}}]"),
        (Function(call("f", 1), (2,)), "f[1][2]"),
        (Symbol("Global`x"), "Global`x"),
        (BigReal("1.5`20."), "1.5`20."),
    ],
)
def test_text_is_wolfram_language(expression, text):
    assert str(expression) == text


def test_text_of_any_depth_and_size():
    expression = X
    for _ in range(100_000):
        expression = call("f", expression)
    assert str(expression) == "f[" * 100_000 + "x" + "]" * 100_000
    assert len(str(call("f", 10**5000))) == 5001 + 3


class Formatter:
    """One of IPython's formatters: functions by the type of what they show."""

    def __init__(self):
        self.functions = {}

    def for_type(self, kind, function):
        self.functions[kind] = function

    def shown(self, value):
        return self.functions[type(value)](value)


@pytest.fixture
def formatters(monkeypatch):
    """The formatters of an IPython shell in which this runs."""
    made = {name: Formatter() for name in ("image/svg+xml", "text/latex", "text/plain")}
    shell = types.SimpleNamespace(display_formatter=types.SimpleNamespace(formatters=made))
    module = types.ModuleType("IPython")
    module.get_ipython = lambda: shell
    monkeypatch.setitem(sys.modules, "IPython", module)
    return made


PICTURE = call("Graphics", call("Circle"))
FORMULA = call("Power", X, 2)


def kernel():
    return Kernel(
        {
            call("ExportString", PICTURE, "SVG"): SVG,
            call("ToString", call("TeXForm", call("HoldForm", FORMULA))): "x^2",
        }
    )


def test_pictures_and_formulas(formatters):
    with session_with(kernel()) as session:
        session.evaluate(1, PROMPT)
        assert formatters["image/svg+xml"].shown(PICTURE) == SVG
        assert formatters["image/svg+xml"].shown(FORMULA) is None
        assert formatters["text/latex"].shown(FORMULA) == "$\\displaystyle x^2$"
        assert formatters["text/latex"].shown(PICTURE) is None
        assert session.svg(PICTURE) == SVG
        assert session.latex(FORMULA) == "$\\displaystyle x^2$"


def test_what_cannot_be_drawn_is_shown_as_text(formatters):
    class Printer:
        shown = ""

        def text(self, text):
            self.shown += text

    with session_with(Kernel()):
        assert formatters["image/svg+xml"].shown(PICTURE) is None
        assert formatters["text/latex"].shown(FORMULA) is None
    printer = Printer()
    formatters["text/plain"].functions[Function](FORMULA, printer, None)
    assert printer.shown == "Power[x, 2]"


def test_the_session_that_was_opened_last_draws(formatters):
    with session_with(kernel()) as one:
        with session_with(Kernel()):
            assert formatters["image/svg+xml"].shown(PICTURE) is None
        assert formatters["image/svg+xml"].shown(PICTURE) == SVG
        assert one.evaluate(2, PROMPT) == 2
    with peer(kernel()) as name:
        session = Session(name, PROMPT)
        del session
        gc.collect()
        # nothing, or what a session of another test draws that is still open
        assert formatters["image/svg+xml"].shown(PICTURE) != SVG


def test_outside_ipython_nothing_is_registered(formatters, monkeypatch):
    monkeypatch.delitem(sys.modules, "IPython")
    with session_with(kernel()):
        assert not formatters["text/latex"].functions


@for_each(
    [
        "f[1,", "f[", "{1, 2", "(1 + 2", "<|a -> 1", "a[[1]", "f[{1, <|a -> (2", '"text', '"a \\" b', "(* comment",
        "(* outer (* inner *)", "1 +", "1 -", "2 * ", "a /", "2 ^", "x =", "x :=", "f[x_] :=\n", "a ->", "a :>", "a /.",
        "a //.", "f @@", "f /@", "f @", "a &&", "a ||", "a |", "a <>", "a <", "a >=", "a ==", "a ===", "a //", "a ~",
        "x_ /;", "1 + (* more *)", "1, ", '"a" <>',
    ],
)  # fmt: skip
def test_goes_on(text):
    assert is_incomplete(text)


@for_each(
    [
        "", "  ", "1 + 2", "f[1]", "{1, 2}", "<|a -> 1|>", "<||>", '"text"', '"a ["', "(* f[ *)", "(* (* *) *) 1",
        "a++", "a--", "x =.", "n!", "n!!", "f'", "#&", "x_", "x__", "x..", "x;", "%", "%%", "?Plus", "a]", "f[1}", ")",
        '"a" (* " *)', 'f["]"]', "a[[1]]", "`x", "1.", '"\\\\"', "a |> b", "(*)*)",
    ],
)  # fmt: skip
def test_is_whole(text):
    assert not is_incomplete(text)


def test_a_long_input_takes_no_time_that_grows_with_its_square():
    assert is_incomplete("f[" * 50_000)
    assert not is_incomplete("f[" * 50_000 + "]" * 50_000)
    assert is_incomplete("(*" * 50_000)


@for_all("text", ["a]", "f[1}", ")", "(1]", "<|a]"])
def test_a_bracket_that_closes_nothing_is_invalid(text):
    assert completeness(text) == "invalid"
