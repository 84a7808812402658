"""The running server: what listens, how it starts, reloads and stops."""

from __future__ import annotations

import gc
import ipaddress
import os
import signal
import socket
import time
import traceback
from collections.abc import Mapping
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any

import gevent
from gevent import get_hub
from gevent.event import Event

from wstpserver.pools.states import Client
from wstpserver.server import ServeOptions, systemd
from wstpserver.server.access import AccessTokens, ConnectionRules, is_administrator, origin
from wstpserver.server.advertise import Advertiser
from wstpserver.server.bridge.client_session import ClientSession
from wstpserver.server.bridge.dispatcher import Dispatcher
from wstpserver.server.commands.executor import ServerControl
from wstpserver.server.commands.information import ServerFacts
from wstpserver.server.connection import ConnectionClosed, MessageWatch, peer_name
from wstpserver.server.handover import (
    BLOCKED_SIGNALS,
    HandoverError,
    Restart,
    check_format,
    check_words,
    fetch,
    link_of_record,
    read_check_words,
    unpacked,
)
from wstpserver.server.handshake import ClientAcceptor, OpenLink
from wstpserver.server.kernels.keeper_client import KeeperClient, open_keeper
from wstpserver.server.kernels.launcher import Launcher
from wstpserver.server.kernels.persistence import Persistence
from wstpserver.server.listen import LinkServer, PortUnavailable, describe, listen, own_address
from wstpserver.server.log import Log, LogSink, counted
from wstpserver.server.trace import trace_link
from wstpserver.settings import ConfigurationError, ServerSettings
from wstpserver.settings.loader import LoadedSettings, read_tokens, reload_settings
from wstpserver.settings.model import changes
from wstpserver.settings.schema import ANY
from wstpserver.version import VERSION

if TYPE_CHECKING:
    from wstpserver.server.http.site import Site

EXIT_OK = 0
EXIT_UNAVAILABLE = 69

#: Seconds between two attempts to write log entries that could not be written.
LOG_FLUSH_INTERVAL = 5.0

#: Seconds that everything has to end after it was killed because of a second signal.
HURRY_TIME = 1.0


def can_start(words: str, settings: ServerSettings) -> str:
    """Say why this program could not take over from a server that restarts, or "".

    Args:
        words: What that server asks (`handover.check_words`).
        settings: The settings that would be in force.
    """
    try:
        number, port, interface = read_check_words(words)
        check_format(number)
        if (port, interface) != (settings.port, settings.interface):
            for listener in listen(settings.interface, settings.port):
                listener.close()
    except (ValueError, HandoverError, PortUnavailable) as error:
        return str(error)
    return ""

#: The environment variable that names the server to clients.
ADDRESS_VARIABLE = "WSTPSERVER"

#: `gc.set_threshold`: new objects before the youngest ones are looked through, and how often until older ones are. A
#: client and its kernel are about 100 objects.
COLLECTION_THRESHOLDS = 5_000, 10, 50


def run(settings: ServerSettings, options: ServeOptions, handed_over: str = "") -> int:
    """Serve until a signal says stop.

    Args:
        settings: The settings.
        options: What the command line asks.
        handed_over: What the program before this one in this process has left: the descriptor of a record
            (`handover`), or "".

    Returns:
        The exit code of the program. EXIT_UNAVAILABLE: the port cannot be had, and the log says why.
    """
    get_hub().print_exception = partial(_log_exception, options.log)
    gevent.config.track_greenlet_tree = False  # each greenlet would remember where it was spawned, in 800 bytes
    try:
        record = fetch(int(handed_over)) if handed_over.isdecimal() else {}
        listeners = _listeners_of(record, options) or listen(options.interface, options.port)
        http_listeners = _listen_for_http(settings, None if not record else options.log)
    except (PortUnavailable, HandoverError) as error:
        options.log.error(str(error))
        return EXIT_UNAVAILABLE
    # A kernel that wants others to work for it, and a program that a kernel starts, mean this server.
    os.environ[ADDRESS_VARIABLE] = own_address(listeners[0])
    application = Application(settings, options, listeners, record.get("since"))
    try:
        if record:
            application.go_on(record)
        else:
            application.recover()
        application.serve_http(http_listeners)
        application.start()
        # Clients wait while garbage is looked for. All that is here now stays, and what comes and goes with clients
        # leaves nothing for the collector, which the program had disabled while it loaded. So it looks seldom.
        gc.freeze()
        gc.set_threshold(*COLLECTION_THRESHOLDS)
        gc.enable()
        application.wait()
    finally:
        application.stop()
    return EXIT_OK


