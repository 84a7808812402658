"""The prefork parent of embedded kernels: a process that has loaded the engine and forks a kernel on request.

The conversation uses a Unix socket of type SOCK_SEQPACKET, one JSON object per datagram; the server sends the kernel's
output pipe along with each request. docs/embedded-kernel.md describes the messages.
"""

from __future__ import annotations

import array
import contextlib
import os
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import gevent
import ujson
from gevent.event import AsyncResult, Event
from gevent.socket import wait_read

from wstpserver.keeper.protocol import MARK
from wstpserver.server.kernels.keeper_client import KeeperClient
from wstpserver.server.kernels.process import KernelProcess
from wstpserver.server.kernels.spawn import INHERITED, Surroundings, spawn

#: Longest datagram of the conversation, in bytes.
DATAGRAM_SIZE = 262144

#: Seconds in which a parent that has loaded the engine must answer a request. It only forks.
ANSWER_TIMEOUT = 2.0


class PreforkFailed(Exception):
    """The prefork parent is not running or could not start a kernel; a kernel can still be started without it."""


class PreforkParent:
    """One running prefork parent and the kernels it has forked.

    A parent that does not answer in time gets no more requests (`usable` becomes False), but its kernels go on: the
    system kills them together with the parent. It is ended when the last of them is gone.
    """

    def __init__(self, program: str, log_line: Callable[[str], None], keeper: KeeperClient | None = None) -> None:
        """Start the parent, by the keeper if there is one. Raises OSError if it cannot be started."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            arguments = [program, "--warm-parent", str(theirs.fileno())]
            process = spawn(arguments, log_line, pass_descriptors=[theirs.fileno()], keeper=keeper)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self._begin(program, process, ours, keeper)

    def _begin(
        self, program: str, process: KernelProcess, connected: socket.socket, keeper: KeeperClient | None
    ) -> None:
        connected.setblocking(False)
        self.program = program
        self.process = process
        self._keeper = keeper
        self._socket = connected
        #: Whether the keeper holds its socket, for the next server.
        self.kept = False
        #: The number of the last request.
        self._number = 0
        self._launches: dict[int, AsyncResult] = {}
        self._kernels: dict[int, KernelProcess] = {}
        self._ready = Event()
        self._failure: str | None = None
        self._ending = False
        self._reader = gevent.spawn(self._read)

    def hand_over(self) -> dict[str, Any]:
        """What another process needs to go on with it (`handover`)."""
        return {
            "program": self.program,
            "process": self.process.hand_over(),
            "descriptor": self._socket.fileno(),
            "ready": self._ready.is_set(),
            "failure": self._failure,
            "number": self._number,
        }

    @property
    def descriptor(self) -> int:
        """Its socket."""
        return self._socket.fileno()

    def held(self) -> dict[str, Any]:
        """What the keeper holds of it beside its socket: a record for `of_record` in another process."""
        process = {"pid": self.process.pid}
        # the numbers of another server's requests must be others: nobody waits for the answers to those of this one
        return {"program": self.program, "process": process, "ready": True, "failure": None, "number": 1 << 30}

    @classmethod
    def of_record(
        cls, record: Mapping[str, Any], process: KernelProcess, keeper: KeeperClient | None = None
    ) -> PreforkParent:
        """The parent that another process has started.

        Args:
            record: What `hand_over` returned there.
            process: Its process.
            keeper: Has started it; None if the server has.

        Raises:
            OSError: Its socket does not exist any more.
        """
        connected = socket.socket(fileno=record["descriptor"])
        connected.set_inheritable(False)
        parent = cls.__new__(cls)
        parent._begin(record["program"], process, connected, keeper)
        parent._failure, parent._number = record["failure"], record["number"]
        if record["ready"]:
            parent._ready.set()
        return parent

    def kernel_of_record(self, record: Mapping[str, Any], log_line: Callable[[str], None]) -> KernelProcess:
        """A kernel that was forked for another process; *record* is what `KernelProcess.hand_over` returned there."""
        kernel = self._watch(record["pid"])
        kernel.go_on(record, log_line)
        return kernel

    @property
    def usable(self) -> bool:
        """Whether it can start kernels, as far as is known."""
        return self._failure is None

    def launch(
        self,
        arguments: Sequence[str],
        log_line: Callable[[str], None],
        timeout: float,
        surroundings: Surroundings = INHERITED,
    ) -> KernelProcess:
        """Fork a kernel.

        Args:
            arguments: the kernel's arguments, without the program.
            log_line: called with each line that the kernel prints.
            timeout: seconds that the engine may take to load.
            surroundings: the folder that the kernel begins in, and its environment.

        Raises:
            PreforkFailed: the engine was not loaded in time, the parent did not answer, or it refused.
        """
        with gevent.Timeout(timeout, PreforkFailed("the prefork parent is not ready in time")):
            self._ready.wait()
        if self._failure is not None:
            raise PreforkFailed(self._failure)
        self._number = number = self._number + 1
        result: AsyncResult = AsyncResult()
        self._launches[number] = result
        mark = self._keeper.new_mark() if self._keeper is not None else ""
        reading, writing = os.pipe()
        try:
            self._request(number, list(arguments), surroundings, writing, mark)
            process = self._answer(result)
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
            del self._launches[number]
        process.drain(reading, log_line)
        if self._keeper is not None:
            self._keeper.know(mark)
            process.exited.rawlink(partial(self._forget_mark, self._keeper, mark))
        return process

    @staticmethod
    def _forget_mark(keeper: KeeperClient, mark: str, _exited: AsyncResult) -> None:
        keeper.forget(mark)

    def _request(self, number: int, arguments: list[str], surroundings: Surroundings, output: int, mark: str) -> None:
        environment = surroundings.changes() | ({MARK: mark} if mark else {})
        request = {"launch": number, "arguments": arguments}
        request |= {"directory": surroundings.directory or None, "environment": environment or None}
        message = ujson.dumps(request)
        descriptors = array.array("i", [output])
        try:
            self._socket.sendmsg([message.encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)])
        except OSError as error:
            raise self._retired(f"the prefork parent takes no requests ({error})") from None

    def _answer(self, result: AsyncResult) -> KernelProcess:
        try:
            process: KernelProcess = result.get(timeout=ANSWER_TIMEOUT)
        except gevent.Timeout:
            late = f"the prefork parent (process {self.process.pid}) has not answered for {ANSWER_TIMEOUT:g} seconds"
            raise self._retired(late) from None
        return process

    def _retired(self, reason: str) -> PreforkFailed:
        """Ask this parent for no more kernels; returns the error for those who wait for one."""
        if self._failure is None:
            self._failure = reason
        self._end_if_idle()
        return PreforkFailed(self._failure)

    def _read(self) -> None:
        try:
            while True:
                wait_read(self._socket.fileno())
                data = self._socket.recv(DATAGRAM_SIZE)
                if not data:
                    break
                self._handle(ujson.loads(data))
        except OSError:
            pass
        self._fail("the prefork parent ended")

    def _handle(self, event: dict[str, Any]) -> None:
        kind = event.get("event")
        if kind == "ready":
            self._ready.set()
        elif kind == "failed":
            self._fail(str(event.get("reason")))
        elif kind == "launched":
            self._launched(int(event["pid"]), self._launches.get(event["launch"]))
        elif kind == "not-launched":
            result = self._launches.get(event["launch"])
            if result is not None:
                result.set_exception(PreforkFailed(str(event.get("reason"))))
        elif kind == "exited":
            kernel = self._kernels.get(int(event["pid"]))
            if kernel is not None and not kernel.exited.ready():
                kernel.exited.set(int(event["status"]))

    def _launched(self, pid: int, result: AsyncResult | None) -> None:
        kernel = self._watch(pid)
        if result is None:  # the request was given up
            kernel.kill_group(signal.SIGKILL)
        else:
            result.set(kernel)

    def _watch(self, pid: int) -> KernelProcess:
        kernel = self._kernels[pid] = KernelProcess(pid, reports_exit=False, parent=self.process.pid)
        kernel.exited.rawlink(lambda _: self._exited(pid))
        return kernel

    def _exited(self, pid: int) -> None:
        self._kernels.pop(pid, None)
        self._end_if_idle()

    def _end_if_idle(self) -> None:
        if self._failure is not None and not self._kernels and not self._ending:
            self._ending = True
            self.process.kill_group(signal.SIGKILL)
            gevent.spawn(self.stop)

    def _fail(self, reason: str) -> None:
        """The parent ends, and the system kills its kernels with it."""
        if self._failure is None:
            lines = self.process.last_output()
            self._failure = f"{reason}: {lines}" if lines else reason
        self._ready.set()
        for result in self._launches.values():
            result.set_exception(PreforkFailed(self._failure))
        for kernel in tuple(self._kernels.values()):
            kernel.kill_group(signal.SIGKILL)
            kernel.exited.set(int(signal.SIGKILL))
        self._end_if_idle()

    def stop(self) -> None:
        """End the parent and the kernels that are left; returns when they are gone."""
        self._ending = True
        self._reader.kill()
        # The keeper may hold the same socket: closing this descriptor alone would not tell the parent.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self.process.stop()
