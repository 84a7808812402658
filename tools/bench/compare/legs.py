"""The ways between client and kernel that are compared. All lead to the same kernels.

Byte proxies need not know that two connections make a link: the kernels listen in UUID mode on one port and pair them.
"""
import contextlib
import os
import resource
import shutil
import socket
import subprocess
import time
from pathlib import Path

from tools.bench.cleanup import QuietStack
from tools.bench.ends import LightEnds, Program, VendorEnds
from tools.bench.native.build import vendor_program
from tools.harness import processes
from tools.harness.server import ROOT, ServerProcess, pool
from tools.harness.vendor import library_path as vendor_library


class Leg(QuietStack):
    """A way to the kernels of `ends`: clients connect to `port` in UUID mode once `open` has returned.

    `kernels`: how many clients there will be at the same time. `pid`: the process in between, None if there is none.
    """

    name = "?"
    #: What it can bear without a measurement taking minutes.
    most_clients = 10_000
    most_connections = 10_000
    most_megabytes = 1e9
    most_transfers = 200
    #: The kinds of ends that it can lie between.
    between = (LightEnds, VendorEnds)

    def __init__(self, ends, folder, kernels=8):
        super().__init__()
        self.ends, self.folder, self.kernels = ends, folder, kernels
        self.port = self.pid = None

    @classmethod
    def missing(cls):
        """What this leg needs and this machine lacks, with the package to install; None if nothing."""
        return None  # noqa: RET501  (the subclasses return something)

    def open(self):
        raise NotImplementedError

    def pids(self):
        """The processes in between."""
        return [self.pid] if self.pid else []

    def resident(self):
        """Resident bytes of what is in between."""
        return sum(map(processes.resident_bytes, self.pids()))

    def forget_peak(self):
        """`peak` begins anew."""
        for pid in self.pids():
            Path(f"/proc/{pid}/clear_refs").write_text("5")

    def peak(self):
        """The most resident bytes of what is in between since `forget_peak`."""
        lines = [line for pid in self.pids() for line in Path(f"/proc/{pid}/status").read_text().splitlines()]
        return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))

    def processor(self):
        """Processor seconds that what is in between has used."""
        used = 0.0
        for pid in self.pids():
            with contextlib.suppress(OSError):  # it has ended
                used += processes.exact_processor_seconds(pid)
        return used

    def pin(self, processor):
        """Keep what is in between on that processor, but not the kernels, which it has started."""
        for pid in self.pids():
            for thread in Path(f"/proc/{pid}/task").iterdir():
                os.sched_setaffinity(int(thread.name), {processor})

    def _start(self, command, **options):
        process = self.enter_context(
            subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, **options)
        )
        self.callback(process.kill)
        self.pid = process.pid
        return process


class Direct(Leg):
    """The client connects to the kernels' own port."""

    name = "direct"

    def open(self):
        self.port = self.ends.port


class DirectWithoutNagle(Leg):
    """The same on the vendor's library with Nagle's algorithm switched off at both ends, which no user can do: what the
    ends need by themselves."""

    name = "direct without Nagle"
    between = (VendorEnds,)

    def open(self):
        self.ends = VendorEnds(self, nagle=False)
        self.port = self.ends.port


class Server(Leg):
    """One wstpserver process, whose pool has kernels of this kind, all running before the first client comes."""

    name = "wstpserver"
    #: The checkout whose server it is.
    root = ROOT

    def open(self):
        settings = pool(
            self.ends.kernel, KernelOptions=self.ends.options, MinimumKernelNumber=self.kernels,
            MaximumKernelNumber=self.kernels + 50, ReservePreviouslyConnectedKernels=False,
        )  # fmt: skip
        configuration = {"KernelStartConcurrency": 16, "MaximumUnpairedConnections": 20000, "Pools": {"P": settings}}
        if self.root == ROOT:
            configuration["KernelsOutliveServer"] = 60  # as users have it, where tests do not
        server = self.enter_context(ServerProcess(self.folder, configuration, stop_deadline=120, root=self.root))
        server.wait_for_log(r"Pool P is ready with", 120 + 0.1 * self.kernels)
        self.port, self.pid = server.port, server.pid


