"""Embedded kernels behind the real server: warm starts, the WSTPServer functions, aborts, the end.

The program is the one that is installed, while the servers of other tests have theirs from tests/support/warm.py.
"""
import os
import shlex
import signal

import pytest

from tests.embedded.harness import DEADLINE, LIGHT_PROGRAM, LOADING_DEADLINE, call, processor_time
from tools.harness.processes import children
from tools.harness.server import ServerProcess, pool
from tools.harness.waiting import wait_for, wait_gone
from wstpserver.client import Session
from wstpserver.wire.values import Symbol


@pytest.fixture(scope="module")
def server(needs_mathics, tmp_path_factory):
    """A server with three pools of embedded kernels."""
    folder = tmp_path_factory.mktemp("server")
    program = folder / "wstpkernel"
    program.write_text(f'#!/bin/sh\nexec {os.sys.executable} -m wstpserver.embedded.main "$@"\n')
    program.chmod(0o755)
    file = folder / "init.wl"
    file.write_text("fromFile = 5;\n")
    numbers = {"MinimumKernelNumber": 2, "MaximumKernelNumber": 4}
    pools = {
        "Main": pool(program, **numbers, KeepAlive=False, InitializationCode="x=2+2"),
        "Parallel": pool(program, MinimumKernelNumber=2, MaximumKernelNumber=2, ParallelKernels=True),
        "Other": pool(program, MinimumKernelNumber=1, KernelOptions="-noinit -unknown", InitializationFile=str(file)),
    }
    with ServerProcess(folder, {"Pools": pools}, "-l", "2") as running:
        for name in pools:
            running.wait_for_log(f"Pool {name} is ready", LOADING_DEADLINE)
        yield running


@pytest.fixture
def session(server):
    with Session(f"{server.port}@127.0.0.1", timeout=DEADLINE) as session:
        yield session


def test_evaluates(session):
    assert session.evaluate("x", timeout=LOADING_DEADLINE) == 4
    assert session.evaluate(call("Plus", 2, 2), timeout=DEADLINE) == 4
    shown = session.evaluate_text("1/3", timeout=DEADLINE)
    assert (shown.name, shown.text) == ("Out[1]= ", "1 / 3")


def test_kernels_are_forked_from_one_warm_parent(server, session):
    pid = session.evaluate("$ProcessID", timeout=DEADLINE)
    assert pid not in children(server.pid)
    assert any(pid in children(parent) for parent in children(server.pid))
    assert "Starting an embedded kernel cold" not in server.log


def test_functions(session):
    own = session.evaluate("WSTPServer`GetKernelID[]", timeout=DEADLINE)  # waits for the bridge, a command does not
    assert session.command("GetKernelID") == own
    assert session.evaluate("WSTPServer`GetPoolName[]", timeout=DEADLINE) == "Main"
    assert session.evaluate("Head[WSTPServer`SetReserveKernel[False]]", timeout=DEADLINE) == Symbol("Success")
    assert session.evaluate('Head[WSTPServer`CloseKernel["0000-0000-0000"]]', timeout=DEADLINE) == Symbol("Failure")
    pools = session.evaluate('Keys[WSTPServer`GetServerInformation[]["Pools"]]', timeout=DEADLINE)
    assert pools == ["Main", "Parallel", "Other"]


