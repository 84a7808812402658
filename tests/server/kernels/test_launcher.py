"""Whose turn it is to be launched."""
import re
import socket
import sys

import pytest

from tests.support.serving import one_pool, ready_kernels, serving
from tools.harness import processes
from tools.harness.kernels import make_kernel
from wstpserver.pools.states import Kernel
from wstpserver.server.kernels.launcher import LaunchQueue


class Line(LaunchQueue):
    """Writes down who has begun."""

    def __init__(self, concurrency):
        super().__init__(concurrency)
        self.begun = []

    def enter(self, *kernels):
        for kernel in kernels:
            self.join(kernel, self.begun.append)


def kernels(number):
    return [Kernel(str(index), None) for index in range(number)]


def test_one_after_the_other_leaves():
    line, (a, b, c, d) = Line(2), kernels(4)
    line.enter(a, b, c, d)
    assert line.begun == [a, b]
    line.leave(b)
    assert line.begun == [a, b, c]
    assert line.crowded
    line.leave(a)
    assert line.begun == [a, b, c, d]
    assert line.crowded, "the last may not have taken yet what it is given"
    line.leave(c)
    assert not line.crowded


def test_who_gives_up_takes_nobodys_turn():
    line, (a, b, c, d) = Line(1), kernels(4)
    line.enter(a, b, c, d)
    line.leave(b)
    line.leave(b)
    assert line.begun == [a]
    line.leave(a)
    line.leave(a)
    assert line.begun == [a, c]


def test_another_bound():
    line, (a, b, c, d) = Line(1), kernels(4)
    line.enter(a, b, c, d)
    line.set_concurrency(3)
    assert line.begun == [a, b, c]
    line.set_concurrency(1)
    line.leave(a)
    line.leave(b)
    assert line.begun == [a, b, c]
    line.leave(c)
    assert line.begun == [a, b, c, d]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="others cannot tell who connects")
def test_kernels_that_start_one_after_the_other_are_told_the_same_ports(tmp_path):
    """Each connection keeps its port: with ports of their own for all, the system would run out of them."""
    with serving(tmp_path, one_pool(make_kernel(tmp_path), 7, {"KernelStartConcurrency": 2})) as server:
        ready_kernels(server, 7)
        lines = map(processes.command_line, processes.children(server.pid))
        names = [re.search(r"-linkname (\S+)", line)[1] for line in lines]
        assert len(names) == 7
        assert len(set(names)) <= 2
        for port in {int(port) for name in names for port in re.findall(r"(\d+)@", name)}:
            with pytest.raises(ConnectionRefusedError):  # nobody listens there any more
                socket.create_connection(("127.0.0.1", port))