#: Where system programs live that are not on everybody's PATH.
_SYSTEM_FOLDERS = ("/usr/sbin", "/usr/local/sbin")


def executable(name):
    """The path of a system program, None if it is not installed."""
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", os.defpath), *_SYSTEM_FOLDERS]))


def free_port():
    """A port that was free a moment ago, for programs that cannot be told to choose one."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def connection_limit():
    """How many connections a relay can pass on: two descriptors each, and some for pipes."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1] // 2 - 1500


class Relay(Leg):
    """A program of the system."""

    #: The Debian package of the program.
    package = ""

    @classmethod
    def missing(cls):
        if executable(cls.name):
            return None
        return f"{cls.name} is not installed (Debian: apt install {cls.package})"

    def _configured(self, name, text):
        path = self.folder / name
        path.write_text(text)
        return str(path)

    def _wait_until_listening(self, process, seconds=10.0):
        """Wait until the program accepts connections; RuntimeError if it does not."""
        end = time.monotonic() + seconds
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1.0).close()
                return
            except OSError:
                if process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError(f"{self.name} does not listen") from None
                time.sleep(0.02)


class HAProxy(Relay):
    """HAProxy in TCP mode with one thread, moving data by splice."""

    name = package = "haproxy"

    def open(self):
        with socket.create_server(("127.0.0.1", 0), backlog=4096) as listener:
            self.port = listener.getsockname()[1]
            path = self._configured("haproxy.cfg", f"""\
global
  maxconn {connection_limit()}
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
""")  # fmt: skip
            process = self._start([executable("haproxy"), "-db", "-q", "-f", path], pass_fds=[listener.fileno()])
        self._wait_until_listening(process)


class Nginx(Relay):
    """nginx with its stream module and one worker."""

    name = "nginx"
    package = "nginx libnginx-mod-stream"
    #: Debian has the module apart.
    MODULE = Path("/usr/lib/nginx/modules/ngx_stream_module.so")

    def open(self):
        self.port = free_port()
        module = f"load_module {self.MODULE};" if self.MODULE.exists() else ""
        path = self._configured("nginx.conf", f"""\
{module}
daemon off;
master_process off;
pid {self.folder}/nginx.pid;
error_log {self.folder}/error.log;
worker_rlimit_nofile {2 * connection_limit()};
events {{ worker_connections {2 * connection_limit()}; }}
stream {{
  server {{
    listen 127.0.0.1:{self.port} backlog=4096;
    proxy_pass 127.0.0.1:{self.ends.port};
    proxy_timeout 1h;
    tcp_nodelay on;
  }}
}}
""")  # fmt: skip
        log = str(self.folder / "error.log")
        process = self._start([executable("nginx"), "-p", str(self.folder), "-e", log, "-c", path])
        self._wait_until_listening(process)


class Socat(Relay):
    """socat, which makes a process for each connection."""

    name = package = "socat"
    most_clients = 100

    def open(self):
        self.port = free_port()
        listening = f"TCP4-LISTEN:{self.port},bind=127.0.0.1,fork,reuseaddr,backlog=4096,nodelay"
        process = self._start([executable("socat"), listening, f"TCP4:127.0.0.1:{self.ends.port},nodelay"],
                              stderr=open(self.folder / "socat.log", "w"))  # fmt: skip  # noqa: SIM115
        self._wait_until_listening(process)

    def pids(self):
        return [self.pid, *processes.descendants(self.pid)]


class VendorRelay(Leg):
    """A small program on the vendor's library that passes whole expressions on with WSTransferExpression."""

    name = "vendor relay"
    most_clients = 100
    most_connections = 50
    most_megabytes = 20
    most_transfers = 10

    @classmethod
    def missing(cls):
        return None if vendor_library() else "WSTP_LIBRARY names no library of the vendor"

    def open(self):
        relay = self.enter_context(Program([vendor_program("vendor_relay", vendor_library()), str(self.ends.port)]))
        self.port, self.pid = int(relay.receive()), relay.pid


LEGS = {leg.name: leg for leg in (Direct, DirectWithoutNagle, Server, HAProxy, Nginx, Socat, VendorRelay)}
