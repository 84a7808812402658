"""ResetCode: what happens in a kernel between two clients."""

from __future__ import annotations

import pytest

from tests.support.serving import SUCCESS, enter, kernel_id, kernels, prompt
from tools.harness.fake_kernel.codec import Function, Symbol
from tools.harness.fake_kernel.codec import Function as call
from tools.harness.waiting import wait_for

X = Symbol("x")
SET = Function("Set", X, 5)
GET = call("Get", X)
ONE = {"MinimumKernelNumber": 1, "MaximumKernelNumber": 1, "ReservePreviouslyConnectedKernels": False}


def test_the_next_client_finds_a_clean_kernel_and_no_trace_of_the_reset(serve, gate):
    server = serve({"Main": {**ONE, "ResetCode": 'x = 0; Print["cleaning"]; x'}})
    first = server.client()
    name = kernel_id(first)
    first.evaluate(SET)
    first.put("EvaluatePacket", call("List", gate.busy(), call("Print", "a secret")))
    wait_for(lambda: kernels(first)[name]["Busy"])
    second = server.client(prompt=False)
    first.close()
    server.wait_for_log("Client 1 .* is unbridged from kernel")
    assert "was reset" not in server.log, "it still works for its first client"
    gate.open()
    assert prompt(second) == ("InputNamePacket", "In[1]:= ")
    assert kernel_id(second) == name
    assert second.evaluate(GET) == 0
    second.put("WSCommandPacket", call("GetMissedOutput"))
    assert second.get_packet() == ("ReturnPacket", Function("List", 0, Function("List")))
    server.wait_for_log(f"Information: \n    Kernel {name} during ResetCode wrote: cleaning")
    server.wait_for_log(rf"Debug: \n    Kernel {name} was reset in \d")


@pytest.mark.parametrize(
    "code, log",
    [
        ("1 +", "Kernel {} is closed: its ResetCode failed"),
        ("Die[3]", r"Kernel {} \(process \d+\) died: exit status 3"),
        ("Ask[]", r"Kernel {} is closed: its ResetCode did not finish within 2 s \(KernelStartTimeout\)"),
    ],
)
def test_a_kernel_whose_reset_fails_is_given_to_nobody(serve, code, log):
    server = serve({"Main": {**ONE, "ResetCode": code}}, KernelStartTimeout=2)
    with server.client() as first:
        name = kernel_id(first)
    second = server.client()
    assert kernel_id(second) != name
    assert second.evaluate(call("Plus", 2, 2)) == 4
    server.wait_for_log("Warning: \n    " + log.format(name))


def test_who_names_the_id_finds_the_session_as_it_was(serve):
    server = serve({"Main": {"MinimumKernelNumber": 2, "MaximumKernelNumber": 2, "ResetCode": "x = 0"}})
    first, second = server.client(), server.client()
    name = kernel_id(first)
    first.evaluate(SET)
    enter(first, "DisconnectKernel")
    assert kernels(second)[name]["State"] == "reserved"
    assert enter(second, "ConnectKernel", name) == SUCCESS
    assert second.evaluate(GET) == 5
    assert enter(first, "ConnectKernel", name) == SUCCESS, "it is stolen"
    assert first.evaluate(GET) == 5
    assert f"{name} was reset" not in server.log
    assert first.command("SetReserveKernel", Symbol("False")) == SUCCESS
    enter(first, "DisconnectKernel")
    server.wait_for_log(f"{name} was reset")
    assert enter(first, "ConnectKernel", "Main") == SUCCESS
    assert first.evaluate(GET) == 0


def test_a_server_stops_while_a_kernel_is_being_reset(serve):
    """That it stops well is checked where its block is left."""
    server = serve({"Main": {**ONE, "ResetCode": "Ask[]"}}, EnableAutomaticKernelConnection=False)
    link, watcher = server.client(prompt=False), server.client(prompt=False)
    link.put("EvaluatePacket", call("Plus", 2, 2))
    assert link.get_packet()[0] == "InputNamePacket"
    link.close()
    wait_for(lambda: [one["State"] for one in kernels(watcher).values()] == ["resetting"])
