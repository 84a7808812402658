"""A server that has no descriptors left: it says so, and goes on when there are some again."""
import contextlib
import os
import resource
import signal
import socket

import pytest

from tests.support.serving import Calm, assert_serves, join, one_pool, ready_kernels, serving
from tools.harness import processes
from tools.harness.kernels import make_kernel
from tools.harness.waiting import wait_for


@pytest.fixture
def tight(tmp_path):
    """A server that may have a dozen descriptors more than it has with two kernels."""
    keys = {"KeepAlive": False, "MaximumKernelNumber": 8}
    with serving(tmp_path, one_pool(make_kernel(tmp_path), 2, **keys)) as server:
        ready_kernels(server, 2)
        assert_serves(server)
        calm = Calm(server, 2)
        limit = max(processes.open_descriptors(server.pid)) + 12
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (limit, limit))
        yield server
        calm.assert_again()


def test_more_connections_than_descriptors(tight):
    """Those who are inside are served on, those outside wait, and get in when others have left."""
    with join(tight) as inside, contextlib.ExitStack() as stack:
        crowd = [stack.enter_context(socket.create_connection(("127.0.0.1", tight.port))) for _ in range(40)]
        tight.wait_for_log("Error: \n    No connection can be accepted any more: Too many open files")
        assert inside.evaluate(1) == 1
        used = processes.processor_seconds(tight.pid)
        assert inside.evaluate(2) == 2
        for connection in crowd:
            connection.close()
    tight.wait_for_log("Connections can be accepted again")
    assert processes.processor_seconds(tight.pid) - used < 2.0
    assert_serves(tight)


def test_no_descriptors_for_a_kernel(tight):
    """The kernel counts as one that did not start, and is tried again."""
    with contextlib.ExitStack() as stack:
        for _ in range(40):
            stack.enter_context(socket.create_connection(("127.0.0.1", tight.port)))
        tight.wait_for_log("No connection can be accepted any more")
        for kernel in processes.children(tight.pid):
            os.kill(kernel, signal.SIGKILL)
        tight.wait_for_log("A kernel of pool a did not start: .*Too many open files")
    wait_for(lambda: len(processes.children(tight.pid)) == 2, 60.0, "two kernels")
    assert_serves(tight)
