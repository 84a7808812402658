"""Servers with light test kernels, and the situations that tests begin with: fixtures and helpers.

A conftest.py that imports `serve` and `gate` gives these fixtures to its folder.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import struct
from pathlib import Path

import pytest

from tools.harness import processes, rawlink
from tools.harness.fake_kernel.codec import Function, Symbol
from tools.harness.fake_kernel.framing import encode_size
from tools.harness.kernels import make_kernel
from tools.harness.processes import Footprint, assert_returns_to
from tools.harness.server import ServerProcess, pool
from tools.harness.waiting import wait_for

SUCCESS = '{"status":"ExecutionSuccess"}'
ERROR = '{"status":"ExecutionError"}'
MALFORMED = '{"status":"PacketMalformed"}'
TRUE, FALSE = Symbol("True"), Symbol("False")
ABORTED = Symbol("$Aborted")
MEBIBYTE = 1 << 20


def one_pool(kernel, minimum=1, root=None, **keys):
    """A configuration with the pool "a" of this kernel; keys are the pool's, `root` those of the server."""
    return {"Pools": {"a": pool(kernel, **{"MinimumKernelNumber": minimum, **keys})}, **(root or {})}


@contextlib.contextmanager
def serving(folder, configuration, *arguments, level="debug", **options):
    """A ServerProcess with its log at level debug that must come through without an internal error."""
    server = ServerProcess(folder, configuration, "--log-level", level, *arguments, **options)
    with server:
        yield server
    assert_no_internal_error(server.log)


def assert_no_internal_error(log):
    assert "Internal error" not in log and "Traceback" not in log, log


def join(server, **options):
    """A client bridged at its connection: its link, after the first InputNamePacket."""
    link = server.connect(**options)
    assert prompt(link)[0] == "InputNamePacket"
    return link


#: For as long as a kernel may take, or for as long as one that seems to be out of reach may still come free.
_WAITS = re.compile(r"WSTPServer: (waiting up to |.*; the link is closed unless )")


def prompt(link):
    """The next packet but those that say why the client waits for its kernel, if that takes long."""
    packet = link.get_packet()
    while packet[0] == "TextPacket" and _WAITS.match(packet[1]):
        packet = link.get_packet()
    return packet


def assert_serves(server):
    """A new client gets a kernel and an answer."""
    with join(server) as link:
        assert link.evaluate(Function("Plus", 20, 3)) == 23


def kernel_process(link):
    """The process id of the kernel that a link is bridged to."""
    return link.evaluate(Function("KernelProcess"))


def kernel_id(link):
    """The ID of the kernel that a link is bridged to."""
    return json.loads(link.command("GetKernelID"))["result"]


def information(link):
    """GetServerInformation as Python data."""
    return json.loads(link.command("GetServerInformation"))["result"]


def kernels(link, pool_name="Main"):
    """What GetServerInformation says of the kernels of a pool, by ID."""
    return {kernel["ID"]: kernel for kernel in information(link)["Pools"][pool_name]["Kernels"]}


def every_kernel(link):
    """The same of the kernels of all pools."""
    return {kernel["ID"]: kernel for each in information(link)["Pools"].values() for kernel in each["Kernels"]}


def join_pool(server, pool_name, timeout=60.0, **options):
    """A client that asks for a kernel of this pool: its link, after the first InputNamePacket.

    It waits for a kernel as long as for anything else: the only one may be starting, on another machine.
    """
    link = server.connect(timeout=timeout, **options)
    answer = link.command("ConnectKernel", pool_name, int(timeout))
    assert answer == SUCCESS, answer
    assert link.get_packet()[0] == "InputNamePacket"
    return link


def kernel_facts(link, pool_name="Main"):
    """What the server says of the kernel of a link."""
    return kernels(link, pool_name)[kernel_id(link)]


def close_reserved(server):
    """Close the kernels that are kept for clients that left: nobody comes back to them, and they fill their pool."""
    with server.connect(without_kernel=True) as link:
        for identifier, kernel in every_kernel(link).items():
            if kernel["State"] == "reserved":
                link.command("CloseKernel", identifier)


