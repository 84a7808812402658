"""Launches kernels: a process and its link, so many at the same time."""

from __future__ import annotations

import os
import shlex
import signal
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from functools import partial
from typing import Any

import gevent
from gevent.event import AsyncResult
from gevent.lock import BoundedSemaphore
from gevent.pool import Group

from wstpserver.server import GracePeriods
from wstpserver.server.connection import ConnectionClosed
from wstpserver.server.handshake import OpenLink
from wstpserver.server.kernels import process_info
from wstpserver.server.kernels.keeper_client import KeeperClient, KeeperUnavailable
from wstpserver.server.kernels.kernel_link import (
    ExpectedLink,
    KernelLinkError,
    KernelListener,
    Transports,
    TransportUnavailable,
)
from wstpserver.server.kernels.persistence import Persistence
from wstpserver.server.kernels.prefork import PreforkFailed, PreforkParent
from wstpserver.server.kernels.process import KernelProcess, RemoteKernel
from wstpserver.server.kernels.process_info import OrphanGuard, PidFile, open_pid_file
from wstpserver.server.kernels.spawn import INHERITED, Elsewhere, Surroundings, spawn, watch_child
from wstpserver.server.log import Log
from wstpserver.server.peers import holder, owners_are_known

#: The program of the embedded kernel: its kernels are forked from a prefork parent where that works.
EMBEDDED_PROGRAM = "wstpkernel"

#: Of a process that has made no link.
_NO_LINK = GracePeriods(link=0.0)

#: Options that say "this kernel uses a link"; one of them goes first unless the configuration has one.
_LINK_MODE_OPTIONS = ("-wstp", "-mathlink")


class LaunchFailed(Exception):
    """A kernel did not start; the text gives the reason and the last output lines."""


class LaunchQueue:
    """The kernels that are to be launched, first come first served.

    At most *concurrency* of them are launched at the same time, so that a large pool does not slow each of them down
    until none is ready in time. The waiting ones need no greenlet: a pool may have thousands.
    """

    def __init__(self, concurrency: int) -> None:
        self._concurrency = concurrency
        self._waiting: OrderedDict[Hashable, Callable[[Any], object]] = OrderedDict()
        self._under_way: set[Hashable] = set()
        self._held = False

    def hold(self) -> None:
        """Launch nothing until `release`."""
        self._held = True

    def release(self) -> None:
        """Launch what has waited."""
        self._held = False
        self._begin_next()

    def set_concurrency(self, concurrency: int) -> None:
        """Change the limit; launches that are under way go on."""
        self._concurrency = concurrency
        self._begin_next()

    @property
    def crowded(self) -> bool:
        """Whether a kernel waits for its turn, or several have theirs, one of which may just have begun."""
        return bool(self._waiting) or len(self._under_way) > 1

    def join(self, kernel: Hashable, begin: Callable[[Any], object]) -> None:
        """Have *begin* called with the kernel when it is its turn, perhaps at once; it must not wait.

        The turn lasts until the kernel leaves.
        """
        self._waiting[kernel] = begin
        self._begin_next()

    def leave(self, kernel: Hashable) -> None:
        """End the turn of a kernel, or its waiting. Does nothing for a kernel that has left."""
        self._waiting.pop(kernel, None)
        self._under_way.discard(kernel)
        self._begin_next()

    def _begin_next(self) -> None:
        while self._waiting and not self._held and len(self._under_way) < self._concurrency:
            kernel, begin = self._waiting.popitem(last=False)
            self._under_way.add(kernel)
            begin(kernel)


