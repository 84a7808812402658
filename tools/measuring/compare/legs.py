"""The ways between client and kernel that are compared. All lead to the same kernels."""
import contextlib
import os
import resource
import shutil
import socket
import subprocess
import time

from tests.interop.programs import library_path as vendor_library
from tests.support.processes import processor_seconds, resident_bytes
from tests.support.server import ServerProcess, pool
from tools.measuring.ends import Program
from tools.measuring.native.build import vendor_program

#: Where system programs live that are not on everybody's PATH.
_SYSTEM_FOLDERS = ("/usr/sbin", "/usr/local/sbin")


def executable(name):
    """The path of a system program, None if it is not installed."""
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", os.defpath), *_SYSTEM_FOLDERS]))


def free_port():
    """A port that was free a moment ago, for programs that cannot be told to choose one."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def wait_until_listening(port, process, seconds=10.0):
    """Wait until a program accepts connections; RuntimeError if it does not."""
    end = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1.0).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{process.args[0]} does not listen") from None
            time.sleep(0.02)


class Leg(contextlib.ExitStack):
    """A way to the kernels of `ends`: clients connect to `port` in UUID mode once `open` has returned.

    `kernels`: how many clients there will be at the same time. `pid`: the process in between, None if there is none.
    """

    name = "?"
    #: The Debian package of the program in between.
    package = ""

    def __init__(self, ends, folder, kernels=8):
        super().__init__()
        self.ends, self.folder, self.kernels = ends, folder, kernels
        self.port = self.pid = None

    @classmethod
    def missing(cls):
        """What this leg needs and this machine lacks, with the package to install; None if nothing."""
        if not cls.package or executable(cls.name):
            return None
        return f"{cls.name} is not installed (Debian: apt install {cls.package})"

    def open(self):
        raise NotImplementedError

    def resident(self):
        """Resident bytes of the process in between."""
        return resident_bytes(self.pid) if self.pid else 0

    def processor(self):
        """Processor seconds that the process in between has used."""
        return processor_seconds(self.pid) or 0.0 if self.pid else 0.0

    def _start(self, command, **options):
        process = self.enter_context(subprocess.Popen(command, stdin=subprocess.DEVNULL, **options))
        self.callback(process.kill)
        self.pid = process.pid
        return process


class Direct(Leg):
    """The client connects to the kernels' own port."""

    name = "direct"

    def open(self):
        self.port = self.ends.port


class Server(Leg):
    """One wstpserver process, whose pool has kernels of this kind, all running before the first client comes."""

    name = "wstpserver"

    def open(self):
        settings = pool(
            self.ends.kernel, KernelOptions=self.ends.options, MinimumKernelNumber=self.kernels,
            MaximumKernelNumber=self.kernels + 50, ReservePreviouslyConnectedKernels=False,
        )  # fmt: skip
        configuration = {"KernelStartConcurrency": 16, "MaximumUnpairedConnections": 20000, "Pools": {"P": settings}}
        server = self.enter_context(ServerProcess(self.folder, configuration, stop_deadline=120))
        server.wait_for_log(r"Pool P is ready with", 120 + 0.1 * self.kernels)
        self.port, self.pid = server.port, server.pid


class HAProxy(Leg):
    """HAProxy in TCP mode with one thread, moving data by splice."""

    name = package = "haproxy"

    def open(self):
        with socket.create_server(("127.0.0.1", 0), backlog=4096) as listener:
            self.port = listener.getsockname()[1]
            most = resource.getrlimit(resource.RLIMIT_NOFILE)[1] // 2 - 1500  # two descriptors each, and pipes
            text = f"""\
global
  maxconn {most}
  maxpipes 1000
  nbthread 1
defaults
  mode tcp
  timeout connect 10s
  timeout client 1h
  timeout server 1h
  option splice-auto
  option splice-request
  option splice-response
listen relay
  bind fd@{listener.fileno()}
  server kernels 127.0.0.1:{self.ends.port}
"""
            path = self.folder / "haproxy.cfg"
            path.write_text(text)
            process = self._start([executable("haproxy"), "-db", "-q", "-f", str(path)], pass_fds=[listener.fileno()])
        wait_until_listening(self.port, process)


class VendorRelay(Leg):
    """A small program on the vendor's library that passes whole expressions on with WSTransferExpression."""

    name = "vendor relay"

    @classmethod
    def missing(cls):
        return None if vendor_library() else "WSTP_LIBRARY names no library of the vendor"

    def open(self):
        relay = self.enter_context(Program([vendor_program("vendor_relay", vendor_library()), str(self.ends.port)]))
        self.port, self.pid = int(relay.receive()), relay.pid


LEGS = {leg.name: leg for leg in (Direct, Server, HAProxy, VendorRelay)}
