"""The tests of the command language use a server with light test kernels."""

import contextlib

import pytest

from tests.support.serving import gate, join, serve, serving  # noqa: F401
from tools.harness.kernels import make_kernel
from tools.harness.server import pool


@pytest.fixture(scope="session")
def running(tmp_path_factory):
    """A server whose kernels go from one client to the next; those of pool Other begin with x = 4."""
    folder = tmp_path_factory.mktemp("running")
    kernel, keys = make_kernel(folder), {"ReservePreviouslyConnectedKernels": False}
    pools = {
        "Main": pool(kernel, MinimumKernelNumber=2, Default=True, **keys),
        "Other": pool(kernel, InitializationCode="x = 4", **keys),
    }
    with serving(folder, {"Pools": pools}) as server:
        yield server


class Shared:
    """What `serve` gives, of the server that all tests may use: with no configuration of their own."""

    def __init__(self, server, stack):
        self._server, self._stack = server, stack
        self.wait_for_log = server.wait_for_log

    def client(self):
        return self._stack.enter_context(join(self._server))


@pytest.fixture
def shared(running):
    with contextlib.ExitStack() as stack:
        yield Shared(running, stack)
