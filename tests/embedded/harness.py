"""Real kernels for tests: one warm parent for each test process, and a link of the client library to every kernel."""
import functools
import json
import os
import select
import socket
import subprocess
import sys
from pathlib import Path

from tools.harness.processes import parent
from wstpserver.client import LinkClosed, listen
from wstpserver.wire.packets import packet
from wstpserver.wire.values import Function, Symbol

#: Nothing a test waits for takes this long, in seconds, on a machine that is busy.
DEADLINE = 60.0

#: Seconds for loading Mathics, which needs all of a processor for several seconds.
LOADING_DEADLINE = 110.0

PROGRAM = [sys.executable, "-m", "wstpserver.embedded.main"]


def call(name, *arguments):
    """name[arguments...]"""
    return Function(Symbol(name), arguments)


def typed(text):
    """An expression as text: ToExpression["text"]"""
    return call("ToExpression", text)


def link_options(listener):
    """What a parent appends to a kernel's command line: for a listener with one port, that it is a link server's."""
    options = ["-linkprotocol", "TCPIP", "-linkconnect", "-linkname", listener.link_name]
    return options if listener.address.message else [*options, "-linkoptions", "4"]


def libraries(pid):
    """The paths of the files a process has mapped, its extension modules among them (Linux)."""
    return {line.split(maxsplit=5)[5] for line in Path(f"/proc/{pid}/maps").read_text().splitlines() if "/" in line}


def processor_time(pid):
    """Ticks of processor time that a process has taken (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def kernel_environment(home):
    """The environment of a kernel that must not touch the user's files."""
    return {**os.environ, "HOME": str(home), "PYTHONPATH": os.getcwd()}


class Kernel:
    """One end of a link with a kernel at the other."""

    def __init__(self, link, pid, output=None):
        self.link = link
        self.pid = pid
        self.output = output

    def send(self, name, *arguments):
        self.link.put(packet(name, *arguments))

    def packets_until(self, *names):
        """All packets up to the first one with such a name, as (name, argument, ...)."""
        packets = []
        while True:
            got = self.link.get_packet(DEADLINE)
            packets.append((got.name, *got.arguments))
            if got.name in names:
                return packets

    def enter(self, text):
        """The packets that answer an EnterTextPacket."""
        self.send("EnterTextPacket", text)
        return self.packets_until("InputNamePacket")

    def shown(self, text):
        """The text of the value of an entered line; None if there is none."""
        texts = [arguments[0] for name, *arguments in self.enter(text) if name == "ReturnTextPacket"]
        return texts[-1] if texts else None

    def evaluate_packets(self, expression):
        self.send("EvaluatePacket", expression)
        return self.packets_until("ReturnPacket")

    def evaluate(self, expression):
        """The value of an expression, or of what a text means."""
        return self.evaluate_packets(typed(expression) if isinstance(expression, str) else expression)[-1][1]

    def aborted(self, expression, after=None):
        """The value of an aborted evaluation; the abort goes out when `after`, a packet's name, has come."""
        self.send("EvaluatePacket", expression)
        if after is not None:
            self.packets_until(after)
        self.link.abort()
        return self.packets_until("ReturnPacket")[-1][1]

    def wait_until_closed(self):
        try:
            while True:
                self.link.get(DEADLINE)
        except LinkClosed:
            return

    def log(self):
        """What the kernel wrote to its output so far."""
        parts = []
        while select.select([self.output], [], [], 0)[0]:
            part = os.read(self.output, 65536)
            if not part:
                break
            parts.append(part)
        return b"".join(parts).decode()

    def close(self):
        self.link.close()
        if self.output is not None:
            os.close(self.output)


#: The program with a warm parent whose kernels know $ProcessID and an endless loop only: nothing has to be loaded.
LIGHT_PROGRAM = [sys.executable, str(Path(__file__).with_name("light_kernel.py"))]


class WarmParent:
    """The program with --warm-parent, and the server's end of its socket."""

    def __init__(self, home, program=PROGRAM):
        self.socket, inherited = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with inherited:
            self.process = subprocess.Popen(
                [*program, "--warm-parent", str(inherited.fileno())],
                pass_fds=[inherited.fileno()], env=kernel_environment(home), start_new_session=True,
            )  # fmt: skip
        self.socket.settimeout(LOADING_DEADLINE)
        self._events = []
        self._launches = 0

    @functools.cached_property
    def pid(self):
        """The process that forks the kernels: `process` may stand for it."""
        kernel = self.launch()
        pid = parent(kernel.pid)
        kernel.close()
        self.event("exited", pid=kernel.pid)
        return pid

    def receive(self):
        return json.loads(self.socket.recv(65536))

    def event(self, name, **fields):
        """The next event of that name with these fields; others are kept."""
        while True:
            for event in self._events:
                if event["event"] == name and all(event.get(key) == value for key, value in fields.items()):
                    self._events.remove(event)
                    return event
            self._events.append(self.receive())

    def request(self, arguments, directory=None, environment=None):
        """Ask for a kernel; returns (launch number, reading end of its output)."""
        self._launches += 1
        reader, writer = os.pipe()
        body = {"launch": self._launches, "arguments": arguments, "directory": directory, "environment": environment}
        socket.send_fds(self.socket, [json.dumps(body).encode()], [writer])
        os.close(writer)
        return self._launches, reader

    def launch(self, prompt=True, classic=False, **request):
        """A Kernel whose first prompt has been read."""
        with listen("0@127.0.0.1", classic=classic) as listener:
            launch, output = self.request(["-wstp", *link_options(listener)], **request)
            link = listener.accept(DEADLINE)
        kernel = Kernel(link, self.event("launched", launch=launch)["pid"], output)
        if prompt:
            assert kernel.packets_until("InputNamePacket") == [("InputNamePacket", "In[1]:= ")]
        return kernel

    def close(self):
        """Leave; the parent ends, and its kernels with it."""
        self.socket.close()
        return self.process.wait(DEADLINE)
