"""The kernels of a warm parent: forked, reaped, killed."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from typing import NoReturn

from wstpserver.kernel.cold import open_kernel_link
from wstpserver.kernel.engine import Engine
from wstpserver.kernel.exits import EXIT_SOFTWARE
from wstpserver.kernel.process import end_process
from wstpserver.kernel.session import serve
from wstpserver.kernel.warm_socket import LaunchRequest

PR_SET_PDEATHSIG, PR_SET_NAME = 1, 15
#: The name of a kernel's process, where the system shows one (15 characters at most).
PROCESS_NAME = b"wstpkernel"


class Children:
    """Forks kernels from one loaded engine and keeps track of them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._pids: set[int] = set()
        # Loaded before the first fork.
        self._libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None

    def launch(self, request: LaunchRequest, parent_only: Sequence[int]) -> int:
        """Start a kernel; returns its process id. `parent_only` are descriptors it must not have.

        Raises OSError if it cannot be started: no such directory, or no more processes.
        """
        if request.directory is not None:
            os.scandir(request.directory).close()
        parent = os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        # SIGCHLD of an earlier child must not run the parent's handler in the new one.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        try:
            pid = os.fork()
            if pid == 0:
                self._become_kernel(request, parent_only, parent)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        self._pids.add(pid)
        return pid

    def next_ended(self) -> tuple[int, int] | None:
        """Reap a kernel that has ended, and kill what it has left in its process group; None if there is none.

        Returns process id and status, as os.waitpid does.
        """
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return None
        if ended is None:
            return None
        # While it is a zombie its process group cannot belong to anyone else.
        _kill_group(ended.si_pid)
        self._pids.discard(ended.si_pid)
        return os.waitpid(ended.si_pid, 0)

    def kill_all(self) -> None:
        """End every kernel at once, with what it started."""
        for pid in self._pids:
            _kill_group(pid)
        for pid in self._pids:
            try:
                os.waitpid(pid, 0)
            except ChildProcessError:
                continue
        self._pids.clear()

    def _become_kernel(self, request: LaunchRequest, parent_only: Sequence[int], parent: int) -> NoReturn:
        """In the child: become a process of its own and serve the link. Never returns into the parent's code."""
        code = EXIT_SOFTWARE
        try:
            self._leave_parent(parent_only, parent)
            _take_on(request)
            link = open_kernel_link(request.arguments)
            code = serve(self._engine, link)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else EXIT_SOFTWARE
        except BaseException:
            traceback.print_exc()
        finally:
            end_process(code)

    def _leave_parent(self, parent_only: Sequence[int], parent: int) -> None:
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        for descriptor in parent_only:
            os.close(descriptor)
        if self._libc is None:
            return
        self._libc.prctl(PR_SET_NAME, PROCESS_NAME)
        self._libc.prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL))
        if os.getppid() != parent:  # it died before the signal was asked for
            os._exit(EXIT_SOFTWARE)


def _take_on(request: LaunchRequest) -> None:
    """Output, environment, directory and command line of the kernel that was asked for."""
    os.dup2(request.output, 1)
    os.dup2(request.output, 2)
    if request.output > 2:
        os.close(request.output)
    os.environ.update(request.environment)
    time.tzset()
    if request.directory is not None:
        os.chdir(request.directory)
    sys.argv[:] = [sys.argv[0], *request.arguments]


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):  # it has not come as far as its own group, or is gone
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return

