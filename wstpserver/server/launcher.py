"""Launches kernels: a process, its link, its first prompt."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable

import gevent
from gevent.event import AsyncResult
from gevent.pool import Group

from wstpserver.server.connection import ConnectionClosed
from wstpserver.server.kernel_link import KernelLink, KernelLinkError, KernelListener
from wstpserver.server.launch_line import LaunchLine
from wstpserver.server.log import Log
from wstpserver.server.orphans import KernelRegistry
from wstpserver.server.ownership import OWNERS_ARE_KNOWN
from wstpserver.server.process import KernelProcess, describe_status
from wstpserver.server.spawn import spawn
from wstpserver.server.warm_parent import WarmParent, WarmParentFailed

#: The embedded kernel's program: its kernels are forked from a warm parent where that works.
EMBEDDED_PROGRAM = "wstpkernel"

#: Options that say "this kernel talks over a link"; one of them goes first unless the configuration has one.
_LINK_MODE_OPTIONS = ("-wstp", "-mathlink")


class LaunchFailed(Exception):
    """A kernel did not start; the text gives the reason and the kernel's last words."""


class Launcher:
    """Starts kernel processes and accepts their links. Who launches a kernel waits for its turn in the *line* first,
    which lets *concurrency* of them start at the same time.
    """

    def __init__(self, log: Log, concurrency: int) -> None:
        self._log = log
        self.line = LaunchLine(concurrency)
        #: Ports that somebody was told of whose link is made, for those who wait in line.
        self._listeners: list[KernelListener] = []
        self._warm_parents: dict[str, WarmParent] = {}
        #: Where the processes are noted, so that a later server can look after them.
        self.registry: KernelRegistry | None = None
        #: Processes that nobody waits for any more while they are being started.
        self._unwanted = Group()

    def launch(
        self, name: str, path: str, options: tuple[str, ...], timeout: float
    ) -> tuple[KernelProcess, KernelLink]:
        """Start the program at *path* and return it with its link. Raises `LaunchFailed` after at most *timeout*
        seconds."""
        try:
            listener = self._listeners.pop() if self._listeners else KernelListener()
        except OSError as error:
            raise LaunchFailed(f"its ports could not be opened: {error.strerror}") from None
        process = None
        link = None
        try:
            process = self._start(path, self._arguments(options, listener), self._line_log(name), timeout)
            with gevent.Timeout(timeout, LaunchFailed(f"it made no link within {timeout:g} seconds")):
                link = self._accept(listener, process)
            return process, link
        except (OSError, ConnectionClosed, KernelLinkError, LaunchFailed) as error:
            raise LaunchFailed(self._reason(path, process, error)) from None
        finally:
            self._put_away(listener, link is not None)
            if process is not None and link is None:
                process.stop(grace=0)

    def _put_away(self, listener: KernelListener, linked: bool) -> None:
        """Close the ports of a launch, or keep them for the next if the system tells who connects to them.

        Each connection keeps its port, and the more ports are taken, the longer the system looks for a free one.
        """
        if linked and self.line.waiting and OWNERS_ARE_KNOWN:
            self._listeners.append(listener)
            return
        listener.close()
        if not self.line.waiting:
            self._close_listeners()

    def _close_listeners(self) -> None:
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()

    @staticmethod
    def _arguments(options: tuple[str, ...], listener: KernelListener) -> list[str]:
        mode = [] if any(option in _LINK_MODE_OPTIONS for option in options) else ["-wstp"]
        return [*mode, *options, *listener.arguments()]

    def _line_log(self, name: str) -> Callable[[str], None]:
        return lambda line: self._log.debug(f"Kernel {name} printed: {line}")

    def _start(
        self, path: str, arguments: list[str], log_line: Callable[[str], None], timeout: float
    ) -> KernelProcess:
        if os.path.basename(path) == EMBEDDED_PROGRAM:
            try:
                return self._noted(self._warm_parent(path).launch(arguments, log_line, timeout))
            except (WarmParentFailed, OSError) as error:
                self._log.warning(f"Starting an embedded kernel cold, which takes some seconds: {error}")
        return self._spawn([path, *arguments], log_line)

    def _spawn(self, arguments: list[str], log_line: Callable[[str], None]) -> KernelProcess:
        """Start a process in a greenlet of its own: whoever is told to give up meanwhile must not lose it."""
        spawned: AsyncResult = AsyncResult()
        self._unwanted.spawn(self._spawn_into, spawned, arguments, log_line)
        try:
            process: KernelProcess = spawned.get()
            return process
        except gevent.GreenletExit:
            spawned.rawlink(self._stop_unwanted)
            raise

    def _spawn_into(self, spawned: AsyncResult, arguments: list[str], log_line: Callable[[str], None]) -> None:
        try:
            spawned.set(self._noted(spawn(arguments, log_line)))
        except OSError as error:
            spawned.set_exception(error)

    def _stop_unwanted(self, spawned: AsyncResult) -> None:
        if spawned.successful():
            self._unwanted.spawn(spawned.get().stop, 0)

    def _noted(self, process: KernelProcess) -> KernelProcess:
        registry = self.registry
        if registry is not None:
            registry.add(process.pid)
            process.on_stopped = lambda: registry.remove(process.pid)
        return process

    def _warm_parent(self, path: str) -> WarmParent:
        parent = self._warm_parents.get(path)
        if parent is None or not parent.alive:
            if parent is not None:
                gevent.spawn(parent.stop)
            parent = WarmParent(path, lambda line: self._log.debug(f"The embedded kernels' parent printed: {line}"))
            self._warm_parents[path] = parent
            self._noted(parent.process)
        return parent

    def _accept(self, listener: KernelListener, process: KernelProcess) -> KernelLink:
        """Wait for the link or for the process's end, whichever is first."""
        made: AsyncResult = AsyncResult()
        accepting = gevent.spawn(self._accept_into, made, listener, process)
        try:
            gevent.wait([made, process.exited], count=1)
            if made.ready():
                link: KernelLink = made.get()
                return link
            raise LaunchFailed(f"it ended with {describe_status(process.exited.get())} before it made a link")
        finally:
            accepting.kill()

    def _accept_into(self, made: AsyncResult, listener: KernelListener, process: KernelProcess) -> None:
        try:
            made.set(listener.accept(process.pid, self._log.warning))
        except (OSError, ConnectionClosed, KernelLinkError) as error:
            made.set_exception(error)

    @staticmethod
    def _reason(path: str, process: KernelProcess | None, error: Exception) -> str:
        if process is None:
            return f'"{path}" could not be started: {error}'
        if isinstance(error, KernelLinkError) and process.exited.wait(0.5) is not None:
            error = LaunchFailed(f"{error} and ended with {describe_status(process.exited.get())}")
        words = process.last_words()
        return f"{error}; its last words:\n{words}" if words else f"{error}"

    def stop(self) -> None:
        """End the warm parents, and processes that nobody waits for."""
        self._unwanted.join()
        self._close_listeners()
        gevent.joinall([gevent.spawn(parent.stop) for parent in self._warm_parents.values()])
        self._warm_parents.clear()


def command_line(text: str) -> tuple[str, tuple[str, ...]]:
    """Split the command line of ``StartKernel["commandLine"]`` into program and options, as a shell does.

    Raises ValueError for unbalanced quotes or an empty text.
    """
    words = shlex.split(text)
    if not words:
        raise ValueError("the command line is empty")
    return words[0], tuple(words[1:])
