"""Carries out the command language for clients and for kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import gevent
from gevent.event import AsyncResult

from wstpserver.model.commands import (
    DEFAULT_TIMEOUT,
    ERROR,
    MALFORMED,
    SUCCESS,
    Command,
    MalformedCommand,
    parse_command,
)
from wstpserver.model.registry import Refused
from wstpserver.model.states import Kernel, KernelState, Pool, Request
from wstpserver.server import replies
from wstpserver.server.information import result, server_information
from wstpserver.server.stream import StreamClosed
from wstpserver.wire.decode import decode
from wstpserver.wire.errors import ProtocolError

if TYPE_CHECKING:
    from wstpserver.server.broker import Broker
    from wstpserver.server.kernel import KernelServer
    from wstpserver.server.session import Session


class CommandFailed(Exception):
    """The command is well-formed but cannot be carried out; the text is for the log."""


class Executor:
    """Runs one command after the other; the method that carries out a command is named like it."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._after_evaluation: dict[KernelServer, list[Callable[[], None]]] = {}

    # -- who asks ------------------------------------------------------------------------------------------------

    def run_for_client(self, session: Session, packet: bytes | None) -> None:
        """Carry out a client's command and send the reply; returns when that is done."""
        before = session.kernel
        session.replied.clear()
        try:
            session.send(self._reply(packet, session.name, lambda command: self._run(command, session)))
        finally:
            session.replied.set()
        kernel = session.kernel
        if kernel is not None and kernel is not before:
            if self._broker.settings.send_input_name_packet_upon_kernel_connection:
                session.send(kernel.input_name)
            session.resume()

    def run_for_kernel(self, kernel: KernelServer, packet: bytes | None) -> None:
        """Carry out a kernel's command, which concerns its own bridge, and write the reply to the kernel."""
        name = f"kernel {kernel.record.id}"
        answer = self._reply(packet, name, lambda command: self._run_inside(command, kernel))
        try:
            kernel.writer.write(self, answer, True)
        except StreamClosed:
            pass  # the kernel is gone, and with it the question

    def evaluation_ended(self, kernel: KernelServer) -> bool:
        """The kernel's answer has reached its client: carry out what was put off until then.

        True if there was anything; then the client's waiting frames have been seen to.
        """
        actions = self._after_evaluation.pop(kernel, None)
        for action in actions or ():
            action()
        return actions is not None

    def _reply(self, packet: bytes | None, name: str, run: Callable[[Command], str | bytes]) -> bytes:
        log = self._broker.log
        try:
            command = parse_command(decode(packet)) if packet is not None else None
            if command is None:
                raise MalformedCommand("the packet is too large for a command")
        except (MalformedCommand, ProtocolError) as error:
            log.debug(f"Malformed command from {name}: {error}")
            return replies.reply(MALFORMED)
        try:
            answer = run(command)
        except (CommandFailed, Refused) as error:
            log.debug(f"{command.name} for {name} failed: {error}")
            return replies.reply(ERROR)
        return answer if isinstance(answer, bytes) else replies.reply(answer)

    def _run(self, command: Command, session: Session) -> str | bytes:
        method = getattr(self, "_" + command.name)
        answer: str | bytes = method(session, *command.arguments)
        return answer

    def _run_inside(self, command: Command, kernel: KernelServer) -> str | bytes:
        """The same for a command from a kernel; one that would end the kernel's own bridge is only prepared."""
        session = kernel.session
        if command.name == "DisconnectKernel":
            self._bridged(session)
            self._put_off(kernel, lambda: self._DisconnectKernel(session))
            return SUCCESS
        if command.name == "CloseKernel" and command.arguments == (kernel.record.id,):
            self._put_off(kernel, lambda: self._CloseKernel(session, kernel.record.id))
            return SUCCESS
        if command.name == "ConnectKernel":
            self._bridged(session)
            self._check_target(*command.arguments)
            self._put_off(kernel, lambda: self._begin_connecting(session, command))
            return SUCCESS
        return self._run(command, session)

    def _put_off(self, kernel: KernelServer, action: Callable[[], object]) -> None:
        self._after_evaluation.setdefault(kernel, []).append(self._keeping_queue(kernel, action))

    def _keeping_queue(self, kernel: KernelServer, action: Callable[[], object]) -> Callable[[], None]:
        """What the client has sent behind the evaluation that contained the command is meant for what comes next."""

        def run() -> None:
            session = kernel.session
            if session is None:
                return
            session.keeps_queue = True
            try:
                action()
            except (CommandFailed, Refused) as error:
                self._broker.log.debug(f"A command of kernel {kernel.record.id} failed: {error}")
            finally:
                session.keeps_queue = False
            if session.kernel is None:
                if session.waits_for_kernel:
                    self._broker.client_needs_kernel(session)
            elif not session.held:
                session.resume()

        return run

    def _begin_connecting(self, session: Session, command: Command) -> None:
        session.hold()
        gevent.spawn(self._connect_later, session, command)

    def _connect_later(self, session: Session, command: Command) -> None:
        session.keeps_queue = True
        try:
            self._ConnectKernel(session, *command.arguments)
        except (CommandFailed, Refused) as error:
            session.send(replies.notice(f"ConnectKernel failed: {error}"))
            session.resume()
            return
        finally:
            session.keeps_queue = False
        if session.kernel is not None:
            self._broker.welcome(session, session.kernel)

    # -- helpers -------------------------------------------------------------------------------------------------

    def _bridged(self, session: Session | None) -> KernelServer:
        if session is None or session.kernel is None:
            raise CommandFailed("the connection is not bridged")
        return session.kernel

    def _pooled(self, session: Session | None) -> tuple[KernelServer, Pool]:
        kernel = self._bridged(session)
        if kernel.record.pool is None:
            raise CommandFailed("the kernel is not part of a pool")
        return kernel, kernel.record.pool

    def _kernel(self, identifier: str) -> Kernel:
        record = self._broker.registry.kernels.get(identifier)
        if record is None or record.state in (KernelState.CLOSING, KernelState.GONE):
            raise CommandFailed(f"there is no kernel {identifier}")
        return record

    def _target(self, specifier: str | None = None) -> Kernel | Pool:
        """A kernel by its ID, or a pool by its name; the default pool for None."""
        registry = self._broker.registry
        if specifier is None:
            return registry.pools[self._broker.settings.default_pool.name]
        if specifier in registry.kernels:
            return self._kernel(specifier)
        if specifier in registry.pools:
            return registry.pools[specifier]
        raise CommandFailed(f"there is neither a kernel nor a pool {specifier}")

    def _check_target(self, specifier: str | None = None, timeout: float = DEFAULT_TIMEOUT) -> None:
        """Raise now what can be known now of a connection that is made later."""
        target = self._target(specifier)
        stealing = self._broker.settings.allow_stealing_kernels
        if isinstance(target, Kernel) and target.client is not None and not stealing:
            raise CommandFailed(f"kernel {target.id} is bridged to another client")

    def _connect(self, session: Session | None, target: Kernel | Pool, timeout: float) -> str:
        if session is None:
            raise CommandFailed("there is no client to connect")
        broker = self._broker
        registry, client = broker.registry, session.record
        broker.stop_waiting(client)
        if isinstance(target, Kernel):
            outcome = registry.connect_to_kernel(client, target)
        else:
            outcome = registry.connect_to_pool(client, target)
        awaited: AsyncResult = AsyncResult()
        broker.awaited[client] = awaited
        broker.carry_out()
        if isinstance(outcome, Kernel):
            broker.awaited.pop(client, None)
            return SUCCESS
        try:
            if awaited.get(timeout=timeout):
                return SUCCESS
            raise CommandFailed("the kernel ended while it was waited for")
        except gevent.Timeout:
            self._give_up(session, outcome)
            raise CommandFailed(f"no kernel became available within {timeout:g} seconds") from None

    def _give_up(self, session: Session, request: Request) -> None:
        broker = self._broker
        broker.awaited.pop(session.record, None)
        if session.record.request is request:
            broker.registry.give_up(session.record)
            broker.carry_out()

    # -- the commands, named as in the specification ---------------------------------------------------------------

    def _CloseKernel(self, session: Session | None, identifier: str) -> str:
        self._broker.registry.close(self._kernel(identifier), "a CloseKernel command")
        self._broker.carry_out()
        return SUCCESS

    def _ConnectKernel(
        self, session: Session | None, specifier: str | None = None, timeout: float = DEFAULT_TIMEOUT
    ) -> str:
        return self._connect(session, self._target(specifier), timeout)

    def _ConnectParallelKernel(self, session: Session | None, timeout: float = DEFAULT_TIMEOUT) -> str:
        return self._connect(session, self._parallel_pool(), timeout)

    def _parallel_pool(self) -> Pool:
        settings = self._broker.settings.parallel_pool
        if settings is None:
            raise CommandFailed("no pool is configured for parallel kernels")
        return self._broker.registry.pools[settings.name]

    def _DisconnectKernel(self, session: Session | None) -> str:
        self._bridged(session)
        assert session is not None
        self._broker.registry.disconnect(session.record)
        self._broker.carry_out()
        return SUCCESS

    def _GetKernelBusyStatus(self, session: Session | None, identifier: str | None = None) -> str:
        record = self._bridged(session).record if identifier is None else self._kernel(identifier)
        return result(str(record.busy))

    def _GetKernelID(self, session: Session | None) -> str:
        return result(self._bridged(session).record.id)

    def _GetMissedOutput(self, session: Session | None) -> bytes:
        return replies.missed_output(*self._bridged(session).missed.drain())

    def _GetNumberOfAvailableParallelKernels(self, session: Session | None) -> str:
        return result(str(self._parallel_pool().available))

    def _GetPoolName(self, session: Session | None) -> str:
        return result(self._pooled(session)[1].name)

    def _GetServerInformation(self, session: Session | None) -> str:
        return server_information(self._broker)

    def _SetAllowSilentKernelReplacement(self, session: Session | None, setting: bool) -> str:
        self._bridged(session)
        assert session is not None
        session.record.allow_replacement = setting
        return SUCCESS

    def _SetKeepAlive(self, session: Session | None, setting: bool) -> str:
        self._bridged(session)
        assert session is not None
        session.record.keep_alive = setting
        return SUCCESS

    def _SetReserveKernel(self, session: Session | None, setting: bool) -> str:
        self._pooled(session)[0].record.reserve = setting
        return SUCCESS

    def _StartKernel(self, session: Session | None, command_line: str | None = None) -> str:
        record = self._broker.registry.start_outside_pools(command_line)
        self._broker.carry_out()
        reason = self._broker.nursery.wait_until_started(record)
        if reason is not None:
            raise CommandFailed(reason)
        return result(record.id)
