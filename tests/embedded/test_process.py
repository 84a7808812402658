"""The warm parent: launches, ends, and what is left of it."""
import json
import os
import signal
import socket

import pytest

from tests.embedded.harness import (
    DEADLINE,
    LIGHT_PROGRAM,
    Kernel,
    WarmParent,
    call,
    libraries,
    typed,
)
from tools.harness.processes import alive, open_descriptors, threads
from tools.harness.waiting import wait_gone
from wstpserver.client import connect
from wstpserver.wire.values import Symbol


@pytest.mark.parametrize("classic", [True, False], ids=["classic", "uuid"])
def test_launches_in_both_modes(warm_parent, classic):
    kernel = warm_parent.launch(classic=classic)
    assert kernel.evaluate(call("Plus", 2, 2)) == 4
    kernel.close()
    assert warm_parent.event("exited", pid=kernel.pid)["status"] == 0


def test_a_kernel_loads_nothing(kernel):
    before = libraries(kernel.pid)
    assert kernel.evaluate("Round[x /. FindRoot[Cos[x] == x, {x, 1}], 0.001]") == 0.739
    assert libraries(kernel.pid) - before == set()


def test_kernels_are_processes_of_their_own(warm_parent):
    first, second = warm_parent.launch(), warm_parent.launch()
    try:
        assert os.getsid(first.pid) == first.pid and os.getpgid(second.pid) == second.pid
        assert first.evaluate("$ProcessID") == first.pid
        first.evaluate("x = 1")
        assert second.evaluate(Symbol("x")) == Symbol("x")
        assert first.evaluate("SessionTime[]") < 60
        assert first.evaluate("$SessionID") != second.evaluate("$SessionID")
        assert first.evaluate("RandomInteger[10^15]") != second.evaluate("RandomInteger[10^15]")
        # three standard ones, the pipe behind standard output, two connections, and both again to look at
        assert len(open_descriptors(first.pid)) == 8
    finally:
        first.close()
        second.close()


def test_parent_stays_single_threaded(warm_parent):
    assert threads(warm_parent.pid) == 1


def test_directory_and_environment(warm_parent, tmp_path):
    kernel = warm_parent.launch(directory=str(tmp_path), environment={"WSTP_TEST": "é", "HOME": None})
    assert kernel.evaluate('Environment["HOME"]') == Symbol("$Failed")
    assert kernel.evaluate("Directory[]") == str(tmp_path)
    assert kernel.evaluate('Environment["WSTP_TEST"]') == "é"
    kernel.close()


def test_killed_alone(warm_parent):
    victim, other = warm_parent.launch(), warm_parent.launch()
    os.kill(victim.pid, signal.SIGKILL)
    assert warm_parent.event("exited", pid=victim.pid)["status"] == signal.SIGKILL
    victim.wait_until_closed()
    assert other.evaluate(call("Plus", 1, 1)) == 2
    victim.close()
    other.close()


def test_terminated(warm_parent):
    kernel = warm_parent.launch()
    os.kill(kernel.pid, signal.SIGTERM)
    assert warm_parent.event("exited", pid=kernel.pid)["status"] == signal.SIGTERM
    kernel.close()


def test_exit_code_of_quit(warm_parent):
    kernel = warm_parent.launch()
    kernel.send("EvaluatePacket", call("Quit", 5))
    assert os.waitstatus_to_exitcode(warm_parent.event("exited", pid=kernel.pid)["status"]) == 5
    kernel.close()


@pytest.mark.parametrize("work", [None, "While[True]", "Pause[100]"])
def test_kernel_ends_when_the_client_closes(warm_parent, work):
    kernel = warm_parent.launch()
    if work is not None:
        kernel.send("EvaluatePacket", typed("Print[1]; " + work))
        kernel.packets_until("TextPacket")
    kernel.close()
    assert warm_parent.event("exited", pid=kernel.pid)["status"] == 0


def test_kernel_ends_at_once_when_it_is_told(warm_parent):
    kernel = warm_parent.launch()
    kernel.send("EvaluatePacket", typed("Print[1]; While[True]"))
    kernel.packets_until("TextPacket")
    kernel.link.send_message(9)
    assert warm_parent.event("exited", pid=kernel.pid)["status"] == 0
    kernel.close()


