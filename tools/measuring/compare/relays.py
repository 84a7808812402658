"""Relays that are not ours: each is started with a configuration of its own. Byte proxies need not know that two
connections make a link, because the kernels listen in UUID mode on one port and put them together."""
import os
import resource
import shutil
import socket
import time
from pathlib import Path

from tests.interop.programs import library_path as vendor_library
from tests.support import processes
from tools.measuring.compare.legs import Direct, DirectWithoutNagle, Leg, Server
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
