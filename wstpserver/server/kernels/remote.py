"""Kernels on other machines, as the server sees them: a connector on this machine, what that reports, and, with
KernelTransport "tcp", connections that the agent makes to the server.

For such connections the connector has given a token and a secret to the server, and to the agent over the launcher's
standard input. The agent connects twice, once for each connection of the link, and both sides prove that they have the
secret before anything else passes:

    agent    WSTPSERVER-AGENT 1 <token> <channel> <nonce>
    server   <nonce> HMAC(secret, "server" | token | channel | the agent's nonce | the server's nonce)
    agent    HMAC(secret, "agent" | ...)
    server   welcome

From then on the connection is that of the kernel's link. A secret is good for one connection of each channel.
"""

from __future__ import annotations

import hmac
import json
import os
import secrets
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gevent
from gevent.event import Event
from gevent.socket import wait_read

from wstpserver.keeper.agent import DATA_CHANNEL, MESSAGE_CHANNEL, VERSION, proof
from wstpserver.keeper.connector import ENVIRONMENT, REPORT
from wstpserver.server.connection import address_name
from wstpserver.server.listen import LinkServer
from wstpserver.server.log import Log
from wstpserver.settings import PoolSettings, ServerSettings, discovery
from wstpserver.settings.resolve import AUTOMATIC_PATH

#: Seconds that an agent has to prove who it is; the token may be reported a moment later than it connects.
PROOF_TIMEOUT = 10.0

#: Connections at the same time that have not proved anything yet. Further ones are closed.
MAXIMUM_UNPROVED = 256

#: Bytes of a line of the conversation at most.
_LONGEST_LINE = 256

#: Runs the connector without the packages that are installed for this Python, which it does not need.
_RUN = (
    "import sys; sys.path.insert(0, sys.argv.pop(1));"
    " from wstpserver.keeper.connector import main; main(sys.argv[1:])"
)
_FLAGS = ("-S", "-E", "-s")
_PACKAGES = os.fspath(Path(__file__).parents[3])


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """How a kernel is started on another machine.

    Attributes:
        launcher: The words of KernelLauncher with everything filled in.
        agent: The words of KernelAgent.
        interface: Where the agent connects to the server; "" to carry the link through the launcher.
        directory: The folder that the kernel begins in, "" for that of the agent.
        environment: What is different in its environment; None takes a variable away.
    """

    launcher: tuple[str, ...]
    agent: tuple[str, ...]
    interface: str = ""
    directory: str = ""
    environment: Mapping[str, str | None] = field(default_factory=dict)

    def command(self, path: str, options: list[str], server: tuple[str, int] | None) -> list[str]:
        """The command line of the connector, without the link arguments.

        Args:
            path: The kernel's program.
            options: The kernel's options.
            server: The host and port for connections of the agent, None if it makes none.
        """
        order: dict[str, Any] = {
            "launcher": self.launcher,
            "agent": self.agent,
            "path": None if path == AUTOMATIC_PATH else path,
            "options": options,
            "directory": self.directory,
            "discovery": discovery.__file__,
            "server": None if server is None else {"host": server[0], "port": server[1]},
        }
        return [sys.executable, *_FLAGS, "-c", _RUN, _PACKAGES, json.dumps(order)]

    def variables(self) -> tuple[str, ...]:
        """What the connector needs in its environment, as `NAME=value`."""
        return (f"{ENVIRONMENT}={json.dumps(dict(self.environment))}",)


def fill_in(launcher: tuple[str, ...], pool: str, kernel: str) -> tuple[str, ...]:
    """The words of KernelLauncher for one kernel.

    Args:
        launcher: The words with `{pool}`, `{id}` and `{server}`.
        pool: The name of the pool.
        kernel: The ID of the kernel.
    """
    values = {"{pool}": pool, "{id}": kernel, "{server}": socket.gethostname()}
    filled = []
    for word in launcher:
        for placeholder, value in values.items():
            word = word.replace(placeholder, value)
        filled.append(word)
    return tuple(filled)


def elsewhere_of(
    settings: ServerSettings, pool: PoolSettings, kernel: str, directory: str, environment: Mapping[str, str | None]
) -> Elsewhere | None:
    """How a kernel with the settings of a pool is started on another machine; None for this machine."""
    if not pool.kernel_launcher:
        return None
    interface = settings.kernel_transport_interface if pool.kernel_transport == "tcp" else ""
    launcher = fill_in(pool.kernel_launcher, pool.name, kernel)
    return Elsewhere(launcher, pool.kernel_agent, interface, directory, environment)


