"""Servers and front ends for the scenarios: light test kernels and embedded ones, our own library and the vendor's."""

from __future__ import annotations

import contextlib

import pytest

from tests.scenarios.frontend import LINK_OPTIONS, FrontEnd, OwnTransport, VendorTransport
from tests.support.embedded import notebook_pools
from tests.support.serving import close_reserved
from tools.harness.kernels import make_kernel
from tools.harness.server import ServerProcess
from tools.harness.vendor import library_path


@pytest.fixture(scope="session")
def light_server(tmp_path_factory):
    """A server with light test kernels."""
    folder = tmp_path_factory.mktemp("light")
    with ServerProcess(folder, {"Pools": notebook_pools(make_kernel(folder))}, "-l", "2") as running:
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


def end_what_is_left(server):
    """End the kernels of front ends that are gone, unless the server has ended with its test."""
    if server.process.poll() is None:
        close_reserved(server)


@pytest.fixture
def open_front_end(library):
    """open_front_end(server) -> a FrontEnd whose first prompt has come; its kernel ends with the test."""
    servers = set()
    with contextlib.ExitStack() as stack:

        def start(server, prompt=True):
            if server not in servers:
                servers.add(server)
                stack.callback(end_what_is_left, server)  # behind the front ends, which come later
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