def _listeners_of(record: Mapping[str, Any], options: ServeOptions) -> list[socket.socket]:
    """The listening sockets that were handed over; those for another port or interface are closed instead."""
    found = [socket.socket(fileno=one["descriptor"]) for one in record.get("listeners", ())]
    for one in found:
        one.set_inheritable(False)
    if found and [options.port, options.interface] != record["listens_on"]:
        for one in found:
            one.close()
        return []
    return found


def _listen_for_http(settings: ServerSettings, log: Log | None) -> list[socket.socket]:
    """The listening sockets for HTTP; none if there is no port for it.

    Args:
        settings: the settings.
        log: is told if the port is not available, where the server has to go on without it; None where it must not.
    """
    if settings.http_port < 0:
        return []
    # a server without HTTP does not load what it needs
    from wstpserver.server.http.site import http_address, listen_for_http

    address = http_address(settings)
    try:
        return listen_for_http(address) if address is not None else []
    except PortUnavailable as error:
        if log is None:
            raise
        log.error(str(error))
        return []


def _log_exception(log: Log, context: object, kind: type, error: BaseException, trace: TracebackType | None) -> None:
    """Take gevent's report of an exception that ended a greenlet, which would go to stderr."""
    log.error("Internal error:\n" + "".join(traceback.format_exception(kind, error, trace)))


