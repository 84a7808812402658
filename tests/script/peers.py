"""Peers for wstpscript that are no WSTPServer, or break off; and one kernel for many clients."""

from __future__ import annotations

import contextlib
import socket
import threading

from tests.client.helpers import PROMPT, Worker
from tests.script.helpers import ScriptKernel
from wstpserver.client import LinkClosed, listen


@contextlib.contextmanager
def listener(behaviour):
    """A port whose connections are handed to `behaviour`; they are closed at the end. Gives the address."""
    with socket.create_server(("127.0.0.1", 0)) as server, contextlib.ExitStack() as stack:

        def serve():
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                stack.callback(connection.close)
                behaviour(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"{server.getsockname()[1]}@127.0.0.1"
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join(PROMPT)


@contextlib.contextmanager
def many_served(rules):
    """As `served`, for one client after the other, also those that never get as far as a link. Gives the address."""
    with listen("0@127.0.0.1") as listening:

        def serve():
            while True:
                try:
                    link = listening.accept()
                except LinkClosed:
                    return
                with link:
                    ScriptKernel(rules)(link)

        serving = Worker(serve)
        yield listening.link_name
    serving.finish()


class Cut:
    """A relay to a link server that breaks off once it has passed on so many bytes to the client."""

    def __init__(self, address, limit):
        port, _, host = address.partition("@")
        self._target = host, int(port)
        self._left = limit
        self._lock = threading.Lock()
        self._sockets = []
        self._threads = []
        #: Bytes passed on to the client.
        self.passed = 0

    def __enter__(self):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._start(self._accept)
        return self

    @property
    def address(self):
        return f"{self._listener.getsockname()[1]}@127.0.0.1"

    def _start(self, *call):
        thread = threading.Thread(target=call[0], args=call[1:])
        self._threads.append(thread)
        thread.start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                self._sockets += [client, server]
                self._start(self._pass_on, client, server)
                self._start(self._pass_on, server, client, "counted")

    def _pass_on(self, source, sink, counts=None):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if counts:
                    with self._lock:
                        data = data[: self._left]
                        self._left -= len(data)
                        self.passed += len(data)
                sink.sendall(data)
                if not self._left:
                    break
        self._break_off()

    def _break_off(self):
        for one in list(self._sockets):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def __exit__(self, *_):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._break_off()
        for thread in self._threads:
            thread.join(PROMPT)
        for one in [self._listener, *self._sockets]:
            one.close()
