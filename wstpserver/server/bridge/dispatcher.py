"""Brings together clients and kernels: carries out what the registry decides, and tells it what happens."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import gevent
from gevent import get_hub

from wstpserver.pools import commands as replies
from wstpserver.pools.registry import Registry, TokenRequired
from wstpserver.pools.states import (
    Admission,
    AnswerAwaited,
    Bridged,
    Client,
    Close,
    Effect,
    Kernel,
    KernelIds,
    KernelState,
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
from wstpserver.server import GRACE, GracePeriods
from wstpserver.server.access import AccessTokens, RefusalLog
from wstpserver.server.bridge.bridge import Bridge
from wstpserver.server.bridge.client_session import ClientSession
from wstpserver.server.bridge.kernel_session import KernelSession
from wstpserver.server.bridge.waiting import NOTICE_DELAY, WaitingClients
from wstpserver.server.commands.executor import Executor, Handlers, ServerControl
from wstpserver.server.commands.information import ServerFacts
from wstpserver.server.connection import Connection, LateAcknowledgements
from wstpserver.server.handover import link_of_record, packed, unpacked
from wstpserver.server.handshake import OpenLink
from wstpserver.server.kernels.launcher import Launcher
from wstpserver.server.kernels.maintenance import EvaluationTimer, Maintenance
from wstpserver.server.kernels.supervisor import Supervisor
from wstpserver.server.log import Log
from wstpserver.server.trace import trace_link
from wstpserver.settings import ServerSettings
from wstpserver.wire.packets import MessageCode
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


#: Purposes of a wait that belongs to a command.
_BY_COMMAND = frozenset({Purpose.COMMAND, Purpose.INSIDE})

#: States of the kernels that are handed over with their links.
_HANDED_OVER = frozenset({KernelState.FREE, KernelState.RESERVED, KernelState.BRIDGED, KernelState.RESETTING})


def _left(wait: Mapping[str, Any]) -> float:
    """Seconds until the end of a wait; *wait* is what `WaitingClients.hand_over` returned."""
    return max(0.0, float(wait["ends"]) - time.monotonic())


class Dispatcher:
    """All sessions and kernels of a server. Methods return at once unless they say otherwise.

    Args:
        settings: The configuration.
        log: The log.
        launcher: Starts the kernels' processes.
        facts: What the server says of itself.
        tokens: The access tokens; None for none.
        control: Reloads and stops the server; None where nothing does.
        grace: How long clients, kernels and evaluations have to come to their end.
    """

    def __init__(
        self,
        settings: ServerSettings,
        log: Log,
        launcher: Launcher,
        facts: ServerFacts | None = None,
        tokens: AccessTokens | None = None,
        control: ServerControl | None = None,
        grace: GracePeriods = GRACE,
    ) -> None:
        self.grace = grace
        self._launcher = launcher
        self.settings = settings
        #: One function for all clients.
        self._queue_limit = lambda: self.settings.evaluation_queue_limit
        self.log = log
        self.sessions: dict[Client, ClientSession] = {}
        #: Clients that were turned away because of MaximumClients.
        self.turned_away = 0
        #: Clients that have been parted with for a restart, which still have to read why.
        self._leaving: list[ClientSession] = []
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
        self._timer = EvaluationTimer(self.registry, log, self._abort, grace.abort)
        self.supervisor = Supervisor(
            self.registry,
            launcher,
            log,
            lambda: self.settings,
            self,
            self.maintenance.check_fresh,
            lambda pool: self.waiting.start_failed(pool),  # which needs the supervisor itself
            grace,
        )
        self.registry.observe(moved=launcher.persistence.moved, setting_changed=launcher.persistence.changed)
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
        kernels = [session.kernel for session in self.sessions.values()]
        return [kernel for kernel in kernels if kernel is not None and kernel.busy]

    @staticmethod
    def wait_until_idle(kernels: Iterable[KernelSession], timeout: float) -> None:
        """Wait until no evaluation is open in these kernels, or *timeout* seconds are over."""
        gevent.joinall([gevent.spawn(kernel.wait_until_idle, timeout) for kernel in kernels], timeout=timeout)

    def reconfigure(self, settings: ServerSettings) -> None:
        """Take new settings over without disturbing anybody."""
        self.settings = settings
        self.supervisor.reconfigure(settings)
        self.registry.reconfigure(settings)
        self._timer.update()

    # -- from one process to the next --------------------------------------------------------------------------

    def halt(self) -> bool:
        """Receive nothing more from clients and kernels, and wait for nothing that is to be sent. To be called until
        it returns True: then everything can be handed over.
        """
        kernels = [one.halt() for one in self._ends() if one.record.state is not KernelState.RESETTING]
        clients = [one.halt() for one in self.sessions.values()]
        return all(kernels) and all(clients) and self.is_settled

    @property
    def is_settled(self) -> bool:
        """Whether no kernel is being started or reset, and of none that has ended it is open how."""
        return self.supervisor.is_settled

    def frames_under_way(self) -> set[tuple[ClientSession | KernelSession, int]]:
        """The clients and kernels that have not sent the rest of a frame of which a part was passed on, each with a
        number that is another one for each frame.
        """
        ends: list[ClientSession | KernelSession] = [*self._ends(), *self.sessions.values()]
        return {(one, one.channel.scanner.state.frame_start) for one in ends if one.channel.awaits_rest}

    def resume(self) -> None:
        """The opposite of `halt`."""
        for kernel in self._ends():
            kernel.resume()
        for session in self.sessions.values():
            session.resume()

    def _ends(self) -> list[KernelSession]:
        """The kernels that are handed over with their links."""
        return [one for one in self.supervisor.sessions.values() if one.record.state in _HANDED_OVER and one.alive]

    def close_unhalted(self, ends: Collection[ClientSession | KernelSession] | None = None) -> None:
        """Part with the clients and kernels that stand in the middle of a frame, or with those of them in *ends*."""
        for session in tuple(self.sessions.values()):
            if (ends is None or session in ends) and not session.halt():
                self.log.warning(f"{session.name} is closed: the server restarts in the middle of what it sends")
                session.close_link(replies.notice("the server restarts, and the packet under way was not complete"))
                self.close_session(session, "the server restarts")
                self._leaving.append(session)
        for kernel in self._ends():
            if (ends is None or kernel in ends) and not kernel.halt():
                why = "the server restarts in the middle of what it writes"
                self.log.warning(f"Kernel {kernel.record.id} is closed: {why}")
                kernel.complete_last_packet()
                kernel.channel.lost()  # its client gets the end of the packet, and then the notice
                self.registry.close(kernel.record, why, told=f"the kernel was closed: {why}")

    def hand_over(self) -> dict[str, Any]:
        """Everything that the next process needs, once all is halted (`handover`)."""
        sessions = list(self.sessions.values())
        kernels, closing = {}, {}
        for kernel, session in self.supervisor.sessions.items():
            if kernel.state in _HANDED_OVER:
                kernels[kernel.id] = self._kernel_record(session)
            elif kernel.state is KernelState.CLOSING:
                closing[kernel.id] = session.process.hand_over()
        return {
            "registry": self.registry.record(list(self.sessions)),
            "kernels": kernels,
            "closing": closing,
            "clients": [self._client_record(session) for session in sessions],
            "leaving": [session.hand_over()["link"] for session in self._leaving if not session.has_ended],
        }

    def _kernel_record(self, session: KernelSession) -> dict[str, Any]:
        packet, goes_on = self._executor.running_for(session)
        record = session.hand_over(b"" if goes_on else packet)
        client = session.record.client
        if goes_on and client is not None and client.waiting is not None:
            record["command"] = packed(packet)
            record["wait"] = self.waiting.hand_over(client.waiting)
        limit = self._timer.hand_over(session.record)
        if limit is not None:
            record["time_limit"] = limit
        return record

    def _client_record(self, session: ClientSession) -> dict[str, Any]:
        waiting = session.record.waiting
        record = session.hand_over(None if waiting is None else self.waiting.hand_over(waiting))
        bridge = self._bridge_of(session)
        if bridge is not None:
            record["bridge"] = bridge.hand_over()
        return record

    def go_on(self, record: Mapping[str, Any]) -> list[tuple[ClientSession, OpenLink, Mapping[str, Any]]]:
        """Go on with what another process has handed over, before `start`. What cannot be is left out, with an entry
        in the log.

        Args:
            record: What `hand_over` returned there.

        Returns:
            The clients, each with its link and its record; `resume_command` and `ClientSession.run` follow for each.

        Raises:
            KeyError, ValueError: It is not such a record.
        """
        clients = self.registry.restore(record["registry"])
        self._timer.update()
        for identifier, one in record["kernels"].items():
            self._restore_kernel(identifier, one)
        found = []
        for client, one in zip(clients, record["clients"], strict=True):
            link = self._restore_client(client, one)
            if link is not None:
                found.append((self.sessions[client], link, one))
        for identifier, one in record["kernels"].items():
            self._resume_kernel_command(identifier, one)
        for kernel in tuple(self.registry.kernels.values()):
            self._settle_restored(kernel, record["closing"].get(kernel.id))
        for client in clients:
            if client not in self.sessions:
                self.registry.remove_client(client)
        return found

    def recover(self) -> None:
        """Go on with the kernels of a server that was killed, before `start`. Those that had a client are reserved for
        it, as long as kernels outlive a server.
        """
        persistence = self._launcher.persistence
        self._launcher.recover_parents()
        record, awaited, lost = persistence.recover()
        self.go_on(record)
        self._launcher.end_unrecovered()
        for identifier, why in lost.items():
            self.log.warning(f"Kernel {identifier} of the server before this one is closed: {why}")
        found = len(self.supervisor.sessions)
        if found or lost:
            self.log.information(
                f"Took over the kernels of the server before this one: {found}. Closed of them: {len(lost)}"
            )
        for identifier, keep_alive in awaited.items():
            kernel = self.registry.kernels.get(identifier)
            if kernel is not None:
                gevent.spawn_later(
                    persistence.outlive, self.registry.stop_awaiting, kernel, keep_alive=keep_alive
                )

    def _restore_kernel(self, identifier: str, record: Mapping[str, Any]) -> None:
        kernel = self.registry.kernels.get(identifier)
        if kernel is None:
            return
        try:
            process = self._launcher.process_of_record(record["process"], identifier)
            self.supervisor.go_on(kernel, process, record)
            if "time_limit" in record:
                self._timer.go_on(kernel, record["time_limit"])
        except (OSError, KeyError, ValueError) as error:
            self.log.error(f"Kernel {identifier} did not survive the restart: {error}")

    def _restore_client(self, client: Client, record: Mapping[str, Any]) -> OpenLink | None:
        try:
            link = link_of_record(record["link"])
        except (OSError, KeyError, ValueError) as error:
            self.log.error(f"{client.name} did not survive the restart: {error}")
            return None
        if self.log.trace_enabled:
            trace_link(self.log, link, client.name)
        session = self.sessions[client] = self.make_session(
            client,
            client.name,
            link.data,
            link.messages,
            greeting_version=link.greeting_version,
            address=link.address,
            header=ProxyHeader.of_record(record["header"]) if "header" in record else None,
        )
        if self.settings.requires_token and not client.authenticated:
            self._await_token(session)
        session.go_on(record)
        kernel = self.supervisor.sessions.get(client.kernel) if client.kernel is not None else None
        if kernel is not None:
            bridge = Bridge(session, kernel, self._shows_prompt)
            bridge.go_on(record.get("bridge", {"welcomed": True}))
        waiting = client.waiting
        if waiting is not None and waiting.purpose not in _BY_COMMAND:
            self._begin_waiting(session, waiting, record["wait"])
        return link

    def _resume_kernel_command(self, identifier: str, record: Mapping[str, Any]) -> None:
        kernel = self.registry.kernels.get(identifier)
        session = self.supervisor.sessions.get(kernel) if kernel is not None else None
        if session is None or "command" not in record:
            return
        client = self.sessions.get(session.record.client) if session.record.client is not None else None
        self._executor.resume_for_kernel(session, client, unpacked(record["command"]), _left(record["wait"]))

    def resume_command(self, session: ClientSession, record: Mapping[str, Any]) -> None:
        """Go on with the command that another process has begun to carry out for a client, if any."""
        if "command" in record:
            wait = record.get("wait")
            self.client_commanded(session, unpacked(record["command"]), 0.0 if wait is None else _left(wait))

    def _settle_restored(self, kernel: Kernel, process: Mapping[str, Any] | None) -> None:
        """See to a kernel that has no session here."""
        if kernel in self.supervisor.sessions or kernel.state is KernelState.STARTING:
            return
        if kernel.state is not KernelState.CLOSING:
            self.registry.close(kernel, "it did not survive the restart", told="the kernel did not survive a restart")
            return
        found = None
        if process is not None:
            try:
                found = self._launcher.process_of_record(process, kernel.id)
            except (OSError, KeyError, ValueError) as error:
                self.log.error(f"The end of kernel {kernel.id} is not waited for: {error}")
        self.supervisor.end_process(kernel, found)

    # -- clients -----------------------------------------------------------------------------------------------

    def make_session(
        self,
        record: Client,
        name: str,
        data: Connection,
        messages: Connection,
        *,
        greeting_version: int = 4,
        address: str = "",
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
            address,
            self._queue_limit,
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
        if self.log.debug_enabled:
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
        waiting = self.registry.connect_to_pool(session.record, pool, purpose)
        if waiting.state is not WaitState.GRANTED:
            self._begin_waiting(session, waiting)

    def _begin_waiting(
        self, session: ClientSession, waiting: WaitingClient, handed_over: Mapping[str, Any] | None = None
    ) -> None:
        """The client waits without having asked for it by a command: if it gets no kernel, its link is closed.

        Args:
            session: The client.
            waiting: What it waits for.
            handed_over: What `WaitingClients.hand_over` said, if it has begun to wait in another process.
        """
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
            waiting.target.settings.kernel_wait_timeout if handed_over is None else _left(handed_over),
            settled,
            None if handed_over is not None and handed_over["told"] else tell,
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

    def client_commanded(self, session: ClientSession, packet: bytes | None, seconds: float | None = None) -> None:
        """The client sent a command; returns when it has its reply.

        Args:
            session: The client.
            packet: The command, None for one that is too large.
            seconds: Not None if another process has begun to carry it out: how long it may still wait.
        """
        before, waited = session.peer, session.record.waiting is not None
        authenticated = session.record.authenticated
        connected = self._executor.run_for_client(session, packet, seconds)
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
        bridge = self._bridge_at(kernel)
        if bridge is not None:
            bridge.hold()
        self.supervisor.link_ended(kernel)

    def _close_unfit(self, kernel: Kernel, why: str) -> None:
        self.supervisor.unfit(kernel, why)
        self.registry.close(kernel, why, told=f"the kernel was closed: {why}")

    def _abort(self, kernel: Kernel, why: str) -> None:
        session = self.supervisor.sessions[kernel]
        bridge = self._bridge_at(session)
        if bridge is not None:
            bridge.client.announce(replies.notice(why))
        session.send_message(MessageCode.ABORT, 0)

    # -- effects -----------------------------------------------------------------------------------------------

    def _carry_out(self, effect: Effect) -> None:
        self._effects[type(effect)](effect)

    def _start(self, effect: Start) -> None:
        self.supervisor.start(effect.kernel)

    def _close(self, effect: Close) -> None:
        self.supervisor.close(effect.kernel, effect.why)

    def _reset(self, effect: Reset) -> None:
        self.supervisor.reset(effect.kernel)

    @staticmethod
    def _bridge_of(session: ClientSession) -> Bridge | None:
        return session.peer if isinstance(session.peer, Bridge) else None

    @staticmethod
    def _bridge_at(kernel: KernelSession | None) -> Bridge | None:
        """The bridge of a kernel; None also while one that has ended discards an answer."""
        peer = kernel.peer if kernel is not None else None
        return peer if isinstance(peer, Bridge) and peer.client.peer is peer else None

    def _shows_prompt(self) -> bool:
        return self.settings.send_input_name_packet_upon_kernel_connection

    def _bridged(self, effect: Bridged) -> None:
        session, kernel = self.sessions[effect.client], self.supervisor.sessions[effect.kernel]
        if not effect.named:
            kernel.backlog.drain()  # what it wrote for another client
        session.was_robbed = False
        bridge = Bridge(session, kernel, self._shows_prompt)
        if self.log.debug_enabled:
            self.log.debug(f"{session.name} is bridged to kernel {kernel.record.id}")
        if effect.purpose is not Purpose.COMMAND and session is not self._opening:
            gevent.spawn(bridge.welcome, prompt=effect.purpose in _PROMPTED)

    def _unbridged(self, effect: Unbridged) -> None:
        session = self.sessions.get(effect.client)
        bridge = self._bridge_of(session) if session is not None else None
        if bridge is None or session is None or bridge.kernel.record is not effect.kernel:
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
        if self.log.debug_enabled:
            lost = f"; {len(dropped)} of its packets were not sent" if dropped else ""
            self.log.debug(f"{bridge.client.name} is unbridged from kernel {kernel.id}: {reason.value}{lost}")
        return dropped

    def _settled(self, effect: Settled) -> None:
        self.waiting.settle(effect.waiting)

    def _move_failed(self, effect: MoveFailed) -> None:
        session = self.sessions.get(effect.client)
        if session is not None:
            session.announce(replies.notice(f"ConnectKernel failed: {effect.why}"))

    def _answer_awaited(self, effect: AnswerAwaited) -> None:
        bridge = self._bridge_at(self.supervisor.sessions.get(effect.kernel))
        if bridge is not None:
            bridge.update_fastpath()
            if bridge.client.record.pending is not None:
                bridge.withhold_prompt()
