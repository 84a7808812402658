"""The ways between client and kernel that are compared. Each leg is a context manager with `time(count)`."""
import contextlib
import os
import shutil
import socket
import subprocess

from tests.support.server import ServerProcess, pool


class Leg(contextlib.ExitStack):
    """A client and a kernel, joined by what the subclass puts between them."""

    name = "?"

    def __init__(self, ends, folder):
        super().__init__()
        self._ends, self._folder = ends, folder
        self._client = ends.client()
        self.callback(self._client.close)

    @classmethod
    def missing(cls):
        """The program that this leg needs and this machine lacks, or None."""
        return None  # noqa: RET501  (the subclasses return something)

    def open(self):
        """Join the two ends; both are gone again when the context ends."""
        raise NotImplementedError

    def time(self, count):
        """Nanoseconds of `count` evaluations."""
        return self._client.time(count)

    def _process(self, command, **options):
        """Start a program that ends with this leg."""
        process = self.enter_context(subprocess.Popen(command, stdin=subprocess.DEVNULL, **options))
        self.callback(process.kill)
        return process

    def _start_kernel(self, addresses):
        name = ",".join(f"{port}@{host}" for host, port in addresses)
        self._process([self._ends.kernel, "-wstp", "-linkprotocol", "TCPIP", "-linkconnect", "-linkname", name])


class Direct(Leg):
    """The kernel connects to the client, as if the client had launched it."""

    name = "direct"

    def open(self):
        self._start_kernel(self._between(self._client.listen()))
        self._client.accept()

    def _between(self, addresses):
        """Put something before the client's two ports; returns the addresses for the kernel."""
        return addresses


class Server(Leg):
    """The client connects to wstpserver, whose pool has this kernel."""

    name = "wstpserver"

    def open(self):
        settings = {"Pools": {"Latency": pool(self._ends.kernel, MinimumKernelNumber=1)}}
        server = self.enter_context(ServerProcess(self._folder, settings))
        self.callback(self._client.close)  # before the server stops
        self._client.connect(server.port)


#: Where system programs live that are not on everybody's PATH.
_SYSTEM_FOLDERS = ("/usr/sbin", "/usr/local/sbin")


class Proxy(Direct):
    """A relay of bytes between kernel and client."""

    @classmethod
    def executable(cls):
        """The path of the relay's program, None if it is not installed."""
        return shutil.which(cls.name, path=os.pathsep.join([os.environ.get("PATH", os.defpath), *_SYSTEM_FOLDERS]))

    @classmethod
    def missing(cls):
        return None if cls.executable() else cls.name


class HAProxy(Proxy):
    """HAProxy in TCP mode, on listening sockets that it inherits."""

    name = "haproxy"

    def _between(self, addresses):
        listeners = [self.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in addresses]
        lines = ["global", "  maxconn 64", "defaults", "  mode tcp", "  timeout connect 5s",
                 "  timeout client 1h", "  timeout server 1h"]  # fmt: skip
        for listener, (host, port) in zip(listeners, addresses, strict=True):
            number = listener.fileno()
            lines += [f"listen relay{number}", f"  bind fd@{number}", f"  server end {host}:{port}"]
        path = self._folder / "haproxy.cfg"
        path.write_text("\n".join(lines) + "\n")
        descriptors = [listener.fileno() for listener in listeners]
        self._process([self.executable(), "-db", "-f", str(path)], pass_fds=descriptors)
        return [listener.getsockname() for listener in listeners]


class Socat(Proxy):
    """Two socat processes, one for each connection."""

    name = "socat"

    def _between(self, addresses):
        return [self._relay(host, port) for host, port in addresses]

    def _relay(self, host, port):
        command = [self.executable(), "-d", "-d", "TCP4-LISTEN:0,bind=127.0.0.1", f"TCP4:{host}:{port}"]
        log = self._process(command, stderr=subprocess.PIPE, text=True).stderr
        for line in log:
            if "listening on" in line:  # ... listening on AF=2 127.0.0.1:35127
                return "127.0.0.1", int(line.rpartition(":")[2])
        raise RuntimeError("socat did not listen")


LEGS = {leg.name: leg for leg in (Direct, Server, HAProxy, Socat)}
