"""What an evaluation says while it runs, and the text of results."""
import random

import pytest

from tests.embedded.harness import call, typed
from wstpserver.wire.values import Symbol


def test_print_arrives_when_it_happens(used):
    used.send("EvaluatePacket", typed('Print["before ", 1]; Input[]; Print["after"]; 3'))
    assert used.packets_until("InputPacket") == [("TextPacket", "before 1\n"), ("InputPacket", "? ")]
    used.send("TextPacket", "1")
    assert used.packets_until("ReturnPacket") == [("TextPacket", "after\n"), ("ReturnPacket", 3)]


def test_unicode_text(used):
    assert used.evaluate_packets(call("Print", "é α 漢 😀 \\[Alpha]"))[0] == ("TextPacket", "é α 漢 😀 \\[Alpha]\n")
    assert used.shown('"\\[Alpha]" <> "漢😀"') == "α漢😀"
    assert used.evaluate(call("StringLength", "é😀")) == 2


def test_unicode_input_form_reads_back(used):
    text = used.evaluate('ToString[{"é\\[Alpha]", a -> b, x \\[Element] y}, InputForm]')
    again = used.evaluate(call("SameQ", typed(text), typed('{"é\\[Alpha]", a -> b, x \\[Element] y}')))
    assert again == Symbol("True")


def test_messages_of_a_user(used):
    packets = used.evaluate_packets(typed('f::bad = "Not `1`."; Message[f::bad, 5]; Quiet[Message[f::bad, 6]]; 1'))
    assert packets == [
        ("MessagePacket", Symbol("f"), "bad"), ("TextPacket", "f::bad: Not 5.\n"), ("ReturnPacket", 1),
    ]  # fmt: skip


def test_check_sees_messages_and_not_prints(used):
    assert used.evaluate("Check[Print[1]; 2, failed]") == 2
    assert used.evaluate("Check[1/0, failed]") == Symbol("failed")


def test_output_of_programs_goes_to_the_client(used):
    packets = used.evaluate_packets(call("Run", "hostname"))
    assert packets[-1] == ("ReturnPacket", 0)
    assert [name for name, *_ in packets] == ["TextPacket", "ReturnPacket"]


def test_much_output_of_a_program_does_not_block(used, tmp_path):
    script = tmp_path / "much"
    script.write_text("#!/bin/sh\nexec seq 1 50000\n")
    script.chmod(0o755)
    packets = used.evaluate_packets(call("Run", str(script)))
    text = "".join(argument for name, argument in packets if name == "TextPacket")
    assert text == "".join(f"{number}\n" for number in range(1, 50_001))


def test_errors_of_programs_stay_in_the_log(kernel, tmp_path):
    script = tmp_path / "wrong"
    script.write_text("#!/bin/sh\necho 'to the log' >&2\n")
    script.chmod(0o755)
    assert kernel.evaluate_packets(call("Run", str(script))) == [("ReturnPacket", 0)]
    assert kernel.log() == "to the log\n"


def test_programs_have_no_input(used):
    assert used.evaluate_packets(call("Run", "cat")) == [("ReturnPacket", 0)]


def test_fast_text_of_lists_is_that_of_mathics(used):
    random.seed(7)
    reals = [random.uniform(-1, 1) * 10 ** random.randint(-8, 9) for _ in range(300)]
    reals += [0.0, 1.0, 0.1, 123456.0, 1234565.0, 100000.5, 999999.5, 0.00001, 1e-5, 2.5, -0.125, 12345.65, 99999.95]
    used.evaluate(call("Set", Symbol("values"), [*reals, *range(-20, 20), 10**30]))
    one_by_one = used.evaluate('"{" <> StringJoin[Riffle[ToString /@ values, ", "]] <> "}"')
    assert used.evaluate("ToString[values]") == one_by_one
    assert used.shown("values") == one_by_one


def test_large_results_are_cut_in_text_only(used):
    used.evaluate(call("CompoundExpression", call("Set", Symbol("large"), ["ab"] * 30_000), Symbol("Null")))
    text = used.shown("large")
    assert text == "{" + "ab, " * 20 + "<<29960>>" + ", ab" * 20 + "}"
    assert len(used.evaluate(Symbol("large")).args) == 30_000


@pytest.mark.parametrize("text, length", [("Range[50000]", 338_894), ('StringJoin[Table["abcde", {20000}]]', 100_000)])
def test_large_results_that_are_cheap_are_shown_whole(used, text, length):
    assert len(used.shown(text)) == length


@pytest.mark.parametrize("text, part", [
    ("2^3000000", "<<integer of 3000001 bits>>"), ("StringRepeat[\"0123456789\", 1000000]", "<<9"),
    ("Nest[g, x, 1000]", "g[g["), ("{Nest[List, 2^1000000, 3], 5}", "{{{{<<integer of 1000001 bits>>}}}, 5}"),
])  # fmt: skip
def test_huge_parts_are_cut(used, text, part):
    shown = used.shown(text)
    assert part in shown and len(shown) < 1_000_000
