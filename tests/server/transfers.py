"""Large transfers that stand still: how tests bring them about and look at them."""
import contextlib
import fcntl
import socket
import struct
import termios
import threading

from tests.support.serving import kernel_process
from tools.harness import processes
from tools.harness.fake_kernel.codec import Function
from tools.harness.waiting import wait_for

LARGE = 60 * 1000 * 1000


def read_frame(link, part=1 << 20):
    """(length, first bytes, last bytes) of the next frame, without holding it: long texts have no second look."""
    received = bytearray()
    while len(received) < 100:
        received += link.data.recv(part)
    first = bytes(received[:100])
    length, last = len(received), bytes(received[-100:])
    while not last.endswith(b"\n]"):
        data = link.data.recv(part)
        assert data, "the link was closed"
        length += len(data)
        last = (last + data)[-100:]
    return length, first, last


def stalled_writer(server, link, expression=None):
    """Let the kernel of `link` write 60 MB that nobody reads; returns when the server takes no more of it."""
    link.data.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    kernel = kernel_process(link)
    link.put("EvaluatePacket", expression or Function("MakeString", LARGE))
    wait_until_still(lambda: (waiting_bytes(link.data), processes.processor_seconds(kernel)))
    return kernel


def waiting_bytes(connection):
    """What has come in on a socket and was not read."""
    return struct.unpack("i", fcntl.ioctl(connection, termios.FIONREAD, bytes(4)))[0]


def wait_until_still(look, looks=40):
    """Wait until `look()` has given the same true values so many times in a row."""
    seen = []

    def still():
        seen.append(look())
        return len(seen) >= looks and all(seen[-1]) and set(seen[-looks:]) == {seen[-1]}

    wait_for(still, 60.0, "the transfer to stand still", interval=0.05)


class Peak:
    """The highest resident size of a server while a block runs, looked at all the time."""

    def __init__(self, server):
        self._pid = server.pid
        self._stop = threading.Event()
        self._watcher = threading.Thread(target=self._watch)
        self.before = self.bytes = processes.resident_bytes(self._pid)

    def _watch(self):
        while not self._stop.wait(0.01):
            self.bytes = max(self.bytes, processes.resident_bytes(self._pid))

    def __enter__(self):
        self._watcher.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._watcher.join()

    @property
    def growth(self):
        return self.bytes - self.before


def send_until_stuck(connection, data):
    """Send until the other side takes nothing any more; some of the data must be left then."""
    view = memoryview(data)
    connection.setblocking(False)

    def send():
        nonlocal view
        with contextlib.suppress(BlockingIOError):
            view = view[connection.send(view[: 1 << 20]) :]
        return (len(view),)

    wait_until_still(send)
