"""The warm parent of embedded kernels: a process that has loaded the engine and forks a kernel on request.

The conversation goes over a Unix socket of type SOCK_SEQPACKET, one JSON object a datagram; the server sends the
kernel's output pipe along with each request. docs/embedded-kernel.md describes the messages.
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

from wstpserver.server.process import KernelProcess
from wstpserver.server.spawn import spawn

#: Longest datagram of the conversation, in bytes.
DATAGRAM_SIZE = 262144


class WarmParentFailed(Exception):
    """The warm parent is not there or could not start a kernel; a kernel can still be started cold."""


class WarmParent:
    """One running warm parent and the kernels it has forked."""

    def __init__(self, program: str, log_line: Callable[[str], None]) -> None:
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
        self._reader = gevent.spawn(self._read)

    @property
    def alive(self) -> bool:
        """False once it can start no more kernels."""
        return self._failure is None

    def launch(
        self, arguments: Sequence[str], log_line: Callable[[str], None], timeout: float
    ) -> KernelProcess:
        """Fork a kernel. Raises `WarmParentFailed` after at most *timeout* seconds."""
        with gevent.Timeout(timeout, WarmParentFailed("the warm parent is not ready in time")):
            self._ready.wait()
            if self._failure is not None:
                raise WarmParentFailed(self._failure)
            number = next(self._numbers)
            result: AsyncResult = AsyncResult()
            self._launches[number] = result
            reading, writing = os.pipe()
            try:
                self._request(number, list(arguments), writing)
                process: KernelProcess = result.get()
            except BaseException:
                os.close(reading)
                raise
            finally:
                os.close(writing)
                del self._launches[number]
        process.drain(reading, log_line)
        return process

    def _request(self, number: int, arguments: list[str], output: int) -> None:
        message = ujson.dumps({"launch": number, "arguments": arguments, "directory": None, "environment": None})
        descriptors = array.array("i", [output])
        try:
            self._socket.sendmsg(
                [message.encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)]
            )
        except OSError as error:
            raise WarmParentFailed(f"the warm parent takes no requests: {error}") from None

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
        self._fail("the warm parent ended")

    def _handle(self, event: dict[str, Any]) -> None:
        kind = event.get("event")
        if kind == "ready":
            self._ready.set()
        elif kind == "failed":
            self._fail(str(event.get("reason")))
        elif kind == "launched":
            pid = int(event["pid"])
            kernel = self._kernels[pid] = KernelProcess(pid)
            result = self._launches.get(event["launch"])
            if result is None:  # whoever asked has given up
                kernel.kill_group(signal.SIGKILL)
            else:
                result.set(kernel)
        elif kind == "not-launched":
            result = self._launches.get(event["launch"])
            if result is not None:
                result.set_exception(WarmParentFailed(str(event.get("reason"))))
        elif kind == "exited":
            gone = self._kernels.pop(int(event["pid"]), None)
            if gone is not None:
                gone.exited.set(int(event["status"]))

    def _fail(self, reason: str) -> None:
        if self._failure is None:
            words = self.process.last_words()
            self._failure = f"{reason}: {words}" if words else reason
        self._ready.set()
        for result in self._launches.values():
            result.set_exception(WarmParentFailed(self._failure))
        for kernel in self._kernels.values():  # its death takes them along
            kernel.kill_group(signal.SIGKILL)
            kernel.exited.set(int(signal.SIGKILL))
        self._kernels.clear()

    def stop(self) -> None:
        """End the warm parent and the kernels that are left."""
        self._reader.kill()
        self._socket.close()
        self.process.stop()
