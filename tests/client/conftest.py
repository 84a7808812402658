"""Servers with light test kernels, and a relay before them that breaks connections."""

import pytest

from tests.support.kernels import make_kernel
from tests.support.server import ServerProcess, pool
from tests.support.serving import gate  # noqa: F401 - a fixture

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
