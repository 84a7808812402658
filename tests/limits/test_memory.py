"""KernelMemoryLimit: kernels that use too much memory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from tests.support.serving import kernel_id, kernels
from tools.harness import processes
from tools.harness.fake_kernel.codec import Function as call
from tools.harness.kernels import make_kernel
from tools.harness.waiting import wait_for, wait_gone
from wstpserver.server.kernels import process_info
from wstpserver.server.kernels.process import KernelProcess, RemoteKernel, resident_memory

LIMIT = 60_000_000
MUCH = call("UseMemory", 90_000_000)
WHY = r"it uses \d+\.\d MB of memory, more than 60\.0 MB \(KernelMemoryLimit\)"


@pytest.mark.parametrize("wrapped", [False, True])
def test_the_client_of_a_large_kernel_is_told_and_loses_it(serve, tmp_path, wrapped):
    program = make_kernel(tmp_path, "memory-kernel", connect_from_child=wrapped)
    server = serve({"Main": {"KernelPath": program, "MinimumKernelNumber": 1, "KernelMemoryLimit": LIMIT}})
    link = server.client()
    name = kernel_id(link)
    pid = kernels(link)[name]["ProcessID"]
    link.evaluate(MUCH)
    head, text = link.get_packet()
    assert head == "TextPacket"
    assert text.startswith("WSTPServer: the kernel was closed: it uses ") and "KernelMemoryLimit" in text
    assert link.at_end()
    server.wait_for_log(f"Warning: \n    Kernel {name} of pool Main is closed: {WHY}")
    wait_gone(pid)
    assert kernel_id(server.client()) != name


def test_a_kernel_that_grows_while_nobody_is_bridged_to_it_is_closed(serve, gate):
    server = serve({"Main": {"MinimumKernelNumber": 2, "KernelMemoryLimit": LIMIT}})
    link, watcher = server.client(), server.client()
    name = kernel_id(link)
    link.put("EvaluatePacket", call("List", gate.busy(), MUCH))
    wait_for(lambda: kernels(watcher)[name]["Busy"])
    link.close()
    wait_for(lambda: kernels(watcher)[name]["State"] == "reserved")
    gate.open()
    server.wait_for_log(f"Kernel {name} of pool Main is closed: {WHY}")
    assert watcher.evaluate(call("Plus", 2, 2)) == 4, "small kernels stay"


def test_a_limit_that_no_kernel_keeps_makes_the_pool_pause(serve, tmp_path):
    server = serve({"Main": {"MinimumKernelNumber": 1}}, KernelWaitTimeout=0.1)
    server.wait_for_log("Pool Main is ready")
    (path,) = tmp_path.glob("*.conf")
    configuration = json.loads(path.read_text())
    configuration["Pools"]["Main"]["KernelMemoryLimit"] = 1_000_000
    path.write_text(json.dumps(configuration))
    server.process.send_signal(signal.SIGHUP)
    why = r"it uses \d+\.\d MB of memory, more than 1\.0 MB \(KernelMemoryLimit\)"
    server.wait_for_log(rf"did not start: nobody had used it yet, but {why}\n    The next attempt follows in 1 seconds")
    server.wait_for_log(rf"did not start: {why}\n    The next attempt follows in 2 seconds")
    link = server.client(prompt=False)
    head, text = link.get_packet()
    assert head == "TextPacket" and "KernelMemoryLimit" in text and link.at_end()


# -- measuring


@pytest.fixture
def sleeper():
    """A process group of a small process and a larger child of it."""
    code = "import os, sys; os.fork() or (b := b'x' * 40_000_000); print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-S", "-E", "-c", code]
    with subprocess.Popen(command, stdin=-1, stdout=-1, start_new_session=True) as process:
        for _ in range(2):
            process.stdout.readline()
        yield process.pid
        process.stdin.close()
        for pid in processes.children(process.pid):
            wait_gone(pid)


def test_the_largest_process_of_a_kernel_counts(sleeper):
    kernel = KernelProcess(sleeper)
    sizes = resident_memory([kernel])
    assert set(sizes) == {kernel}
    assert processes.resident_bytes(sleeper) < 40_000_000 < sizes[kernel] < 80_000_000


def test_a_process_that_is_gone_has_no_size():
    process = subprocess.Popen(["true"], start_new_session=True)
    process.wait()
    assert resident_memory([KernelProcess(process.pid)]) == {}


def test_a_system_that_does_not_say_is_no_failure(monkeypatch):
    """As where /proc is not mounted; what is known of kernels elsewhere does not come from there."""
    monkeypatch.setattr(process_info, "is_available", lambda: False)
    here, elsewhere = KernelProcess(os.getpid()), KernelProcess(os.getpid())
    elsewhere.remote = RemoteKernel(("ssh",), print)
    elsewhere.remote.memory = 1000
    told = []
    assert resident_memory([here, elsewhere, here], told.append) == {elsewhere: 1000}
    assert [str(error) for error in told] == [str(told[0])] and "/proc is not mounted" in str(told[0])


@pytest.mark.skipif(sys.platform != "linux", reason="children are listed on Linux")
def test_what_any_thread_of_a_kernel_has_started_belongs_to_it(monkeypatch):
    code = (
        "import subprocess, sys, threading\n"
        "def run():\n"
        "    with subprocess.Popen(['cat'], stdin=-1):\n"
        "        print(flush=True); sys.stdin.read()\n"
        "thread = threading.Thread(target=run); thread.start(); thread.join()\n"
    )
    with subprocess.Popen([sys.executable, "-S", "-E", "-c", code], stdin=-1, stdout=-1) as process:
        process.stdout.readline()
        (child,) = processes.children(process.pid)
        assert set(process_info.family(process.pid)) == {process.pid, child}
        listed = os.listdir  # a thread that ends meanwhile stands in the list, and is not there any more
        monkeypatch.setattr(os, "listdir", lambda path: ["ended", *listed(path)])
        assert set(process_info.family(process.pid)) == {process.pid, child}
        process.stdin.close()
