"""The running server: what listens, how it starts, reloads and stops."""

from __future__ import annotations

import itertools
import signal

import gevent
from gevent.event import Event

from wstpserver.model.states import Client
from wstpserver.server import notify
from wstpserver.server.acceptor import Acceptor, LinkServer
from wstpserver.server.advertise import Advertiser
from wstpserver.server.broker import Broker
from wstpserver.server.greeter import ClientLink
from wstpserver.server.launcher import Launcher
from wstpserver.server.listeners import ListenError, listen
from wstpserver.server.log import Log
from wstpserver.server.serve_options import ServeOptions
from wstpserver.server.session import Session
from wstpserver.server.trace import trace_client
from wstpserver.settings import ConfigurationError, ServerSettings
from wstpserver.settings.changes import changes
from wstpserver.settings.loader import reload_settings

EXIT_OK = 0
EXIT_UNAVAILABLE = 69

#: Seconds that evaluations have to finish after SIGTERM or SIGINT.
FINISHING_TIME = 10.0

#: Seconds between two attempts to write log entries that could not be written.
LOG_FLUSH_INTERVAL = 5.0


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
        self._loaded = options.loaded
        self._log: Log = options.log
        self._stopping = Event()
        self._launcher = Launcher(self._log, settings.kernel_start_concurrency)
        self.broker = Broker(settings, self._log, self._launcher)
        self.acceptor = Acceptor(settings, self._log, self._serve)
        self._servers: list[LinkServer] = []
        self._advertiser: Advertiser | None = None
        self._numbers = itertools.count(1)
        self._helpers: list[gevent.Greenlet] = []
        self._signals: list[object] = []

    # -- life --------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Listen, and launch the kernels. Raises `ListenError`."""
        interface, port = self._options.interface, self._options.port
        self._servers = [LinkServer(listener, self.acceptor.handle) for listener in listen(interface, port)]
        self._catch_signals()
        self.broker.start()
        for server in self._servers:
            server.start()
        where = f" and interface {interface}" if interface else ""
        self._log.information(f"Listening for new connections on port {self.port}{where}")
        if self._options.advertise is not None:
            addresses = [server.socket.getsockname()[:2] for server in self._servers]
            service_type = self._settings.advertised_service_type
            self._advertiser = Advertiser(self._log, service_type, self._options.advertise, addresses)
            self._advertiser.start()
        notify.ready(f"listening on port {self.port}")
        self._helpers.append(gevent.spawn(self._flush_log))
        interval = notify.watchdog_interval()
        if interval is not None:
            self._helpers.append(gevent.spawn(self._feed_watchdog, interval))

    @property
    def port(self) -> int:
        """The port it listens on, also when 0 was asked for."""
        return int(self._servers[0].socket.getsockname()[1])

    def wait(self) -> None:
        """Wait for a signal."""
        self._stopping.wait()

    def stop(self) -> None:
        """Stop accepting, let evaluations finish, close every link and kernel."""
        notify.stopping()
        for server in self._servers:
            server.stop()
        withdrawing = gevent.spawn(self._advertiser.stop) if self._advertiser is not None else None
        kernels = self.broker.kernels.values()
        busy = [kernel.idle for kernel in kernels if kernel.busy and kernel.session is not None]
        if busy:
            gevent.wait(busy, timeout=FINISHING_TIME)
        self.broker.stop()
        self._launcher.stop()
        if withdrawing is not None:
            withdrawing.join()
        for handler in self._signals:
            handler.cancel()  # type: ignore[attr-defined]
        gevent.killall(self._helpers)
        self._log.information("Stopped")

    # -- signals and time ----------------------------------------------------------------------------------------

    def _catch_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._signals.append(gevent.signal_handler(number, self._asked_to_stop, number))
        if hasattr(signal, "SIGHUP"):
            self._signals.append(gevent.signal_handler(signal.SIGHUP, self.reload))

    def _asked_to_stop(self, number: int) -> None:
        if self._stopping.is_set():
            return
        self._log.information(f"Stopping because of {signal.Signals(number).name}")
        self._stopping.set()

    def reload(self) -> None:
        """Take the configuration file over as it is now; an invalid one changes nothing. Reopens the log file."""
        notify.reloading()
        self._log.reopen()
        try:
            loaded = reload_settings(self._loaded)
        except ConfigurationError as error:
            self._log.error(f"The configuration was not reloaded, the old one stays in force:\n{error}")
        else:
            self._take_over(loaded.settings)
            self._loaded = loaded
        notify.ready(f"listening on port {self.port}")

    def _take_over(self, settings: ServerSettings) -> None:
        found = changes(self._settings, settings)
        listed = "".join(f"\n{change}" for change in found) or "\nnothing is different"
        self._log.information(f"The configuration was reloaded:{listed}")
        self._settings = settings
        self.acceptor.settings = settings
        self.broker.reconfigure(settings)

    def _flush_log(self) -> None:
        while True:
            gevent.sleep(LOG_FLUSH_INTERVAL)
            self._log.flush()

    @staticmethod
    def _feed_watchdog(interval: float) -> None:
        while True:
            notify.watchdog()
            gevent.sleep(interval)

    # -- clients -------------------------------------------------------------------------------------------------

    def _serve(self, link: ClientLink) -> None:
        """Serve one client from its greeting to its end."""
        name = f"Client {next(self._numbers)} ({link.address})"
        self._log.debug(f"{name} connected")
        if self._log.trace_enabled:
            trace_client(self._log, link, name)
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
