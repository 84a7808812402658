"""The connector: stands on the server's machine for a kernel that runs elsewhere.

The server starts it like a kernel, with the same link arguments, and it connects to the server's ports when the kernel
has connected to those of the agent. It starts the launcher (ssh, srun ...), sends the agent through it, and carries the
link, the output and the exit status. So a kernel elsewhere is for the server a process of this machine, and what comes
from an agent or an engine that misbehaves reaches the connector of one kernel only.

    python connector.py ORDER ... -linkname PORT@HOST,PORT@HOST

ORDER is a JSON object: `launcher` and `agent` (lists of words), `path` (the kernel, null to look for one), `options`
(of the kernel), `directory` (the folder that it begins in), `discovery` (the file that knows where kernels are) and
`server` (host and port where the agent connects, null to carry the link itself). What is different in the kernel's
environment is not for everybody to see: the variable `ENVIRONMENT` has it, a JSON object in which null takes one away.

What the kernel and the engine print is the connector's output. Lines that begin with `REPORT` are for the server: a
JSON object with some of `host`, `path`, `pid` and `memory` of the kernel, `ended` (why it has ended), and `token` and
`secret` for connections of the agent.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from wstpserver.keeper import stream as protocol
from wstpserver.keeper.processes import describe_status
from wstpserver.keeper.protocol import MARK
from wstpserver.keeper.relay import RelayChannel, RelayLoop, RelayStream
from wstpserver.keeper.stream import (
    DATA_CHANNEL,
    HELLO,
    MESSAGE_CHANNEL,
    OUTPUT_CHANNEL,
    Loop,
    Stream,
    StreamChannel,
    StreamError,
)

#: What a line for the server begins with: U+FDD0, which no text has. It is taken out of everything else.
REPORT = "\ufdd0"
_REPORT = REPORT.encode()

#: Characters of a text in a report at most.
_LONGEST_TEXT = 300

#: The modules that are sent to the other machine, each after those that it uses. Their Python is 3.8.
AGENT_MODULES = ("processes", "stream", "passing", "agent")

#: What ends the wait for the agent's source on the other machine.
_READY = b"\x1eWSTPSERVER-AGENT?\n"

#: Bytes without an end of line that count as one.
_LONGEST_LINE = 4096

#: The variable that says what is different in the kernel's environment.
ENVIRONMENT = "wstpserver_kernel_environment"

#: Bytes of output that wait for the server above which the engine's are not read.
_MUCH_OUTPUT = 128 << 10

#: Seconds that a launcher has to end, and its last lines to come, once the kernel or the stream has ended. It may have
#: to give a job back, which it cannot when it is killed.
LAUNCHER_GRACE = 1.5

#: Seconds between the end of a link and that of its kernel within which the server hears of both at once.
LINK_GRACE = 0.4

#: Seconds that the kernel and the launcher have to end after SIGTERM.
STOP_GRACE = 2.6

#: Exit code of a connector whose kernel was not started, or whose stream was lost.
EXIT_FAILED = 69

#: Runs a line of Python that comes over standard input. A remote shell takes the quotes away and leaves another program
#: that does the same, so it does not matter whether there is one.
_READ_A_LINE = 'f"={exec(input())}"'

_READ_THE_SOURCE = """\
import os
os.write(1, {ready!r})
source = b""
while len(source) < {size}:
    more = os.read(0, {size} - len(source))
    if not more:
        raise SystemExit("the connection to the server ended")
    source += more