def test_bytes_that_are_no_wstp_end_the_kernel(warm_parent):
    kernel = warm_parent.launch()
    kernel.link.put_raw(b"GET / HTTP/1.1\r\n\r\n")
    assert os.waitstatus_to_exitcode(warm_parent.event("exited", pid=kernel.pid)["status"]) == 76
    assert kernel.log().startswith("wstpkernel: ")
    kernel.close()


def test_programs_a_kernel_started_go_with_it(warm_parent, tmp_path):
    script = tmp_path / "stay"
    script.write_text('#!/bin/sh\nsleep 1000 >/dev/null 2>&1 & echo $!\n')
    script.chmod(0o755)
    kernel = warm_parent.launch()
    (_, text), _ = kernel.evaluate_packets(call("Run", str(script)))
    assert alive(int(text))
    os.kill(kernel.pid, signal.SIGKILL)
    warm_parent.event("exited", pid=kernel.pid)
    wait_gone(int(text))
    kernel.close()


@pytest.mark.parametrize("options", [[], ["-linkoptions", "4"]], ids=["classic", "uuid"])
def test_listening_kernel_says_where(warm_parent, options):
    arguments = ["-wstp", "-linkmode", "listen", "-linkprotocol", "TCPIP", "-linkname", "0@127.0.0.1", *options]
    launch, output = warm_parent.request(arguments)
    pid = warm_parent.event("launched", launch=launch)["pid"]
    name = os.read(output, 4096).decode().strip()
    kernel = Kernel(connect(name, DEADLINE, classic=not options), pid, output)
    assert kernel.packets_until("InputNamePacket") == [("InputNamePacket", "In[1]:= ")]
    kernel.close()
    warm_parent.event("exited", pid=pid)


def test_no_link_to_open(warm_parent):
    launch, output = warm_parent.request(["-wstp", "-linkmode", "connect", "-linkname", "1@127.0.0.1"])
    pid = warm_parent.event("launched", launch=launch)["pid"]
    assert os.waitstatus_to_exitcode(warm_parent.event("exited", pid=pid)["status"]) == 69
    assert os.read(output, 4096).startswith(b"wstpkernel: ")
    os.close(output)


def test_requests_that_cannot_be_served(warm_parent):
    launch, output = warm_parent.request(["-wstp"], directory="/no/such/folder")
    assert "No such file" in warm_parent.event("not-launched", launch=launch)["reason"]
    os.close(output)
    for body, reason in [
        ({"launch": 1001, "arguments": "text"}, "arguments must be"),
        ({"launch": 1002, "arguments": [], "directory": 5}, "directory must be"),
        ({"launch": 1003, "arguments": [], "environment": {"a": 1}}, "environment must be"),
        ({"launch": 1004, "arguments": []}, "one descriptor must come along"),
    ]:
        warm_parent.socket.send(json.dumps(body).encode())
        assert reason in warm_parent.event("not-launched", launch=body["launch"])["reason"]
    before = len(open_descriptors(warm_parent.pid))
    for data in (b"no JSON", b"[]", b"{}"):
        reader, writer = os.pipe()
        socket.send_fds(warm_parent.socket, [data], [writer, reader])
        os.close(reader)
        os.close(writer)
    kernel = warm_parent.launch()  # and it still serves
    kernel.close()
    assert len(open_descriptors(warm_parent.pid)) == before


def test_signals_meant_for_a_terminal_do_not_end_it(warm_parent):
    os.kill(warm_parent.pid, signal.SIGTERM)
    os.kill(warm_parent.pid, signal.SIGINT)
    warm_parent.launch().close()


@pytest.fixture
def own_parent(tmp_path):
    """A warm parent that may die, without Mathics, with two kernels: one idle, one at work."""
    parent = WarmParent(tmp_path, LIGHT_PROGRAM)
    try:
        assert parent.receive() == {"event": "ready"}
        kernels = [parent.launch(), parent.launch()]
        kernels[1].send("EvaluatePacket", typed("Print[1]; While[True]"))
        kernels[1].packets_until("TextPacket")
        yield parent, kernels
        for kernel in kernels:
            kernel.close()
    finally:
        parent.process.kill()
        parent.close()


def test_end_of_the_socket_ends_everything(own_parent):
    parent, kernels = own_parent
    assert parent.close() == 0
    for kernel in kernels:
        assert not alive(kernel.pid)


def test_death_of_the_parent_leaves_no_kernel(own_parent):
    parent, kernels = own_parent
    parent.process.kill()
    parent.process.wait(DEADLINE)
    for kernel in kernels:
        wait_gone(kernel.pid)