def test_parallel_functions_give_the_same_and_use_several_kernels(session):
    """All in one session: its kernels are closed at the end, and their places are taken by new ones."""

    def value(text):
        return session.evaluate(text, timeout=LOADING_DEADLINE)

    value("offset = 10; double[x_] := 2 helper[x]; helper[x_] := x + offset; k = 7; own = $ProcessID;")
    assert value("ParallelMap[double, Range[9]]") == [2 * (n + 10) for n in range(1, 10)]
    assert value("ParallelTable[i + offset, {i, 3, 9, 2}]") == [13, 15, 17, 19]
    assert value("ParallelTable[i j, {i, 3}, {j, i}]") == [[1], [2, 4], [3, 6, 9]]
    assert value("ParallelTable[k^2, {k, {2, 3}}]") == [4, 9]
    assert value("{ParallelSum[i^2, {i, 20}], ParallelProduct[i, {i, 6}]}") == [2870, 720]
    assert value('ParallelMap[double, <|"a" -> 1, "b" -> 2|>]') == {"a": 22, "b": 24}
    assert value("Parallelize[Map[double, {1, 2}]]") == [22, 24]
    processes = value("ParallelEvaluate[$ProcessID]")
    assert len(set(processes)) == 2 and value("own") not in processes
    assert value("Length[Union[ParallelTable[Pause[.02]; $ProcessID, {i, 8}]]]") == 2
    assert value("Length[Kernels[]]") == 2
    assert value("ParallelMap[If[# == 2, Nothing, #] &, {1, 2, 3}] === {1, 3}") is True
    assert len(value("CloseKernels[]")) == 2
    assert value("Kernels[]") == []
    assert value("Length[LaunchKernels[1]]") == 1 and value("Length[CloseKernels[]]") == 1


def test_abort_of_parallel_kernels(session):
    with pytest.raises(TimeoutError):
        session.evaluate("ParallelMap[(While[True]; #) &, {1, 2, 3}]", timeout=1)
    assert session.evaluate(call("Plus", 1, 1), timeout=DEADLINE) == 2


def test_connects_elsewhere_from_inside(session):
    outcome = session.evaluate('Head[WSTPServer`ConnectKernel["Other"]]', timeout=DEADLINE)
    assert outcome == Symbol("Success")
    assert session.evaluate("fromFile", timeout=DEADLINE) == 5
    assert session.evaluate("WSTPServer`GetPoolName[]", timeout=DEADLINE) == "Other"


def test_further_kernel_loads_nothing(server, session):
    """It is forked from the parent of the others, which is there already."""
    (parent,) = [pid for pid in children(server.pid) if children(pid)]
    name = session.command("StartKernel", timeout=DEADLINE)
    (started,) = session.command("GetServerInformation")["KernelsOutsidePools"]
    assert started["ID"] == name and started["ProcessID"] in children(parent)
    assert processor_time(started["ProcessID"]) < processor_time(parent) / 10
    session.command("CloseKernel", name)


def test_abort_through_the_server(session):
    for _ in range(5):
        with pytest.raises(TimeoutError):
            session.evaluate("While[True]", timeout=0.3)
        assert session.evaluate(call("Plus", 1, 1), timeout=DEADLINE) == 2


def test_death_of_one_kernel_is_told_and_made_good(server):
    with Session(f"{server.port}@127.0.0.1", timeout=DEADLINE) as first:
        pid = first.evaluate("$ProcessID", timeout=DEADLINE)
        os.kill(pid, signal.SIGKILL)
        wait_gone(pid)
    with Session(f"{server.port}@127.0.0.1", timeout=DEADLINE) as second:
        assert second.evaluate(call("Plus", 1, 1), timeout=DEADLINE) == 2


def test_quit_ends_the_kernel(server, session):
    pid = session.evaluate("$ProcessID", timeout=DEADLINE)
    session.link.put(call("EvaluatePacket", call("Quit")))
    wait_gone(pid)


def test_a_killed_server_leaves_nothing(tmp_path):
    program = tmp_path / "wstpkernel"
    program.write_text(f'#!/bin/sh\nexec {shlex.join(LIGHT_PROGRAM)} "$@"\n')
    program.chmod(0o755)
    with ServerProcess(tmp_path, {"Pools": {"Main": pool(program, MinimumKernelNumber=2)}}) as server:
        server.wait_for_log("Pool Main is ready")
        with Session(f"{server.port}@127.0.0.1", timeout=DEADLINE) as session:
            pools = session.command("GetServerInformation")["Pools"]
            kernels = [kernel["ProcessID"] for kernel in pools["Main"]["Kernels"]]
            (parent,) = [pid for pid in children(server.pid) if children(pid)]
            assert sorted(kernels) == sorted(children(parent)) and len(kernels) == 2
            server.expect_exit(-signal.SIGKILL)
            server.stop(signal.SIGKILL)
            for pid in (parent, *kernels):
                wait_gone(pid)
        wait_for(lambda: not server.processes())
