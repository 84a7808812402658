"""Servers and front ends for the scenarios: light test kernels and embedded ones, our own library and the vendor's."""

from __future__ import annotations

import contextlib

import pytest

from tests.scenarios.frontend import LINK_OPTIONS, PATIENCE, FrontEnd, OwnTransport, VendorTransport
from tests.support.embedded import make_embedded_kernel
from tools.harness.kernels import make_kernel
from tools.harness.server import ServerProcess, pool
from tools.harness.vendor import library_path


def pools(kernel):
    """A default pool whose kernels are given to whoever asks for them by ID, and one for parallel computing.

    Front ends leave their kernels behind; nobody comes back to them after the test.
    """
    return {
        "Notebooks": pool(kernel, MinimumKernelNumber=1, MaximumKernelNumber=100, ReservedKernelTimeout=30),
        "Parallel": pool(kernel, ParallelKernels=True, MinimumKernelNumber=3, MaximumKernelNumber=4),
    }


@pytest.fixture(scope="session")
def light_server(tmp_path_factory):
    """A server with light test kernels."""
    folder = tmp_path_factory.mktemp("light")
    with ServerProcess(folder, {"Pools": pools(make_kernel(folder))}, "-l", "2") as running:
        yield running


@pytest.fixture(scope="session")
def embedded_server(tmp_path_factory):
    """A server with embedded kernels."""
    folder = tmp_path_factory.mktemp("embedded")
    kernel = make_embedded_kernel(folder)
    with ServerProcess(folder, {"Pools": pools(kernel)}, "-l", "2") as running:
        running.wait_for_log("Pool Parallel is ready", PATIENCE)
        yield running


@pytest.fixture(params=["light", "embedded"])
def server(request):
    """Both, one after the other."""
    return request.getfixturevalue(f"{request.param}_server")


@pytest.fixture(params=["own", "vendor"])
def library(request):
    """Which library the client is on: None for our own."""
    if request.param == "own":
        return None
    path = library_path()
    if path is None:
        pytest.skip("WSTP_LIBRARY names no library")
    return path


@pytest.fixture
def open_front_end(library):
    """open_front_end(server) -> a FrontEnd whose first prompt has come; its kernel ends with the test."""
    with contextlib.ExitStack() as stack:

        def start(server, prompt=True):
            options = LINK_OPTIONS.format(port=server.port, host="127.0.0.1")
            transport = OwnTransport(options) if library is None else VendorTransport(options, library)
            front_end = FrontEnd(transport)
            stack.callback(front_end.close)
            if prompt:
                assert front_end.packet() == ("InputNamePacket", "In[1]:= ")
            return front_end

        yield start


@pytest.fixture
def notebook(open_front_end, embedded_server):
    """A notebook with an embedded kernel of its own."""
    return open_front_end(embedded_server)
