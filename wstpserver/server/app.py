"""The running server: what listens, how it starts, reloads and stops."""

from __future__ import annotations

import itertools
import os
import signal
import traceback
from functools import partial
from types import TracebackType

import gevent
from gevent import get_hub
from gevent.event import Event

from wstpserver.pools.states import Client
from wstpserver.server import notify
from wstpserver.server.acceptor import Acceptor
from wstpserver.server.advertise import Advertiser
from wstpserver.server.bridge.dispatcher import Dispatcher
from wstpserver.server.greeter import ClientLink
from wstpserver.server.launcher import Launcher
from wstpserver.server.link_listener import LinkListener
from wstpserver.server.listeners import ListenError, describe, listen
from wstpserver.server.log import Log
from wstpserver.server.log_sink import LogSink
from wstpserver.server.message_watch import MessageWatch
from wstpserver.server.orphans import open_registry
from wstpserver.server.serve_options import ServeOptions
from wstpserver.server.trace import trace_client
from wstpserver.settings import ConfigurationError, ServerSettings
from wstpserver.settings.diff import changes
from wstpserver.settings.loader import LoadedSettings, reload_settings
from wstpserver.version import VERSION

EXIT_OK = 0
EXIT_UNAVAILABLE = 69

#: Seconds that evaluations have to finish after SIGTERM or SIGINT.
FINISHING_TIME = 10.0

#: Seconds between two attempts to write log entries that could not be written.
LOG_FLUSH_INTERVAL = 5.0


def run(settings: ServerSettings, options: ServeOptions) -> int:
    """Serve until a signal says stop; returns the exit code of the program."""
    get_hub().print_exception = partial(_log_exception, options.log)
    gevent.config.track_greenlet_tree = False  # each greenlet would remember where it was spawned, in 800 bytes
    application = Application(settings, options)
    try:
        application.listen()
    except ListenError as error:
        options.log.error(str(error))
        return EXIT_UNAVAILABLE
    try:
        application.start()
        application.wait()
    finally:
        application.stop()
    return EXIT_OK


def _log_exception(log: Log, context: object, kind: type, error: BaseException, trace: TracebackType | None) -> None:
    """Take gevent's report of an exception that ended a greenlet, which would go to stderr."""
    log.error("Internal error:\n" + "".join(traceback.format_exception(kind, error, trace)))


