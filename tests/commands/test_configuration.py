"""What the keys of the configuration do to clients."""

from __future__ import annotations

import json
import os
import signal
import threading

import pytest

from tests.support.serving import ERROR, SUCCESS, enter, kernel_id, kernels, prompt
from tools.harness.fake_kernel.codec import Function, Symbol
from tools.harness.fake_kernel.codec import Function as call
from tools.harness.waiting import wait_for, wait_gone


def test_without_automatic_connection_the_first_expression_gets_a_kernel(serve):
    link = serve(EnableAutomaticKernelConnection=False).client(prompt=False)
    assert link.command("GetKernelID") == ERROR
    link.put("EvaluatePacket", call("Plus", 2, 2))
    assert link.get_packet()[0] == "InputNamePacket"
    assert link.get_packet() == ("ReturnPacket", 4)


def test_without_automatic_connection_a_command_chooses_the_kernel(serve):
    link = serve({"A": {}, "B": {}}, EnableAutomaticKernelConnection=False).client(prompt=False)
    assert enter(link, "ConnectKernel", "B") == SUCCESS
    assert json.loads(link.command("GetPoolName")) == {"result": "B"}


def test_input_name_packets_only_at_the_automatic_connection(serve):
    server = serve({"A": {}, "B": {}}, SendInputNamePacketUponKernelConnection=False)
    link = server.client()
    assert link.command("ConnectKernel", "B") == SUCCESS
    assert link.evaluate(call("Plus", 2, 2)) == 4


def test_no_input_name_packet_at_all(serve):
    server = serve(SendInputNamePacketUponKernelConnection=False, EnableAutomaticKernelConnection=False)
    assert server.client(prompt=False).evaluate(call("Plus", 2, 2)) == 4


def test_a_client_without_a_kernel_gets_one_for_its_next_expression(serve):
    link = serve().client()
    name = kernel_id(link)
    assert enter(link, "DisconnectKernel") == SUCCESS
    link.put("EvaluatePacket", call("Plus", 2, 2))
    assert link.get_packet()[0] == "InputNamePacket"
    assert link.get_packet() == ("ReturnPacket", 4)
    assert kernel_id(link) != name


@pytest.mark.parametrize("keep", [True, False])
def test_keep_alive(serve, keep):
    server = serve({"Main": {"MinimumKernelNumber": 2, "KeepAlive": keep}})
    link, watcher = server.client(), server.client()
    name = kernel_id(link)
    pid = kernels(watcher)[name]["ProcessID"]
    link.close()
    if keep:
        wait_for(lambda: kernels(watcher)[name]["State"] == "reserved")
    else:
        wait_gone(pid)
        wait_for(lambda: name not in kernels(watcher))


def test_initialization_file_and_code_in_this_order(serve, tmp_path):
    file = tmp_path / "init.wl"
    file.write_text("x = 1")
    server = serve({"Main": {"InitializationFile": str(file), "InitializationCode": "x = x + 10"}})
    assert server.client().evaluate(call("Get", Symbol("x"))) == 11


def test_output_of_the_initialisation_is_logged_and_reaches_no_client(serve):
    server = serve({"Main": {"MinimumKernelNumber": 1, "InitializationCode": 'Print["loading"]'}})
    link = server.client()
    server.wait_for_log("InitializationCode wrote: .*loading")
    assert link.evaluate(call("Plus", 2, 2)) == 4
    link.put("WSCommandPacket", call("GetMissedOutput"))
    assert not link.get_packet()[1].args[1].args


@pytest.mark.parametrize("reserve", [True, False])
def test_reserve_previously_connected_kernels(serve, reserve):
    server = serve({"Main": {"MinimumKernelNumber": 2, "ReservePreviouslyConnectedKernels": reserve}})
    link, watcher = server.client(), server.client(prompt=True)
    watcher.evaluate(call("Plus", 1, 1))  # an unused kernel would be as good as another one
    name = kernel_id(link)
    link.close()
    state = "reserved" if reserve else "free"
    wait_for(lambda: kernels(watcher)[name]["State"] == state)
    assert (watcher.command("ConnectKernel", "Main", 0) == ERROR) is reserve


def test_the_maximum_is_never_passed_and_those_who_wait_are_served_in_order(serve):
    server = serve({"Main": {"MinimumKernelNumber": 1, "MaximumKernelNumber": 1, "KeepAlive": False}})
    first = server.client()
    waiting = []
    for number in range(5):
        waiting.append(server.client(prompt=False))
        wait_for(lambda expected=number + 1: len(kernels_waiting(first)) == 0 and waiting_clients(first) == expected)
    first.close()
    for link in waiting:
        assert prompt(link)[0] == "InputNamePacket"
        assert link.evaluate(call("Plus", 2, 2)) == 4
        link.close()


def kernels_waiting(link):
    return [kernel for kernel in kernels(link).values() if kernel["State"] == "starting"]


def waiting_clients(link):
    return json.loads(link.command("GetServerInformation"))["result"]["Pools"]["Main"]["WaitingClients"]


def test_silent_replacement_by_the_configuration(serve):
    link = serve(AllowSilentKernelReplacement=True).client()
    first = kernel_id(link)
    link.put("EvaluatePacket", call("Die"))
    link.put("EvaluatePacket", call("Plus", 2, 2))  # not yet sent when the kernel dies
    assert link.get_packet() == ("ReturnPacket", Symbol("$Aborted"))
    assert link.get_packet()[0] == "TextPacket"
    assert link.get_packet()[0] == "InputNamePacket"
    assert link.get_packet() == ("ReturnPacket", 4)
    assert kernel_id(link) != first


def test_a_kernel_that_quits_is_not_replaced(serve):
    link = serve(AllowSilentKernelReplacement=True).client()
    link.put("EvaluatePacket", call("Quit"))
    assert link.at_end()


def test_a_kernel_that_the_server_closed_is_not_replaced(serve):
    server = serve(AllowSilentKernelReplacement=True)
    link, other = server.client(), server.client()
    assert other.command("CloseKernel", kernel_id(link)) == SUCCESS
    assert link.at_end()
    assert other.evaluate(call("Plus", 2, 2)) == 4


def test_a_kernel_that_dies_while_its_client_sends_100_megabytes(serve, gate):
    server = serve(AllowSilentKernelReplacement=True)
    link = server.client()
    first = kernel_id(link)
    big = Function("StringLength", "x" * 100_000_000)
    pid = kernels(link)[first]["ProcessID"]
    sender = threading.Thread(target=link.put, args=("EvaluatePacket", big))
    os.kill(pid, signal.SIGSTOP)  # it reads nothing, so the sending is under way when it dies
    sender.start()
    watcher = server.client()
    wait_for(lambda: kernels(watcher)[first]["Busy"])
    os.kill(pid, signal.SIGKILL)
    assert link.get_packet() == ("ReturnPacket", Symbol("$Aborted"))
    assert link.get_packet()[0] == "TextPacket"
    assert link.get_packet()[0] == "InputNamePacket"
    sender.join(30)
    assert not sender.is_alive()
    assert link.evaluate(call("Plus", 2, 2)) == 4
