"""Servers with light test kernels, and a relay before them that breaks connections."""

import os
import socket

import pytest

from tools.harness.kernels import make_kernel
from tools.harness.server import ServerProcess, pool
from tools.harness.waiting import wait_for

from .relay import Relay


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """A server with one pool Main of at most three kernels, for all tests of a file."""
    folder = tmp_path_factory.mktemp("server")
    pools = {"Main": pool(make_kernel(folder), MaximumKernelNumber=3)}
    with ServerProcess(folder, {"Pools": pools}, "--log-level", "debug") as server:
        yield server


@pytest.fixture
def relay(running):
    """A relay before `running`."""
    with Relay(running.port) as relay:
        yield relay


class Gate:
    """`text` is an evaluation that is at work until `open` is called, and then gives `value`."""

    def __init__(self, path):
        os.mkfifo(path)
        self.value = str(path)
        self.text = f'BusyUntil["{path}"]'
        self._end = None

    def reached(self):
        """Wait until the kernel has come to it."""
        wait_for(self._connects, 20.0)

    def _connects(self):
        try:
            self._end = os.open(self.value, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:  # nobody reads
            return False
        return True

    def open(self):
        if self._end is None:
            self.reached()
        os.write(self._end, b".")
        os.close(self._end)


@pytest.fixture
def closed_port():
    """A port on which nobody listens, and which nobody else can get meanwhile."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.fixture
def gate(tmp_path):
    return Gate(tmp_path / "gate")
