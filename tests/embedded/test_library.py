"""Definitions of our own: on first use, in front of those of Mathics, and names that are not implemented."""
import re
from pathlib import Path

import pytest

from tests.embedded.harness import call, typed
from tools.harness.known_inputs import LEAST_RIGHT, Judge, read_inputs
from wstpserver import client
from wstpserver.wire.values import Function, Symbol

ROOT = Path(__file__).parents[2]


def messages(packets):
    return [(packet[1].name, packet[2]) for packet in packets if packet[0] == "MessagePacket"]


def test_a_name_that_is_not_implemented_says_so_once(kernel):
    packets = kernel.evaluate_packets(typed("Area[Disk[]]"))
    assert messages(packets) == [("Area", "notimpl")]
    assert packets[1][1] == "Area::notimpl: Area is not implemented in this kernel (Mathics3 10.0.1).\n"
    assert packets[-1][1].head == Symbol("Area")
    assert messages(kernel.evaluate_packets(typed("{Area[1], Area[2]}"))) == []
    assert kernel.evaluate("Context[Area]") == "System`"


def test_every_kernel_says_it_anew(warm_parent):
    for _ in range(2):
        kernel = warm_parent.launch()
        assert messages(kernel.evaluate_packets(typed("Volume[x]"))) == [("Volume", "notimpl")]
        kernel.close()


def test_a_definition_of_the_user_silences_it(kernel):
    assert kernel.evaluate_packets(typed("Area[x_Integer] := x^2; {Area[3], Area[y]}")) == [
        ("ReturnPacket", call("List", 9, call("Area", Symbol("y")))),
    ]  # fmt: skip


def test_quiet_does_not_count(kernel):
    kernel.evaluate("Quiet[Area[1]]")
    assert messages(kernel.evaluate_packets(typed("Area[1]"))) == [("Area", "notimpl")]


@pytest.mark.parametrize("text", [
    "Framed[1]", "NormalDistribution[0, 1]", "Placed[1, Above]", "f[1]", "Clip[x]", "PDF[d, x]",
])  # fmt: skip
def test_what_a_wolfram_kernel_leaves_alone_says_nothing(kernel, text):
    assert messages(kernel.evaluate_packets(typed(text))) == []


def test_arguments_that_our_definitions_do_not_take(kernel):
    packets = kernel.evaluate_packets(typed("Differences[5]"))
    assert messages(packets) == [("General", "partimpl")]
    assert "Differences is not implemented for these arguments" in packets[1][1]


def test_a_users_symbols_stay_in_their_context(used):
    used.evaluate("Differences[{1, 2}]; SelectFirst[{1}, OddQ]; FoldPairList[{#1, #2} &, 0, {1}]")
    assert used.evaluate("Context /@ {x, l, i, n, f, r}") == call("List", *["Global`"] * 6)


def test_a_users_rule_comes_before_ours(kernel):
    assert kernel.evaluate("Unprotect[Clip]; Clip[special] := 7; {Clip[special], Clip[3]}") == call("List", 7, 1)


def test_help_of_our_functions(used):
    assert "groups elements by f" in used.shown("?GroupBy")


@pytest.mark.parametrize("text, value", [
    ("x |-> x^2", call("Function", Symbol("x"), call("Power", Symbol("x"), 2))), ("(x |-> x^2)[3]", 9),
    ("({a, b} |-> a - b)[5, 3]", 2),
    ("{1, Nothing, 2}", call("List", 1, 2)), ("f[Nothing]", call("f", Symbol("Nothing"))),
])  # fmt: skip
def test_syntax_and_nothing(used, text, value):
    assert used.evaluate(text) == value


@pytest.mark.parametrize("text, value", [
    ("Do[If[i > 3, Break[]]; k = i, {i, 10}]; k", 3), ("k = 0; Do[If[OddQ[i], Continue[]]; k += i, {i, 4}]; k", 6),
    ("g[n_] := Do[If[i > n, Return[i]], {i, 10}]; g[4]", 5), ("i = 7; Do[i, {i, 3}]; i", 7),
    ("Table[i = 2 i, {i, 3}]", call("List", 2, 4, 6)), ("Block[{n = 3}, Table[i j, {i, n}, {j, i}]] // Length", 3),
    ("Sum[i^2, {i, 1, 10, 3}]", 166), ("Table[x, {x, 3, 1, -1}]", call("List", 3, 2, 1)), ("Sum[i, {i, 0}]", 0),
    ("Catch[Do[If[i == 5, Throw[i]], {i, 10}]]", 5), ("Module[{i = 3}, Table[i, {i, 2}]; i]", 3),
])  # fmt: skip
def test_loops_over_integers(used, text, value):
    assert used.evaluate(text) == value


def test_the_loop_variable_is_its_own_again_after_an_abort(used):
    value = used.aborted(typed("i = 5; Print[1]; Do[j = i, {i, 10^9}]"), after="TextPacket")
    assert value == Symbol("$Aborted")
    assert used.evaluate("i") == 5


