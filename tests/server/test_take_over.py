"""Kernels that are named by their IDs while other clients have them, and kernels that are dying."""

import json
import os
import signal

import pytest

from tests.support.serving import (
    ERROR,
    FALSE,
    SUCCESS,
    Since,
    join,
    kernel_id,
    kernel_process,
    one_pool,
    prompt,
    ready_kernels,
    reconnect,
    serving,
)
from tools.harness.fake_kernel.codec import Function, Symbol
from tools.harness.kernels import make_kernel
from tools.harness.waiting import wait_for

NOTICE = ("TextPacket", "WSTPServer: another client connected to this kernel by its ID\n")
ABORTED = Symbol("$Aborted")


def state(link, identifier):
    """The state of that kernel, None if there is none."""
    pools = json.loads(link.command("GetServerInformation"))["result"]["Pools"]
    return {kernel["ID"]: kernel["State"] for kernel in pools["a"]["Kernels"]}.get(identifier)


# -- take-overs


def test_who_loses_an_idle_kernel_keeps_its_link(server):
    with join(server) as owner, join(server) as taker:
        identifier = kernel_id(owner)
        owner.evaluate(Function("Set", Symbol("x"), 7))
        reconnect(taker, identifier)
        assert owner.get_packet() == NOTICE
        assert owner.command("GetKernelID") == ERROR
        assert taker.evaluate(Function("Get", Symbol("x"))) == 7
        owner.put("EvaluatePacket", 5)
        assert prompt(owner)[0] == "InputNamePacket", "it gets another kernel"
        assert owner.get_packet() == ("ReturnPacket", 5)


def test_a_take_over_is_no_end_of_the_bridge_for_keep_alive(server):
    with join(server) as owner, join(server) as taker:
        identifier, process = kernel_id(owner), kernel_process(owner)
        assert owner.command("SetKeepAlive", FALSE) == SUCCESS
        reconnect(taker, identifier)
        assert kernel_process(taker) == process


def test_a_take_over_that_times_out_changes_nothing_for_the_owner(server, gate):
    with join(server) as owner, join(server) as taker:
        own = kernel_id(taker)
        owner.put("EvaluatePacket", Function("CompoundExpression", gate.busy(), "mine"))
        gate.wait_until_reached()
        assert taker.command("ConnectKernel", kernel_id(owner), 0.3) == ERROR
        assert kernel_id(taker) == own
        gate.open()
        assert owner.get_packet() == ("ReturnPacket", "mine")
        assert owner.evaluate("still mine") == "still mine"


def test_a_take_over_takes_place_when_the_evaluation_is_answered(server, gate):
    since = Since(server)
    with join(server) as owner, join(server) as taker:
        identifier = kernel_id(owner)
        owner.put("EvaluatePacket", Function("CompoundExpression", gate.busy(), "first"))
        owner.put("EvaluatePacket", "second")
        gate.wait_until_reached()
        taker.put("WSCommandPacket", Function("ConnectKernel", identifier, 20))
        since.wait_for(f"waits up to 20 s for kernel {identifier}, which is busy")
        gate.open()
        assert owner.get_packet() == ("ReturnPacket", "first")
        assert owner.get_packet() == ("ReturnPacket", ABORTED), "what was not sent has an end as well"
        assert owner.get_packet() == NOTICE
        assert taker.get_packet() == ("ReturnPacket", SUCCESS)
        assert taker.get_packet()[0] == "InputNamePacket"
        assert kernel_id(taker) == identifier


def test_the_evaluation_of_who_loses_a_kernel_that_asks_ends(server):
    with join(server) as owner, join(server) as taker:
        owner.put("EnterTextPacket", 'Ask["name? "]')
        assert owner.get_packet() == ("InputPacket", "name? ")
        assert taker.command("ConnectKernel", kernel_id(owner)) == SUCCESS
        assert owner.get_packet() == ("OutputNamePacket", "Out[1]= ")
        assert owner.get_packet() == ("ReturnTextPacket", "$Aborted")
        assert owner.get_packet() == NOTICE
        assert taker.get_packet()[0] == "InputNamePacket"
        assert taker.get_packet() == ("InputPacket", "name? ")


def test_a_kernel_that_another_client_has_is_not_closed_where_stealing_is_forbidden(tmp_path):
    with serving(tmp_path, one_pool(make_kernel(tmp_path), 2, {"AllowStealingKernels": False})) as server:
        ready_kernels(server, 2)
        with join(server) as owner, join(server) as other:
            assert other.command("CloseKernel", kernel_id(owner)) == ERROR
            assert owner.evaluate(1) == 1
            assert owner.command("CloseKernel", kernel_id(owner)) == SUCCESS


# -- kernels that are dying


@pytest.fixture
def dying(tmp_path):
    """(server, its client, another client, the ID of the first one's kernel): killed when it was idle, and not settled
    yet, because a child of the kernel holds the pipe that its last output is read from. That lasts half a second; on a
    machine that does something else meanwhile the kernel is gone, and what the tests say must hold as well.
    """
    kernel = make_kernel(tmp_path, grandchild=True)
    with serving(tmp_path, one_pool(kernel, 3, {"AllowSilentKernelReplacement": True})) as server:
        ready_kernels(server, 3)
        with join(server) as link, join(server) as other:
            identifier = kernel_id(link)
            os.kill(kernel_process(link), signal.SIGKILL)
            wait_for(lambda: state(other, identifier) != "bridged", 60.0, "the kernel to be dying", 0.001)
            yield server, link, other, identifier


def test_a_dying_kernel_is_refused_and_its_client_gets_another(dying):
    _, link, other, identifier = dying
    link.put("EvaluatePacket", "kept")
    assert other.command("ConnectKernel", identifier) == ERROR
    head, text = link.get_packet()
    assert head == "TextPacket" and "a new one takes its place" in text
    assert link.get_packet()[0] == "InputNamePacket"
    assert link.get_packet() == ("ReturnPacket", "kept"), "nothing more was sent to the dying kernel"
    assert link.evaluate("new") == "new" and kernel_id(link) != identifier


def test_who_leaves_a_dying_kernel_does_not_put_it_back(dying):
    server, link, other, identifier = dying
    link.close()
    server.wait_for_log(f"unbridged from kernel {identifier}: the client's link ended|Kernel {identifier} .* died")
    seen = set()

    def gone():
        seen.add(state(other, identifier))
        return None in seen

    wait_for(gone, 60.0, "the kernel to be gone")
    assert seen <= {"dying", "closing", None}
    server.wait_for_log("(?s)(Kernel [^ ]+ of pool a is ready.*){4}")
