"""What users see of sessions and scripts: first line, hints, tables, pictures, places of errors; never internals."""

from __future__ import annotations

import contextlib
import re
import struct
import zlib
from pathlib import Path

import pytest

from tests.client.helpers import Kernel, peer
from tests.script.helpers import process, served, without_waiting
from tests.support.terminal import TerminalProgram, script
from wstpserver.cli.script.formats import GraphicsFolder
from wstpserver.cli.script.main import main, name_script
from wstpserver.client import KernelMessage, Session
from wstpserver.client.interactive import is_incomplete, png_of
from wstpserver.wire.values import BigReal, Function, PackedArray, Symbol

# ruff: noqa: F811 - the fixture above

DEADLINE = 60


@pytest.fixture
def repl(embedded_server, tmp_path):
    """repl(option, ...) -> wstpscript on a terminal, at its first prompt."""
    with contextlib.ExitStack() as stack:

        def start(*options):
            words = script("-wstpserver", f"{embedded_server.port}@127.0.0.1", *options)
            terminal = stack.enter_context(TerminalProgram(words, tmp_path))
            terminal.expect("In[1]:= ", DEADLINE)
            return terminal

        yield start


@pytest.fixture
def run(embedded_server, capfd):
    """run(option, ...) -> (exit status, stdout, stderr) with a kernel of its own."""

    def run(*words):
        status = main(["-wstpserver", f"{embedded_server.port}@127.0.0.1", *words])
        out, err = capfd.readouterr()
        return status, out, without_waiting(err)

    return run


# Sessions


def test_the_first_line(repl, embedded_server):
    """Server, kernel, engine and version, and how to leave."""
    shown = without_waiting(repl().output)
    kernel = r"kernel [0-9a-f]{4}(-[0-9a-f]{4}){2}: Mathics3 [\d.]+\. Ctrl-D leaves, Quit\[\] closes"
    assert re.match(rf"{embedded_server.port}@127\.0\.0\.1, {kernel}", shown)


def test_a_hint_for_who_types_what_leaves_other_programs(repl):
    terminal = repl()
    terminal.enter("exit", "Out[1]= exit\nwstpscript: Ctrl-D leaves, Quit[] closes the kernel, too.\n", DEADLINE)
    terminal.enter("quit()", "wstpscript: Ctrl-D leaves", DEADLINE)
    terminal.enter("help", "wstpscript: ?Name explains a symbol", DEADLINE)
    terminal.expect("In[4]:= ")
    terminal.enter("exit = 3", "Out[4]= 3\n\nIn[5]:= ", DEADLINE)
    terminal.enter("exit", "Out[5]= 3\n\nIn[6]:= ", DEADLINE)


def test_a_matrix_begins_on_its_own_line(repl):
    repl().enter("MatrixForm[{{1, 2}, {3, 4}}]", "\nOut[1]//MatrixForm=\n1   2\n\n3   4\n\nIn[2]:= ", DEADLINE)


def test_names_by_a_pattern(repl):
    """The asterisk at the end is no operator that wants something on its right."""
    terminal = repl()
    terminal.enter("?StringJ*", "StringJoin", DEADLINE)
    terminal.expect("In[2]:= ")
    assert not is_incomplete("?String*") and not is_incomplete("??a*") and is_incomplete("a *")


def test_pictures_are_drawn(repl):
    terminal = repl()
    drawing = terminal.enter("Plot[x, {x, 0, 1}]", re.compile(r"Out\[1\]= -Graphics-\nSaved as (\S+)"), DEADLINE)
    assert "<svg" in Path(drawing[1]).read_text()
    image = terminal.enter("RandomImage[1, {20, 10}]", re.compile(r"Out\[2\]= -Image-\nSaved as (\S+)"), DEADLINE)
    assert Path(image[1]).read_bytes().startswith(b"\x89PNG")
    shown = re.compile(r"Out\[3\]= -Graphics3D-\nSaved as (\S+)")
    drawing = terminal.enter("Graphics3D[Cuboid[]]", shown, DEADLINE)
    assert "<svg" in Path(drawing[1]).read_text()


def test_a_drawing_that_only_holds_the_name_of_a_picture_is_none():
    """As a kernel draws that cannot: the name as a text."""
    drawing = Function(Symbol("ExportString"), (Function(Symbol("Out"), (1,)), "SVG"))
    rules = {drawing: "<svg><text>-Graphics3D-</text></svg>"}
    with served(rules) as (address, _), Session(address, DEADLINE, results="expression") as session:
        report = GraphicsFolder(session).save("Out[1]= ", "-Graphics3D-")
    assert report == "This kernel cannot draw -Graphics3D-; it is not saved"


