"""The same commands from inside a kernel concern that kernel's own bridge."""

from __future__ import annotations

import json

from tests.support.serving import ERROR, FALSE, MALFORMED, SUCCESS, TRUE, enter, kernel_id, kernels
from tests.support.testkernel.codec import Function, Symbol
from tests.support.testkernel.codec import Function as call
from tests.support.waiting import wait_for, wait_gone


def inside(link, name, *args):
    """The server's answer to a command that the kernel sends while it evaluates."""
    return link.evaluate(call("Command", Function(name, *args)))


def test_questions_about_oneself(serve):
    link = serve().client()
    assert inside(link, "GetKernelID") == link.command("GetKernelID")
    assert inside(link, "GetPoolName") == '{"result":"Main"}'
    assert inside(link, "GetKernelBusyStatus") == '{"result":"True"}'
    pools = json.loads(inside(link, "GetServerInformation"))["result"]["Pools"]
    names = [kernel["ID"] for kernel in pools["Main"]["Kernels"]]
    assert kernel_id(link) in names


def test_settings(serve):
    server = serve({"Main": {"MinimumKernelNumber": 1}})
    link = server.client()
    name = kernel_id(link)
    pid = kernels(link)[name]["ProcessID"]
    assert inside(link, "SetReserveKernel", TRUE) == SUCCESS
    assert inside(link, "SetAllowSilentKernelReplacement", TRUE) == SUCCESS
    assert inside(link, "SetKeepAlive", FALSE) == SUCCESS
    link.close()
    wait_gone(pid)


def test_malformed_and_unknown(serve):
    link = serve().client()
    assert inside(link, "NoSuchCommand") == MALFORMED
    assert inside(link, "SetKeepAlive", 1) == MALFORMED
    assert inside(link, "CloseKernel", "x" * 100_000) == MALFORMED
    assert inside(link, "CloseKernel", "0000-0000-0000") == ERROR


def test_start_and_close_another(serve):
    link = serve().client()
    own = json.loads(inside(link, "StartKernel"))["result"]
    assert inside(link, "CloseKernel", own) == SUCCESS


def test_disconnect_takes_effect_after_the_answer(serve):
    link = serve().client()
    name = kernel_id(link)
    assert inside(link, "DisconnectKernel") == SUCCESS
    assert link.command("GetKernelID") == ERROR
    assert enter(link, "ConnectKernel", name) == SUCCESS
    assert kernel_id(link) == name


def test_connect_takes_effect_after_the_answer(serve):
    server = serve({"Main": {}, "Other": {"InitializationCode": "x = 4"}})
    link = server.client()
    assert inside(link, "ConnectKernel", "Other") == SUCCESS
    assert link.get_packet()[0] == "InputNamePacket"
    assert json.loads(link.command("GetPoolName")) == {"result": "Other"}
    assert link.evaluate(call("Get", Symbol("x"))) == 4


def test_connect_to_what_there_is_not_fails_at_once(serve):
    link = serve().client()
    name = kernel_id(link)
    assert inside(link, "ConnectKernel", "Nowhere") == ERROR
    assert kernel_id(link) == name


def test_what_was_sent_behind_a_connect_goes_to_the_new_kernel(serve):
    server = serve({"Main": {}, "Other": {"InitializationCode": "x = 4"}})
    link = server.client()
    link.put("EvaluatePacket", call("Command", call("ConnectKernel", "Other")))
    link.put("EvaluatePacket", call("Get", Symbol("x")))
    assert link.get_packet() == ("ReturnPacket", SUCCESS)
    assert link.get_packet()[0] == "InputNamePacket"
    assert link.get_packet() == ("ReturnPacket", 4)


def test_closing_oneself_takes_effect_after_the_answer(serve):
    link = serve().client()
    pid = kernels(link)[kernel_id(link)]["ProcessID"]
    assert inside(link, "CloseKernel", kernel_id(link)) == SUCCESS
    assert link.at_end()
    wait_gone(pid)


def test_a_kernel_without_a_client_has_no_bridge(serve, gate):
    server = serve()
    link, other = server.client(), server.client()
    name = kernel_id(link)
    link.put("EvaluatePacket", call("List", gate.busy(), call("Command", call("GetKernelID"))))
    link.close()
    wait_for(lambda: kernels(other)[name]["State"] == "reserved")
    other.put("WSCommandPacket", Function("ConnectKernel", name, 20))
    gate.open()
    assert other.get_packet() == ("ReturnPacket", SUCCESS)
    assert other.get_packet()[0] == "InputNamePacket"
    other.put("WSCommandPacket", call("GetMissedOutput"))
    packets = other.get_packet()[1].args[1].args
    assert packets[-1].args[0].args[1] == ERROR
