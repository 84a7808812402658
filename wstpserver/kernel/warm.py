"""The warm parent: has everything loaded and forks a kernel for each request.

It stays single-threaded and without links, because a forked child has only the thread that forked. It lives as long as
its socket: when the server is gone, however that came, the kernels go too.
"""

from __future__ import annotations

import os
import select
import signal
import sys

from wstpserver.kernel.exits import EXIT_OK, EXIT_SOFTWARE, EXIT_USAGE
from wstpserver.kernel.warm_children import Children
from wstpserver.kernel.warm_socket import BadRequest, LaunchRequest, ServerGone, WarmSocket


def run_warm_parent(descriptor: int) -> int:
    """Load Mathics, then launch kernels until the server is gone; returns the exit code."""
    try:
        warm_socket = WarmSocket(descriptor)
    except OSError as error:
        print(f"wstpkernel: descriptor {descriptor} is no socket of a server: {error}", file=sys.stderr)
        return EXIT_USAGE
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    try:
        from wstpserver.kernel.engine import Engine

        engine = Engine()
        warm_socket.send(event="ready")
    except ServerGone:
        return EXIT_OK
    except Exception as error:
        reason = f"Mathics cannot be loaded: {type(error).__name__}: {error}"
        print(f"wstpkernel: {reason}", file=sys.stderr)
        try:
            warm_socket.send(event="failed", reason=reason)
        except ServerGone:
            pass
        return EXIT_SOFTWARE
    return WarmParent(warm_socket, Children(engine)).run()


class WarmParent:
    """The loop of the parent."""

    def __init__(self, warm_socket: WarmSocket, children: Children) -> None:
        self._socket = warm_socket
        self._children = children
        self._wake_receive, self._wake_send = os.pipe()
        for end in (self._wake_receive, self._wake_send):
            os.set_blocking(end, False)

    def run(self) -> int:
        """Serve until the server is gone."""
        # A byte for each signal: a child that ends between two looks is not missed.
        signal.set_wakeup_fd(self._wake_send, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        try:
            while True:
                requests = self._socket.socket.fileno()
                readable, _, _ = select.select([requests, self._wake_receive], [], [])
                if self._wake_receive in readable:
                    self._empty_wake_pipe()
                    self._report_ended()
                if requests in readable:
                    self._launch()
        except ServerGone:
            return EXIT_OK
        finally:
            self._children.kill_all()

    def _launch(self) -> None:
        try:
            request = self._socket.receive()
        except BadRequest as error:
            print(f"wstpkernel: {error}", file=sys.stderr)
            if error.launch is not None:
                self._socket.send(event="not-launched", launch=error.launch, reason=str(error))
            return
        try:
            pid = self._fork(request)
        except OSError as error:
            self._socket.send(event="not-launched", launch=request.launch, reason=str(error))
            return
        self._socket.send(event="launched", launch=request.launch, pid=pid)

    def _fork(self, request: LaunchRequest) -> int:
        try:
            parent_only = (self._socket.socket.fileno(), self._wake_receive, self._wake_send)
            return self._children.launch(request, parent_only)
        finally:
            os.close(request.output)

    def _report_ended(self) -> None:
        while (ended := self._children.next_ended()) is not None:
            pid, status = ended
            self._socket.send(event="exited", pid=pid, status=status)

    def _empty_wake_pipe(self) -> None:
        try:
            while os.read(self._wake_receive, 4096):
                pass
        except BlockingIOError:
            return
