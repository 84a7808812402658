"""WSTPServer`GetKernelID[] and the others: this test is the server."""
import json

import pytest

from tests.embedded.harness import call, typed
from wstpserver.wire.values import Symbol

SUCCESS, ERROR, MALFORMED = (
    json.dumps({"status": status}) for status in ("ExecutionSuccess", "ExecutionError", "PacketMalformed")
)


def asked(kernel, text, reply):
    """(the command a kernel gives while it evaluates, the value after that reply)"""
    kernel.send("EvaluatePacket", typed(text))
    (_, command), = kernel.packets_until("WSCommandPacket")
    kernel.send("ReturnPacket", reply)
    (_, value), = kernel.packets_until("ReturnPacket")
    return command, value


def details(value):
    """The association of a success or failure object, as dict."""
    return {rule.args[0]: rule.args[1] for rule in value.args[1].args}


@pytest.mark.parametrize("name", ["GetKernelID", "GetPoolName", "StartKernel"])
def test_strings(used, name):
    command, value = asked(used, f"WSTPServer`{name}[]", '{"result":"a806-2645-9651"}')
    assert command == call(name)
    assert value == "a806-2645-9651"


@pytest.mark.parametrize("text, command", [
    ('CloseKernel["i"]', call("CloseKernel", "i")),
    ("ConnectKernel[]", call("ConnectKernel")),
    ('ConnectKernel["i"]', call("ConnectKernel", "i")),
    ('ConnectKernel["i", 3]', call("ConnectKernel", "i", 3)),
    ('ConnectKernel["i", 2.5]', call("ConnectKernel", "i", 2.5)),
    ('ConnectKernel["i", 1/2]', call("ConnectKernel", "i", 0.5)),
    ("DisconnectKernel[]", call("DisconnectKernel")),
    ("SetAllowSilentKernelReplacement[True]", call("SetAllowSilentKernelReplacement", Symbol("True"))),
    ("SetKeepAlive[False]", call("SetKeepAlive", Symbol("False"))),
    ("SetReserveKernel[1 == 1]", call("SetReserveKernel", Symbol("True"))),
])  # fmt: skip
def test_success_and_failure(used, text, command):
    name = command.head.name
    sent, value = asked(used, f"WSTPServer`{text}", SUCCESS)
    assert sent == command
    assert (value.head, value.args[0]) == (Symbol("Success"), "WSTPServer")
    assert details(value)["Command"] == name
    sent, value = asked(used, f"WSTPServer`{text}", ERROR)
    assert sent == command
    assert (value.head, value.args[0]) == (Symbol("Failure"), "WSTPServer")
    assert name in details(value)["MessageTemplate"]
    assert details(value)["Status"] == "ExecutionError"


def test_command_line_of_a_kernel(used):
    command, value = asked(used, 'WSTPServer`StartKernel["wolfram -wstp"]', MALFORMED)
    assert command == call("StartKernel", "wolfram -wstp")
    assert value.head == Symbol("Failure")


def test_server_information_is_an_association(used):
    information = {"Pools": {"a": {"KeepAlive": True, "MinimumKernelNumber": 2, "x": None, "y": [1.5, "é"]}}}
    _, value = asked(used, "info = WSTPServer`GetServerInformation[]", json.dumps({"result": information}))
    assert value.head == Symbol("Association")
    assert used.evaluate('info["Pools"]["a"]["MinimumKernelNumber"]') == 2
    assert used.evaluate('info["Pools"]["a"]["KeepAlive"]') == Symbol("True")
    assert used.evaluate('info["Pools"]["a"]["y"]') == call("List", 1.5, "é")


@pytest.mark.parametrize("text", [
    "GetKernelID[1]", "CloseKernel[]", "CloseKernel[5]", 'ConnectKernel["a", "b"]', 'ConnectKernel["a", -1]',
    'ConnectKernel["a", 1, 2]', "SetKeepAlive[]", "SetKeepAlive[1]", "SetKeepAlive[maybe]", "StartKernel[5]",
])  # fmt: skip
def test_wrong_arguments_stay_as_they_are(used, text):
    name, _, arguments = text.partition("[")
    ((_, value),) = used.evaluate_packets(typed(f"WSTPServer`{name}[{arguments}"))
    assert value.head == Symbol(f"WSTPServer`{name}")


def test_names_and_help(used):
    names = used.evaluate('Names["WSTPServer`*"]')
    assert len(names.args) == 10
    assert "gives the ID of this kernel" in used.shown("?WSTPServer`GetKernelID")


def test_other_packets_wait(used):
    used.send("EvaluatePacket", typed("WSTPServer`GetKernelID[]"))
    used.packets_until("WSCommandPacket")
    used.send("EvaluatePacket", call("Plus", 1, 1))
    used.send("ReturnPacket", '{"result":"x"}')
    assert used.packets_until("ReturnPacket") == [("ReturnPacket", "x")]
    assert used.packets_until("ReturnPacket") == [("ReturnPacket", 2)]


def test_abort_ends_the_wait_for_a_server(used):
    value = used.aborted(typed("WSTPServer`GetKernelID[]"), after="WSCommandPacket")
    assert value == Symbol("$Aborted")


def test_no_answer_is_a_failure(used):
    used.send("EvaluatePacket", typed("WSTPServer`GetKernelID[]"))
    used.packets_until("WSCommandPacket")
    used.send("ReturnPacket", "this is no JSON")
    ((_, value),) = used.packets_until("ReturnPacket")
    assert details(value)["MessageTemplate"] == "No WSTPServer answered."


def test_answer_that_never_comes(warm_parent):
    kernel = warm_parent.launch(environment={"WSTPKERNEL_COMMAND_TIMEOUT": "0.2"})
    kernel.send("EvaluatePacket", typed("WSTPServer`GetKernelID[]"))
    kernel.packets_until("WSCommandPacket")
    ((_, value),) = kernel.packets_until("ReturnPacket")
    assert details(value)["Status"] == "NoAnswer"
    kernel.close()
