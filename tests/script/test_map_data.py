"""What wstpscript -map reads and writes."""

import io
import json
import math
import sys
from fractions import Fraction

import pytest

from wstpserver.cli.options import UsageError
from wstpserver.cli.script.main import parse
from wstpserver.cli.script.map import opened, to_json
from wstpserver.wire.values import BigReal, Function, PackedArray, Symbol


@pytest.fixture
def read(tmp_path):
    """read(text) -> (number, values, problems) of a file with that text."""

    def reading(text):
        path = tmp_path / "data.json"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        with opened(str(path)) as data:
            elements = list(data.elements)
        return data.number, [each.value for each in elements], [each.problem for each in elements if each.problem]

    return reading


@pytest.mark.parametrize(
    ("text", "number", "values"),
    [
        ("[1, 2]", 2, [1, 2]),
        ("\n\n [\n1,\n{\"a\": null}\n]\n\n", 2, [1, {"a": None}]),
        ("\ufeff[1]", 1, [1]),
        ("[]", 0, []),
        ("", None, []),
        ("\n \n", None, []),
        ("1\n\n\"x\"\n", None, [1, "x"]),
        ("[1, 2]\n[3, 4]\n", None, [[1, 2], [3, 4]]),
        ("[1, 2]\n3", None, [[1, 2], 3]),
        ("{\"a\": 1}\n{\"a\": 2}", None, [{"a": 1}, {"a": 2}]),
        ("\"é\"", None, ["é"]),
    ],
)
def test_elements(read, text, number, values):
    assert read(text) == (number, values, [])


def test_a_line_in_the_middle_that_is_none(read):
    number, values, problems = read("1\nx y\n\n3\n[[")
    assert (number, values) == (None, [1, None, 3, None])
    assert problems == [
        "line 2 is no JSON: Expecting value at column 1",
        "line 5 is no JSON: Expecting value at column 3",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[1,\n2,,3]", "is no JSON: Expecting value: line 2 column 3"),
        ("[1, 2", "is no JSON: "),
        ("{\n\"a\": 1\n}", r"line 1 is no JSON: .*at column 2 \(a JSON array is needed, or a JSON value"),
        ("f", "line 1 is no JSON"),
        (b"1\n\xff\n", "line 2 is not UTF-8"),
        ("[" * 200_000, "no JSON"),
    ],
)
def test_what_cannot_be_read(read, text, problem):
    with pytest.raises(UsageError, match=f"(?s)-over: .*data.json.*{problem}"):
        read(text)


def test_no_such_file(tmp_path):
    path = str(tmp_path / "nothing")
    with pytest.raises(UsageError, match="-over: cannot read .*nothing: No such file"), opened(path):
        pass


def test_lines_are_read_as_they_are_needed(monkeypatch):
    class Endless(io.RawIOBase):
        def readable(self):
            return True

        def readinto(self, buffer):
            buffer[:2] = b"7\n"
            return 2

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(Endless(), 2)))
    with opened("-") as data:
        assert [next(data.elements).value for _ in range(1000)] == [7] * 1000


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (2**100, str(2**100)),
        (1.5, "1.5"),
        ("é\n\"", '"é\\n\\""'),
        ([1, [2.5, []], {}], "[1, [2.5, []], {}]"),
        ({"a": 1, 2: [3], Symbol("b"): None}, '{"a": 1, "2": [3], "b": null}'),
        (Fraction(1, 3), '"1/3"'),
        (math.inf, '"Infinity"'),
        (Symbol("Global`x"), '"x"'),
        (BigReal("1.5`20."), '"1.5`20."'),
        (PackedArray.from_list([[1, 2]]), "[[1, 2]]"),
        ([Function(Symbol("Plus"), (Symbol("a"), "b"))], '["Plus[a, \\"b\\"]"]'),
    ],
)
def test_json(value, text):
    assert to_json(value) == text
    json.loads(to_json(value))


def test_json_of_what_is_deep_or_long():
    deep = 1
    for _ in range(100_000):
        deep = [deep]
    assert len(json.loads(to_json(deep))) > 200_000
    long = Function(Symbol("f"), ("x" * 10_000,))
    assert json.loads(to_json(long)) == f'f["{"x" * 10_000}"]'


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("-map f", "-map needs -over FILE"),
        ("-over x", "-over goes with -map"),
        ("-kernels 2 -code 1", "-kernels goes with -map"),
        ("-progress", "-progress goes with -map"),
        ("-map= -over x", "-map needs a function"),
        ("-map f -over - -file -", "cannot both be standard input"),
        ("-map f -over x -startprofile", "a profile cannot be given"),
        ("-map f -over x -continueprofile p", "a profile cannot be given"),
        ("-map f -over x -print", "-print does not go with it"),
        ("-map f -over x -kernels 0", "-kernels needs a number of kernels, 1 or more, not '0'"),
        ("-map f -over x -kernels many", "not 'many'"),
        ("-map f -over x -progress=no", "-progress takes no value"),
    ],
)
def test_wrong_usage(words, problem):
    with pytest.raises(UsageError, match=problem):
        parse(words.split())


def test_usage():
    arguments = parse(["-map", "-#&", "-over", "-", "-kernels", "3", "-progress", "-code", "x = 1", "-timeout", "2"])
    assert (arguments.map, arguments.over, arguments.kernels, arguments.progress) == ("-#&", "-", 3, True)
    assert (arguments.code, arguments.timeout) == ("x = 1", 2.0)
