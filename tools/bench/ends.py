"""The two ends of a measured link: the kernels of a run, and clients that measure."""
import contextlib
import os
import select
import subprocess
import tempfile
import time
from pathlib import Path

from tools.bench.native.build import program, vendor_program
from tools.harness.vendor import library_path as vendor_library


class ClientError(Exception):
    """A step of a client failed."""


class Program(contextlib.ExitStack):
    """A child process that takes lines and answers lines, and ends when its standard input does."""

    def __init__(self, command, **options):
        super().__init__()
        self.process = self.enter_context(
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, **options)
        )
        self.callback(self._end)
        self._received = bytearray()

    def _end(self):
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(2)
        except subprocess.TimeoutExpired:
            self.process.kill()

    @property
    def pid(self):
        return self.process.pid

    def send(self, line):
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def ready(self):
        """Whether an answer, or a part of one, is there."""
        return bool(self._received or select.select([self.process.stdout], [], [], 0)[0])

    def receive(self, timeout=120.0):
        """The next line; ClientError after `timeout` seconds or at the program's end."""
        end = time.monotonic() + timeout
        while b"\n" not in self._received:
            if not select.select([self.process.stdout], [], [], max(0.0, end - time.monotonic()))[0]:
                raise ClientError(f"no answer within {timeout:g} s")
            data = os.read(self.process.stdout.fileno(), 1 << 20)
            if not data:
                raise ClientError("the program has ended")
            self._received += data
        line, _, rest = bytes(self._received).partition(b"\n")
        self._received = bytearray(rest)
        return line.decode()


class BenchClient(Program):
    """One client that measures, in a process of its own (bench_client.c says which steps there are)."""

    def step(self, line, timeout=120.0):
        """Take a step; returns its durations in nanoseconds."""
        self.send(line)
        return self.answer(timeout)

    def answer(self, timeout=120.0):
        """The durations of the step that was sent. Raises ClientError."""
        words = self.receive(timeout).split()
        if not words or words[-1] != "ok":
            raise ClientError(" ".join(words))
        return [int(word) for word in words[:-1]]


class LightEnds:
    """Kernels and clients in C that speak the protocol themselves.

    One process serves all kernels. `port`: it listens there for clients that come directly or through a relay.
    `kernel` and `options` are for KernelPath and KernelOptions: a kernel process of some hundred KB, which hands its
    link over to that process.
    """

    name = "light clients and kernels"

    def __init__(self, stack):
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="kernels-"))
        self._host = stack.enter_context(Program([program("kernel_host"), f"{folder}/host"]))
        self.port = int(self._host.receive())
        self.pid = self._host.pid
        self.kernel = program("light_kernel")
        self.options = f"--hand-over {folder}/host"

    def client(self):
        return BenchClient([program("bench_client")])


class VendorEnds:
    """Kernels and clients on the vendor's library. `nagle`: whether clients, and the kernels that listen on `port`,
    have Nagle's algorithm, as the library leaves it."""

    def __init__(self, stack, library=None, *, nagle=True):
        library = library or vendor_library()
        self.name = f"vendor library {Path(library).name}"
        self.kernel = vendor_program("vendor_kernel", library)
        self._client = vendor_program("vendor_client", library)
        self._environment = None if nagle else {**os.environ, "LD_PRELOAD": program("no_nagle")}
        self.options = ""
        self._host = stack.enter_context(Program([self.kernel, "--listen"], env=self._environment))
        self.port = int(self._host.receive())
        self.pid = self._host.pid

    def client(self):
        return BenchClient([self._client], env=self._environment)
