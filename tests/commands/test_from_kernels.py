"""The same commands from inside a kernel concern that kernel's own bridge."""

from __future__ import annotations

import json
import re

from tests.support.serving import ERROR, FALSE, MALFORMED, SUCCESS, TRUE, enter, kernel_id, kernels
from tools.harness.fake_kernel.codec import Function, Symbol
from tools.harness.fake_kernel.codec import Function as call
from tools.harness.processes import resident_bytes
from tools.harness.waiting import wait_for, wait_gone


def inside(link, name, *args):
    """The server's answer to a command that the kernel sends while it evaluates."""
    return link.evaluate(call("Command", Function(name, *args)))


def test_questions_about_oneself(shared):
    link = shared.client()
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


def test_malformed_and_unknown(shared):
    link = shared.client()
    assert inside(link, "NoSuchCommand") == MALFORMED
    assert inside(link, "SetKeepAlive", 1) == MALFORMED
    assert inside(link, "ConnectKernel", "Main", 10**400) == MALFORMED
    assert inside(link, "CloseKernel", "x" * 100_000) == MALFORMED
    assert inside(link, "CloseKernel", "0000-0000-0000") == ERROR


def test_start_and_close_another(shared):
    link = shared.client()
    own = json.loads(inside(link, "StartKernel"))["result"]
    assert inside(link, "CloseKernel", own) == SUCCESS


def test_disconnect_takes_effect_after_the_answer(shared):
    link = shared.client()
    name = kernel_id(link)
    assert inside(link, "DisconnectKernel") == SUCCESS
    assert link.command("GetKernelID") == ERROR
    assert enter(link, "ConnectKernel", name) == SUCCESS
    assert kernel_id(link) == name


def test_connect_takes_effect_after_the_answer(shared):
    link = shared.client()
    assert inside(link, "ConnectKernel", "Other") == SUCCESS
    assert link.get_packet()[0] == "InputNamePacket"
    assert json.loads(link.command("GetPoolName")) == {"result": "Other"}
    assert link.evaluate(call("Get", Symbol("x"))) == 4


def test_connect_to_what_there_is_not_fails_at_once(shared):
    link = shared.client()
    name = kernel_id(link)
    assert inside(link, "ConnectKernel", "Nowhere") == ERROR
    assert kernel_id(link) == name


def test_what_was_sent_behind_a_connect_goes_to_the_new_kernel(shared):
    link = shared.client()
    link.put("EvaluatePacket", call("Command", call("ConnectKernel", "Other")))
    link.put("EvaluatePacket", call("Get", Symbol("x")))
    assert link.get_packet() == ("ReturnPacket", SUCCESS)
    assert link.get_packet()[0] == "InputNamePacket"
    assert link.get_packet() == ("ReturnPacket", 4)


def test_closing_oneself_takes_effect_after_the_answer(shared):
    link = shared.client()
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


def test_a_connection_that_fails_is_told_to_the_function_that_asked(serve, gate):
    """Its result is the outcome, and the bridge stays as it was."""
    server = serve({"Main": {"MaximumKernelNumber": 2}})
    link, other = server.client(), server.client()
    name, busy = kernel_id(link), kernel_id(other)
    other.put("EvaluatePacket", gate.busy())
    wait_for(lambda: kernels(link)[busy]["Busy"])
    assert inside(link, "ConnectKernel", busy, 0.3) == ERROR
    assert inside(link, "ConnectKernel", "Main", 0.3) == ERROR, "the pool is full"
    assert kernel_id(link) == name
    gate.open()
    assert other.get_packet()[0] == "ReturnPacket"


def test_a_connection_from_inside_waits_for_its_kernel(serve, gate):
    server = serve({"Main": {"MaximumKernelNumber": 2, "ReservePreviouslyConnectedKernels": False}})
    link, other = server.client(), server.client()
    wanted = kernel_id(other)
    other.put("EvaluatePacket", gate.busy())
    wait_for(lambda: kernels(link)[wanted]["Busy"])
    link.put("EvaluatePacket", call("Command", Function("ConnectKernel", wanted, 20)))
    server.wait_for_log(f"waits up to 20 s for kernel {wanted}, which is busy")
    gate.open()
    assert link.get_packet() == ("ReturnPacket", SUCCESS)
    assert link.get_packet()[0] == "InputNamePacket"
    assert kernel_id(link) == wanted
    assert other.get_packet()[0] == "ReturnPacket"
    assert "another client connected" in other.get_packet()[1]


def test_a_connection_from_inside_shows_one_prompt(serve):
    """That of the new kernel."""
    link = serve({"Main": {"MinimumKernelNumber": 2}}).client()
    for _ in range(2):
        link.put("EnterTextPacket", '1 + 1')
        assert [link.get_packet()[0] for _ in range(3)][-1] == "InputNamePacket"
    before = kernel_id(link)
    link.put("EnterTextPacket", 'Command[ConnectKernel["Main"]]')
    assert link.get_packet() == ("OutputNamePacket", "Out[3]= ")
    assert link.get_packet()[0] == "ReturnTextPacket"
    assert link.get_packet() == ("InputNamePacket", "In[1]:= ")
    assert kernel_id(link) != before


def test_commands_of_a_kernel_are_answered_in_order(serve, gate):
    """One at a time: the second waits for the first, which waits for a kernel."""
    server = serve({"Main": {"MaximumKernelNumber": 2}})
    link, other = server.client(), server.client()
    busy = kernel_id(other)
    other.put("EvaluatePacket", gate.busy())
    wait_for(lambda: kernels(link)[busy]["Busy"])
    first = call("PutFrame", call("WSCommandPacket", Function("ConnectKernel", busy, 0.3)))
    link.put("EvaluatePacket", call("CompoundExpression", first, call("Command", call("GetKernelID"))))
    assert link.get_packet() == ("ReturnPacket", ERROR), "the answer to the first command"
    link.put("EvaluatePacket", 1)
    gate.open()


def test_a_kernel_that_floods_the_server_with_commands_waits(serve, gate):
    """It is not read from while its replies are not read, so the server holds one of them."""
    server = serve()
    link = server.client()
    command = call("PutFrame", call("WSCommandPacket", call("GetServerInformation")))
    before = resident_bytes(server.pid)
    link.put("EvaluatePacket", call("CompoundExpression", *[command] * 10_000, gate.busy()))
    watcher = server.client()
    gate.wait_until_reached(60.0)  # all commands are sent
    for number in range(100):  # turns of the server, in each of which it could take some
        assert watcher.evaluate(number) == number
    assert resident_bytes(server.pid) - before < 10 << 20


def test_addresses_of_clients_are_shown_to_the_administrator_only(shared):
    """Which these tests are; a kernel speaks for its client, whoever that is."""
    link = shared.client()
    name = kernel_id(link)
    client, address = kernels(link)[name]["Client"].split(" (")
    assert re.fullmatch(r"127\.0\.0\.1:\d+\)", address)
    pools = json.loads(inside(link, "GetServerInformation"))["result"]["Pools"]
    assert [kernel["Client"] for kernel in pools["Main"]["Kernels"] if kernel["ID"] == name] == [client]