@pytest.mark.parametrize("text", [
    "l + 1", "l^2", "2 l + l/3", "Sin[l]", "l l", "Exp[l/9]", "1/l", "0 l", "l + a", "Log[l]", "l - Range[40]",
    "Sqrt[-l]",
    "Abs[-l]", "-l", "l + 1/2", "l + I", "Partition[l, 5] + 1.5", "l*10^400", "Log[l - 1]",
])  # fmt: skip
def test_arithmetic_of_long_lists_is_that_of_their_elements(used, text):
    """Forty reals are left to NumPy, pieces of five to Mathics."""
    used.evaluate("x = Range[1., 40.];")
    whole = used.evaluate(f"Block[{{l = x}}, Flatten[{text}]]")
    of_pieces = text.replace("Range[40]", "Range[5 k + 1, 5 k + 5]")
    pieces = used.evaluate(f"Flatten[Table[Block[{{l = Take[x, {{5 k + 1, 5 k + 5}}]}}, {of_pieces}], {{k, 0, 7}}]]")
    assert len(whole.args) == len(pieces.args) == 40
    assert all(near(one, other) for one, other in zip(whole.args, pieces.args, strict=True))


def near(one, other):
    """Whether two values are equal, reals up to rounding."""
    if isinstance(one, float) and isinstance(other, float):
        return one == pytest.approx(other, rel=1e-12, abs=1e-12)
    if isinstance(one, Function) and isinstance(other, Function):
        return one.head == other.head and all(near(*pair) for pair in zip(one.args, other.args, strict=True))
    return type(one) is type(other) and one == other


@pytest.mark.parametrize("text, value", [
    ("Range[1., 3.]", call("List", 1.0, 2.0, 3.0)), ("Range[0., 1, 0.25]", call("List", 0.0, 0.25, 0.5, 0.75, 1.0)),
    ("(Range[40] + 1)[[{1, 40}]]", call("List", 2, 41)), ("(2 Range[40] Range[40])[[{2, 3}]]", call("List", 8, 18)),
    ("(Range[40] + 1/2)[[2]]", call("Rational", 5, 2)), ("(Range[40] + a)[[1]]", call("Plus", 1, Symbol("a"))),
    ("Range[1, 2.5]", call("List", 1, 2)), ("Total[{1.5, 2.5}]", 4.0), ("Total[{1, 2.5}]", 3.5), ("Total[{}]", 0),
])  # fmt: skip
def test_ranges_and_sums(used, text, value):
    assert used.evaluate(text) == value


def test_machine_matrices(used):
    """30 x 30 took SymPy eight minutes."""
    used.evaluate("m = RandomReal[{1, 2}, {30, 30}] + 30 IdentityMatrix[30];")
    assert used.evaluate("Max[Abs[m.Inverse[m] - IdentityMatrix[30]]] < 10^-9") == Symbol("True")
    assert used.evaluate("Abs[Det[m] - Times @@ Eigenvalues[m]] < 10^-6 Abs[Det[m]]") == Symbol("True")
    assert used.evaluate("Max[Abs[m.LinearSolve[m, Range[30]] - Range[30]]] < 10^-9") == Symbol("True")


def test_a_singular_matrix_is_a_message(used):
    packets = used.evaluate_packets(typed("Inverse[{{1., 2.}, {2., 4.}}]"))
    assert messages(packets) == [("Inverse", "sing")]
    assert packets[-1][1].head == Symbol("Inverse")


def test_exact_matrices_stay_exact(used):
    assert used.evaluate("Inverse[{{1, 2}, {3, 4}}].{{1, 2}, {3, 4}} == IdentityMatrix[2]") == Symbol("True")
    assert used.evaluate("Det[Table[1/(i + j - 1), {i, 8}, {j, 8}]]") == call(
        "Rational", 1, 365356847125734485878112256000000
    )


@pytest.mark.timeout(600)
def test_table_of_inputs(warm_parent, tmp_path):
    """Nothing wrong, nothing silent, 85 % right: what docs/embedded-kernel.md says."""
    kernel = warm_parent.launch(directory=str(tmp_path))
    judge = Judge(kernel.link, client)
    verdicts = [(judge.verdict(text, value)[0], text) for _, text, value in read_inputs()]
    kernel.close()
    assert [(verdict, text) for verdict, text in verdicts if verdict in ("wrong", "silent")] == []
    assert len(verdicts) >= 500
    assert sum(verdict == "right" for verdict, _ in verdicts) >= LEAST_RIGHT * len(verdicts)


def test_each_definition_has_an_input():
    """Each function that the kernel defines itself occurs among the inputs, or in another test."""
    tests = [path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py")]
    inputs = " ".join(text for _, text, _ in read_inputs())
    known = set(re.findall(r"\$?[A-Z]\w*", " ".join([inputs, *tests])))
    assert defined_names() - known == set()


def defined_names():
    """The names that the sources define, in Python and in Wolfram Language."""
    folder = ROOT / "wstpserver/embedded/builtins"
    found = set()
    for path in folder.glob("*.py"):
        text = path.read_text(encoding="utf-8")
        found.update(re.findall(r'\.define\(\s*"(\$?\w+)"', text))
        found.update(re.findall(r'^_\w+\("(\w+)",', text, re.M))
    for path in folder.glob("wl/*.wl"):
        if path.stem not in ("names", "inert", "symbolic"):
            text = path.read_text(encoding="utf-8")
            found.update(re.findall(r"^(?:Attributes\[)?(\$?[A-Z]\w*)", text, re.M))
    return found