@pytest.mark.parametrize(
    ("pixels", "colour", "rows"),
    [
        ([[0, 255], [1, 2]], 0, [b"\0\xff", b"\1\2"]),
        ([[[1, 2, 3]]], 2, [b"\1\2\3"]),
        ([[[1, 2]], [[3, 4]]], 4, [b"\1\2", b"\3\4"]),
        (PackedArray.from_list([[0, 255], [1, 2]]), 0, [b"\0\xff", b"\1\2"]),
    ],
)
def test_png(pixels, colour, rows):
    data = png_of(pixels)
    assert data[12:16] == b"IHDR"
    assert struct.unpack(">IIBB", data[16:26])[1:] == (len(rows), 8, colour)
    start = data.index(b"IDAT") + 4
    (size,) = struct.unpack(">I", data[start - 8 : start - 4])
    assert zlib.decompress(data[start : start + size]) == b"".join(b"\0" + row for row in rows)


@pytest.mark.parametrize("pixels", [[], [[]], 3, [[1], [1, 2]], [[300]], [[[1, 2, 3, 4, 5]]], [["a"]]])
def test_what_is_no_image(pixels):
    with pytest.raises((ValueError, TypeError)):
        png_of(pixels)


# Scripts


def test_a_text_that_is_only_a_comment(run):
    assert run("-code", " (* nothing (* at all *) *) \n") == (0, "", "")


def test_a_script_knows_its_name_and_its_files(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.wl").write_text('Print[$InputFileName]; Print[FileExistsQ["s.wl"]]')
    assert run("-file", "s.wl") == (0, f"{tmp_path}/s.wl\nTrue\n", "")
    (tmp_path / "sub").mkdir()
    assert run("-directory", "sub", "-code", "Directory[]") == (0, f"{tmp_path}/sub\n", "")
    assert run("-directory", "missing", "-code", "1") == (
        1, "", f"wstpscript: -directory {tmp_path}/missing: the kernel has no such folder\n",
    )  # fmt: skip


def test_a_syntax_error_names_file_and_line(run, tmp_path):
    path = tmp_path / "s.wl"
    path.write_text("#!/usr/bin/env wstpscript\nx = 1;\n\n1 +* 2\n")
    status, out, err = run("-file", str(path))
    assert (status, out) == (1, "")
    assert f'(line 4 of "{path}")' in err


@pytest.mark.parametrize(
    ("symbol", "text", "named"),
    [
        ("Syntax", 'wrong (line 3 of "").', 'wrong (line 3 of "s.wl").'),
        ("System`Syntax", 'wrong (line 1 of "ToExpression").', 'wrong (line 1 of "s.wl").'),
        ("Syntax", 'wrong (line 1 of "/other.wl").\n', 'wrong (line 1 of "/other.wl") (in "s.wl").\n'),
        ("Syntax", "wrong.", 'wrong (in "s.wl").'),
        ("Power", "infinite.", "infinite."),
    ],
)
def test_the_place_in_a_script(symbol, text, named):
    assert name_script(KernelMessage(symbol, "tag", text), "s.wl").text == named


# Values are text, wherever they are shown

VALUES = [
    Function(Symbol("Hold"), (Function(Symbol("f"), (Symbol("x"), "a", 1)),)),
    Function(Function(Symbol("g"), (1,)), ()),
    PackedArray.from_list([[1, 2]]),
    BigReal("1.5`20."),
    Symbol("Global`x"),
    10**40,
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
@pytest.mark.parametrize("words", [["-code", "go"], ["-print", "-file"], ["-map", "go", "-over"]], ids=str)
def test_no_internals(words, value, tmp_path):
    """As a program's answer, as the result of a line that was entered, and as JSON."""
    (tmp_path / "f").write_text("[1]" if "-map" in words else "go")
    files = [str(tmp_path / "f")] if len(words) > 2 or words[0] == "-print" else []

    def rule(kernel):
        kernel.link.put(Function(Symbol("ReturnExpressionPacket"), (value,)))
        return Function(Symbol("List"), ("value", Function(Symbol("List"), (value,))))

    with (
        peer(Kernel({"go": rule})) as address,
        process("-wstpserver", address, "-timeout", "20", *words, *files) as started,
    ):
        out, err = (text.decode() for text in started.communicate(timeout=DEADLINE))
    shown = out + err
    assert not re.search(r"Function\(|Symbol\(|PackedArray|BigReal|Traceback", shown), shown