def enter(link, head, *args):
    """Send a command; returns its answer, and takes the InputNamePacket that follows a successful connection."""
    text = link.command(head, *args)
    if head in ("ConnectKernel", "ConnectParallelKernel") and text == SUCCESS:
        assert link.answer()[0] == "InputNamePacket"
    return text


def reconnect(link, identifier):
    """Bridge a link with the kernel of that ID; returns the prompt that follows."""
    assert link.command("ConnectKernel", identifier) == '{"status":"ExecutionSuccess"}'
    head, prompt = link.answer()
    assert head == "InputNamePacket"
    return prompt


def ready_kernels(server, number, deadline=60.0):
    """Wait until `number` kernels have become ready since the server's start."""
    wait_for(lambda: server.log.count(" is ready: process ") >= number, deadline, f"{number} kernels to be ready")


def send_beginning(connection, *data):
    """Send and return when the peer's system has taken all of it."""
    for piece in data:
        connection.sendall(piece)


def long_text(head, size):
    """(bytes up to the characters, bytes after them) of the packet head["xxx..."] with `size` characters."""
    beginning = b"FA#" + _sized(b"A~" + encode_size(len(head)) + head.encode()) + b"\n"
    inner = b"A~" + encode_size(size)
    return beginning + b'"' + encode_size(len(inner) + size) + inner, b"\n]"


def evaluate_length(size):
    """The same for EvaluatePacket[StringLength["xxx..."]]: its answer is `size`."""
    beginning = b"FA#" + _sized(b"A~NEvaluatePacket") + b"\n" + b"FA#" + _sized(b"A~LStringLength") + b"\n"
    inner = b"A~" + encode_size(size)
    return beginning + b'"' + encode_size(len(inner) + size) + inner, b"\n]"


def _sized(body):
    return encode_size(len(body)) + body


def message_of(notice):
    """The text of a TextPacket["WSTPServer: ..."] from get_packet()."""
    head, text = notice
    assert head == "TextPacket" and text.startswith("WSTPServer: "), notice
    return text


class Since:
    """What a server logs from now on."""

    def __init__(self, server):
        self._server = server
        self._start = len(server.log)

    @property
    def log(self):
        return self._server.log[self._start :]

    def wait_for(self, pattern, deadline=60.0):
        """The match of a regular expression in it, within `deadline` seconds."""
        return wait_for(lambda: re.search(pattern, self.log), deadline, lambda: f"{pattern!r} in the log:\n{self.log}")


def wait_until_busy(server, identifier):
    """Wait until an evaluation has gone to the kernel with that ID, as any client can find out."""
    with server.connect(without_kernel=True) as link:
        wait_for(lambda: busy(link, identifier), 60.0, f"kernel {identifier} to be busy")


def busy(link, identifier):
    """The server's answer to whether that kernel is busy; `link` is one that gets nothing else."""
    return link.command("GetKernelBusyStatus", identifier) == '{"result":"True"}'


