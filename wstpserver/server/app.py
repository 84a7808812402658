"""The running server: what listens, what signals do, how it starts and stops."""

from __future__ import annotations

import itertools
import signal

import gevent
from gevent.event import Event

from wstpserver.model.states import Client
from wstpserver.server import notify
from wstpserver.server.acceptor import Acceptor, LinkServer
from wstpserver.server.broker import Broker
from wstpserver.server.greeter import ClientLink
from wstpserver.server.launcher import Launcher
from wstpserver.server.listeners import ListenError, listen
from wstpserver.server.log import Log
from wstpserver.server.serve_options import ServeOptions
from wstpserver.server.session import Session
from wstpserver.settings import ServerSettings

EXIT_OK = 0
EXIT_UNAVAILABLE = 69

#: Seconds that evaluations have to finish after SIGTERM or SIGINT.
FINISHING_TIME = 10.0


def run(settings: ServerSettings, options: ServeOptions) -> int:
    """Serve until a signal says stop; returns the exit code of the program."""
    application = Application(settings, options)
    try:
        application.start()
    except ListenError as error:
        options.log.error(str(error))
        return EXIT_UNAVAILABLE
    try:
        application.wait()
    finally:
        application.stop()
    return EXIT_OK


class Application:
    """One server in this process."""

    def __init__(self, settings: ServerSettings, options: ServeOptions) -> None:
        self._settings = settings
        self._options = options
        self._log: Log = options.log
        self._stopping = Event()
        self._launcher = Launcher(self._log, settings.kernel_start_concurrency)
        self.broker = Broker(settings, self._log, self._launcher)
        self.acceptor = Acceptor(settings, self._log, self._serve)
        self._servers: list[LinkServer] = []
        self._numbers = itertools.count(1)
        self._signals: list[object] = []

    def start(self) -> None:
        """Listen, and launch the kernels. Raises `ListenError`."""
        interface, port = self._options.interface, self._options.port
        self._servers = [LinkServer(listener, self.acceptor.handle) for listener in listen(interface, port)]
        for number in (signal.SIGTERM, signal.SIGINT):
            self._signals.append(gevent.signal_handler(number, self._asked_to_stop, number))
        self.broker.start()
        for server in self._servers:
            server.start()
        where = f" and interface {interface}" if interface else ""
        self._log.information(f"Listening for new connections on port {self.port}{where}")
        notify.ready(f"listening on port {self.port}")

    @property
    def port(self) -> int:
        """The port it listens on, also when 0 was asked for."""
        return int(self._servers[0].socket.getsockname()[1])

    def wait(self) -> None:
        """Wait for a signal."""
        self._stopping.wait()

    def _asked_to_stop(self, number: int) -> None:
        if self._stopping.is_set():
            return
        self._log.information(f"Stopping because of {signal.Signals(number).name}")
        self._stopping.set()

    def stop(self) -> None:
        """Stop accepting, let evaluations finish, close every link and kernel."""
        notify.stopping()
        for server in self._servers:
            server.stop()
        busy = [kernel.idle for kernel in self.broker.kernels.values() if kernel.busy and kernel.session is not None]
        if busy:
            gevent.wait(busy, timeout=FINISHING_TIME)
        self.broker.stop()
        self._launcher.stop()
        for handler in self._signals:
            handler.cancel()  # type: ignore[attr-defined]
        self._log.information("Stopped")

    def _serve(self, link: ClientLink) -> None:
        """Serve one client from its greeting to its end."""
        name = f"Client {next(self._numbers)} ({link.address})"
        self._log.debug(f"{name} connected")
        session = Session(self.broker, Client(name), name, link.data, link.messages)
        messages = gevent.spawn(session.run_messages, link.messages_leftover)
        why = "the server failed"
        try:
            self.broker.open_session(session)
            why = session.run(link.data_leftover)
        finally:
            self.broker.close_session(session, why)
            session.end()
            messages.join()
            session.release()
