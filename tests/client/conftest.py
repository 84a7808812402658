"""Servers with light test kernels, and a relay before them that breaks connections."""

import socket

import pytest

from tests.support.serving import gate  # noqa: F401 - a fixture
from tools.harness.kernels import make_kernel
from tools.harness.server import ServerProcess, pool

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


@pytest.fixture
def closed_port():
    """A port on which nobody listens, and which nobody else can get meanwhile."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]
