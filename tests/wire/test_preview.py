"""The text that the trace log shows for an expression: readable, short, and never an exception."""

import json
import re
from pathlib import Path

from tests.support.cases import for_all, for_each
from wstpserver.wire.encode import encode
from wstpserver.wire.preview import PREVIEW_BYTES, preview
from wstpserver.wire.values import BigReal, Function, Int64, LongDouble, PackedArray, Symbol

DATA = Path(__file__).parents[1] / "data"
VECTORS = [
    bytes.fromhex(vector["wire"])
    for version in ("10.1", "13.2")
    for vector in json.loads((DATA / f"expressions-{version}.json").read_text())
]


def f(*arguments):
    return Function(Symbol("f"), arguments)


@for_all(
    ("expression", "text"),
    [
        (f(), "f[]"),
        (f(1, 2.5, "a"), 'f[1, 2.5, "a"]'),
        (Function(f(1), (2, f())), "f[1][2, f[]]"),
        ([1, [], [2, "x"]], '{1, {}, {2, "x"}}'),
        (Function(Symbol("System`List"), (1,)), "{1}"),
        (Function(Symbol("Lists"), (1,)), "Lists[1]"),
        (Int64(-3), "-3"),
        (2**100, "1267650600228229401496703205376"),
        (BigReal("1.5`20.*^-400"), "1.5`20.*^-400"),
        (LongDouble(bytes(7) + b"\x80\xff\x3f" + bytes(6)), "1.0"),
        (Symbol("Global`λ"), "Global`λ"),
        ('a"b\\c\n', '"a\\"b\\\\c\n"'),
        (f(PackedArray.from_list([1.5, 2.5]), 3), "f[{1.5, 2.5}, 3]"),
        (PackedArray.from_list([[1, 2], [3, 4]]), "2x2{1, 2, 3, 4}"),
    ],
)
def test_expressions(expression, text):
    assert preview(encode(expression)) == text


@for_each(VECTORS)
def test_every_beginning_of_a_real_expression(wire):
    whole = preview(wire, 10**6)
    assert not whole.endswith("...")
    for size in range(min(len(wire), 300)):
        shown = preview(wire[:size])
        assert len(shown) <= 200
        if not whole.startswith(shown):
            # braces take the place of the head List once it is there as a whole
            assert shown.endswith("...") and whole.startswith(re.sub(r"(L|Li|Lis|List)\.\.\.$|\.\.\.$", "", shown))


@for_all(
    "expression",
    ["x" * 10**6, "é" * 10**6, "😀" * 1000, Symbol("s" * 1000), 10**4000, list(range(1000)),
     PackedArray.from_list([0.5] * 1000)],
)  # fmt: skip
def test_a_long_expression_is_shown_as_far_as_there_is_room(expression):
    shown = preview(encode(f(expression))[:PREVIEW_BYTES])
    assert len(shown) == 200
    assert shown.startswith("f[") and shown.endswith("...")


@for_all("ascii", [False, True])
@for_all("text", ["日本語" * 3, "😀é" * 3, "\\" * 9])
def test_a_text_that_breaks_off_inside_a_character(text, ascii):
    wire = encode(text, ascii=ascii, end_packet=False)
    for size in range(len(wire)):
        shown = preview(wire[:size])
        assert shown.endswith("...")
        assert ('"' + text.replace("\\", "\\\\")).startswith(shown[:-3])


def test_depth_costs_nothing():
    wire = b"FA#DA~Af\n" * 10**6 + b"#DA~Ax\n"
    assert preview(wire) == ("f[" * 200)[:197] + "..."


@for_all("wire", [b"GET / HTTP/1.1\r\n", b"\0" * 50, b"]", b"F", b"FB#DA~Af\nz", b"PB\xf6" + bytes(17)])
def test_what_is_no_expression(wire):
    assert preview(wire).endswith("...")
