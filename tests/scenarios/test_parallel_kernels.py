"""Parallel kernels as a front end takes them: a link for each, ConnectParallelKernel, evaluations at the same time.

The pool is that of the scenario "Making Use of Parallel Computing Functionality". The other one starts a single kernel.
"""

from __future__ import annotations

import json

import pytest

from tests.scenarios.frontend import DEADLINE, ERROR, SUCCESS, call
from tests.support.serving import Gate
from tools.harness.kernels import make_kernel
from tools.harness.server import ServerProcess, pool
from tools.harness.waiting import wait_for
from wstpserver.wire.values import Symbol

CONFIGURATION = """
# wstpserver.conf: place in the current working directory
{
    "Pools":
        {
            "INeedNoParallelKernels":
                {
                    "KernelPath":KERNEL,
                    "MinimumKernelNumber":1,
                    "MaximumKernelNumber":20
                },
            "IProvideParallelKernels":
                {
                    "KernelPath":KERNEL,
                    "Parallel":true,
                    "MinimumKernelNumber":4
                }
        }
}
"""
COUNT = 4


@pytest.fixture
def parallel_server(tmp_path):
    kernel = make_kernel(tmp_path)
    with ServerProcess(tmp_path, CONFIGURATION.replace("KERNEL", json.dumps(kernel)), "-l", "2") as running:
        running.wait_for_log("Pool IProvideParallelKernels is ready", DEADLINE)
        yield running


@pytest.fixture
def master(open_front_end, parallel_server):
    """The front end's own kernel."""
    return open_front_end(parallel_server)


@pytest.fixture
def launch(open_front_end, parallel_server):
    """launch(argument, ...) -> a link with a parallel kernel: ConnectParallelKernel[argument, ...]."""

    def start(*arguments):
        link = open_front_end(parallel_server)
        assert link.command("ConnectParallelKernel", *arguments) == SUCCESS
        assert link.packet() == ("InputNamePacket", "In[1]:= ")
        return link

    return start


def available(link):
    return int(json.loads(link.command("GetNumberOfAvailableParallelKernels"))["result"])


def result(link, name):
    return json.loads(link.command(name))["result"]


def test_each_link_has_a_kernel_of_its_own(master, launch):
    assert available(master) == COUNT
    kernels = []
    for number in range(COUNT):
        kernels.append(launch() if number % 2 else launch(10))
        assert available(master) == COUNT - 1 - number
    assert len({result(kernel, "GetKernelID") for kernel in kernels}) == COUNT
    assert {result(kernel, "GetPoolName") for kernel in kernels} == {"IProvideParallelKernels"}
    assert result(master, "GetPoolName") == "INeedNoParallelKernels"


def test_all_evaluate_at_the_same_time(master, launch, tmp_path):
    """Each one waits until all the others have begun, too: one after the other they would wait for ever."""
    kernels = [launch() for _ in range(COUNT)]
    gates = [Gate(tmp_path, f"gate{number}") for number in range(COUNT)]
    for kernel, gate in zip(kernels, gates, strict=True):
        kernel.send("EvaluatePacket", call("List", call("BusyUntil", gate.path), call("KernelProcess")))
    for gate in gates:
        gate.wait_until_reached()
    for gate in gates:
        gate.open()
    answers = [kernel.packet() for kernel in reversed(kernels)]
    assert {name for name, _ in answers} == {"ReturnPacket"}
    assert len({value.args[1] for _, value in answers}) == COUNT
    assert master.evaluate(call("Plus", 1, 1)) == 2


def test_there_is_none_left(master, launch, open_front_end, parallel_server):
    for _ in range(COUNT):
        launch()
    late = open_front_end(parallel_server)
    own = result(late, "GetKernelID")
    assert late.command("ConnectParallelKernel", 0) == ERROR
    assert late.command("ConnectParallelKernel", 0.2) == ERROR
    assert result(late, "GetKernelID") == own, "it keeps what it had"
    assert late.evaluate(call("Plus", 1, 1)) == 2