class Gate:
    """A FIFO that holds a test kernel in BusyUntil[path], HalfFrame[path] or at its start gate until `open`."""

    def __init__(self, folder, name="gate"):
        self.path = os.fspath(Path(folder) / name)
        #: What keeps a kernel busy until the gate is opened, as text; its value is `path`.
        self.text = f'BusyUntil["{self.path}"]'
        self._descriptor = None
        os.mkfifo(self.path)

    def busy(self):
        """What keeps a kernel busy until the gate is opened, as expression; its value is `path`."""
        return Function("BusyUntil", self.path)

    def wait_until_reached(self, deadline=60.0):
        """Wait until a kernel waits at the gate."""
        wait_for(self._hold, deadline, f"a kernel to wait at {self.path}")

    def _hold(self):
        """Hold the writing end, which there is only once a kernel has the other one."""
        if self._descriptor is None:
            try:
                self._descriptor = os.open(self.path, os.O_WRONLY | os.O_NONBLOCK)
            except OSError:
                return False
        return True

    def open(self):
        """Let the kernel that waits, or comes next, go on."""
        self.wait_until_reached()
        os.write(self._descriptor, b".")
        self.close()

    def close(self):
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class Calm:
    """What a server holds when nobody uses it: taken at a quiet moment, asserted at another.

    The server has `kernels` kernels then, all of which have become ready, and `clients` that stay. It is used before
    the footprint is taken, until that changes nothing any more: some of what belongs to a server is made when it is
    needed first.
    """

    def __init__(self, server, kernels, clients=0):
        self._server, self._kernels, self._clients = server, kernels, clients
        self._footprint = None
        for _ in range(10):
            with contextlib.closing(rawlink.socket.create_connection(("127.0.0.1", server.port), 60.0)) as stranger:
                stranger.sendall(b"GET / HTTP/1.0\r\n\r\n")
                while stranger.recv(4096):
                    pass
            assert_serves(server)
            before, self._footprint = self._footprint, self.wait()
            if before is not None and vars(before) == vars(self._footprint):
                return
        raise AssertionError(f"the server holds more with every client: {before}, then {self._footprint}")

    def wait(self, deadline=60.0):
        """Wait until there are just the ready kernels, the clients that stay, the listening socket and that of the
        keeper; what the server holds then.

        One more socket, once it has been needed, is for asking the system who is at the other end of a connection.
        """
        sockets = 2 + 2 * self._kernels + 2 * self._clients
        pids = None

        def calm():
            nonlocal pids
            if set(processes.children(self._server.pid)) != pids:
                pids = self._kernels_at_rest()  # over a link, which has to be gone before sockets are counted
                return None
            now = Footprint(self._server.pid)
            settled = not now.zombies and now.children == self._kernels and now.sockets in (sockets, sockets + 1)
            return now if settled else None

        def found():
            return f"{sockets} sockets and {self._kernels} kernels: {Footprint(self._server.pid)}, {self._states()}"

        return wait_for(calm, deadline, found)

    def _kernels_at_rest(self):
        """Their process ids, once nothing is about to become of them; else None.

        Processes and sockets do not say so: there are as many while the kernel of a client that has left has not ended
        and the next one has not begun.
        """
        states = self._states()
        unused = [state for state in states.values() if state in ("free", "reserved")]
        used = [state for state in states.values() if state == "bridged"]
        found = len(unused), len(used), len(states)
        return set(states) if found == (self._kernels - self._clients, self._clients, self._kernels) else None

    def _states(self):
        """The state of each kernel by its process id, as the server says."""
        with self._server.connect(without_kernel=True) as link:
            return {kernel["ProcessID"]: kernel["State"] for kernel in every_kernel(link).values()}

    def assert_again(self, deadline=60.0):
        """Nothing has been left: no descriptor, thread, process or zombie."""
        assert_returns_to(self._footprint, self._server.pid, deadline)


def resident_mebibytes(server):
    return processes.resident_bytes(server.pid) / MEBIBYTE


def reset(connection):
    """Close a connection so that the peer sees it broken off."""
    connection.setsockopt(rawlink.socket.SOL_SOCKET, rawlink.socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@pytest.fixture
def serve(tmp_path):
    """serve(pools={name: keys}, grace={...}, **root keys) -> ServerProcess with client(); stopped behind the test."""
    kernel = make_kernel(tmp_path)
    with contextlib.ExitStack() as stack:

        def start(pools=None, grace=None, **keys):
            pools = pools or {"Main": {"MinimumKernelNumber": 2}}
            configuration = {"Pools": {name: pool(kernel, **values) for name, values in pools.items()}, **keys}
            server = stack.enter_context(serving(tmp_path, configuration, grace=grace))
            server.kernel_path = kernel

            def client(*, prompt=True):
                return stack.enter_context(join(server) if prompt else server.connect())

            server.client = client
            return server

        yield start


@pytest.fixture
def gate(tmp_path):
    """Holds a kernel until the test opens it."""
    made = Gate(tmp_path)
    yield made
    made.close()


def restart(server):
    """Restart a server; returns what it logs from then on, once it has."""
    since = Since(server)
    os.kill(server.pid, signal.SIGUSR2)
    since.wait_for("Restarted with |was not restarted")
    assert "Restarted with " in since.log, since.log
    return since
