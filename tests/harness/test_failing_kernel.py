"""The bad kernels are as bad as the tests that rely on them assume."""
import contextlib
import os
import signal
import socket
import subprocess

import pytest

from tools.harness import processes, rawlink
from tools.harness.fake_kernel import joining
from tools.harness.fake_kernel.codec import Function as call
from tools.harness.kernels import make_kernel
from tools.harness.waiting import wait_for, wait_gone


def run_bad(path, *arguments):
    return subprocess.run([path, *arguments], capture_output=True, text=True, timeout=60)


def test_exits_at_once_with_last_words(tmp_path):
    kernel = make_kernel(tmp_path, exit_at_once=True, exit_code=87, last_output="No valid password found.")
    ended = run_bad(kernel, "-wstp")
    assert (ended.returncode, ended.stderr) == (87, "No valid password found.\n")


def test_dies_after_some_evaluations(tmp_path):
    with rawlink.running_kernel(make_kernel(tmp_path, die_after=2, exit_code=5)) as (link, process):
        assert link.get_packet()[0] == "InputNamePacket"
        assert [link.evaluate(1), link.evaluate(2)] == [1, 2]
        link.put("EvaluatePacket", 3)
        assert link.at_end()
        assert process.wait(60) == 5


def test_connects_from_a_child(tmp_path):
    with rawlink.running_kernel(make_kernel(tmp_path, connect_from_child=True)) as (link, process):
        assert link.get_packet()[0] == "InputNamePacket"
        pid = link.evaluate(call("KernelProcess"))
        assert pid != process.pid
        link.close()
        wait_gone(pid)
        assert process.wait(60) == 0


def test_ignores_the_polite_signal(tmp_path):
    with rawlink.running_kernel(make_kernel(tmp_path, ignore_term=True)) as (link, process):
        assert link.get_packet()[0] == "InputNamePacket"
        process.send_signal(signal.SIGTERM)
        assert link.evaluate(call("Plus", 1, 1)) == 2


def test_grandchild_outlives_it(tmp_path):
    kernel = make_kernel(tmp_path, grandchild=True)
    with rawlink.running_kernel(kernel, start_new_session=True) as (link, process):
        try:
            assert link.get_packet()[0] == "InputNamePacket"
            (grandchild,) = processes.children(process.pid)
            link.close()
            process.wait(60)
            assert processes.alive(grandchild)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
        wait_gone(grandchild)


@pytest.mark.parametrize("when", ["flood_before", "flood_after"])
def test_floods_its_output(tmp_path, when):
    kernel = make_kernel(tmp_path, **{when: 100_000})
    with (
        open(tmp_path / "out", "wb") as output,
        rawlink.running_kernel(kernel, stdout=output, stderr=output) as (link, _),
    ):
        assert link.get_packet()[0] == "InputNamePacket"
    assert (tmp_path / "out").stat().st_size == 200_000


def test_silent_kernel_still_evaluates(tmp_path):
    with rawlink.running_kernel(make_kernel(tmp_path, silent=True)) as (link, _):
        assert link.evaluate(call("Plus", 1, 1)) == 2


@pytest.mark.parametrize("behaviour", ["garbage", "never_greet"])
def test_spoils_the_greeting(tmp_path, behaviour):
    with (
        pytest.raises((TimeoutError, joining.LinkClosed)),
        rawlink.running_kernel(make_kernel(tmp_path, **{behaviour: True}), timeout=0.5),
    ):
        pass


def test_hangs_until_its_gate_opens(tmp_path):
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    kernel = make_kernel(tmp_path, start_gate=str(gate), register=str(tmp_path / "pids"))
    with socket.socket() as deaf, contextlib.ExitStack() as stack:
        deaf.bind(("127.0.0.1", 0))  # nobody listens there: the kernel ends when it connects
        name = f"{deaf.getsockname()[1]}@127.0.0.1"
        process = stack.enter_context(subprocess.Popen([kernel, "-linkname", f"{name},{name}"]))
        try:
            wait_for(lambda: (tmp_path / "pids").exists() and (tmp_path / "pids").read_text().endswith("\n"))
            assert int((tmp_path / "pids").read_text()) == process.pid
            assert process.poll() is None
            gate.write_bytes(b"")
            assert process.wait(60) == 0
        finally:
            process.kill()
