"""The commands of the command language, one method for each, named as in the specification."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gevent.event import AsyncResult

from wstpserver.model.commands import DEFAULT_TIMEOUT, SUCCESS, Command
from wstpserver.model.states import Kernel, KernelState, Pool, Request
from wstpserver.server import replies
from wstpserver.server.information import result, server_information

if TYPE_CHECKING:
    from wstpserver.server.broker import Broker
    from wstpserver.server.kernel import KernelServer
    from wstpserver.server.session import Session


class CommandFailed(Exception):
    """The command is well-formed but cannot be carried out; the text is for the log."""


class CommandSet:
    """Carries out commands for the client of a session, or for a kernel without a client (None).

    A method returns the text of the reply, or the reply itself as bytes. It raises `CommandFailed`, or the
    registry's ``Refused``, where the reply is an ``ExecutionError``.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def run(self, command: Command, session: Session | None) -> str | bytes:
        """Carry out a well-formed command."""
        answer: str | bytes = getattr(self, command.name)(session, *command.arguments)
        return answer

    # -- bridges -------------------------------------------------------------------------------------------------

    def ConnectKernel(
        self, session: Session | None, specifier: str | None = None, timeout: float = DEFAULT_TIMEOUT
    ) -> str:
        return self._connect(session, self.target(specifier), timeout)

    def ConnectParallelKernel(self, session: Session | None, timeout: float = DEFAULT_TIMEOUT) -> str:
        return self._connect(session, self._parallel_pool(), timeout)

    def DisconnectKernel(self, session: Session | None) -> str:
        self.bridged(session)
        assert session is not None
        self._broker.registry.disconnect(session.record)
        self._broker.carry_out()
        return SUCCESS

    def _connect(self, session: Session | None, target: Kernel | Pool, timeout: float) -> str:
        if session is None:
            raise CommandFailed("there is no client to connect")
        broker = self._broker
        registry, client = broker.registry, session.record
        broker.queueing.end(client)
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
        if not awaited.ready():
            broker.queueing.report(session, target, timeout)
        awaited.wait(timeout=timeout)
        if not awaited.ready():  # asked anew: the kernel may have come in the very moment of the time-out
            self._give_up(session, outcome)
            raise CommandFailed(f"no kernel became available within {timeout:g} seconds")
        if not awaited.get():
            raise CommandFailed("the kernel ended while it was waited for")
        return SUCCESS

    def _give_up(self, session: Session, request: Request) -> None:
        self._broker.awaited.pop(session.record, None)
        if session.record.request is request:  # else its link has ended meanwhile
            self._broker.registry.give_up(session.record)
            self._broker.carry_out()

    # -- kernels -------------------------------------------------------------------------------------------------

    def CloseKernel(self, session: Session | None, identifier: str) -> str:
        self._broker.registry.close(self._kernel(identifier), "a CloseKernel command")
        self._broker.carry_out()
        return SUCCESS

    def StartKernel(self, session: Session | None, command_line: str | None = None) -> str:
        record = self._broker.registry.start_outside_pools(command_line)
        self._broker.carry_out()
        reason = self._broker.nursery.wait_until_started(record)
        if reason is not None:
            raise CommandFailed(reason)
        return result(record.id)

    # -- questions -----------------------------------------------------------------------------------------------

    def GetKernelBusyStatus(self, session: Session | None, identifier: str | None = None) -> str:
        record = self.bridged(session).record if identifier is None else self._kernel(identifier)
        return result(str(record.busy))

    def GetKernelID(self, session: Session | None) -> str:
        return result(self.bridged(session).record.id)

    def GetMissedOutput(self, session: Session | None) -> bytes:
        return replies.missed_output(*self.bridged(session).missed.drain())

    def GetNumberOfAvailableParallelKernels(self, session: Session | None) -> str:
        return result(str(self._parallel_pool().available))

    def GetPoolName(self, session: Session | None) -> str:
        return result(self._pooled(session)[1].name)

    def GetServerInformation(self, session: Session | None) -> str:
        return server_information(self._broker)

    # -- settings ------------------------------------------------------------------------------------------------

    def SetAllowSilentKernelReplacement(self, session: Session | None, setting: bool) -> str:
        self.bridged(session)
        assert session is not None
        session.record.allow_replacement = setting
        return SUCCESS

    def SetKeepAlive(self, session: Session | None, setting: bool) -> str:
        self.bridged(session)
        assert session is not None
        session.record.keep_alive = setting
        return SUCCESS

    def SetReserveKernel(self, session: Session | None, setting: bool) -> str:
        self._pooled(session)[0].record.reserve = setting
        return SUCCESS

    # -- what the arguments name -----------------------------------------------------------------------------------

    def bridged(self, session: Session | None) -> KernelServer:
        """The kernel that the session is bridged to."""
        if session is None or session.kernel is None:
            raise CommandFailed("the connection is not bridged")
        return session.kernel

    def _pooled(self, session: Session | None) -> tuple[KernelServer, Pool]:
        kernel = self.bridged(session)
        if kernel.record.pool is None:
            raise CommandFailed("the kernel is not part of a pool")
        return kernel, kernel.record.pool

    def _kernel(self, identifier: str) -> Kernel:
        record = self._broker.registry.kernels.get(identifier)
        if record is None or record.state in (KernelState.CLOSING, KernelState.GONE):
            raise CommandFailed(f"there is no kernel {identifier}")
        return record

    def target(self, specifier: str | None = None) -> Kernel | Pool:
        """A kernel by its ID, or a pool by its name; the default pool for None."""
        registry = self._broker.registry
        if specifier is None:
            return registry.pools[self._broker.settings.default_pool.name]
        if specifier in registry.kernels:
            return self._kernel(specifier)
        if specifier in registry.pools:
            return registry.pools[specifier]
        raise CommandFailed(f"there is neither a kernel nor a pool {specifier}")

    def _parallel_pool(self) -> Pool:
        settings = self._broker.settings.parallel_pool
        if settings is None:
            raise CommandFailed("no pool is configured for parallel kernels")
        return self._broker.registry.pools[settings.name]
