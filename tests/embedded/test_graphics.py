"""Pictures in files, and what is shown of graphs and tables."""
import pytest

from tests.embedded.harness import typed
from wstpserver.wire.values import Symbol

PLOTS = ["Plot[Sin[x], {x, 0, 6}]", "Plot3D[x y, {x, 0, 1}, {y, 0, 1}]", "Graph[{1 -> 2, 2 -> 3}]",
         "Graphics3D[{Sphere[], Cuboid[], Cylinder[], Line[{{0, 0, 0}, {1, 1, 1}}], Dodecahedron[]}]"]  # fmt: skip


@pytest.mark.parametrize("plot", PLOTS)
@pytest.mark.parametrize("ending, package, start", [
    ("svg", None, b"<svg"), ("png", "resvg_py", b"\x89PNG"), ("jpg", "resvg_py", b"\xff\xd8"),
    ("pdf", "svglib", b"%PDF"),
])  # fmt: skip
def test_plots_are_written(used, tmp_path, plot, ending, package, start):
    if package is not None:
        pytest.importorskip(package, reason="wstpserver[mathics] is not installed")
    path = tmp_path / f"f.{ending}"
    assert used.evaluate_packets(typed(f'Export["{path}", {plot}]')) == [("ReturnPacket", str(path))]
    data = path.read_bytes()
    assert data.startswith(start) and len(data) > 1000 and b"-Graphics-" not in data and b"-Graphics3D-" not in data


def test_an_image_comes_back_the_same(used, tmp_path):
    used.evaluate("i = Image[{{0, 1, 0.2}, {0.4, 0.6, 0.8}}];")
    assert used.evaluate(f'Export["{tmp_path}/i.png", i]; ImageData[Import["{tmp_path}/i.png"]] == ImageData[i]')
    assert (tmp_path / "i.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("text, reason", [
    ('Export["x.png", x^2]', "Power is no picture that this kernel can draw"),
    ('ExportString[f[1], "JSON"]', "has no form in JSON"),
    ('Export["/no/such/folder/x.svg", Plot[x, {x, 0, 1}]]', "No such file or directory"),
])  # fmt: skip
def test_what_cannot_be_written_says_why(used, text, reason):
    packets = used.evaluate_packets(typed(text))
    assert packets[-1] == ("ReturnPacket", Symbol("$Failed"))
    assert reason in packets[1][1]


def test_a_dataset_is_a_table(used):
    shown = used.shown('Dataset[{<|"a" -> 1, "b" -> "x"|>, <|"a" -> 22, "b" -> "yy"|>}]')
    assert shown == "a  | b\n---+---\n1  | x\n22 | yy"
    assert used.shown('Dataset[<|"r" -> <|"x" -> 1|>|>]') == "  | x\n--+--\nr | 1"


def test_a_graph_is_shown_by_its_size(used):
    assert used.shown("Graph[{1 -> 2, 2 <-> 3}]") == "Graph[<3>, <2>]"
    assert used.shown("InputForm[Graph[{1 -> 2}]]") == "Graph[{1, 2}, {DirectedEdge[1, 2]}]"