class Launcher:
    """Starts kernel processes and accepts their links.

    A caller that launches a kernel waits for its turn in the queue `line` first. Processes belong to the keeper. Where
    there is none, every process is noted in the pid file, so that a later server can end what this one leaves if it is
    killed.
    """

    def __init__(
        self,
        log: Log,
        concurrency: int,
        persistence: Persistence,
        find_keeper: Callable[[], KeeperClient | None] | None = None,
    ) -> None:
        """
        Args:
            log: gets the output of the kernels at level debug.
            concurrency: how many kernels are launched at the same time.
            persistence: sees to it that kernels outlive the server.
            find_keeper: returns the keeper, None if there is to be none, or raises `KeeperUnavailable`; called again
                when the keeper is gone. None: kernels are children of the server, and no list of them is kept.
        """
        self.line = LaunchQueue(concurrency)
        self.persistence = persistence
        self._log = log
        self._pid_file: PidFile | None = None
        self._guard = OrphanGuard()
        self._find_keeper = find_keeper
        self._keeper: KeeperClient | None = None
        #: Held by the greenlets that look for a keeper, and for a prefork parent.
        self._finding = BoundedSemaphore(1)
        self._finding_parent = BoundedSemaphore(1)
        #: Listeners whose link is made, for the next launches.
        self._listeners: list[KernelListener] = []
        #: The prefork parent of each program, and those that were replaced.
        self._parents: dict[str, PreforkParent] = {}
        self._replaced: list[PreforkParent] = []
        #: All processes that are not known to be gone.
        self._processes: dict[int, KernelProcess] = {}
        #: Greenlets that start a process or end one that is not wanted any more.
        self._helpers = Group()
        self._transports = Transports(log)

    def launch(
        self,
        name: str,
        path: str,
        options: tuple[str, ...],
        timeout: float,
        surroundings: Surroundings = INHERITED,
        elsewhere: Elsewhere | None = None,
        began: Callable[[KernelProcess], object] = lambda process: None,
    ) -> tuple[KernelProcess, OpenLink]:
        """Start a kernel and wait for its link.

        Args:
            name: what the log calls the kernel.
            path: the program.
            options: its options, without the link arguments.
            timeout: seconds that the process may take to make its link.
            surroundings: the folder that it begins in, and its environment.
            elsewhere: how it is started on another machine; None for this one.
            began: called with the process as soon as there is one.

        Raises:
            LaunchFailed: it did not start or made no link in time; nothing is left of it.
        """
        try:
            listener = self._listeners.pop() if self._listeners else KernelListener()
        except OSError as error:
            raise LaunchFailed(f"its ports could not be opened: {error.strerror}") from None
        process = None
        link = None
        expected = ExpectedLink() if elsewhere is not None else None
        try:
            if elsewhere is None:
                process = self._start(
                    path, self._arguments(options, listener), self._line_log(name), timeout, surroundings
                )
            else:
                assert expected is not None
                process = self._start_elsewhere(elsewhere, name, path, options, listener, expected)
            began(process)
            with gevent.Timeout(timeout, LaunchFailed(f"it made no link within {timeout:g} seconds")):
                link = self._accept(listener, process, self._started_path(process, path), expected)
            self._guard_wrapper(process, link)
            return process, link
        except (OSError, ConnectionClosed, KernelLinkError, LaunchFailed) as error:
            raise LaunchFailed(self._reason(path, process, error)) from None
        finally:
            if expected is not None:
                expected.close()
            self._put_away(listener, linked=link is not None)
            if process is not None and link is None:
                process.stop(_NO_LINK)

    def find_keeper(self) -> KeeperClient | None:
        """Return the keeper, after finding or starting another one if it is gone, which may wait; None without one."""
        if self._find_keeper is None or (self._keeper is not None and self._keeper.usable):
            return self._keeper
        with self._finding:
            if self._find_keeper is not None and (self._keeper is None or not self._keeper.usable):
                if self._keeper is not None:
                    self._log.error("The keeper has ended, and all kernels with it; another one is started")
                self._look_for_keeper(self._find_keeper)
            return self._keeper

    def _look_for_keeper(self, find: Callable[[], KeeperClient | None]) -> None:
        try:
            self._keeper = find()
            self.persistence.begin(self._keeper)
        except KeeperUnavailable as error:
            self._keeper = None
            self._log.warning(f"There is no keeper ({error}): kernels end with this server, however that ends")
        if self._keeper is None:
            self._find_keeper = None
            self._pid_file = open_pid_file(os.environ, self._log)

    def kill(self) -> None:
        """Kill every process at once, because the server cannot wait any longer."""
        for process in tuple(self._processes.values()):
            process.kill_group(signal.SIGKILL)
        if self._keeper is not None:
            self._keeper.leave_at_once()

    def stop(self) -> None:
        """End the prefork parents, processes whose start was given up, and the keeper."""
        self._helpers.join()
        self._transports.close()
        self._close_listeners()
        parents = (*self._parents.values(), *self._replaced)
        gevent.joinall([gevent.spawn(parent.stop) for parent in parents])
        self._parents.clear()
        self._replaced.clear()
        self._guard.close()
        if self._keeper is not None:
            self._keeper.goodbye()
        if self._pid_file is not None:
            self._pid_file.close()

    # -- from one process to the next ----------------------------------------------------------------------------

    def hand_over(self) -> dict[str, Any]:
        """What the next program in this process needs to go on with it (`handover`)."""
        parents = [*self._parents.values(), *self._replaced]
        keeper = {"keeper": self._keeper.hand_over()} if self._keeper is not None and self._keeper.usable else {}
        return {
            **keeper,
            "notes": self.persistence.hand_over(),
            "pid_file": self._pid_file.hand_over() if self._pid_file is not None else "",
            "parents": [parent.hand_over() for parent in parents],
            "guard": self._guard.hand_over(),
            "processes": [{"pid": one.pid, "parent": one.parent} for one in self._processes.values()],
        }

    def go_on(self, record: Mapping[str, Any]) -> None:
        """Go on with what the program before this one in this process handed over; `process_of_record` follows for
        each kernel, and then `end_others`.
        """
        self._guard.go_on(record.get("guard", {}))
        if "keeper" in record:
            self._keeper = KeeperClient.of_record(record["keeper"], self._log.warning)
            self.persistence.begin(self._keeper, record.get("notes", {}).get("descriptor"))
        else:  # kernels are children of this process, which cannot be given away
            self._find_keeper = None
            self._pid_file = open_pid_file(os.environ, self._log, record.get("pid_file", ""))
        for one in record.get("parents", ()):
            process = self._child_of_record(one["process"], self._parent_log)
            parent = PreforkParent.of_record(one, process, self._keeper)
            if parent.usable and parent.program not in self._parents:
                self._parents[parent.program] = parent
            else:
                self._replace(parent)

    def process_of_record(self, record: Mapping[str, Any], name: str) -> KernelProcess:
        """The process of a kernel; *record* is what `KernelProcess.hand_over` returned.

        Raises:
            KeyError: Its parent is not there.
        """
        log_line = self._line_log(name)
        number = record.get("parent", 0)
        if not number:
            return self._child_of_record(record, log_line)
        parents = (*self._parents.values(), *self._replaced)
        parent = next((one for one in parents if one.process.pid == number), None)
        if parent is None:
            raise KeyError(f"there is no prefork parent {number}")
        return self._watch(parent.kernel_of_record(record, log_line))

    def _child_of_record(self, record: Mapping[str, Any], log_line: Callable[[str], None]) -> KernelProcess:
        process = self._keeper.watch(record["pid"]) if self._keeper is not None else watch_child(record["pid"])
        process.go_on(record, log_line)
        output = self._keeper.take_output(record["pid"]) if self._keeper is not None else -1
        if output >= 0 and "output" in record:
            os.close(output)  # it is the same
        elif output >= 0:
            process.drain(output, process.remote.take_line if process.remote is not None else log_line)
        return self._watch(process)

    def recover_parents(self) -> None:
        """Go on with the prefork parents that the keeper has held for another server."""
        for held, descriptors in self.persistence.parents():
            record = {**held["parent"], "descriptor": descriptors[0]}
            process = self._child_of_record(record["process"], self._parent_log)
            parent = PreforkParent.of_record(record, process, self._keeper)
            if parent.usable and parent.program not in self._parents:
                self._parents[parent.program] = parent
                self._keep_parent(parent)
            else:
                self._replace(parent)

    def end_unrecovered(self) -> None:
        """End what belongs to an earlier server's kernels and is not gone on with."""
        if self._keeper is None:
            return
        for pid in tuple(self._keeper.processes):
            if pid not in self._processes:
                self._helpers.spawn(self._child_of_record({"pid": pid}, self._parent_log).stop, _NO_LINK)
        for parent in (*self._parents.values(), *self._replaced):
            for pid in process_info.children(parent.process.pid):
                if pid not in self._processes:
                    self._helpers.spawn(parent.kernel_of_record({"pid": pid}, self._parent_log).stop, _NO_LINK)

    def _keep_parent(self, parent: PreforkParent) -> None:
        self.persistence.keep_parent(parent.process.pid, parent.held(), parent.descriptor)

    def end_others(self, record: Mapping[str, Any]) -> None:
        """End the processes in what was handed over that belong to no kernel: their start was given up."""
        for one in record.get("processes", ()):
            if one["pid"] not in self._processes:
                process = self.process_of_record(one, "that was starting")
                self._helpers.spawn(process.stop, _NO_LINK)
        # of what has ended before this program began the system tells nobody again
        os.kill(os.getpid(), signal.SIGCHLD)

    # -- listeners -----------------------------------------------------------------------------------------------

    def _put_away(self, listener: KernelListener, *, linked: bool) -> None:
        """Close the ports of a launch, or keep them for the next one if the system says who connects to them.

        Each connection occupies its port, and the more ports are occupied, the longer the system looks for a free one.
        """
        if linked and self.line.crowded and owners_are_known():
            self._listeners.append(listener)
            return
        listener.close()
        if not self.line.crowded:
            self._close_listeners()

    def _close_listeners(self) -> None:
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()

    # -- processes -----------------------------------------------------------------------------------------------

    @staticmethod
    def _arguments(options: tuple[str, ...], listener: KernelListener) -> list[str]:
        return [*link_mode(options), *options, *listener.arguments()]

    def _line_log(self, name: str) -> Callable[[str], None]:
        return lambda line: self._log.debug(f"Kernel {name} printed: {line}")

    def _start(
        self,
        path: str,
        arguments: list[str],
        log_line: Callable[[str], None],
        timeout: float,
        surroundings: Surroundings,
    ) -> KernelProcess:
        surroundings.check()
        if _is_embedded(path):
            try:
                parent = self._parent(path)
                process = self._track(parent.launch(arguments, log_line, timeout, surroundings))
                if not parent.kept:
                    parent.kept = True
                    self._keep_parent(parent)
                return process
            except (PreforkFailed, OSError) as error:
                self._log.warning(f"Starting an embedded kernel cold, which takes some seconds: {error}")
        return self._spawn([path, *arguments], log_line, surroundings)

    def _start_elsewhere(
        self,
        elsewhere: Elsewhere,
        name: str,
        path: str,
        options: tuple[str, ...],
        listener: KernelListener,
        expected: ExpectedLink,
    ) -> KernelProcess:
        """Start the connector of a kernel on another machine. Raises OSError, LaunchFailed."""
        server = None
        if elsewhere.interface:
            try:
                server = self._transports.address(elsewhere.interface)
            except TransportUnavailable as error:
                raise LaunchFailed(str(error)) from None
        remote = RemoteKernel(elsewhere.launcher, self._line_log(name), partial(self._transports.expect, expected))
        command = elsewhere.command(path, [*link_mode(options), *options], server)
        surroundings = Surroundings("", elsewhere.variables())
        process = self._spawn([*command, *listener.arguments()], remote.take_line, surroundings)
        process.remote = remote
        return process

    @staticmethod
    def _started_path(process: KernelProcess, path: str) -> str:
        """The program of the kernel: on another machine it is known when it has been started."""
        if process.remote is None:
            return path
        gevent.wait([process.remote.started, process.exited], count=1)
        return process.remote.path

    def _spawn(
        self, arguments: list[str], log_line: Callable[[str], object], surroundings: Surroundings
    ) -> KernelProcess:
        """Start a process in a greenlet of its own: a caller that is told to give up meanwhile must not lose it."""
        spawned: AsyncResult = AsyncResult()
        self._helpers.spawn(self._spawn_into, spawned, arguments, log_line, surroundings)
        try:
            process: KernelProcess = spawned.get()
            return process
        except gevent.GreenletExit:
            spawned.rawlink(self._stop_unwanted)
            raise

    def _spawn_into(
        self,
        spawned: AsyncResult,
        arguments: list[str],
        log_line: Callable[[str], object],
        surroundings: Surroundings,
    ) -> None:
        try:
            spawned.set(self._track(spawn(arguments, log_line, surroundings, keeper=self.find_keeper())))
        except OSError as error:
            spawned.set_exception(error)

    def _stop_unwanted(self, spawned: AsyncResult) -> None:
        if spawned.successful():
            self._helpers.spawn(spawned.get().stop, _NO_LINK)

    def _track(self, process: KernelProcess) -> KernelProcess:
        if self._pid_file is not None:
            self._pid_file.add(process.pid)
        return self._watch(process)

    def _watch(self, process: KernelProcess) -> KernelProcess:
        self._processes[process.pid] = process
        process.stopped.rawlink(lambda stopped: self._stopped(process, gone=stopped.get()))
        return process

    def _stopped(self, process: KernelProcess, *, gone: bool) -> None:
        self._processes.pop(process.pid, None)
        if not gone:
            self._log.error(
                f"Process {process.pid} of a kernel was given up: it has not ended after SIGKILL"
                f" (state: {process_info.describe_state(process.pid)})"
            )
            return
        self._guard.remove(process.pid)
        if self._pid_file is not None:
            self._pid_file.remove(process.pid)

    def _guard_wrapper(self, process: KernelProcess, link: OpenLink) -> None:
        """Have the kernel killed with the server if the process is only a wrapper around it."""
        if self._keeper is not None:
            return  # which ends whatever a process leaves
        try:
            if owners_are_known() and holder(link.data.socket, process.pid) not in (None, process.pid):
                self._guard.add(process.pid)
        except OSError as error:
            self._log.warning(f"Kernel process {process.pid} may outlive this server if it is killed: {error}")

    def _parent(self, path: str) -> PreforkParent:
        parent = self._parents.get(path)
        if parent is None or not parent.usable:
            # In a greenlet of its own: a caller that is told to give up meanwhile must not lose it.
            parent = self._helpers.spawn(self._make_parent, path).get()
        return parent

    def _make_parent(self, path: str) -> PreforkParent:
        with self._finding_parent:  # one caller starts it
            parent = self._parents.get(path)
            if parent is None or not parent.usable:
                if parent is not None:
                    self._replace(parent)
                parent = PreforkParent(path, self._parent_log, self.find_keeper())
                self._parents[path] = parent
                self._track(parent.process)
            return parent

    def _parent_log(self, line: str) -> None:
        self._log.debug(f"The embedded kernels' parent printed: {line}")

    def _replace(self, parent: PreforkParent) -> None:
        self._replaced.append(parent)
        parent.process.stopped.rawlink(partial(self._forget, parent))

    def _forget(self, parent: PreforkParent, _stopped: AsyncResult) -> None:
        self.persistence.forget_parent(parent.process.pid)
        if parent in self._replaced:
            self._replaced.remove(parent)

    # -- the link ------------------------------------------------------------------------------------------------

    def _accept(
        self, listener: KernelListener, process: KernelProcess, path: str, elsewhere: ExpectedLink | None
    ) -> OpenLink:
        """Wait for the link or for the exit of the process, whichever comes first."""
        expected = listener.expect(
            process.pid, self._log.warning, embedded=_is_embedded(path), elsewhere=elsewhere
        )
        with expected as made:
            gevent.wait([made, process.exited], count=1)
            if made.ready():
                link: OpenLink = made.get()
                return link
        how = process.how_it_ended()
        known = process.remote is not None and process.remote.ended
        raise LaunchFailed(how if known else f"it ended with {how} before it made a link")

    @staticmethod
    def _reason(path: str, process: KernelProcess | None, error: Exception) -> str:
        if process is None and not isinstance(error, LaunchFailed):
            text = error.strerror if isinstance(error, OSError) and error.strerror else error
            return f'"{path}" could not be started: {text}'
        if isinstance(error, KernelLinkError) and process is not None and process.exited.wait(0.5) is not None:
            error = LaunchFailed(f"{error} and ended with {process.how_it_ended()}")
        lines = process.last_output() if process is not None else ""
        return f"{error}; its last output lines:\n{lines}" if lines else f"{error}"


def link_mode(options: tuple[str, ...]) -> list[str]:
    """The option that says "this kernel uses a link", unless it is among *options*."""
    return [] if any(option in _LINK_MODE_OPTIONS for option in options) else ["-wstp"]


def _is_embedded(path: str) -> bool:
    return os.path.basename(path) == EMBEDDED_PROGRAM


def command_line(text: str) -> tuple[str, tuple[str, ...]]:
    """Split the command line of `StartKernel["commandLine"]` into program and options, as a shell does.

    Raises:
        ValueError: the quotes are unbalanced or the text is empty.
    """
    words = shlex.split(text)
    if not words:
        raise ValueError("the command line is empty")
    return words[0], tuple(words[1:])
