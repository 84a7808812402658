"""A server with light test kernels, and what its clients and their commands see: fixtures and helpers.

A conftest.py that imports `serve` and `gate` gives them to its folder.
"""

from __future__ import annotations

import contextlib
import json
import os

import pytest

from tests.support.kernels import make_kernel
from tests.support.server import ServerProcess, pool
from tests.support.testkernel.codec import Function, Symbol

SUCCESS = '{"status":"ExecutionSuccess"}'
ERROR = '{"status":"ExecutionError"}'
MALFORMED = '{"status":"PacketMalformed"}'


def call(name, *args):
    return Function(name, *args)


class Gate:
    """Holds a kernel in an evaluation until `open` is called: BusyUntil[path]."""

    def __init__(self, path):
        self.path = str(path)
        os.mkfifo(path)

    def expression(self):
        return call("BusyUntil", self.path)

    def open(self):
        # the kernel opens its end first when it comes to it; opening for writing waits for that
        with open(self.path, "wb") as fifo:
            fifo.write(b".")


@pytest.fixture
def serve(tmp_path):
    """serve(pools={name: keys}, **root keys) -> ServerProcess with client(); stopped at the end of the test."""
    kernel = make_kernel(tmp_path)
    with contextlib.ExitStack() as stack:

        def start(pools=None, **keys):
            pools = pools or {"Main": {}}
            configuration = {"Pools": {name: pool(kernel, **values) for name, values in pools.items()}, **keys}
            server = stack.enter_context(ServerProcess(tmp_path, configuration, "--log-level", "debug"))
            server.kernel_path = kernel

            def client(prompt=True):
                link = stack.enter_context(server.connect())
                if prompt:
                    assert link.get_packet()[0] == "InputNamePacket"
                return link

            server.client = client
            return server

        yield start


@pytest.fixture
def gate(tmp_path):
    return Gate(tmp_path / "gate")


def identifier(link):
    """The ID of the kernel that a link is bridged to."""
    return json.loads(link.command("GetKernelID"))["result"]


def information(link):
    """GetServerInformation as Python data."""
    return json.loads(link.command("GetServerInformation"))["result"]


def kernels(link, pool_name="Main"):
    return {kernel["ID"]: kernel for kernel in information(link)["Pools"][pool_name]["Kernels"]}


def enter(link, head, *args):
    """Send a command and return the packet that comes, and the InputNamePacket after a successful connection."""
    link.put("WSCommandPacket", Function(head, *args))
    name, text = link.get_packet()
    assert name == "ReturnPacket"
    if head in ("ConnectKernel", "ConnectParallelKernel") and text == SUCCESS:
        assert link.get_packet()[0] == "InputNamePacket"
    return text


TRUE, FALSE = Symbol("True"), Symbol("False")
