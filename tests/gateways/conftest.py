"""A server with embedded kernels, which all tests of this folder share."""

import os
import shlex
import signal
import sys
from pathlib import Path

import pytest

from tests.client.test_tls_and_tokens import certificate  # noqa: F401 - a fixture
from tests.support.embedded import make_embedded_kernel
from tools.harness.server import ServerProcess, pool
from tools.harness.waiting import wait_for
from wstpserver.client import Session, connect
from wstpserver.client.commands import server_information

ROOT = Path(__file__).parents[2]
#: Seconds for embedded kernels to be ready.
START = 200


class Served:
    """A running server with the pool Main."""

    def __init__(self, process):
        self.process = process
        self.address = f"{process.port}@127.0.0.1"

    def kernels(self):
        """The kernels of the pool by ID."""
        with Session(connect(self.address, 20.0, without_kernel=True)) as session:
            return {kernel.id: kernel for kernel in server_information(session).pools["Main"].kernels}

    def in_use(self):
        """The kernels that clients have, by ID."""
        return {identifier: kernel for identifier, kernel in self.kernels().items() if kernel.state == "bridged"}

    def restart(self):
        """Restart it as an administrator does, which keeps clients and kernels."""
        restarts = self.process.log.count("Restarted with ")
        os.kill(self.process.pid, signal.SIGUSR2)
        self.process.wait_for_log(f"(?s)(Restarted with .*){{{restarts + 1}}}|was not restarted", START)
        assert "was not restarted" not in self.process.log

    def assert_nothing_is_left(self, before):
        """Within seconds no client has a kernel any more, and those that were used are gone.

        But for those in use `before`: the clients of other tests, which last longer than one test.
        """

        def calm():
            kernels = [kernel for identifier, kernel in self.kernels().items() if identifier not in before]
            return all(kernel.state in ("free", "starting") and not kernel.evaluations for kernel in kernels)

        wait_for(calm, 60.0, lambda: f"used kernels to be gone: {self.kernels()}")


@pytest.fixture(scope="session")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gateways")
    program = make_embedded_kernel(folder)
    settings = pool(program, MinimumKernelNumber=2, MaximumKernelNumber=12)
    with ServerProcess(folder, {"Pools": {"Main": settings}}) as running:
        running.wait_for_log("Pool Main is ready", START)
        yield Served(running)


def write_program(folder, module_call, **environment):
    """An executable of this tree that runs a line of Python with `sys` imported, and these environment variables."""
    path = Path(folder) / "program"
    variables = {"PYTHONPATH": str(ROOT), **environment}
    words = [f"{name}={shlex.quote(value)}" for name, value in variables.items()]
    path.write_text(f"#!/bin/sh\nexec env {' '.join(words)} {sys.executable} -c {shlex.quote(module_call)} \"$@\"\n")
    path.chmod(0o755)
    return str(path)