exec(compile(source, "wstpserver-agent", "exec"), {{"__name__": "wstpserver_agent"}})
"""

#: What a terminal shows of the line that reads the source.
_ECHO = b"exec('import os"
_TERMINAL = (
    "the launcher gives the agent a terminal, which changes what passes through it: leave out -t (ssh, docker, kubectl)"
    " or --pty (srun)"
)

_PR_SET_PDEATHSIG = 1


class Connector:
    """One launcher, the stream to the agent behind it, and the link to the server."""

    def __init__(self, order: dict[str, Any], ports: list[tuple[str, int]]) -> None:
        """
        Args:
            order: see above.
            ports: where the server expects the data connection and the message connection.
        """
        self._order = order
        self._environment = json.loads(os.environ.pop(ENVIRONMENT, "{}"))
        self._ports = dict(zip((DATA_CHANNEL, MESSAGE_CHANNEL), ports, strict=True))
        self._name = os.path.basename(order["launcher"][0]) if order["launcher"] else "env"
        self._loop = RelayLoop()
        self._output = _Output(self._loop)
        self._noise = b""
        self._source: bytes | None = None
        self._stream: Stream | None = None
        self._host = ""
        #: The wait status to end with once everything is passed on; None while the kernel lives.
        self._status: int | None = None
        self._last_timer: list[Any] | None = None
        self._held: list[_LinkChannel] = []
        self._errors_ended = False
        #: Why the stream has ended; None while it goes on.
        self._why_lost: str | None = None
        self._loop.catch_signals(self._signalled)
        self._launch()

    def run(self) -> int:
        """Returns the wait status of the kernel, or that of a failure."""
        self._loop.run()
        for number in (DATA_CHANNEL, MESSAGE_CHANNEL):
            if self._stream is not None:
                self._stream.channels[number].close()
        self._output.finish()
        return self._status or 0

    # -- the launcher --------------------------------------------------------------------------------------------

    def _launch(self) -> None:
        words, source = agent_command(self._order["agent"])
        command = [*self._order["launcher"], *words]
        (self._to_agent, standard_input), (self._from_agent, standard_output) = _stream_pair(), _stream_pair()
        # the keeper would kill it with this process, and a launcher that is killed may leave its job behind
        environment = {name: text for name, text in os.environ.items() if name != MARK}
        environment.setdefault("SHLVL", "1")  # or bash, given a socket as its input, reads the user's .bashrc
        try:
            self._launcher = subprocess.Popen(
                command,
                stdin=standard_input,
                stdout=standard_output,
                stderr=subprocess.PIPE,
                start_new_session=True,
                preexec_fn=_end_with_parent,
                env=environment,
            )
        except OSError as error:
            self._fail(f'the launcher "{command[0]}" could not be started: {error.strerror}')
            return
        finally:
            os.close(standard_input)
            os.close(standard_output)
        assert self._launcher.stderr
        self._errors = self._launcher.stderr.fileno()
        for descriptor in (self._from_agent, self._errors):
            os.set_blocking(descriptor, False)
        self._output.when_written(self._watch_engine)
        self._watch_engine()
        if source is not None:
            self._source = source
            text = _READ_THE_SOURCE.format(ready=_READY, size=len(source))
            self._write(f"exec({text!r})\n".encode())

    def _write(self, data: bytes) -> None:
        try:
            os.write(self._to_agent, data)
        except OSError:  # whoever reads the other end hears why
            pass

    def _read_errors(self, _events: int) -> None:
        data = _read(self._errors)
        if data == b"":
            self._errors_ended = True
            self._watch_engine()
            self._launcher_ended()
        elif data:
            self._output.write(data)
            self._watch_engine()

    def _watch_engine(self) -> None:
        """Read what the engine prints as far as the server takes it."""
        events = 0 if self._output.full else select.POLLIN
        self._loop.watch(self._errors, 0 if self._errors_ended else events, self._read_errors)
        if self._stream is None:
            self._loop.watch(self._from_agent, 0 if self._why_lost is not None else events, self._read_noise)

    def _read_noise(self, _events: int) -> None:
        """What comes before the agent's first line is from the engine."""
        data = _read(self._from_agent)
        if data is None:
            return
        if not data:
            self._output.write(self._noise)
            self._lost("")
            self._watch_engine()
            return
        self._noise += data
        while True:
            marker = HELLO if self._source is None else _READY
            before, found, rest = self._noise.partition(marker)
            if found and self._source is not None:
                self._output.write(before)
                self._noise, source, self._source = rest, self._source, None
                self._write(source)
                continue
            break
        line, ended, rest = rest.partition(b"\n")
        if found and ended:
            self._output.write(before)
            self._greeted(line, rest)
        elif not found:
            shown = max(0, len(self._noise) - len(marker))
            cut = self._noise.rfind(b"\n", 0, shown) + 1 or (shown if shown > _LONGEST_LINE else 0)
            if _ECHO in self._noise:
                self._fail(_TERMINAL)
            self._output.write(self._noise[:cut])
            self._noise = self._noise[cut:]
            self._watch_engine()
        elif len(line) > _LONGEST_LINE:
            self._fail("what answers through the launcher is not the agent")

    def _greeted(self, line: bytes, rest: bytes) -> None:
        try:
            hello = json.loads(line)
            version, self._host = int(hello["version"]), str(hello["host"])
        except (ValueError, KeyError, TypeError, RecursionError):
            self._fail("what answers through the launcher is not the agent")
            return
        if version != protocol.VERSION:
            self._fail(
                f"the agent on {self._host} speaks version {version} of the protocol and the server version"
                f" {protocol.VERSION}: install the same version of wstpserver there, or leave KernelAgent out"
            )
            return
        self._loop.watch(self._from_agent, 0, self._read_noise)
        self._report(host=self._host)
        self._stream = stream = RelayStream(self._loop, self._from_agent, self._to_agent, self._take, self._lost)
        for number in (DATA_CHANNEL, MESSAGE_CHANNEL):
            stream.add(_LinkChannel(stream, number, self._check_end, self._hold))
        stream.add(_OutputChannel(stream, self._output))
        order = self._order
        start = {key: order[key] for key in ("path", "options", "directory")}
        start["environment"] = self._environment
        if order["path"] is None:
            with open(order["discovery"], encoding="utf-8") as file:
                start["discovery"] = file.read()
        if order.get("server"):
            expected = {"token": os.urandom(16).hex(), "secret": os.urandom(32).hex()}
            self._report(**expected)
            start["server"] = {**order["server"], **expected}
        self._loop.serve(stream)
        if not order.get("server"):
            stream.lend_to_server()
        stream.send(protocol.START, 0, json.dumps(start).encode())
        self._ping()
        try:
            stream.feed(rest)
        except StreamError as error:
            stream.end(str(error))

    def _ping(self) -> None:
        assert self._stream is not None
        if time.monotonic() - self._stream.heard > protocol.SILENCE:
            self._stream.end(f"nothing was heard of it for {protocol.SILENCE:g} seconds")
        elif self._status is None:
            self._stream.send(protocol.PING)
            self._loop.call_later(protocol.PING_INTERVAL, self._ping)

    # -- what the agent says -------------------------------------------------------------------------------------

    def _take(self, kind: int, channel: int, payload: bytes) -> None:
        try:
            if kind == protocol.STARTED:
                told = json.loads(payload)
                self._report(host=str(told["host"]), path=str(told["path"]), pid=int(told["pid"]))
            elif kind == protocol.MEMORY:
                self._report(memory=int.from_bytes(payload, "big"))
            elif kind == protocol.OPEN and channel in self._ports:
                self._open(channel)
            elif kind == protocol.EXITED:
                told = json.loads(payload)
                self._exited(int(told["status"]) & 0xFFFF, str(told["why"]))
            elif kind == protocol.FAILED:
                self._fail(payload.decode("utf-8", "replace"), wait=True)
            else:
                raise StreamError(f"it sends a frame of kind {kind}")
        except (ValueError, KeyError, TypeError, RecursionError):
            raise StreamError(f"it sends a frame of kind {kind} that cannot be read") from None

    def _open(self, channel: int) -> None:
        assert self._stream is not None
        try:
            connected = socket.create_connection(self._ports.pop(channel))
        except OSError as error:
            raise StreamError(f"the server does not take its connection: {error.strerror}") from None
        self._stream.channels[channel].open(connected)

    def _exited(self, status: int, why: str) -> None:
        """The kernel has ended."""
        if why:
            self._report(ended=f"{describe_status(status)}; {why}")
        self._end_with(status, wait=True)

    def _lost(self, why: str) -> None:
        """The stream has ended without the exit status of the kernel."""
        if self._status is None:
            self._why_lost = why
            self._end_with(EXIT_FAILED << 8, wait=True)
        else:
            self._launcher_ended()

    def _fail(self, why: str, *, wait: bool = False) -> None:
        if self._status is None:
            self._report(ended=why)
            self._end_with(EXIT_FAILED << 8, wait=wait)

    # -- the end -------------------------------------------------------------------------------------------------

    def _end_with(self, status: int, *, wait: bool) -> None:
        """End as the kernel did, once what it wrote is passed on and the engine has had the time for its last lines."""
        if self._status is not None:
            return
        self._status = status
        if wait:
            self._last_timer = self._loop.call_later(LAUNCHER_GRACE, self._release)
            self._launcher_ended()
        else:
            self._release()

    def _launcher_ended(self) -> None:
        """Go on if the launcher has ended and all its lines are read."""
        if self._last_timer is not None and self._launcher.poll() is not None:
            while not self._errors_ended and (data := _read(self._errors)):
                self._output.write(data)
            self._loop.cancel(self._last_timer)
            self._release()

    def _release(self) -> None:
        self._last_timer = None
        self._explain_loss()
        for channel in self._held:
            channel.pass_end_on()
        self._held.clear()
        self._check_end()

    def _explain_loss(self) -> None:
        if self._why_lost is None:
            return
        code = self._launcher.poll()
        if self._stream is None:
            late = "before the agent answered"
        else:
            late = f"and with it the stream from the agent on {self._host}"
        if code is not None:
            ended = describe_status(-code if code < 0 else code << 8)
            text = f'its launcher "{self._name}" ended with {ended} {late}'
        elif self._stream is None:
            text = f'its launcher "{self._name}" closed its output before the agent answered'
        else:
            text = f"the stream from the agent on {self._host} was given up: {self._why_lost}"
        self._report(ended=text)

    def _check_end(self) -> None:
        """End once everything was passed on that came before the end of the kernel."""
        if self._status is None or self._last_timer is not None or self._held:
            return
        channels = self._stream.channels if self._stream is not None else {}
        if self._why_lost is None and any(channels[number].waiting for number in channels):
            return
        self._loop.finished = True

    def _hold(self, channel: _LinkChannel) -> None:
        """The kernel has closed a connection. If it has also ended, the server hears both at the same time."""
        if self._status is not None and self._last_timer is None:
            channel.pass_end_on()
            return
        if not self._held:
            self._loop.call_later(LINK_GRACE, self._give_up_holding)
        self._held.append(channel)

    def _give_up_holding(self) -> None:
        if self._status is None:
            self._release_held()

    def _release_held(self) -> None:
        for channel in self._held:
            channel.pass_end_on()
        self._held.clear()

    def _signalled(self, number: int) -> None:
        if number == signal.SIGCHLD:
            self._launcher_ended()
            return
        if self._stream is not None and self._status is None:
            self._stream.send(protocol.STOP)
        elif self._stream is None:
            try:
                os.killpg(self._launcher.pid, signal.SIGTERM)  # it may wait in a queue
            except OSError:
                pass
        self._loop.call_later(STOP_GRACE, lambda: self._fail("it did not end"))

    def _report(self, **facts: Any) -> None:
        self._output.report({key: _printable(fact) if isinstance(fact, str) else fact for key, fact in facts.items()})