class RemoteKernel:
    """What the connector of one kernel reports.

    Attributes:
        launcher: the words of the launcher.
        host: the machine that the kernel runs on, "" before it is known.
        path: the kernel's program there.
        process: its process ID there, 0 before it is known.
        memory: its resident memory in bytes, 0 if it is not known.
        ended: why it has ended, "" if only the exit status says so.
        started: set when its process has been started.
    """

    __slots__ = ("_expect", "_log_line", "ended", "host", "launcher", "memory", "path", "process", "started")

    def __init__(
        self,
        launcher: tuple[str, ...],
        log_line: Callable[[str], None],
        expect: Callable[[str, bytes], object] = lambda token, secret: None,
    ) -> None:
        """
        Args:
            launcher: the words of the launcher.
            log_line: called with each line that the kernel or the engine prints.
            expect: called with a token and a secret that connections of the agent will show.
        """
        self.launcher = launcher
        self.host = self.path = self.ended = ""
        self.process = self.memory = 0
        self.started = Event()
        self._log_line = log_line
        self._expect = expect

    def hand_over(self) -> dict[str, Any]:
        """What another process of the server needs to know of it, as JSON can express it."""
        return {
            "launcher": list(self.launcher),
            "host": self.host,
            "path": self.path,
            "process": self.process,
            "memory": self.memory,
        }

    @classmethod
    def of_record(cls, record: Mapping[str, Any], log_line: Callable[[str], None]) -> RemoteKernel:
        """A kernel that runs already; *record* is what `hand_over` returned in another process."""
        remote = cls(tuple(record["launcher"]), log_line)
        remote.host, remote.path = record["host"], record["path"]
        remote.process, remote.memory = record["process"], record["memory"]
        remote.started.set()
        return remote

    def take_line(self, line: str) -> bool:
        """Take a line of the connector; True if it was a report."""
        if not line.startswith(REPORT):
            self._log_line(line)
            return False
        try:
            report = json.loads(line[len(REPORT) :])
        except ValueError:  # cut off, because the connector was killed
            return True
        self.host = report.get("host", self.host)
        self.path = report.get("path", self.path)
        self.process = report.get("pid", self.process)
        self.memory = report.get("memory", self.memory)
        self.ended = report.get("ended", self.ended)
        if "secret" in report:
            self._expect(report["token"], bytes.fromhex(report["secret"]))
        if self.process:
            self.started.set()
        return True


class TransportUnavailable(Exception):
    """The server cannot listen for agents; the text says why."""


class ExpectedLink:
    """The two connections of one kernel's link, which its agent will make."""

    def __init__(self) -> None:
        self._secret = b""
        self._wanted: set[int] = set()
        self._takers: dict[int, Callable[[socket.socket, str], object]] = {}
        self._arrived: dict[int, tuple[socket.socket, str]] = {}
        self._forget: Callable[[], object] = lambda: None

    def begin(self, secret: bytes, forget: Callable[[], object]) -> None:
        """Expect connections of whoever has the secret; *forget* is called when none is expected any more."""
        self._secret, self._forget = secret, forget
        self._wanted = {DATA_CHANNEL, MESSAGE_CHANNEL}

    def take_with(
        self, data: Callable[[socket.socket, str], object], messages: Callable[[socket.socket, str], object]
    ) -> None:
        """Have the connections given to these callbacks, with the address for the log."""
        self._takers = {DATA_CHANNEL: data, MESSAGE_CHANNEL: messages}
        for channel, (connected, name) in sorted(self._arrived.items()):
            self._takers[channel](connected, name)
        self._arrived.clear()

    def proof(self, side: bytes, *words: bytes) -> bytes:
        """What a side has to show."""
        return proof(self._secret, side, *words)

    def reserve(self, channel: int) -> bool:
        """Whether a connection of this channel is still expected; it is not after this."""
        if channel not in self._wanted:
            return False
        self._wanted.discard(channel)
        return True

    def deliver(self, channel: int, connected: socket.socket, name: str) -> None:
        """A connection has proved who it is."""
        if channel in self._takers:
            self._takers[channel](connected, name)
        else:
            self._arrived[channel] = connected, name
        if not self._wanted:
            self._forget()

    def close(self) -> None:
        """Expect nothing more."""
        self._wanted.clear()
        self._forget()
        for connected, _ in self._arrived.values():
            connected.close()
        self._arrived.clear()


