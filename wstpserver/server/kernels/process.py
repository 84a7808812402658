"""Kernel processes: what they print, what is known of those on other machines, and how they end."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from gevent import get_hub
from gevent.event import AsyncResult, Event

from wstpserver.keeper.connector import REPORT
from wstpserver.keeper.processes import describe_status
from wstpserver.server import GRACE, GracePeriods
from wstpserver.server.connection import yield_to_loop
from wstpserver.server.handover import packed, unpacked
from wstpserver.server.kernels import process_info

#: Seconds that the end of the output is waited for once a process has exited: a child may hold the pipe open.
OUTPUT_GRACE = 0.5

#: Seconds between two looks at a process whose parent may not say that it has exited.
_POLL_INTERVAL = 0.1

#: Lines of the last output that are kept for the log and for the client.
LAST_LINES = 10

#: Bytes of output read before other greenlets have their turn. Each line of it is an entry of the log at level debug.
TURN_SIZE = 8192

#: Kernels whose memory is looked at before other greenlets have their turn.
MEMORY_TURN = 4

#: How much of a line that has not ended is kept, in bytes, and how much of a line is shown, in characters.
_KEPT = 4096
_SHOWN = 1000

#: Sequences that move the cursor or colour text on a terminal: CSI, OSC (up to BEL or ST), and two-character ones.
_ESCAPE_SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]?"
)
_CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


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


class KernelProcess:
    """A process that runs a kernel, the leader of a process group of its own.

    Attributes:
        pid: its process ID, which is the ID of its group as well.
        exited: becomes the wait status (as of `os.waitpid`) when the process has exited.
        stopped: becomes True at the end of `stop` when nothing of the process is left, False when it did not even exit
            after SIGKILL and was given up.
        remote: what is known of the kernel if this process stands for one on another machine.
    """

    __slots__ = ("_output", "_reports_exit", "exited", "parent", "pid", "remote", "stopped")

    def __init__(self, pid: int, *, reports_exit: bool = True, parent: int = 0) -> None:
        """Represent a running process.

        Args:
            pid: its process ID.
            reports_exit: whether *exited* is certain to be set by the creator. False for the child of another process
                that may be stopped; then the system is asked while somebody waits in `stop`.
            parent: the process ID of the prefork parent that forked it; 0 for a child of the server.
        """
        self.pid = pid
        self.parent = parent
        self.exited: AsyncResult = AsyncResult()
        self.stopped: AsyncResult = AsyncResult()
        self._reports_exit = reports_exit
        self._output: KernelOutput | None = None
        self.remote: RemoteKernel | None = None

    def drain(
        self, descriptor: int, log_line: Callable[[str], object], rest: bytes = b"", lines: Iterable[str] = ()
    ) -> None:
        """Read the output from *descriptor* until its end, so that the process never blocks on a full pipe.

        Args:
            descriptor: where to read.
            log_line: called with each line; one for which it returns True is not output.
            rest: what another process has read of a line that has not ended.
            lines: the last lines that another process has read.
        """
        self._output = KernelOutput(descriptor, log_line, rest, lines)

    def hand_over(self) -> dict[str, Any]:
        """What another process needs to go on with it (`handover`)."""
        record: dict[str, Any] = {"pid": self.pid}
        if self.parent:
            record["parent"] = self.parent
        if self.remote is not None:
            record["remote"] = self.remote.hand_over()
        output = self._output
        if output is not None and output.descriptor >= 0:
            record["output"] = {
                "descriptor": output.descriptor,
                "rest": packed(output.rest),
                "lines": list(output.kept_lines),
            }
        return record

    def go_on(self, record: Mapping[str, Any], log_line: Callable[[str], None]) -> None:
        """Read its output on where another process has stopped; *record* is what `hand_over` returned there."""
        take: Callable[[str], object] = log_line
        if "remote" in record:
            self.remote = RemoteKernel.of_record(record["remote"], log_line)
            take = self.remote.take_line
        output = record.get("output")
        if output is not None:
            self.drain(output["descriptor"], take, unpacked(output["rest"]), output["lines"])

    def last_output(self) -> str:
        """The last output lines, or "". Waits a moment for the end of the pipe once the process has exited."""
        if self._output is None:
            return ""
        if self.exited.ready():
            self._output.wait(OUTPUT_GRACE)
        return "\n".join(self._output.last_lines)

    def how_it_ended(self) -> str:
        """How the process has ended, in words: the exit status, or what is known of the end of a kernel elsewhere."""
        if self.remote is not None:
            if self._output is not None:
                self._output.wait(OUTPUT_GRACE)
            if self.remote.ended:
                return self.remote.ended
        return describe_status(self.exited.get())

    def kill_group(self, number: int) -> None:
        """Send a signal to the process and everything in its group."""
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            pass
        except PermissionError:  # macOS: a group whose members are all zombies
            pass

    def stop(self, grace: GracePeriods = GRACE) -> None:
        """End the process in stages; its link has been closed already.

        Returns when the process is gone, or has not exited in time after SIGKILL. The rest of its group is killed in
        any case, also when the process exits by itself.
        """
        if not self._wait(grace.link):
            self.kill_group(signal.SIGTERM)
            self._wait(grace.terminate)
        self.kill_group(signal.SIGKILL)
        gone = self._wait(grace.kill)
        if not self.stopped.ready():
            self.stopped.set(gone)
        if self._output is not None:
            self._output.wait(OUTPUT_GRACE)
            self._output.close()

    def _wait(self, seconds: float) -> bool:
        """Wait for the exit; whether the process has exited."""
        if self._reports_exit:
            self.exited.wait(seconds)
            return bool(self.exited.ready())
        deadline = time.monotonic() + seconds
        while not self.exited.ready():
            if process_info.has_ended(self.pid):
                self.exited.wait(_POLL_INTERVAL)  # its parent may be about to report the status
                if not self.exited.ready():
                    self.exited.set(int(signal.SIGKILL))
                break
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self.exited.wait(min(left, _POLL_INTERVAL))
        return True


def resident_memory(
    processes: Iterable[KernelProcess], unknown: Callable[[process_info.MemoryUnknown], object] = lambda _: None
) -> dict[KernelProcess, int]:
    """The resident memory of kernels, on this machine and on others, in bytes. Other greenlets run meanwhile.

    Args:
        processes: Those of the kernels.
        unknown: Is told once why the system says nothing of the kernels on this machine, which are missing then.

    Returns:
        What is known; a process that is gone is missing.
    """
    sizes: dict[KernelProcess, int] = {}
    number, told = 0, False
    for process in tuple(processes):
        if process.remote is not None:
            size = process.remote.memory
        elif process.exited.ready():
            continue
        else:
            number += 1
            if number % MEMORY_TURN == 0:
                yield_to_loop()
            try:
                size = 0 if told else process_info.resident_memory(process.pid)
            except process_info.MemoryUnknown as error:
                size, told = 0, True
                unknown(error)
        if size:
            sizes[process] = size
    return sizes


class KernelOutput:
    """The reading end of what a process prints.

    It is read in the hub: most kernels print a few lines at their start or none, and a greenlet for each would need
    more memory than everything else about a kernel. The descriptor is given back when the process and its children have
    closed theirs, or by `close`.
    """

    __slots__ = ("_ended", "_lines", "_log_line", "_watcher", "descriptor", "rest")

    def __init__(
        self, descriptor: int, log_line: Callable[[str], object], rest: bytes = b"", lines: Iterable[str] = ()
    ) -> None:
        os.set_blocking(descriptor, False)
        os.set_inheritable(descriptor, False)
        #: The descriptor; -1 once it is closed.
        self.descriptor = descriptor
        #: What was read of a line that has not ended.
        self.rest = rest
        self._log_line = log_line
        self._lines: deque[str] | None = deque(lines, maxlen=LAST_LINES) if lines else None
        #: Set at the end; made only when somebody waits for it.
        self._ended: Event | None = None
        self._watcher = get_hub().loop.io(descriptor, 1)
        self._watcher.start(self._read)

    def _read(self) -> None:
        try:
            chunk = os.read(self.descriptor, TURN_SIZE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            chunk = b""
        if not chunk:
            self.close()
            return
        *lines, rest = (self.rest + chunk).split(b"\n")
        self.rest = rest[-_KEPT:]
        for line in lines:
            self._take_line(line)

    def _take_line(self, line: bytes) -> None:
        text = _plain(line)
        if text and not self._log_line(text):
            if self._lines is None:
                self._lines = deque(maxlen=LAST_LINES)
            self._lines.append(text)

    @property
    def kept_lines(self) -> tuple[str, ...]:
        """The whole lines that were printed last, oldest first."""
        return tuple(self._lines or ())

    @property
    def last_lines(self) -> tuple[str, ...]:
        """What was printed last, oldest first, with a last line that has no end yet."""
        lines = (*(self._lines or ()), _plain(self.rest))
        return tuple(line for line in lines if line)[-LAST_LINES:]

    def wait(self, seconds: float) -> None:
        """Wait for the end, or for so many seconds."""
        if self.descriptor >= 0:
            if self._ended is None:
                self._ended = Event()
            self._ended.wait(seconds)

    def close(self) -> None:
        """Read no more. A last line without an end counts as a line."""
        if self.descriptor < 0:
            return
        self._watcher.stop()
        self._watcher.close()
        os.close(self.descriptor)
        self.descriptor = -1
        rest, self.rest = self.rest, b""
        self._take_line(rest)
        if self._ended is not None:
            self._ended.set()


def _plain(line: bytes) -> str:
    """A line without what only a terminal understands; of one that was overwritten the last version."""
    text = _ESCAPE_SEQUENCE.sub("", line.decode("utf-8", "replace")).rstrip().rpartition("\r")[2]
    return _CONTROL_CHARACTERS.sub("", text)[:_SHOWN]