class _LinkChannel(RelayChannel):
    """A connection of the link, whose end is passed on by the connector. The server waits for no acknowledgement."""

    acknowledges = False

    def __init__(
        self, stream: Stream, number: int, ended: Callable[[], object], hold: Callable[[_LinkChannel], object]
    ) -> None:
        super().__init__(stream, number, ended)
        self._hold = hold

    def peer_ended(self) -> None:
        self._hold(self)

    def pass_end_on(self) -> None:
        """Tell the server that the kernel has closed its connection."""
        super().peer_ended()


class _OutputChannel(StreamChannel):
    """What the kernel prints."""

    def __init__(self, stream: Stream, output: _Output) -> None:
        super().__init__(stream, OUTPUT_CHANNEL)
        self._output = output
        output.when_written(self._credit_output)

    def expect(self, size: int) -> None:
        if size > self._credit:
            raise StreamError("it sends more than it was given credit for")
        self._credit -= size

    def deliver(self, data: memoryview) -> None:
        self._output.write(bytes(data))
        self._credit_output()

    def _credit_output(self) -> None:
        """Give credit for what the server has taken."""
        self._written = protocol.WINDOW - self._credit - self._output.size
        self._give_credit()

    def peer_ended(self) -> None:
        """The output has ended."""


class _Output:
    """Standard output: what the kernel and the engine print, and reports to the server."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._rest = bytearray()
        self._line_begun = False
        self._callbacks: list[Callable[[], object]] = []
        os.set_blocking(1, False)

    @property
    def size(self) -> int:
        """Bytes that wait."""
        return len(self._rest)

    @property
    def full(self) -> bool:
        """Whether nothing should be added that can wait."""
        return len(self._rest) > _MUCH_OUTPUT

    def when_written(self, callback: Callable[[], object]) -> None:
        """Have *callback* called whenever some of what waited was written."""
        self._callbacks.append(callback)

    def write(self, data: bytes) -> None:
        """Print what others say."""
        data = data.replace(_REPORT, b"?")
        if data:
            self._line_begun = not data.endswith(b"\n")
            self._put(data)

    def report(self, facts: dict[str, Any]) -> None:
        """Tell the server something."""
        begin = b"\n" if self._line_begun else b""
        self._line_begun = False
        self._put(begin + _REPORT + json.dumps(facts, ensure_ascii=False).encode() + b"\n")

    def _put(self, data: bytes) -> None:
        self._rest += data
        self._write(0)

    def _write(self, _events: int) -> None:
        try:
            while self._rest:
                del self._rest[: os.write(1, self._rest[: 64 << 10])]
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:  # the server is gone, and the link with it
            self._rest.clear()
        self._loop.watch(1, select.POLLOUT if self._rest else 0, self._written)

    def _written(self, events: int) -> None:
        self._write(events)
        for callback in self._callbacks:
            callback()

    def finish(self) -> None:
        """Write what is left; the server reads it."""
        os.set_blocking(1, True)
        if self._line_begun:
            self._rest += b"\n"
        self._write(0)


def agent_command(words: list[str]) -> tuple[list[str], bytes | None]:
    """What the launcher is to run.

    Args:
        words: the command line of the agent. If it ends with "-", it is an interpreter to which the source is sent.

    Returns:
        The words of the command, and the source to send, if it is to be sent.
    """
    if words[-1] != "-":
        return words, None
    return [*words[:-1], "-c", _READ_A_LINE], agent_source().encode()


def agent_source() -> str:
    """The agent as one text: the modules that it consists of, and its start."""
    lines = ["import sys, types"]
    for name in AGENT_MODULES:
        full = f"wstpserver.keeper.{name}"
        with open(os.path.join(os.path.dirname(__file__), f"{name}.py"), encoding="utf-8") as file:
            source = file.read()
        lines.append(f"module = sys.modules[{full!r}] = types.ModuleType({full!r})")
        lines.append(f"exec(compile({source!r}, {full!r}, 'exec'), module.__dict__)")
    return "\n".join([*lines, "module.main()", ""])


def _printable(text: str) -> str:
    """A text of the other side as a line for a person."""
    return "".join(character if character.isprintable() else " " for character in text[:_LONGEST_TEXT])


def _stream_pair() -> tuple[int, int]:
    """Our end and the other one of what takes the place of a pipe: a socket takes a small frame as a whole, and shows
    it before it gives it away.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, protocol.PIPE_SIZE)
    return ours.detach(), theirs.detach()


def _end_with_parent() -> None:
    """In the launcher: end with the connector, where the system can see to that. A launcher that waits in a queue would
    not notice.
    """
    if sys.platform.startswith("linux"):
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def _read(descriptor: int) -> bytes | None:
    """What there is to read, b"" at the end, None if there is nothing yet."""
    try:
        return os.read(descriptor, 64 << 10)
    except (BlockingIOError, InterruptedError):
        return None
    except OSError:
        return b""


def end_with(status: int) -> None:
    """End this process with a wait status."""
    if os.WIFSIGNALED(status):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if os.WTERMSIG(status) not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(os.WTERMSIG(status), signal.SIG_DFL)
        os.kill(os.getpid(), os.WTERMSIG(status))
    os._exit(os.WEXITSTATUS(status))


def main(words: list[str]) -> None:
    """Run the program with the words of its command line."""
    places = [place.partition("@") for place in words[words.index("-linkname") + 1].split(",")]
    ports = [(host, int(port)) for port, _, host in places]
    end_with(Connector(json.loads(words[0]), ports).run())
