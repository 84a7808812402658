"""Brings together clients and kernels: carries out what the registry decides, and tells it what happens."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable
from typing import Any

import gevent
from gevent import get_hub

from wstpserver.pools import commands as replies
from wstpserver.pools.ids import KernelIds
from wstpserver.pools.registry import Registry, TokenRequired
from wstpserver.pools.states import (
    Admission,
    AnswerAwaited,
    Bridged,
    Client,
    Close,
    Effect,
    Kernel,
    MoveFailed,
    Pool,
    Purpose,
    Reason,
    Reset,
    Settled,
    Start,
    Unbridged,
    WaitingClient,
    WaitState,
)
from wstpserver.server.access import AccessTokens, RefusalLog
from wstpserver.server.bridge.bridge import Bridge
from wstpserver.server.bridge.client_session import ClientSession
from wstpserver.server.bridge.kernel_session import KernelSession
from wstpserver.server.bridge.waiting import NOTICE_DELAY, WaitingClients
from wstpserver.server.commands.executor import Executor, Handlers, ServerControl
from wstpserver.server.commands.information import ServerFacts
from wstpserver.server.connection import Connection, LateAcknowledgements
from wstpserver.server.kernels.launcher import Launcher
from wstpserver.server.kernels.maintenance import EvaluationTimer, Maintenance
from wstpserver.server.kernels.supervisor import Supervisor
from wstpserver.server.log import Log
from wstpserver.settings import ServerSettings
from wstpserver.wire.messages import MessageCode
from wstpserver.wire.proxy_protocol import ProxyHeader

#: Seconds that clients have at the server's end to read what was still on its way to them.
CLOSING_TIME = 2.0

#: What a client is told when its kernel has died and another one takes its place.
_REPLACED = replies.notice("the kernel died; a new one takes its place, without its definitions")

#: What a client is told when its kernel is taken away.
_NOTICES = {
    Reason.TAKEN_OVER: "another client connected to this kernel by its ID",
    Reason.KERNEL_DIED: "the kernel died",
}

#: Ends of a bridge after which the client's link is closed as well.
_CLOSING_REASONS = frozenset({Reason.KERNEL_DIED, Reason.KERNEL_ENDED, Reason.KERNEL_CLOSED})

#: Clients that get the kernel's prompt whatever the configuration says.
_PROMPTED = frozenset({Purpose.AUTOMATIC, Purpose.REPLACEMENT})


class Dispatcher:
    """All sessions and kernels of a server. Methods return at once unless they say otherwise.

    Args:
        settings: The configuration.
        log: The log.
        launcher: Starts the kernels' processes.
        facts: What the server says of itself.
        tokens: The access tokens; None for none.
        control: Reloads and stops the server; None where nothing does.
    """

    def __init__(
        self,
        settings: ServerSettings,
        log: Log,
        launcher: Launcher,
        facts: ServerFacts | None = None,
        tokens: AccessTokens | None = None,
        control: ServerControl | None = None,
    ) -> None:
        self.settings = settings
        self.log = log
        self.sessions: dict[Client, ClientSession] = {}
        #: Clients that were turned away because of MaximumClients.
        self.turned_away = 0
        self._bridges: dict[Kernel, Bridge] = {}
        self._acknowledgements = LateAcknowledgements()
        #: The client whose link has just been opened: it is welcomed together with its greeting.
        self._opening: ClientSession | None = None
        self._tokens = tokens or AccessTokens(RefusalLog(log))
        #: Clients that can do nothing before they say a token, each with the timer of its link.
        self._silent: dict[Client, Any] = {}
        self._effects: dict[type, Callable[[Any], None]] = {
            Start: self._start,
            Close: self._close,
            Reset: self._reset,
            Bridged: self._bridged,
            Unbridged: self._unbridged,
            Settled: self._settled,
            MoveFailed: self._move_failed,
            AnswerAwaited: self._answer_awaited,
        }
        self.registry = Registry(settings, KernelIds(secrets.token_bytes(32)).new, self._carry_out, time.monotonic)
        self.maintenance = Maintenance(self.registry, log, self._close_unfit, self._send_away)
        timer = EvaluationTimer(self.registry, log, self._abort)
        self.supervisor = Supervisor(
            self.registry, launcher, log, lambda: self.settings, self, timer, self.maintenance.check_fresh
        )
        self.waiting = WaitingClients(self.registry, log, self.supervisor.trouble)
        handlers = Handlers(
            self.registry,
            self.supervisor,
            self.waiting,
            log,
            lambda: self.settings,
            facts or ServerFacts(),
            self.sessions,
            self._send_away,
            self._tokens,
            control,
        )
        self._executor = Executor(handlers, log)

    def start(self) -> None:
        """Launch the kernels that the pools keep ready."""
        self.registry.start()
        self.maintenance.start(self.supervisor.sessions, self.sessions)

    def stop(self) -> None:
        """Close all links and kernels; returns when every process is gone."""
        self.supervisor.stopping = True
        self.maintenance.stop()
        for session in tuple(self.sessions.values()):
            session.close_link()
        self.registry.stop()
        self.supervisor.join()
        finishing = [session.finishing for session in self.sessions.values() if session.finishing is not None]
        gevent.joinall(finishing, timeout=CLOSING_TIME)
        for session in tuple(self.sessions.values()):
            session.end()
        self._acknowledgements.close()

    def evaluating(self) -> list[KernelSession]:
        """The kernels in which an evaluation of a bridged client is open."""
        return [bridge.kernel for bridge in self._bridges.values() if bridge.kernel.busy]

    @staticmethod
    def wait_until_idle(kernels: Iterable[KernelSession], timeout: float) -> None:
        """Wait until no evaluation is open in these kernels, or *timeout* seconds are over."""
        gevent.joinall([gevent.spawn(kernel.wait_until_idle, timeout) for kernel in kernels], timeout=timeout)

    def reconfigure(self, settings: ServerSettings) -> None:
        """Take new settings over without disturbing anybody."""
        self.settings = settings
        self.supervisor.reconfigure(settings)
        self.registry.reconfigure(settings)

    # -- clients -----------------------------------------------------------------------------------------------

    def make_session(
        self,
        record: Client,
        name: str,
        data: Connection,
        messages: Connection,
        *,
        greeting_version: int = 4,
        header: ProxyHeader | None = None,
    ) -> ClientSession:
        """Return the session of a new client link; `open_session` follows."""
        return ClientSession(
            self,
            record,
            name,
            data,
            messages,
            self._acknowledgements,
            greeting_version,
            lambda: self.settings.evaluation_queue_limit,
            header,
        )

    def open_session(self, session: ClientSession, *, without_kernel: bool = False, greeting: bytes = b"") -> None:
        """Take a client whose link is open. One client too many is turned away.

        Args:
            session: The client.
            without_kernel: The client wants no kernel until it asks for one; else it is bridged with a kernel of the
                default pool, unless the configuration says later.
            greeting: The end of the link's greeting, which is sent first of all, together with the kernel's prompt if
                there is a free one.
        """
        maximum = self.settings.maximum_clients
        if 0 < maximum <= len(self.sessions):
            self.turned_away += 1
            why = f"no further client is taken: MaximumClients is {maximum}"
            self.log.warning(f"{session.name} was turned away: {why}")
            session.send_first(greeting, b"")
            session.close_link(replies.notice(why))
            return
        session.takes_kernels_itself = without_kernel
        self.sessions[session.record] = session
        self.registry.add_client(session.record)
        if self._connects_at_once(session) and self._may_have_kernel(session):
            self._opening = session
            self._connect_to_default_pool(session, Purpose.AUTOMATIC)
            self._opening = None
        if self.settings.requires_token:
            self._await_token(session)
        bridge = self._bridge_of(session)
        if bridge is None:
            session.send_first(greeting, b"")
        else:
            bridge.welcome(greeting, prompt=True)

    def close_session(self, session: ClientSession, why: str) -> None:
        """A client link has ended."""
        if self.sessions.pop(session.record, None) is None:
            return
        self.log.debug(f"{session.name} disconnected: {why}")
        if self._silent:
            self._end_silence(session)
        bridge = self._bridge_of(session)
        if bridge is not None:  # now, because its channel is in the middle of a packet perhaps
            self._end_bridge(bridge, Reason.CLIENT_GONE, keep_queue=False)
        self.registry.remove_client(session.record)

    def client_leaving(self, session: ClientSession) -> None:
        """The client's message connection has ended: it does not wait for a kernel any more."""
        self.registry.give_up(session.record, "its link ended")

    def client_needs_kernel(self, session: ClientSession) -> bool:
        """The client sent something for a kernel and has none; False if it is not to be kept for one.

        What a client sends before it reads that its kernel was taken over is meant for that kernel. One that takes its
        kernels itself asks for another one when it has read that; for others it is the usual first packet.
        """
        record = session.record
        if record.waiting is not None:
            self.waiting.needed(record.waiting)
        elif record.kernel is None and not session.closing:
            if session.was_robbed:
                return False
            if not self._may_have_kernel(session):
                self._refuse(session, str(TokenRequired(f"pool {self.settings.default_pool.name}")))
                return False
            self._connect_to_default_pool(session, Purpose.FIRST_FRAME)
        return True

    # -- access tokens -----------------------------------------------------------------------------------------

    def _connects_at_once(self, session: ClientSession) -> bool:
        """Whether the client is to have a kernel of the default pool without asking for one."""
        return self.settings.enable_automatic_kernel_connection and not session.takes_kernels_itself

    def _may_have_kernel(self, session: ClientSession) -> bool:
        """Whether the client may have a kernel of the default pool."""
        return session.record.authenticated or not self.settings.default_pool.require_access_token

    def _await_token(self, session: ClientSession) -> None:
        timer = self._silent[session.record] = get_hub().loop.timer(self.settings.greeting_timeout)
        timer.start(self._silent_too_long, session)

    def _silent_too_long(self, session: ClientSession) -> None:
        self._end_silence(session)
        if not session.is_administrator():  # who may ask for the status of the server
            self._refuse(session, "it said no access token in time")

    def _end_silence(self, session: ClientSession) -> None:
        timer = self._silent.pop(session.record, None)
        if timer is not None:
            timer.stop()
            timer.close()

    def _refuse(self, session: ClientSession, why: str) -> None:
        self._tokens.refusals.add(session.origin, session.name, why)
        session.close_link(replies.notice(why))

    def _authenticated(self, session: ClientSession) -> None:
        """The client has said an access token: it gets what it would have got at its connection."""
        self._end_silence(session)
        if self._connects_at_once(session) and session.record.kernel is None and session.record.waiting is None:
            self._connect_to_default_pool(session, Purpose.AUTOMATIC)

    def _send_away(self, session: ClientSession, reason: Reason) -> None:
        """Close the link of a client, and give its kernel back at once."""
        session.close_link(replies.notice(f"the link is closed: {reason.value}"))
        self.registry.send_away(session.record, reason)

    def _connect_to_default_pool(self, session: ClientSession, purpose: Purpose) -> None:
        pool = self.registry.pools[self.settings.default_pool.name]
        self._begin_waiting(session, self.registry.connect_to_pool(session.record, pool, purpose))

    def _begin_waiting(self, session: ClientSession, waiting: WaitingClient) -> None:
        """The client waits without having asked for it by a command: if it gets no kernel, its link is closed."""
        told = ""

        def tell(why: str) -> None:
            nonlocal told
            told = why
            session.announce(replies.notice(why))

        def settled(waiting: WaitingClient) -> None:
            if waiting.state is not WaitState.GRANTED and session.record in self.sessions:
                known = told.startswith(waiting.reason)
                self._turn_away(session, waiting.reason, b"" if known else replies.notice(waiting.reason))

        if waiting.state is WaitState.FAILED and waiting.purpose is Purpose.AUTOMATIC and not self._is_closed():
            # its pool is drained, and others are not: it may be about to name one of those
            session.announce(replies.notice(waiting.reason))
            gevent.spawn_later(NOTICE_DELAY, self._turn_away_unless_commanded, session, waiting.reason)
            return
        if waiting.state is not WaitState.WAITING:
            settled(waiting)
            return
        assert isinstance(waiting.target, Pool), "kernels are named in commands only"
        self.waiting.begin(
            waiting,
            waiting.target.settings.kernel_wait_timeout,
            settled,
            tell,
            lambda: session.has_commanded,
        )

    def _turn_away(self, session: ClientSession, why: str, last: bytes) -> None:
        """Close the link of a client that gets no kernel, unless it has one, waits again, or has a command running."""
        record = session.record
        if not session.leaving and record.waiting is None and record.kernel is None and session.replied.is_set():
            self.log.warning(f"{session.name} was given up on: {why}")
            session.close_link(last)

    def _turn_away_unless_commanded(self, session: ClientSession, why: str) -> None:
        if not session.has_commanded and session.record in self.sessions:
            self._turn_away(session, why, b"")

    def _is_closed(self) -> bool:
        """Whether no client gets any kernel of the server."""
        return self.registry.admission is Admission.DRAINING

    def client_commanded(self, session: ClientSession, packet: bytes | None) -> None:
        """The client sent a command; returns when it has its reply."""
        before, waited = session.peer, session.record.waiting is not None
        authenticated = session.record.authenticated
        connected = self._executor.run_for_client(session, packet)
        if session.record.authenticated and not authenticated:
            self._authenticated(session)
            return
        bridge = self._bridge_of(session)
        if bridge is None:
            lost_its_place = waited and session.record.waiting is None  # to a connection that failed
            if lost_its_place or session.queue.waits or session.awaits_replacement:
                self.client_needs_kernel(session)
        elif bridge is not before:
            bridge.welcome()
        elif connected and not bridge.kernel.busy and self.settings.send_input_name_packet_upon_kernel_connection:
            # a client that connects waits for the prompt, also if it has the kernel already
            session.send(bridge.kernel.input_name)

    # -- kernels -----------------------------------------------------------------------------------------------

    def kernel_commanded(self, kernel: KernelSession, packet: bytes | None) -> None:
        """The kernel sent a command; its channel does not read until this returns."""
        client = kernel.record.client
        session = self.sessions.get(client) if client is not None and client.kernel is kernel.record else None
        self._executor.run_for_kernel(kernel, session, packet)

    def kernel_link_ended(self, kernel: KernelSession) -> None:
        """The kernel's link has ended, by itself or because the server closes it."""
        bridge = self._bridges.get(kernel.record)
        if bridge is not None:
            bridge.hold()
        self.supervisor.link_ended(kernel)

    def _close_unfit(self, kernel: Kernel, why: str) -> None:
        self.supervisor.unfit(kernel, why)
        self.registry.close(kernel, why, told=f"the kernel was closed: {why}")

    def _abort(self, kernel: Kernel, why: str) -> None:
        bridge = self._bridges.get(kernel)
        if bridge is not None:
            bridge.client.announce(replies.notice(why))
        self.supervisor.sessions[kernel].send_message(MessageCode.ABORT, 0)

    # -- effects -----------------------------------------------------------------------------------------------

    def _carry_out(self, effect: Effect) -> None:
        self._effects[type(effect)](effect)

    def _start(self, effect: Start) -> None:
        self.supervisor.start(effect.kernel)

    def _close(self, effect: Close) -> None:
        self.supervisor.close(effect.kernel, effect.why)

    def _reset(self, effect: Reset) -> None:
        self.supervisor.reset(effect.kernel)

    def _bridge_of(self, session: ClientSession) -> Bridge | None:
        return session.peer if isinstance(session.peer, Bridge) else None

    def _shows_prompt(self) -> bool:
        return self.settings.send_input_name_packet_upon_kernel_connection

    def _bridged(self, effect: Bridged) -> None:
        session, kernel = self.sessions[effect.client], self.supervisor.sessions[effect.kernel]
        if not effect.named:
            kernel.backlog.drain()  # what it wrote for another client
        session.was_robbed = False
        bridge = self._bridges[effect.kernel] = Bridge(session, kernel, self._shows_prompt)
        self.log.debug(f"{session.name} is bridged to kernel {kernel.record.id}")
        if effect.purpose is not Purpose.COMMAND and session is not self._opening:
            gevent.spawn(bridge.welcome, prompt=effect.purpose in _PROMPTED)

    def _unbridged(self, effect: Unbridged) -> None:
        session, bridge = self.sessions.get(effect.client), self._bridges.get(effect.kernel)
        if bridge is None or session is None:
            return
        reason = effect.reason
        dropped = self._end_bridge(bridge, reason, keep_queue=effect.keep_queue)
        if effect.replacing:
            # In one write: a client that sees the end of its evaluation knows at once what it means.
            session.announce(bridge.end_of_evaluations() + _REPLACED)
            session.awaits_replacement = True
            if effect.client.waiting is not None and effect.client.waiting.purpose is Purpose.REPLACEMENT:
                self._begin_waiting(session, effect.client.waiting)
        elif reason in _CLOSING_REASONS:
            why = effect.told or _NOTICES.get(reason, "")
            session.close_link(replies.notice(why) if why else b"")
        elif reason is Reason.TAKEN_OVER:
            session.was_robbed = session.takes_kernels_itself
            session.announce(bridge.end_of_evaluations(dropped) + replies.notice(_NOTICES[reason]))
        elif effect.keep_queue and session.queue.waits:
            gevent.spawn(self.client_needs_kernel, session)  # unless another kernel is on its way

    def _end_bridge(self, bridge: Bridge, reason: Reason, *, keep_queue: bool) -> tuple[Any, ...]:
        dropped = bridge.end(keep_queue=keep_queue)
        kernel = bridge.kernel.record
        if self._bridges.get(kernel) is bridge:
            del self._bridges[kernel]
        lost = f"; {len(dropped)} of its packets were not sent" if dropped else ""
        self.log.debug(f"{bridge.client.name} is unbridged from kernel {kernel.id}: {reason.value}{lost}")
        return dropped

    def _settled(self, effect: Settled) -> None:
        if effect.waiting.timed:
            self.waiting.settle(effect.waiting)

    def _move_failed(self, effect: MoveFailed) -> None:
        session = self.sessions.get(effect.client)
        if session is not None:
            session.announce(replies.notice(f"ConnectKernel failed: {effect.why}"))

    def _answer_awaited(self, effect: AnswerAwaited) -> None:
        bridge = self._bridges.get(effect.kernel)
        if bridge is not None:
            bridge.update_fastpath()
            if bridge.client.record.pending is not None:
                bridge.withhold_prompt()