def test_one_that_becomes_free_goes_to_whoever_waits(launch, open_front_end, parallel_server):
    kernels = [launch() for _ in range(COUNT)]
    late = open_front_end(parallel_server)
    late.send("WSCommandPacket", call("ConnectParallelKernel", int(DEADLINE)))
    assert kernels[2].command("SetReserveKernel", Symbol("False")) == SUCCESS
    kernels[2].close()
    assert late.packet() == ("ReturnPacket", SUCCESS)
    assert late.packet()[0] == "InputNamePacket"
    assert result(late, "GetPoolName") == "IProvideParallelKernels"


def test_close_kernels(master, launch):
    """CloseKernels[] has them quit. New ones take their places."""
    kernels = [launch() for _ in range(COUNT)]
    assert available(master) == 0
    for kernel in kernels:
        kernel.send("EvaluatePacket", call("Quit"))
    wait_for(lambda: available(master) == COUNT, DEADLINE, "the pool to be filled again", interval=0.05)
    assert launch().evaluate(call("Plus", 2, 2)) == 4


def test_links_that_are_closed_without_that(master, launch):
    """By default such kernels stay as they are, for those who know their IDs: the pool has fewer to give."""
    first, second = launch(), launch()
    name = result(first, "GetKernelID")
    first.evaluate(call("Set", Symbol("x"), 7))
    assert second.command("SetKeepAlive", Symbol("False")) == SUCCESS
    first.close()
    second.close()
    wait_for(lambda: available(master) == COUNT - 1, DEADLINE, "one to be replaced", interval=0.05)
    assert master.connect(name) == "In[1]:= "
    assert master.evaluate(Symbol("x")) == 7


def test_an_abort_reaches_one_and_not_the_others(launch, tmp_path):
    kernels = [launch() for _ in range(3)]
    gates = [Gate(tmp_path, f"gate{number}") for number in range(3)]
    for kernel, gate in zip(kernels, gates, strict=True):
        kernel.send("EvaluatePacket", call("List", call("Print", "begun"), call("BusyUntil", gate.path)))
        assert kernel.packet() == ("TextPacket", "begun\n")
    kernels[1].abort()
    assert kernels[1].packet() == ("ReturnPacket", Symbol("$Aborted"))
    for number in (0, 2):
        gates[number].open()
        assert kernels[number].packet()[0] == "ReturnPacket"


def test_a_parallel_kernel_that_dies(master, launch):
    """Its link ends, the others go on, and the pool is filled again."""
    first, second = launch(), launch()
    first.send("EvaluatePacket", call("Die"))
    with pytest.raises(Exception, match=r"closed|ended|error (1|11)\b"):
        while first.packet()[0] == "TextPacket":
            pass
    assert second.evaluate(call("Plus", 1, 1)) == 2
    wait_for(lambda: available(master) == COUNT - 1, DEADLINE, "one to be replaced", interval=0.05)


def test_a_server_without_such_a_pool(tmp_path, open_front_end):
    configuration = {"Pools": {"Main": pool(make_kernel(tmp_path))}}
    with ServerProcess(tmp_path, configuration) as server:
        link = open_front_end(server)
        assert link.command("ConnectParallelKernel", 1) == ERROR
        assert link.command("GetNumberOfAvailableParallelKernels") == ERROR
        link.close()


def test_the_pool_of_the_scenario_alone(tmp_path, open_front_end):
    """The configuration of the specification: one pool, so that each link gets one of its kernels by itself."""
    configuration = {"Pools": {"IProvideParallelKernels": {
        "KernelPath": make_kernel(tmp_path), "Parallel": True, "MinimumKernelNumber": 4,
    }}}  # fmt: skip
    with ServerProcess(tmp_path, configuration, "-l", "2") as server:
        links = []
        for _ in range(COUNT):
            links.append(open_front_end(server))
            assert links[-1].command("ConnectParallelKernel") == SUCCESS
            assert links[-1].packet() == ("InputNamePacket", "In[1]:= "), "also from the kernel that it had"
            assert links[-1].evaluate(call("Plus", 1, 1)) == 2
        assert len({result(link, "GetKernelID") for link in links}) == COUNT
        for link in links:
            link.close()
