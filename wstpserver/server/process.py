"""Kernel processes: what they print, and their end."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from gevent.event import AsyncResult

from wstpserver.server.kernel_output import KernelOutput

#: Seconds a kernel has to end by itself after its link was closed, and then after SIGTERM.
LINK_GRACE = 2.0
TERMINATE_GRACE = 3.0

#: Seconds that the end of what a kernel has printed is waited for once it has exited: a child may hold the pipe open.
OUTPUT_GRACE = 0.5


class KernelProcess:
    """A process of its own process group that runs a kernel.

    *exited* becomes the wait status (as of ``os.waitpid``) when the process is gone.
    """

    __slots__ = ("_output", "exited", "on_stopped", "pid")

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.exited: AsyncResult = AsyncResult()
        #: Called when the process and whatever it started are gone.
        self.on_stopped: Callable[[], None] | None = None
        self._output: KernelOutput | None = None

    def drain(self, descriptor: int, log_line: Callable[[str], None]) -> None:
        """Read what the kernel prints from *descriptor* until its end, so that it never blocks on a full pipe."""
        self._output = KernelOutput(descriptor, log_line)

    def last_words(self) -> str:
        """What the kernel printed last, or an empty text. Waits a moment for the pipe's end once it has exited."""
        if self._output is None:
            return ""
        if self.exited.ready():
            self._output.wait(OUTPUT_GRACE)
        return "\n".join(self._output.last_lines)

    def kill_group(self, number: int) -> None:
        """Send a signal to the kernel and all its children."""
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            pass
        except PermissionError:  # macOS: a group whose members are all zombies
            pass

    def stop(self, grace: float = LINK_GRACE) -> None:
        """End the process in stages; its link has been closed already. Returns when it is gone.

        Whatever it started is killed with it, also when it ends by itself.
        """
        if self.exited.wait(grace) is None and not self.exited.ready():
            self.kill_group(signal.SIGTERM)
            self.exited.wait(TERMINATE_GRACE)
        self.kill_group(signal.SIGKILL)
        self.exited.wait()
        if self.on_stopped is not None:
            self.on_stopped()
        if self._output is not None:
            self._output.wait(OUTPUT_GRACE)
            self._output.close()


def describe_status(status: int) -> str:
    """A wait status in words: ``exit status 3`` or ``signal 9 (SIGKILL)``."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        try:
            return f"signal {number} ({signal.Signals(number).name})"
        except ValueError:
            return f"signal {number}"
    return f"exit status {os.WEXITSTATUS(status)}"
