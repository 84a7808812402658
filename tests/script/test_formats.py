"""-format, -output and -charset: what is printed, and where."""

import io
import json
import struct

import pytest

from tests.embedded.conftest import kernel  # noqa: F401 - a fixture
from tests.embedded.harness import DEADLINE
from tests.script.helpers import listed, served
from wstpserver.cli.options import UsageError
from wstpserver.cli.script.formats import Format, Result, encoding_of, format_of, read_result
from wstpserver.cli.script.main import main
from wstpserver.cli.script.program import function_call, program, shown_values
from wstpserver.cli.terminal import ProgramError
from wstpserver.client import Session
from wstpserver.wire.values import PackedArray, Symbol


@pytest.mark.parametrize(
    ("name", "show"),
    [
        (None, ""), ("text", ""), ("Text", ""), ("InputForm", "InputForm"), ("latex", "TeXForm"), ("TeX", "TeXForm"),
        ("mathematica", "InputForm"), ("JSON", 'ExportString[#, "JSON"]'), ('a"b', '"a\\"b"'),
    ],
)  # fmt: skip
def test_names(name, show):
    assert show in format_of(name).show and bool(format_of(name).show) == bool(show)


@pytest.mark.parametrize(
    ("name", "value", "result"),
    [
        ("JSON", '{"a": "\xc3\xa4"}\n', Result('{"a": "\xe4"}')),  # the bytes of UTF-8
        ("JSON", '"\u20ac"', Result('"\u20ac"')),
        ("InputForm", "x\n", Result("x\n")),
        ("WDX", "\x00\xff", Result(data=b"\x00\xff")),
        ("PNG", listed("text", "\x89PNG"), Result(data=b"\x89PNG")),
    ],
)
def test_results(name, value, result):
    assert read_result(value, format_of(name)) == result


def test_pixels():
    value = listed("pixels", PackedArray.from_list([[0, 255], [255, 0]]))
    data = read_result(value, format_of("PNG")).data
    assert data.startswith(b"\x89PNG") and struct.unpack(">II", data[16:24]) == (2, 2)


@pytest.mark.parametrize("value", [Symbol("x"), listed("drawing", "no drawing"), listed("pixels", Symbol("$Failed"))])
def test_what_cannot_be_written(value):
    with pytest.raises(ProgramError, match="cannot write this result as PNG"):
        read_result(value, format_of("PNG"))


@pytest.mark.parametrize(
    ("name", "encoding"), [(None, None), ("None", "latin-1"), ("ISOLatin1", "iso8859-1"), ("UTF8", "utf-8")]
)
def test_encodings(name, encoding):
    assert encoding_of(name) == encoding


@pytest.mark.parametrize("name", ["Unicode", "nothing-like-it", "base64"])
def test_no_encodings(name):
    with pytest.raises(ProgramError, match=name):
        encoding_of(name)


@pytest.fixture
def script(tmp_path, capfdbinary):
    """script(rules, word, ...) -> (exit status, bytes of stdout, stderr as text)."""

    def run(rules, *words):
        with served(rules) as (address, _):
            status = main(["-wstpserver", address, *map(str, words)])
        out, err = capfdbinary.readouterr()
        return status, out, err.decode()

    return run


def test_a_file(script, tmp_path):
    path = tmp_path / "out.json"
    assert script({"go": "\u20ac"}, "-code", "go", "-o", path) == (0, b"", "")
    assert path.read_bytes() == "\u20ac\n".encode()
    assert script({"go": "\u20ac\xe4"}, "-code", "go", "-o", path, "-charset", "ISOLatin1") == (0, b"", "")
    assert path.read_bytes() == b"\\:20ac\xe4\n", "what the encoding lacks is written as the language does"
    status, out, err = script({"go": "1"}, "-code", "go", "-o", tmp_path / "missing" / "x")
    assert (status, out) == (74, b"") and "cannot write" in err


def test_printed_text_is_kept_apart_from_bytes(script):
    def rule(player):
        player.print("printed\n")
        return "\x89\xff"

    assert script({"go": rule}, "-code", "go", "-format", "WDX") == (0, b"\x89\xff", "printed\n")


def test_a_value_for_the_timeout(script):
    rules = {"go": lambda player: player.until_aborted()}
    assert script(rules, "-code", "go", "-timeout", "4", "late") == (0, b"late\n", "")


def test_each_line_of_standard_input(script, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("a\nb\n\nc"))
    assert script({}, "-linewise") == (0, b"a\nb\nc\n", "")
    monkeypatch.setattr("sys.stdin", io.StringIO("a\nb\n"))
    assert script({"go": "x"}, "-linewise", "-code", "go") == (0, b"x\nx\n", "")


def test_each_expression_of_a_script(script, tmp_path):
    path = tmp_path / "s.wls"
    path.write_text("#!/usr/bin/env wolframscript\nf[\n1]\n\n(* note *)\nlast")
    assert script({}, "-print", "all", path, "-x") == (0, b"\nf[\n1]\n\n\n\n\n\nlast\n", ""), "lines keep their numbers"


@pytest.mark.parametrize(
    ("types", "says"), [(["Integer"], "'x' is no Integer"), (["String", "Real"], "2 types, and there are 1")]
)
def test_values_that_are_none_of_their_type(types, says):
    with pytest.raises(UsageError, match=says):
        function_call("f", ["x"], types)


def test_the_embedded_kernel_writes_them(kernel):  # noqa: F811 - the fixture above
    pytest.importorskip("resvg_py", reason="wstpserver[plots] is not installed")
    with Session(kernel.link, results="expression") as session:

        def shown(code, name):
            form = format_of(name)
            (value,) = shown_values(session.evaluate(program(code, show=form.show), DEADLINE))
            return read_result(value, form)

        assert shown("x^2/3", "TeX").text == "\\frac{x^2}{3}"
        assert shown('{1, "a"}', "InputForm").text == '{1, "a"}'
        assert json.loads(shown('{1, "\xe4"}', "JSON").text) == [1, "\xe4"]
        assert shown("{{1, 2}, {3, 4}}", "CSV").text == "1,2\n3,4"
        assert "<svg" in shown("Graphics[Disk[]]", "SVG").text
        assert shown("Graphics[Disk[]]", "PNG").data.startswith(b"\x89PNG")
        assert shown("Plot[x, {x, 0, 1}]", "PDF").data.startswith(b"%PDF")
        call = function_call("#1 + #2 &", ["3", "2.5e1"], ["Integer", "Real"])
        assert shown_values(session.evaluate(program(call), DEADLINE)) == ("28.",)
        assert shown_values(session.evaluate(program(function_call("StringReverse", ["ab"], [])), DEADLINE)) == ("ba",)


def test_plain_text_is_the_default():
    assert format_of("Text")._replace(name="") == format_of(None) == Format()
