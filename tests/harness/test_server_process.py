"""The helper that runs the real server: it reports, it notices, it leaves nothing behind."""
import os
import signal
import subprocess
import sys

import pytest

from tools.harness import processes
from tools.harness.fake_kernel.codec import Function as call
from tools.harness.kernels import make_kernel
from tools.harness.server import ROOT, ServerProcess, pool
from tools.harness.waiting import wait_for, wait_gone


def one_kernel(tmp_path, **behaviour):
    return {"Pools": {"One": pool(make_kernel(tmp_path, **behaviour), MinimumKernelNumber=1)}}


def test_serves_clients_and_stops(tmp_path):
    with ServerProcess(tmp_path, one_kernel(tmp_path)) as server:
        with server.connect() as link:
            assert link.get_packet() == ("InputNamePacket", "In[1]:= ")
            kernel = link.evaluate(call("KernelProcess"))
        assert server.processes() == [kernel]
        assert f"port {server.port}" in server.log
    assert not processes.alive(kernel)


def test_finds_orphans_too(tmp_path):
    """A grandchild whose parents are gone still carries the mark."""
    with ServerProcess(tmp_path, one_kernel(tmp_path, grandchild=True)) as server:
        wait_for(lambda: len(server.processes()) == 2, what="the kernel and its child")


def test_a_killed_server_leaves_no_kernel(tmp_path):
    with ServerProcess(tmp_path, one_kernel(tmp_path)) as server:
        with server.connect() as link:
            link.get_packet()
            kernel = link.evaluate(call("KernelProcess"))
        server.expect_exit(-signal.SIGKILL)
        server.stop(signal.SIGKILL)
        wait_gone(kernel, 30.0)
        server.assert_no_process_left()


KILLED = """
import os, signal, sys, time
from tools.harness.server import ServerProcess, pool
server = ServerProcess(sys.argv[1], {"Pools": {"One": pool(sys.argv[2])}, "KernelsOutliveServer": 60}).start()
server.wait_for_log("is ready")
print(server.mark, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_test_that_is_killed_leaves_no_server(tmp_path):
    """As the workers of a run that is interrupted."""
    words = [sys.executable, "-c", KILLED, tmp_path, make_kernel(tmp_path)]
    done = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == -signal.SIGKILL
    wait_for(lambda: not processes.marked(done.stdout.strip()), 20.0, "the server and its kernels to be gone")


def test_a_failing_start_shows_the_log(tmp_path):
    with (
        pytest.raises(AssertionError, match="NoSuchKey"),
        ServerProcess(tmp_path, {"NoSuchKey": 1, "Pools": {"One": {}}}),
    ):
        pass


def test_a_process_that_is_left_is_noticed_and_ended(tmp_path):
    """Something with the server's mark that the server does not know of."""
    left = []
    with (
        pytest.raises(AssertionError, match="processes left"),
        ServerProcess(tmp_path, one_kernel(tmp_path), leave_deadline=0.5) as server,
    ):
        environment = {server.mark: "1", "PATH": os.environ["PATH"]}
        left.append(os.spawnvpe(os.P_NOWAIT, "sleep", ["sleep", "1000"], environment))
        wait_for(lambda: left[0] in server.processes())
    os.waitpid(left[0], 0)
    assert not processes.alive(left[0])
