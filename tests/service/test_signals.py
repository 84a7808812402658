"""SIGTERM and SIGINT: running evaluations are answered, every kernel ends, the exit code is 0."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.service.helpers import messages
from tests.support.serving import Gate, one_pool
from tools.harness import processes
from tools.harness.fake_kernel.codec import Function as call
from tools.harness.kernels import make_kernel
from tools.harness.server import ROOT, ServerProcess
from tools.harness.waiting import wait_for


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_it_ends_with_its_kernels(tmp_path, number):
    with ServerProcess(tmp_path, one_pool(make_kernel(tmp_path, grandchild=True), MinimumKernelNumber=2)) as server:
        server.wait_for_log("Pool a is ready")
        assert len(server.processes()) == 4
        with server.connect() as link:
            link.get_packet()
            assert server.stop(number) == 0
            assert link.at_end()
        server.assert_no_process_left()
    assert messages(server.log, "Information")[-2:] == [f"Stopping because of {number.name}", "Stopped"]


def test_a_running_evaluation_is_answered(tmp_path):
    """The listening port is gone at once, the answer still comes, and then the end of the link."""
    gate = Gate(tmp_path)
    with ServerProcess(tmp_path, one_pool(make_kernel(tmp_path), MinimumKernelNumber=1)) as server:
        with server.connect() as link:
            link.get_packet()
            link.put("EvaluatePacket", gate.busy())
            wait_for(lambda: link.command("GetKernelBusyStatus") == '{"result":"True"}', what="the evaluation")
            server.process.send_signal(signal.SIGTERM)
            server.wait_for_log("Stopping because of SIGTERM")
            wait_for(lambda: refuses(server), what="the port to be given up")
            gate.open()
            assert link.get_packet() == ("ReturnPacket", gate.path)
            assert link.at_end()
        assert server.process.wait(60) == 0


def refuses(server):
    """Whether nobody listens on the server's port any more."""
    try:
        socket.create_connection(("127.0.0.1", server.port), 5).close()
    except ConnectionError:
        return True
    return False


@pytest.mark.timeout(60)
def test_an_evaluation_that_does_not_end_is_not_waited_for_for_ever(tmp_path):
    """It has 10 seconds. What follows is in tests/server/test_stopping.py, with less time."""
    kernel = make_kernel(tmp_path)
    with ServerProcess(tmp_path, one_pool(kernel, MinimumKernelNumber=1)) as server, server.connect() as link:
        link.get_packet()
        link.put("EvaluatePacket", call("CompoundExpression", call("Print", "begun"), call("Deaf", 100)))
        assert link.get_packet()[0] == "TextPacket"
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began >= 10
        assert link.at_end()


@pytest.mark.parametrize("behaviour", ["hang", "never_greet", "silent"])
def test_while_kernels_are_starting(tmp_path, behaviour):
    register = tmp_path / "register"
    kernel = make_kernel(tmp_path, register=register, **{behaviour: True})
    with ServerProcess(tmp_path, one_pool(kernel, MinimumKernelNumber=2)) as server, server.connect() as link:
        wait_for(lambda: register.exists() and len(register.read_text().split()) == 2, what="both kernels")
        assert server.stop() == 0
        assert link.at_end()
        server.assert_no_process_left()


def test_a_reload_while_it_stops_changes_nothing(tmp_path):
    gate = Gate(tmp_path)
    with ServerProcess(tmp_path, one_pool(make_kernel(tmp_path), MinimumKernelNumber=1)) as server:
        with server.connect() as link:
            link.get_packet()
            link.put("EvaluatePacket", call("CompoundExpression", call("Print", 1), gate.busy()))
            assert link.get_packet()[0] == "TextPacket"
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGHUP):
                server.process.send_signal(number)
            server.wait_for_log("Stopping because of")
            gate.open()
            assert link.get_packet()[0] == "ReturnPacket"
        assert server.process.wait(60) == 0
    assert server.log.count("Stopping because of") == 1
    assert "Internal error" not in server.log and "Traceback" not in server.log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_signals_until_the_very_end(tmp_path, number):
    """None of them comes at a moment in which it would end the server with another exit code."""
    with ServerProcess(tmp_path, one_pool(make_kernel(tmp_path), MinimumKernelNumber=1)) as server:
        server.wait_for_log("Pool a is ready")
        server.process.send_signal(signal.SIGTERM)
        server.wait_for_log("Stopping because of")

        def ended():
            server.process.send_signal(number)
            return server.process.poll() is not None

        wait_for(ended, 60, "the end")
        assert server.process.returncode == 0


def catches(process, number):
    """Whether the process has a handler for a signal by now."""
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("SigCgt:"):
            return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    return False


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc")
def test_sigterm_as_soon_as_python_runs(tmp_path):
    """A service manager that stops the server while it still imports its modules sees an end in good order."""
    words = ["--port", "0", "--interface", "127.0.0.1", "--log-file", tmp_path / "log"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-m", "wstpserver", *words], env=environment) as process:
        try:
            wait_for(lambda: catches(process, signal.SIGTERM), 60, "the handler", 0.001)
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        finally:
            process.kill()


def test_a_killed_server_leaves_no_kernel(tmp_path):
    with ServerProcess(tmp_path, one_pool(make_kernel(tmp_path), MinimumKernelNumber=2)) as server:
        server.wait_for_log("Pool a is ready")
        kernels = server.processes()
        assert len(kernels) == 2
        server.expect_exit(-signal.SIGKILL)
        assert server.stop(signal.SIGKILL) == -signal.SIGKILL
        wait_for(lambda: not any(map(processes.alive, kernels)), 60, "the kernels' end")
