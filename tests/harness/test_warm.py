"""The program whose warm parents are forked of a process that has loaded the engine."""
import os
import signal
import subprocess

import pytest

from tests.embedded.harness import DEADLINE, WarmParent
from tests.support.embedded import make_embedded_kernel
from tools.harness.processes import open_descriptors, parent, threads
from tools.harness.waiting import wait_gone


@pytest.fixture
def program(tmp_path):
    return make_embedded_kernel(tmp_path)


@pytest.fixture
def started(program, tmp_path):
    started = WarmParent(tmp_path, [program])
    try:
        assert started.receive() == {"event": "ready"}
        yield started
    finally:
        started.process.kill()
        started.close()


def test_it_is_a_warm_parent(started, tmp_path):
    kernel = started.launch()
    assert kernel.evaluate("{1/3 + 1/6, $ProcessID}").args[1] == kernel.pid
    assert kernel.evaluate('{Environment["HOME"], Directory[]}').args == (str(tmp_path), os.getcwd())
    forked = parent(kernel.pid)
    assert os.getsid(forked) == forked and threads(forked) == 1
    # three standard ones, the socket of the server, and both ends of the pipe of signals
    assert len(open_descriptors(forked)) == 6
    kernel.close()
    assert started.event("exited", pid=kernel.pid)["status"] == 0


def test_it_ends_with_the_socket(started):
    kernel = started.launch()
    forked = parent(kernel.pid)
    assert started.close() == 0
    wait_gone(forked)
    wait_gone(kernel.pid)
    kernel.close()


def test_it_is_killed_with_the_process_that_stands_for_it(started):
    kernel = started.launch()
    forked = parent(kernel.pid)
    started.process.kill()
    wait_gone(forked)
    wait_gone(kernel.pid)
    kernel.close()


def test_a_signal_that_ends_it_ends_the_process_that_stands_for_it(started):
    kernel = started.launch()
    os.kill(parent(kernel.pid), signal.SIGKILL)
    assert started.process.wait(DEADLINE) == -signal.SIGKILL
    kernel.close()


def test_anything_else_is_the_program_itself(program):
    done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=DEADLINE)
    assert done.returncode == 0 and done.stdout.startswith("wstpkernel ")
