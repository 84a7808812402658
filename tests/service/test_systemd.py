"""What the server tells systemd, with a socket of our own in systemd's place."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.service.helpers import NotifySocket
from tests.support.serving import Gate, one_pool
from tools.harness.fake_kernel.codec import Function as call
from tools.harness.fake_kernel.codec import Symbol
from tools.harness.kernels import make_kernel
from tools.harness.server import ROOT, ServerProcess


@pytest.fixture
def manager(tmp_path):
    with NotifySocket(tmp_path / "notify") as socket:
        yield socket


def start(folder, manager, **environment):
    configuration = one_pool(make_kernel(folder), MinimumKernelNumber=1)
    return ServerProcess(folder, configuration, environment={"NOTIFY_SOCKET": manager.path, **environment})


def microseconds():
    return time.monotonic_ns() // 1000


def test_ready_when_it_can_be_connected_to(tmp_path, manager):
    server = start(tmp_path, manager).launch()
    try:
        status = manager.get()
        assert set(status) == {"READY", "STATUS"} and status["READY"] == "1"
        server.port = int(re.fullmatch(r"listening on port (\d+) and interface 127\.0\.0\.1", status["STATUS"])[1])
        server.connect().close()
        assert server.stop() == 0
    finally:
        server.kill()


def test_a_whole_life(tmp_path, manager):
    with start(tmp_path, manager) as server:
        assert manager.get()["READY"] == "1"
        before = microseconds()
        server.process.send_signal(signal.SIGHUP)
        reloading = manager.get()
        assert reloading["RELOADING"] == "1"
        assert before <= int(reloading["MONOTONIC_USEC"]) <= microseconds()
        assert manager.get() == {"READY": "1", "STATUS": f"listening on port {server.port} and interface 127.0.0.1"}
        server.process.send_signal(signal.SIGTERM)
        assert manager.get() == {"STOPPING": "1"}


def test_a_restart_is_a_reload_for_it(tmp_path, manager):
    with start(tmp_path, manager, WATCHDOG_USEC="60000000") as server, server.connect() as link:
        manager.wait_for("READY")
        assert link.get_packet()[0] == "InputNamePacket"
        server.process.send_signal(signal.SIGUSR2)
        manager.wait_for("RELOADING")
        assert manager.wait_for("READY")["STATUS"] == f"listening on port {server.port} and interface 127.0.0.1"
        assert link.evaluate(call("Plus", 1, 1)) == 2


def test_a_reload_that_fails_ends_too(tmp_path, manager):
    with start(tmp_path, manager) as server:
        manager.wait_for("READY")
        (tmp_path / f"{server.mark}.conf").write_text("{")
        server.process.send_signal(signal.SIGHUP)
        assert manager.get()["RELOADING"] == "1"
        assert manager.get()["STATUS"].endswith("; the configuration on the disk is not valid")


def test_stopping_is_said_before_the_end(tmp_path, manager):
    gate = Gate(tmp_path)
    with start(tmp_path, manager) as server, server.connect() as link:
        link.get_packet()
        link.put("EvaluatePacket", call("CompoundExpression", call("Print", 1), gate.busy()))
        assert link.get_packet()[0] == "TextPacket"
        server.process.send_signal(signal.SIGTERM)
        manager.wait_for("STOPPING")
        assert server.process.poll() is None
        server.process.send_signal(signal.SIGHUP)  # a late reload is no way back
        gate.open()
        assert link.get_packet()[0] == "ReturnPacket"
        assert server.process.wait(60) == 0
        with pytest.raises(BlockingIOError):
            manager.poll()


def test_the_watchdog_is_fed_while_clients_are_served(tmp_path, manager):
    with start(tmp_path, manager, WATCHDOG_USEC="200000") as server, server.connect() as link:
        link.get_packet()
        for _ in range(5):
            assert manager.wait_for("WATCHDOG") == {"WATCHDOG": "1"}
            assert link.evaluate(call("Plus", 1, 1)) == 2


def test_a_watchdog_for_another_process_is_not_fed(tmp_path, manager):
    with start(tmp_path, manager, WATCHDOG_USEC="1000", WATCHDOG_PID="1"):
        assert manager.get()["READY"] == "1"
    assert manager.get() == {"STOPPING": "1"}


def test_kernels_do_not_inherit_it(tmp_path, manager):
    with start(tmp_path, manager, WATCHDOG_USEC="60000000", SOMETHING="else") as server, server.connect() as link:
        link.get_packet()
        assert link.evaluate(call("Environment", "SOMETHING")) == "else"
        for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC"):
            assert link.evaluate(call("Environment", name)) == Symbol("Null")


def test_without_a_service_manager(tmp_path, manager):
    nobody = {"NOTIFY_SOCKET": f"{tmp_path}/nobody", "WATCHDOG_USEC": "1000"}
    with start(tmp_path, manager, **nobody) as server, server.connect() as link:
        assert link.get_packet()[0] == "InputNamePacket"
    assert "Error" not in server.log


NAMESPACES = ["unshare", "--pid", "--fork", "--mount", "--mount-proc", "--kill-child"]


def own_systemd():
    """Whether a systemd can be started here."""
    needed = [shutil.which(name) for name in ("unshare", "dbus-daemon", "systemctl", "/lib/systemd/systemd")]
    if not all(needed) or os.getuid() != 0:
        return False
    return subprocess.run([*NAMESPACES, "true"], capture_output=True).returncode == 0


@pytest.mark.skipif(not own_systemd(), reason="needs root, systemd and dbus-daemon")
def test_systemd_itself(tmp_path):
    """The unit of tools/service: the process is the same after a restart, the kernels are after a crash."""
    words = [*NAMESPACES, sys.executable, "-m", "tests.service.under_systemd", tmp_path]
    done = subprocess.run(words, capture_output=True, text=True, timeout=150, cwd=ROOT)
    assert done.returncode == 0, f"{done.stderr}\n{(tmp_path / 'log').read_text()}"
    seen = json.loads(done.stdout)
    said, first = seen["start"]
    assert (said, first["ActiveState"]) == ("", "active") and first["StatusText"].startswith("listening on port")
    assert seen["restart"] == [["active"], first, True]
    after, *found = seen["crash"]
    assert (after["ActiveState"], after["NRestarts"], found) == ("active", "1", [True, True])
    assert after["MainPID"] != first["MainPID"]
    assert seen["stop"] == ["", "inactive"]