class Transports:
    """Listens for agents on the interfaces that the configuration names, from the first kernel on that needs one."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._servers: dict[str, tuple[LinkServer, tuple[str, int]]] = {}
        self._links: dict[str, ExpectedLink] = {}
        self._unproved = 0
        #: Set, and made anew, whenever a token becomes known.
        self._known = Event()

    def address(self, interface: str) -> tuple[str, int]:
        """Listen on an interface, if not done already.

        Args:
            interface: a host, or a host and a port.

        Returns:
            The host and the port that agents connect to.

        Raises:
            TransportUnavailable: it cannot be listened on.
        """
        if interface not in self._servers:
            host, port = split_interface(interface)
            try:
                family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
                listener = socket.create_server(address[:2], family=family, backlog=128)
            except OSError as error:
                raise TransportUnavailable(
                    f"the server cannot listen on KernelTransportInterface {interface}: {error.strerror or error}"
                ) from None
            server = LinkServer(listener, self._accept, self._log)
            server.start()
            self._servers[interface] = server, (host, listener.getsockname()[1])
            self._log.information(f"Listening for kernels on other machines on {address_name(listener.getsockname())}")
        return self._servers[interface][1]

    def expect(self, link: ExpectedLink, token: str, secret: bytes) -> None:
        """Take connections that show this token and have the secret as those of *link*."""
        self._links[token] = link
        link.begin(secret, lambda: self._links.pop(token, None))
        known, self._known = self._known, Event()
        known.set()

    def close(self) -> None:
        """Stop listening."""
        for server, _ in self._servers.values():
            server.stop()
        self._servers.clear()

    # -- connections ---------------------------------------------------------------------------------------------

    def _accept(self, connected: socket.socket, address: tuple[Any, ...]) -> None:
        if self._unproved >= MAXIMUM_UNPROVED:
            connected.close()
            return
        self._unproved += 1
        gevent.spawn(self._admit, connected, address_name(address))

    def _admit(self, connected: socket.socket, name: str) -> None:
        """Find out whose connection it is."""
        try:
            connected.setblocking(False)
            with gevent.Timeout(PROOF_TIMEOUT, _NoProof("it took too long")):
                link, channel = self._converse(connected)
        except (_NoProof, OSError) as error:
            connected.close()
            self._log.warning(f"Turned away a connection from {name} to the port of KernelTransportInterface: {error}")
            return
        finally:
            self._unproved -= 1
        link.deliver(channel, connected, name)

    def _converse(self, connected: socket.socket) -> tuple[ExpectedLink, int]:
        words = _line(connected).split(b" ")
        if len(words) != 5 or words[:2] != [b"WSTPSERVER-AGENT", b"%d" % VERSION] or not words[3].isdigit():
            raise _NoProof("it is not an agent")
        _, _, token, channel, theirs = words
        link = self._link(token.decode("ascii", "replace"))
        ours = secrets.token_hex(16).encode()
        said = (token, channel, theirs, ours)
        connected.send(ours + b" " + link.proof(b"server", *said) + b"\n")
        if not hmac.compare_digest(_line(connected), link.proof(b"agent", *said)):
            raise _NoProof("it does not have the secret")
        if not link.reserve(int(channel)):
            raise _NoProof("it is not expected any more")
        connected.send(b"welcome\n")
        return link, int(channel)

    def _link(self, token: str) -> ExpectedLink:
        while token not in self._links:
            self._known.wait()
        return self._links[token]


class _NoProof(Exception):
    """A connection has not proved that it is the agent of a kernel; the text says how."""


def _line(connected: socket.socket) -> bytes:
    """The next line, and not a byte more."""
    line = b""
    while not line.endswith(b"\n"):
        if len(line) > _LONGEST_LINE:
            raise _NoProof("it is not an agent")
        wait_read(connected.fileno())
        try:
            byte = connected.recv(1)
        except BlockingIOError:
            continue
        if not byte:
            raise _NoProof("it ended")
        line += byte
    return line[:-1]


def split_interface(text: str) -> tuple[str, int]:
    """The host and the port of KernelTransportInterface; port 0 if there is none.

    Raises:
        ValueError: it is neither a host nor a host and a port.
    """
    host, colon, port = text.rpartition(":")
    if not colon or (":" in host and not host.startswith("[")) or text.endswith("]"):
        host, port = text, "0"
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"expected a host, or a host and a port such as node0:4000, got {text!r}")
    return host, int(port)