class Application:
    """One server in this process: makes the parts and connects them."""

    def __init__(
        self,
        settings: ServerSettings,
        options: ServeOptions,
        listeners: list[socket.socket],
        since: float | None = None,
    ) -> None:
        """
        Args:
            settings: the settings.
            options: what the command line asks.
            listeners: the listening sockets, which belong to the application now.
            since: when the server was started, by the monotonic clock; None is now.
        """
        self._settings = settings
        self._options = options
        self._loaded = options.loaded
        self._log: Log = options.log
        self._stopping = Event()
        #: Seconds for which the kernels are left to the next server; 0: they end with this one.
        self._left_for = 0.0
        #: Set when a second signal asks to stop at once.
        self._hurrying = Event()
        port = listeners[0].getsockname()[1]
        persistence = Persistence(self._log, settings.kernels_outlive_server)
        self._launcher = Launcher(
            self._log, settings.kernel_start_concurrency, persistence, partial(self._open_keeper, port)
        )
        began = time.monotonic() if since is None else since
        self._facts = ServerFacts(str(options.configuration_file or ""), began)
        self._admission = ConnectionRules(settings, self._log)
        self._tokens = AccessTokens(self._admission.refusals)
        control = ServerControl(self.reload, self._stop_by_command, self._restart, self._leave)
        self._dispatcher = Dispatcher(
            settings, self._log, self._launcher, self._facts, self._tokens, control, options.grace
        )
        self._acceptor = ClientAcceptor(settings, self._log, self._serve, self._admission)
        self._servers = [
            LinkServer(listener, self._acceptor.handle, self._log, self._admission) for listener in listeners
        ]
        #: What it listens on, for the log.
        self._where = describe(listeners, options.interface)
        self._advertiser: Advertiser | None = None
        #: What is served over HTTP; made when it is switched on for the first time.
        self._site: Site | None = None
        self._started = round(time.time() - time.monotonic() + began)
        #: The number of the last client.
        self._number = 0
        self._restarting = Restart(
            self._log,
            self._dispatcher,
            self._stopping,
            lambda: self._settings.restart_timeout,
            check_words(options.port, options.interface),
            self._prepare,
            self._halt,
            self._resume,
            self._hand_over,
        )
        self._helpers: list[gevent.Greenlet] = []
        #: The watchers of the signals that are caught.
        self._signals: dict[int, object] = {}

    # -- starting and stopping -----------------------------------------------------------------------------------

    def start(self) -> None:
        """Launch the kernels, accept clients, and tell the service manager."""
        self._log.debug(f"WSTPServer {VERSION} runs as process {os.getpid()}")
        self._read_tokens()
        self._catch_signals()
        self._dispatcher.start()
        for server in self._servers:
            server.start()
        self._log.information(f"Listening for new connections on {self._where}")
        self._explain_reach()
        if self._options.log_file is not None:
            self._print_ready()
        if self._options.advertise is not None:
            self._advertise(self._options.advertise)
        systemd.ready(f"listening on {self._where}")
        self._helpers.append(gevent.spawn(self._flush_log))
        interval = systemd.watchdog_interval()
        if interval is not None:
            self._helpers.append(gevent.spawn(self._feed_watchdog, interval))

    def serve_http(self, listeners: list[socket.socket]) -> None:
        """Serve HTTP on these sockets, if there are any, in the way in which the settings say."""
        if not listeners:
            return
        address = (self._settings.http_interface, self._settings.http_port)
        self._make_site().open(listeners, address)

    def _make_site(self) -> Site:
        from wstpserver.server.http.metrics import Sources
        from wstpserver.server.http.site import Context, Site

        dispatcher, acceptor = self._dispatcher, self._acceptor
        sources = Sources(
            dispatcher.registry,
            dispatcher.supervisor,
            lambda: acceptor.opened,
            lambda: len(acceptor),
            lambda: {
                "not admitted": self._admission.refusals.number,
                "no link": acceptor.refused,
                "MaximumClients": dispatcher.turned_away,
            },
        )
        self._site = Site(
            Context(
                sources=sources,
                log=self._log,
                admission=self._admission,
                settings=lambda: self._settings,
                server=self._describe,
                stopping=self._stopping.is_set,
                reload=self.reload,
                is_administrator=is_administrator,
                token_trouble=self._token_trouble,
                check_token=self._check_token,
            )
        )
        return self._site

    def _token_trouble(self) -> str:
        return "" if self._tokens.are_known else "actions need an access token, and AccessTokenFile names none"

    def _check_token(self, token: str, connected: socket.socket) -> str:
        place = origin(connected)
        why = self._tokens.check(token, place)
        if why:
            self._tokens.refusals.add(place, f"{peer_name(connected)} over HTTP", why)
        return why

    def _describe(self) -> dict[str, Any]:
        """What the status page says of the server as a whole."""
        return {
            "Version": VERSION,
            "Machine": socket.gethostname(),
            "ProcessID": os.getpid(),
            "Listening": self._where,
            "Started": self._started,
            "ConfigurationFile": self._facts.configuration_file,
        }

    def _open_keeper(self, port: int) -> KeeperClient | None:
        """Find or start the process that holds the kernels. Raises KeeperUnavailable."""
        return open_keeper(os.environ, port, self._settings.kernels_outlive_server, self._log)

    # -- from one program to the next ----------------------------------------------------------------------------

    def _restart(self) -> str:
        """Execute the program again and go on there; returns why that was not possible."""
        return self._restarting.run()

    def _prepare(self) -> None:
        """Launch no further kernel, and withdraw the advertisement: the next program would find the name taken."""
        self._launcher.line.hold()
        advertiser, self._advertiser = self._advertiser, None
        if advertiser is not None:
            advertiser.stop()

    def _halt(self) -> None:
        for server in self._servers:
            server.stop_accepting()

    def _resume(self) -> None:
        self._launcher.line.release()
        if self._stopping.is_set():
            return
        for server in self._servers:
            server.start_accepting()
        if self._advertiser is None and self._options.advertise is not None:
            self._advertise(self._options.advertise)

    def _hand_over(self) -> dict[str, Any]:
        return {
            "listeners": [{"descriptor": server.socket.fileno()} for server in self._servers],
            "listens_on": [self._options.port, self._options.interface],
            "launcher": self._launcher.hand_over(),
            "unpaired": self._acceptor.hand_over(),
            "number": self._number,
            "since": self._facts.began,
        }

    def recover(self) -> None:
        """Go on with the kernels of a server with this port that was killed, before `start`."""
        self._launcher.find_keeper()
        self._dispatcher.recover()

    def go_on(self, record: Mapping[str, Any]) -> None:
        """Go on with everything that the program before this one in this process has handed over, before `start`."""
        self._number = record.get("number", 0)
        loaded = time.monotonic()
        self._launcher.go_on(record.get("launcher", {}))
        clients = self._dispatcher.go_on(record)
        self._launcher.end_others(record.get("launcher", {}))
        for one in record.get("leaving", ()):
            gevent.spawn(_see_off, one, self._options.grace.client)
        self._acceptor.go_on(record.get("unpaired", ()))
        for session, link, one in clients:
            gevent.spawn(self._serve_on, session, link, one)
        now = time.monotonic()
        began, halted = record.get("began", now), record.get("halted", now)
        kernels, count = len(self._dispatcher.supervisor.sessions), len(clients)
        self._log.information(
            f"Restarted with {counted(kernels, 'kernel')} and {counted(count, 'client')}: nobody was served for"
            f" {now - began:.3f} s"
        )
        self._log.debug(
            f"Everything was halted after {halted - began:.3f} s, the program loaded after another"
            f" {loaded - halted:.3f} s, everything restored after {now - loaded:.3f} s"
        )

    def _serve_on(self, session: ClientSession, link: OpenLink, record: Mapping[str, Any]) -> None:
        """Serve a client that was connected before the restart until its end."""
        try:
            self._converse(session, link, record)
        finally:
            link.close()

    def _explain_reach(self) -> None:
        """Say who can connect, where that is everybody, or where clients have to name the host."""
        hosts = {server.socket.getsockname()[0] for server in self._servers}
        port = self._servers[0].socket.getsockname()[1]
        is_local = all(ipaddress.ip_address(host.partition("%")[0]).is_loopback for host in hosts)
        if not is_local and ANY in self._settings.allowed_addresses:
            where = "all interfaces" if hosts & {"0.0.0.0", "::"} else ", ".join(sorted(hosts))
            who = "has an access token and " if self._settings.requires_token else ""
            self._log.warning(
                f"The server listens on {where}: whoever {who}reaches port {port} of this computer can run programs"
                " here under the account of the server. Restrict it with AllowedAddresses, or with --interface"
                " (localhost keeps other computers out), or have a firewall admit only the computers of your clients"
            )
        elif is_local:
            self._log.information(
                "Only programs on this computer can connect, and they have to name the host: -linkname"
                f" {port}@localhost. Without a host the WSTP library connects to the address of the computer in its"
                " network, where the server does not listen"
            )

    def _print_ready(self) -> None:
        """Say on stdout that the server is up, because the log goes elsewhere; supervisord shows it."""
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
        """Stop accepting, let evaluations finish, close every link and kernel; at once after a second signal."""
        stopping = gevent.spawn(self._stop)
        gevent.wait([stopping, self._hurrying], count=1)
        if not stopping.ready():
            self._launcher.kill()
            stopping.join(HURRY_TIME)
        for number in self._signals:  # not the default: a late signal must not change the exit code
            signal.signal(number, signal.SIG_IGN)
        gevent.killall(self._helpers)
        self._log.information("Stopped" if stopping.ready() else "Stopped before everything had ended")
        if stopping.ready():
            stopping.get()  # raises what went wrong, if anything

    def _leave(self, seconds: float) -> str:
        """Stop, and leave the kernels to the next server for so many seconds; why that is not possible, "" if it is."""
        reason = self._launcher.persistence.why_not()
        if not reason:
            self._log.information(f"Stopping because of a command; kernels wait {seconds:g} s for the next server")
            self._left_for = seconds
            self._stopping.set()
        return reason

    def _stop(self) -> None:
        systemd.stopping()
        if self._left_for:
            self._launcher.persistence.leave(self._left_for)
            self._log.flush()
            os._exit(EXIT_OK)  # links end with the process: not one byte may pass any more
        self._restarting.stop()
        if self._site is not None:
            self._site.look_now()
        for server in self._servers:
            server.stop()
        self._admission.refusals.summarise()
        withdrawing = gevent.spawn(self._advertiser.stop) if self._advertiser is not None else None
        evaluating = self._dispatcher.evaluating()
        if evaluating:
            seconds = self._options.grace.evaluations
            self._log.debug(f"Evaluations under way: {len(evaluating)}; they have {seconds:g} s to finish")
            finishing = gevent.spawn(self._dispatcher.wait_until_idle, evaluating, seconds)
            gevent.wait([finishing, self._hurrying], count=1)
        self._dispatcher.stop()
        self._launcher.stop()
        if self._site is not None:
            self._site.close()
        if withdrawing is not None:
            withdrawing.join()

    # -- signals and time ----------------------------------------------------------------------------------------

    def _catch_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._signals[number] = gevent.signal_handler(number, self._asked_to_stop, number)
        if hasattr(signal, "SIGHUP"):
            self._signals[signal.SIGHUP] = gevent.signal_handler(signal.SIGHUP, self.reload)
            self._signals[signal.SIGUSR2] = gevent.signal_handler(signal.SIGUSR2, self._restart)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, BLOCKED_SIGNALS)  # as they are after a restart

    def _asked_to_stop(self, number: int) -> None:
        """Have `wait` return; the second time what `stop` still waits for is ended at once."""
        why = signal.Signals(number).name
        if self._stopping.is_set():
            self._log.information(f"Stopping at once because of {why}")
            self._hurrying.set()
            return
        self._log.information(f"Stopping because of {why}")
        self._stopping.set()

    def _stop_by_command(self) -> None:
        self._log.information("Stopping because of a StopServer command")
        self._stopping.set()

    def reload(self) -> str:
        """Apply the configuration file as it is now; an invalid one changes nothing. Reopens the log file.

        Returns:
            Why it was not applied; "" if it was.
        """
        self._log.reopen()
        if self._stopping.is_set():
            return "the server stops"
        systemd.reloading()
        status = f"listening on {self._where}"
        try:
            self._apply(reload_settings(self._loaded))
        except ConfigurationError as error:
            status += "; the configuration on the disk is not valid"
            why = f"The configuration was not reloaded, the old one stays in force:\n{error}"
            self._log.error(why)
            return why
        finally:
            systemd.ready(status)
        return ""

    def _read_tokens(self) -> None:
        """Read the file of access tokens, whose content may have changed while the settings have not."""
        path = self._settings.access_token_file
        try:
            self._tokens.replace(read_tokens(path) if path else ())
        except ValueError as error:  # it was there when the configuration was read
            self._log.error(f"AccessTokenFile: {error}; the tokens that were known stay in force")

    def _apply(self, loaded: LoadedSettings) -> None:
        for warning in loaded.warnings:
            self._log.warning(str(warning))
        found = changes(self._settings, loaded.settings)
        listed = "".join(f"\n{change}" for change in found) or "\nnothing is different"
        self._log.information(f"The configuration was reloaded:{listed}")
        self._loaded = loaded
        self._settings = loaded.settings
        self._read_tokens()
        self._admission.reconfigure(loaded.settings)
        self._acceptor.reconfigure(loaded.settings)
        self._launcher.line.set_concurrency(loaded.settings.kernel_start_concurrency)
        self._dispatcher.reconfigure(loaded.settings)
        if self._site is None and loaded.settings.http_port >= 0:
            self._make_site()
        if self._site is not None:
            self._site.reconfigure(loaded.settings)

    def _flush_log(self) -> None:
        while True:
            gevent.sleep(LOG_FLUSH_INTERVAL)
            self._log.flush()

    @staticmethod
    def _feed_watchdog(interval: float) -> None:
        while True:
            systemd.watchdog()
            gevent.sleep(interval)

    # -- clients -------------------------------------------------------------------------------------------------

    def _serve(self, link: OpenLink) -> None:
        """Serve one client from its handshake to its end."""
        self._number += 1
        name = f"Client {self._number} ({link.address})"
        if self._log.debug_enabled:
            self._log.debug(f"{name} connected")
        try:
            if self._log.trace_enabled:
                trace_link(self._log, link, name)
            session = self._dispatcher.make_session(
                Client(name),
                name,
                link.data,
                link.messages,
                greeting_version=link.greeting_version,
                address=link.address,
                header=link.header,
            )
            self._converse(session, link)
        except BaseException:  # a defect, but a client must not wait for ever
            link.close()
            raise

    def _converse(
        self, session: ClientSession, link: OpenLink, record: Mapping[str, Any] | None = None
    ) -> None:
        """Serve a client until its end; *record* is what was handed over of one that was there before."""
        messages = MessageWatch(link.messages, link.messages_leftover, session.run_messages, session.messages_ended)
        why = "the server failed"
        try:
            if record is None:
                self._dispatcher.open_session(session, without_kernel=link.without_kernel, greeting=link.unsent)
                link.unsent = b""  # it has been sent, and a client may do nothing for hours
            else:
                self._dispatcher.resume_command(session, record)
            why = session.run(link.leftover)
        finally:
            try:
                self._dispatcher.close_session(session, why)
            finally:
                if messages.reading:
                    session.end()
                messages.stop()
                session.release()


def _see_off(record: Mapping[str, Any], seconds: float) -> None:
    """Let a client read what is left for it, and throw away what it still sends: a link that is closed with bytes
    unread is reset, and what its peer has not read yet is lost.
    """
    try:
        link = link_of_record(record)
    except OSError:
        return
    with gevent.Timeout(seconds, exception=False):
        try:
            link.data.send(unpacked(record.get("unsent", "")))
            link.data.finish_sending()
            while link.data.receive_bytes(65536):
                pass
        except ConnectionClosed:
            pass
    link.close()
