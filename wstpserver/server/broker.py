"""Joins sessions and kernels: asks the registry, and carries out what it decides."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Any

import gevent
from gevent.event import AsyncResult

from wstpserver.model.effects import Bridged, Close, Reason, RequestFailed, Reset, Start, Unbridged
from wstpserver.model.ids import KernelIds
from wstpserver.model.registry import Registry
from wstpserver.model.states import Client, Kernel, KernelState, Request
from wstpserver.server import replies
from wstpserver.server.acknowledgement import LateAcknowledgements
from wstpserver.server.evaluation_clock import EvaluationClock
from wstpserver.server.executor import Executor
from wstpserver.server.janitor import Janitor
from wstpserver.server.kernel import KernelServer
from wstpserver.server.kernel_ends import KernelEnds
from wstpserver.server.kernels.launcher import Launcher
from wstpserver.server.log import Log
from wstpserver.server.nursery import Nursery
from wstpserver.server.queueing import Queueing
from wstpserver.server.resetting import reset
from wstpserver.server.session import Purpose, Session
from wstpserver.settings import ServerSettings

#: Seconds that clients have at the server's end to read what was still on its way to them.
LAST_WORDS_TIME = 2.0

BRIDGED = KernelState.BRIDGED  # members of an enum are slow to look up

#: What a client is told when its kernel is taken away.
_PARTING_WORDS = {
    Reason.STOLEN: "another client connected to this kernel by its ID",
    Reason.KERNEL_DIED: "the kernel died",
}

_REPLACED = replies.notice("the kernel died; a new one has taken its place, without its definitions")

#: Ends of a bridge after which the client's link is closed as well.
_CLOSING_REASONS = frozenset({Reason.KERNEL_DIED, Reason.KERNEL_ENDED, Reason.KERNEL_CLOSED})


class Broker:
    """All sessions and kernels of a server. Methods return at once unless they say otherwise."""

    def __init__(self, settings: ServerSettings, log: Log, launcher: Launcher) -> None:
        self.settings = settings
        self.log = log
        self.registry = Registry(settings, KernelIds(secrets.token_bytes(32)).new, time.monotonic)
        self.sessions: dict[Client, Session] = {}
        self.kernels: dict[Kernel, KernelServer] = {}
        self.nursery = Nursery(self, launcher)
        self.ends = KernelEnds(self)
        self.queueing = Queueing(self)
        self.executor = Executor(self)
        self.janitor = Janitor(self)
        self.clock = EvaluationClock(self)
        self.acknowledgements = LateAcknowledgements()
        #: Commands that wait until their client is bridged.
        self.awaited: dict[Client, AsyncResult] = {}
        self.stopping = False
        self._carrying_out = False
        #: Who is being welcomed already.
        self._opening: Session | None = None
        self._handlers: dict[type, Callable[[Any], None]] = {
            Start: self._start,
            Close: self._close,
            Reset: self._reset,
            Bridged: self._bridged,
            Unbridged: self._unbridged,
            RequestFailed: self._request_failed,
        }

    def start(self) -> None:
        """Launch the kernels that the pools keep ready."""
        for pool in self.registry.pools.values():
            self.registry.fill(pool)
        self.carry_out()
        self.janitor.start()

    def stop(self) -> None:
        """Close all links and kernels; returns when every process is gone."""
        self.stopping = True
        self.janitor.stop()
        for session in tuple(self.sessions.values()):
            session.close_link()
        for pool in self.registry.pools.values():
            pool.holding_off = True
        for record in tuple(self.registry.kernels.values()):
            self.registry.close(record, "the server stops")
        self.carry_out()
        self.nursery.join()
        finishing = [session.finishing for session in self.sessions.values() if session.finishing is not None]
        gevent.joinall(finishing, timeout=LAST_WORDS_TIME)
        for session in tuple(self.sessions.values()):
            session.end()
        self.acknowledgements.close()

    def reconfigure(self, settings: ServerSettings) -> None:
        """Take new settings over without disturbing anybody."""
        self.settings = settings
        for kernel in self.kernels.values():
            kernel.missed.limit = settings.missed_output_limit
        self.registry.reconfigure(settings)
        self.carry_out()

    def carry_out(self) -> None:
        """Carry out the effects of what was just done to the registry."""
        if self._carrying_out:
            return
        self._carrying_out = True
        try:
            while effects := self.registry.take_effects():
                for effect in effects:
                    self._handlers[type(effect)](effect)
        finally:
            self._carrying_out = False

    # -- sessions ------------------------------------------------------------------------------------------------

    def open_session(self, session: Session, without_kernel: bool = False, greeting: bytes = b"") -> None:
        """A client link is open: bridge it with a kernel of the default pool, unless the configuration says later, or
        the client itself (*without_kernel*). One client too many is turned away.

        The end of the *greeting* is sent first of all, together with the kernel's prompt if there is a free one."""
        maximum = self.settings.maximum_clients
        if 0 < maximum <= len(self.sessions):
            why = f"no further client is taken: MaximumClients is {maximum}"
            self.log.warning(f"{session.name} was turned away: {why}")
            session.open(greeting, b"")
            session.close_link(replies.notice(why))
            return
        self.sessions[session.record] = session
        self.registry.add_client(session.record)
        if self.settings.enable_automatic_kernel_connection and not without_kernel:
            self._opening = session
            self._connect_to_default_pool(session, Purpose.AUTOMATIC)
            self._opening = None
        if session.kernel is None:
            session.open(greeting, b"")
        else:
            self.welcome(session, session.kernel, greeting)

    def close_session(self, session: Session, why: str) -> None:
        """A client link has ended."""
        if self.sessions.pop(session.record, None) is None:
            return
        self.log.debug(f"{session.name} disconnected: {why}")
        session.detach(keep_queue=False)
        self.queueing.end(session.record)
        self.registry.remove_client(session.record)
        self.carry_out()

    def client_leaving(self, session: Session) -> None:
        """The client's message connection has ended: nobody waits for a kernel any more."""
        self.queueing.end(session.record)
        self.registry.give_up(session.record)
        awaited = self.awaited.pop(session.record, None)
        if awaited is not None:
            awaited.set(False)
        self.carry_out()

    def client_needs_kernel(self, session: Session) -> None:
        """The client sent something for a kernel and has none."""
        if session.record.request is None and not session.closing:
            self._connect_to_default_pool(session, Purpose.FIRST_FRAME)

    def client_commanded(self, session: Session, packet: bytes | None) -> None:
        """The client sent a command; returns when it has its reply."""
        self.executor.run_for_client(session, packet)

    def _connect_to_default_pool(self, session: Session, purpose: Purpose) -> None:
        session.purpose = purpose
        pool = self.registry.pools[self.settings.default_pool.name]
        outcome = self.registry.connect_to_pool(session.record, pool)
        self.carry_out()
        if isinstance(outcome, Request) and outcome is session.record.request:
            self.queueing.begin(session, pool)

    # -- kernels -------------------------------------------------------------------------------------------------

    def evaluation_begun(self, kernel: KernelServer) -> None:
        """An evaluation goes to the kernel."""
        self.registry.set_busy(kernel.record, True)
        self.clock.begun(kernel)

    def evaluations_passed(self, kernel: KernelServer, number: int) -> None:
        """So many evaluations were done in turn; the kernel is as busy as it was, perhaps with another one."""
        if number:
            kernel.activity.evaluations += number
            self.registry.count_evaluations(kernel.record, number)
            if kernel.busy:
                self.clock.ended(kernel)
                self.clock.begun(kernel)

    def kernel_awaiting(self, kernel: KernelServer, awaiting: bool) -> None:
        """The busy kernel waits for its client to say something, or does not any longer."""
        self.registry.set_awaiting(kernel.record, awaiting)
        self.carry_out()

    def kernel_accepting(self, kernel: KernelServer) -> None:
        """The kernel can take an evaluation again."""
        if not kernel.activity.busy:
            self.clock.ended(kernel)
            pending = len(self.registry.effects)
            self.registry.set_busy(kernel.record, False)
            if len(self.registry.effects) > pending:  # what others have caused they carry out themselves
                self.carry_out()
            if self.executor.evaluation_ended(kernel):
                return
        session = kernel.session
        if session is not None:
            session.accept()

    def only_counts(self, kernel: KernelServer) -> bool:
        """Whether nothing will have to be done when this kernel, whose client waits for its answer, becomes idle."""
        return kernel.record.state is BRIDGED and not self.executor.puts_off(kernel)

    def kernel_commanded(self, kernel: KernelServer, packet: bytes | None) -> None:
        """The kernel sent a command; its reply is written by a greenlet of its own."""
        gevent.spawn(self.executor.run_for_kernel, kernel, packet)

    def kernel_link_ended(self, kernel: KernelServer) -> None:
        """The kernel's link has ended, by itself or because the server closes it."""
        self.ends.link_ended(kernel)

    @staticmethod
    def bad_news(session: Session) -> bytes:
        """What a client that has a kernel now is told first if that is in the place of one that died."""
        news = _REPLACED if session.bereaved else b""
        session.bereaved = False
        return news

    # -- effects -------------------------------------------------------------------------------------------------

    def _start(self, effect: Start) -> None:
        self.nursery.start(effect.kernel)

    def _close(self, effect: Close) -> None:
        self.ends.close(effect.kernel, effect.why)

    def _reset(self, effect: Reset) -> None:
        self.nursery.adopt(reset, self, effect.kernel)

    def _bridged(self, effect: Bridged) -> None:
        session, kernel = self.sessions[effect.client], self.kernels[effect.kernel]
        self.queueing.end(effect.client)
        session.attach(kernel)
        kernel.attach(session)
        self.log.debug(f"{session.name} is bridged to kernel {kernel.record.id}")
        if kernel.record.pool is not None:
            self.nursery.proved(kernel.record.pool)
        awaited = self.awaited.pop(effect.client, None)
        if awaited is not None:
            awaited.set(True)
        elif session is not self._opening:
            gevent.spawn(self.welcome, session, kernel)

    def welcome(self, session: Session, kernel: KernelServer, greeting: bytes = b"") -> None:
        """Tell the client of a bridge that it did not ask for by a command, and let its frames through."""
        if session.kernel is not kernel:
            return
        packets = kernel.question
        if session.purpose is not Purpose.FIRST_FRAME or self.settings.send_input_name_packet_upon_kernel_connection:
            packets = kernel.input_name + packets
        packets = self.bad_news(session) + packets
        session.open(greeting, packets)
        session.resume()

    def _unbridged(self, effect: Unbridged) -> None:
        session, kernel = self.sessions.get(effect.client), self.kernels[effect.kernel]
        kernel.detach()
        if session is None:
            self.log.debug(f"{effect.client.name} is unbridged from kernel {kernel.record.id}: {effect.reason.value}")
            return
        keep_queue = effect.replacing or session.keeps_queue
        evaluating = kernel.busy or session.writer.in_frame(kernel)
        unsent = session.detach(keep_queue)
        dropped = f"; {unsent} of its packets were not sent" if unsent else ""
        self.log.debug(f"{session.name} is unbridged from kernel {kernel.record.id}: {effect.reason.value}{dropped}")
        if effect.replacing:
            session.purpose, session.bereaved = Purpose.REPLACEMENT, True
            assert kernel.record.pool is not None
            if effect.client not in self.awaited:  # who waits by a command has a time limit of its own
                self.queueing.begin(session, kernel.record.pool)
        elif effect.reason in _CLOSING_REASONS or (effect.reason is Reason.STOLEN and (evaluating or unsent)):
            session.close_link(replies.notice(effect.told) if effect.told else _parting_words(effect.reason))
        elif effect.reason is Reason.STOLEN:
            gevent.spawn(self._tell, session, _parting_words(effect.reason))

    @staticmethod
    def _tell(session: Session, notice: bytes) -> None:
        session.replied.wait()
        session.send(notice)

    def _request_failed(self, effect: RequestFailed) -> None:
        awaited = self.awaited.pop(effect.client, None)
        if awaited is not None:
            awaited.set(False)
            return
        session = self.sessions.get(effect.client)
        if session is not None:
            self.queueing.turn_away(session, effect.why)


def _parting_words(reason: Reason) -> bytes:
    words = _PARTING_WORDS.get(reason)
    return replies.notice(words) if words is not None else b""
