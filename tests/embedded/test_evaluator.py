"""EvaluatePacket and what else can be sent at the top level."""
import os

import pytest

from tests.embedded.harness import call, typed
from wstpserver.wire.values import Function, Symbol


def test_value_comes_in_a_return_packet(used):
    assert used.evaluate_packets(call("Plus", 2, 2)) == [("ReturnPacket", 4)]


def test_does_not_touch_the_lines_of_the_session(kernel):
    kernel.evaluate("x = 5")
    assert kernel.evaluate("{$Line, x}").args == (1, 5)
    assert kernel.enter("x")[0] == ("OutputNamePacket", "Out[1]= ")


def test_message_comes_before_the_value(used):
    assert used.evaluate_packets(call("Power", 0, -1)) == [
        ("MessagePacket", Symbol("Power"), "infy"),
        ("TextPacket", "Power::infy: Infinite expression 1 / 0 encountered.\n"),
        ("ReturnPacket", call("DirectedInfinity")),
    ]


def test_text_clients(used):
    value = used.evaluate(call("ToString", typed('a/b + "s"'), Symbol("OutputForm")))
    assert value == "s + a / b"


def test_initialization_code_and_file(kernel, tmp_path):
    file = tmp_path / "init file.wl"
    file.write_text('fromFile = {1, 2};\nBeginPackage["Pack`"];\ninPackage::usage = "";\nEndPackage[];\nfromFile[[2]]')
    assert kernel.evaluate(call("ToExpression", "fromCode=2+2")) == 4
    assert kernel.evaluate(call("Get", str(file))) == 2
    assert kernel.evaluate("{fromCode, fromFile[[1]], Context[inPackage]}").args == (4, 1, "Pack`")


def test_exit_in_an_initialization_file_ends_the_kernel_with_its_code(warm_parent, tmp_path):
    file = tmp_path / "init.wl"
    file.write_text("x = 1;\nExit[3]\nx = 2;\n")
    kernel = warm_parent.launch()
    kernel.send("EvaluatePacket", call("Get", str(file)))
    assert os.waitstatus_to_exitcode(warm_parent.event("exited", pid=kernel.pid)["status"]) == 3
    kernel.close()


def test_input_in_an_initialization_file_asks_and_can_be_aborted(used, tmp_path):
    file = tmp_path / "init.wl"
    file.write_text("x = Input[];\nx + 1\n")
    used.send("EvaluatePacket", call("Get", str(file)))
    assert used.packets_until("InputPacket") == [("InputPacket", "? ")]
    used.send("TextPacket", "4")
    assert used.packets_until("ReturnPacket") == [("ReturnPacket", 5)]
    value = used.aborted(call("Get", str(file)), after="InputPacket")
    assert value == Symbol("$Aborted")


def test_missing_file_is_a_message(used):
    packets = used.evaluate_packets(call("Get", "/no/such/file.wl"))
    assert packets[0] == ("MessagePacket", Symbol("Get"), "noopen")
    assert packets[-1] == ("ReturnPacket", Symbol("$Failed"))


@pytest.mark.parametrize("text, value, message", [
    ("Throw[3]", call("Hold", call("Throw", 3)), ("Throw", "nocatch")),
    ("Throw[3, t]", call("Hold", call("Throw", 3, Symbol("t"))), ("Throw", "nocatch")),
    ("Break[]", call("Hold", call("Break")), ("Break", "nofdw")),
    ("Continue[]", call("Hold", call("Continue")), ("Continue", "nofdw")),
    ("f[x_] := f[x + 1] + 1; f[1]", Symbol("$Aborted"), ("$RecursionLimit", "reclim")),
    ("1.*^400", call("Overflow"), ("General", "ovfl")),
    ("Exp[1000.]", call("Overflow"), ("General", "ovfl")),
])  # fmt: skip
def test_evaluations_that_end_in_another_way(used, text, value, message):
    *before, last = used.evaluate_packets(typed(text))
    assert last == ("ReturnPacket", value)
    assert ("MessagePacket", Symbol(message[0]), message[1]) in before
    assert used.evaluate(call("Plus", 1, 1)) == 2


@pytest.mark.parametrize("text, value", [
    ("Return[5]", call("Return", 5)), ("Return[]", call("Return")), ("Abort[]", Symbol("$Aborted")),
    ("Catch[Throw[1]]", 1), ("f[x_] := (Return[x]; 2); f[3]", 3),
])  # fmt: skip
def test_endings_without_a_message(used, text, value):
    assert used.evaluate_packets(typed(text)) == [("ReturnPacket", value)]


def test_python_exception_costs_an_evaluation_not_the_session(kernel):
    packets = kernel.evaluate_packets(call("Uncompress", "abc"))
    assert packets[0] == ("MessagePacket", Symbol("General"), "escaped")
    assert "binascii" not in packets[1][1] and "Incorrect padding" in packets[1][1]
    assert packets[-1] == ("ReturnPacket", Symbol("$Failed"))
    assert "Traceback" in kernel.log()
    assert kernel.evaluate(call("Plus", 1, 1)) == 2


def test_deep_expression_does_not_end_the_kernel(kernel):
    deep = Symbol("x")
    for _ in range(50_000):
        deep = Function(Symbol("f"), (deep,))
    packets = kernel.evaluate_packets(deep)
    assert packets[-1] == ("ReturnPacket", Symbol("$Aborted"))
    assert packets[0][:3] == ("MessagePacket", Symbol("$RecursionLimit"), "reclim")
    assert kernel.evaluate(call("Plus", 1, 1)) == 2


def test_recursion_up_to_the_highest_limit(kernel):
    value = kernel.evaluate("$RecursionLimit = 512; g[0] = 0; g[n_] := 1 + g[n - 1]; g[150]")
    assert value == 150


@pytest.mark.parametrize("expression, value", [
    (call("Plus", 1, 2), 3), (5, 5), (call("NoSuchPacket", call("Plus", 1, 2)), call("NoSuchPacket", 3)),
])  # fmt: skip
def test_expression_that_is_no_packet_is_evaluated(used, expression, value):
    used.link.put(expression)
    assert used.packets_until("ReturnPacket") == [("ReturnPacket", value)]


@pytest.mark.parametrize("stray", [call("TextPacket", "a"), call("ReturnPacket", 1), "text", call("MenuPacket", 1, "")])
def test_answers_without_a_question_are_dropped(used, stray):
    used.link.put(stray)
    assert used.evaluate_packets(call("Plus", 1, 1)) == [("ReturnPacket", 2)]


def test_server_command_of_a_direct_client(used):
    used.send("WSCommandPacket", call("SetKeepAlive", Symbol("False")))
    assert used.packets_until("ReturnPacket") == [("ReturnPacket", '{"status":"ExecutionError"}')]


@pytest.mark.parametrize("arguments", [(), (1, 2)])
def test_wrong_number_of_arguments(used, arguments):
    used.send("EvaluatePacket", *arguments)
    packets = used.packets_until("ReturnPacket")
    assert packets[0][:2] == ("MessagePacket", Symbol("EvaluatePacket"))
    assert packets[-1] == ("ReturnPacket", Symbol("$Failed"))


def test_name_no_symbol_can_have(used):
    packets = used.evaluate_packets(Symbol("bad``name`"))
    assert packets[-1] == ("ReturnPacket", Symbol("$Failed"))
    assert used.evaluate(call("Plus", 1, 1)) == 2
