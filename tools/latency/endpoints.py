"""The two ends of a measured link: a kernel program and a client that times evaluations of 2 + n."""
import shutil
import socket
import time
from pathlib import Path

from tests.interop.programs import FOLDER, VendorClient, compile_program
from tests.support import rawlink
from tests.support.kernels import make_kernel
from tests.support.testkernel.codec import Function


class VendorEnds:
    """Kernel and client on the vendor's library, compiled here and now."""

    def __init__(self, library, folder):
        self.name = f"vendor library {Path(library).name}"
        self.kernel = str(compile_program(FOLDER / "vendor_kernel.c", library, folder))
        self._client = compile_program(FOLDER / "vendor_client.c", library, folder)

    def client(self):
        return _VendorEnd(self._client)


class LightEnds:
    """The test suite's kernel and raw link: Python, slower than the library, but there everywhere."""

    name = "light test kernel and Python client"

    def __init__(self, folder):
        self.kernel = make_kernel(folder)

    def client(self):
        return _LightEnd()


def best_ends(library, folder):
    """VendorEnds if there is a library and a compiler, else LightEnds."""
    return VendorEnds(library, folder) if library and shutil.which("gcc") else LightEnds(folder)


class _VendorEnd:
    def __init__(self, program):
        self._client = VendorClient(program)

    def listen(self):
        """Open the listening side of a link; returns the addresses [(host, port), (host, port)] of its two ports."""
        name = self._client.step("open -linkmode listen -linkprotocol TCPIP -linkhost 127.0.0.1")
        return [("127.0.0.1", int(part.partition("@")[0])) for part in name.split(",")]

    def accept(self):
        self._client.step("activate")
        self._client.read()

    def connect(self, port):
        self._client.connect(port)
        self._client.read()

    def time(self, count):
        """Nanoseconds of `count` evaluations, one after the other."""
        return [int(word) for word in self._client.step(f"time {count}").split()]

    def close(self):
        self._client.__exit__()


class _LightEnd:
    def __init__(self):
        self._listeners = []
        self._link = None

    def listen(self):
        self._listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
        return [listener.getsockname() for listener in self._listeners]

    def accept(self):
        self._link = rawlink.accept_classic(*self._listeners)
        self._link.get_packet()

    def connect(self, port):
        self._link = rawlink.connect(port, version=4)
        self._link.get_packet()

    def time(self, count):
        durations = []
        for number in range(count):
            begin = time.perf_counter_ns()
            if self._link.evaluate(Function("Plus", 2, number)) != 2 + number:
                raise RuntimeError(f"wrong answer to 2 + {number}")
            durations.append(time.perf_counter_ns() - begin)
        return durations

    def close(self):
        if self._link is not None:
            self._link.close()
        for listener in self._listeners:
            listener.close()