class Application:
    """One server in this process."""

    def __init__(self, settings: ServerSettings, options: ServeOptions) -> None:
        self._settings = settings
        self._options = options
        self._loaded = options.loaded
        self._log: Log = options.log
        self._stopping = Event()
        self._launcher = Launcher(self._log, settings.kernel_start_concurrency)
        self.dispatcher = Dispatcher(settings, self._log, self._launcher)
        self.acceptor = Acceptor(settings, self._log, self._serve)
        self._servers: list[LinkListener] = []
        #: What it listens on, for the log.
        self._where = ""
        self._advertiser: Advertiser | None = None
        self._numbers = itertools.count(1)
        self._helpers: list[gevent.Greenlet] = []
        #: The watchers of the signals we catch.
        self._signals: dict[int, object] = {}

    # -- life --------------------------------------------------------------------------------------------------

    def listen(self) -> None:
        """Take the port. Raises `ListenError`."""
        interface = self._options.interface
        listeners = listen(interface, self._options.port)
        self._where = describe(listeners, interface)
        self._servers = [LinkListener(listener, self.acceptor.handle, self._log) for listener in listeners]

    def start(self) -> None:
        """Launch the kernels, accept clients, and tell whoever started us."""
        self._log.debug(f"WSTPServer {VERSION} runs as process {os.getpid()}")
        self._catch_signals()
        self._launcher.registry = open_registry(os.environ, self._log)
        self.dispatcher.start()
        for server in self._servers:
            server.start()
        self._log.information(f"Listening for new connections on {self._where}")
        if self._options.log_file is not None:
            self._print_ready()
        if self._options.advertise is not None:
            self._advertise(self._options.advertise)
        notify.ready(f"listening on {self._where}")
        self._helpers.append(gevent.spawn(self._flush_log))
        interval = notify.watchdog_interval()
        if interval is not None:
            self._helpers.append(gevent.spawn(self._feed_watchdog, interval))

    def _print_ready(self) -> None:
        """Where the log goes elsewhere, a line on stdout says that the server is up: supervisord shows it."""
        sink = LogSink()  # neither blocks nor raises, whatever stdout is
        sink.write(f"WSTPServer: Listening for new connections on {self._where}\n".encode("utf-8", "backslashreplace"))
        sink.close()

    def _advertise(self, service: str) -> None:
        addresses = [server.socket.getsockname()[:2] for server in self._servers]
        self._advertiser = Advertiser(self._log, self._settings.advertised_service_type, service, addresses)
        self._advertiser.start()

    def wait(self) -> None:
        """Wait for a signal."""
        self._stopping.wait()

    def stop(self) -> None:
        """Stop accepting, let evaluations finish, close every link and kernel."""
        notify.stopping()
        for server in self._servers:
            server.stop()
        withdrawing = gevent.spawn(self._advertiser.stop) if self._advertiser is not None else None
        evaluating = self.dispatcher.evaluating()
        if evaluating:
            self._log.debug(f"Evaluations under way: {len(evaluating)}; they have {FINISHING_TIME:g} s to finish")
            self.dispatcher.wait_until_idle(evaluating, FINISHING_TIME)
        self.dispatcher.stop()
        self._launcher.stop()
        if self._launcher.registry is not None:
            self._launcher.registry.close()
        if withdrawing is not None:
            withdrawing.join()
        for number in self._signals:  # not the default: a late signal must not change the exit code
            signal.signal(number, signal.SIG_IGN)
        gevent.killall(self._helpers)
        self._log.information("Stopped")

    # -- signals and time ----------------------------------------------------------------------------------------

    def _catch_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._signals[number] = gevent.signal_handler(number, self._asked_to_stop, number)
        if hasattr(signal, "SIGHUP"):
            self._signals[signal.SIGHUP] = gevent.signal_handler(signal.SIGHUP, self.reload)

    def _asked_to_stop(self, number: int) -> None:
        if self._stopping.is_set():
            return
        self._log.information(f"Stopping because of {signal.Signals(number).name}")
        self._stopping.set()

    def reload(self) -> None:
        """Take the configuration file over as it is now; an invalid one changes nothing. Reopens the log file."""
        self._log.reopen()
        if self._stopping.is_set():
            return
        notify.reloading()
        status = f"listening on {self._where}"
        try:
            self._take_over(reload_settings(self._loaded))
        except ConfigurationError as error:
            status += "; the configuration on the disk is not valid"
            self._log.error(f"The configuration was not reloaded, the old one stays in force:\n{error}")
        finally:
            notify.ready(status)

    def _take_over(self, loaded: LoadedSettings) -> None:
        for warning in loaded.warnings:
            self._log.warning(str(warning))
        found = changes(self._settings, loaded.settings)
        listed = "".join(f"\n{change}" for change in found) or "\nnothing is different"
        self._log.information(f"The configuration was reloaded:{listed}")
        self._loaded = loaded
        self._settings = loaded.settings
        self.acceptor.reconfigure(loaded.settings)
        self._launcher.line.set_most(loaded.settings.kernel_start_concurrency)
        self.dispatcher.reconfigure(loaded.settings)

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
        try:
            if self._log.trace_enabled:
                self._trace(link, name)
            self._converse(link, name)
        finally:  # for the case that nobody expected as well: a client must not wait for ever
            link.data.close()
            link.messages.close()

    def _trace(self, link: ClientLink, name: str) -> None:
        rest, link.unsent = link.unsent, b""  # no frame
        link.data.try_send(rest)
        trace_client(self._log, link, name)

    def _converse(self, link: ClientLink, name: str) -> None:
        session = self.dispatcher.make_session(Client(name), name, link.data, link.messages)
        messages = MessageWatch(link.messages, link.messages_leftover, session.run_messages, session.messages_ended)
        why = "the server failed"
        try:
            self.dispatcher.open_session(session, without_kernel=link.without_kernel, greeting=link.unsent)
            why = session.run(link.data_leftover)
        finally:
            try:
                self.dispatcher.close_session(session, why)
            finally:
                if messages.reading:
                    session.end()
                messages.stop()
                session.release()
