"""One client that keeps the server busy costs the others little."""
import contextlib
import os
import signal
import socket
import threading

import pytest

from tests.support.serving import join, kernel_process, one_pool, serving
from tools.harness.fake_kernel import joining
from tools.harness.fake_kernel.codec import Function, encode
from tools.harness.kernels import make_kernel

COMMAND = encode(Function("WSCommandPacket", Function("GetServerInformation"))) + b"]"
EVALUATION = encode(Function("EvaluatePacket", Function("Plus", 1, 1))) + b"]"
OTHER = encode(Function("TextPacket", "x")) + b"]"


class Flood:
    """A client that sends as fast as it can, and reads and forgets what comes.

    Its kernel is killed at the end: it would first read all that is still on its way, which takes it seconds.
    """

    def __init__(self, server, frame):
        self.link = join(server)
        self._kernel = os.pidfd_open(kernel_process(self.link))
        self._frames = frame * 2000
        self._threads = [threading.Thread(target=task) for task in (self._send, self._read)]

    def _send(self):
        try:
            while True:
                self.link.put_raw(self._frames)
        except OSError:
            pass

    def _read(self):
        try:
            while True:
                joining.receive(self.link.data, 1 << 20)
        except joining.LinkClosed:
            pass

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError):  # the server was faster
            self.link.data.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self.link.close()
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._kernel, signal.SIGKILL)
        os.close(self._kernel)


@pytest.mark.parametrize("frame", [COMMAND, EVALUATION, OTHER], ids=["commands", "evaluations", "other packets"])
def test_a_flood(server, frame):
    with join(server) as other, Flood(server, frame):
        for number in range(20):  # each within the time of a link; without any fairness it is several times as much
            assert other.evaluate(number) == number


def test_a_flood_does_not_keep_new_clients_out_nor_the_server_up(tmp_path):
    with serving(tmp_path, one_pool(make_kernel(tmp_path), 2)) as server, Flood(server, COMMAND):
        with join(server) as link:
            assert link.evaluate(1) == 1
        assert server.stop() == 0
