"""The prefork parent of embedded kernels: a process that has loaded the engine and forks a kernel on request.

The conversation uses a Unix socket of type SOCK_SEQPACKET, one JSON object per datagram; the server sends the kernel's
output pipe along with each request. docs/embedded-kernel.md describes the messages.
"""

from __future__ import annotations

import array
import itertools
import os
import signal
import socket
from collections.abc import Callable, Sequence
from typing import Any

import gevent
import ujson
from gevent.event import AsyncResult, Event
from gevent.socket import wait_read

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

    def __init__(self, program: str, log_line: Callable[[str], None]) -> None:
        """Start the parent. Raises OSError if it cannot be started."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        try:
            arguments = [program, "--warm-parent", str(theirs.fileno())]
            self.process = spawn(arguments, log_line, pass_descriptors=[theirs.fileno()])
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self._socket = ours
        self._numbers = itertools.count(1)
        self._launches: dict[int, AsyncResult] = {}
        self._kernels: dict[int, KernelProcess] = {}
        self._ready = Event()
        self._failure: str | None = None
        self._ending = False
        self._reader = gevent.spawn(self._read)

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
        number = next(self._numbers)
        result: AsyncResult = AsyncResult()
        self._launches[number] = result
        reading, writing = os.pipe()
        try:
            self._request(number, list(arguments), surroundings, writing)
            process = self._answer(result)
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
            del self._launches[number]
        process.drain(reading, log_line)
        return process

    def _request(self, number: int, arguments: list[str], surroundings: Surroundings, output: int) -> None:
        request = {"launch": number, "arguments": arguments}
        request |= {"directory": surroundings.directory or None, "environment": surroundings.changes() or None}
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
        kernel = self._kernels[pid] = KernelProcess(pid, reports_exit=False)
        kernel.exited.rawlink(lambda _: self._exited(pid))
        if result is None:  # the request was given up
            kernel.kill_group(signal.SIGKILL)
        else:
            result.set(kernel)

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
        self._socket.close()
        self.process.stop()
