"""Takes command packets from clients and from kernels, carries them out, and brings the replies to them."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from typing import Protocol

import gevent
from gevent.event import Event

from wstpserver.pools import commands as replies
from wstpserver.pools.commands import (
    ADMINISTRATIVE,
    DEFAULT_TIMEOUT,
    ERROR,
    MALFORMED,
    SUCCESS,
    Command,
    MalformedCommand,
    parse_command,
    refusal,
)
from wstpserver.pools.registry import Refused, Registry
from wstpserver.pools.states import ENDING, Client, Departure, Kernel, Pool, Purpose, Reason, WaitState
from wstpserver.server.bridge.client_session import ClientSession
from wstpserver.server.bridge.kernel_session import KernelSession
from wstpserver.server.bridge.waiting import WaitingClients
from wstpserver.server.commands.information import (
    Administration,
    ServerFacts,
    client_information,
    result,
    server_information,
)
from wstpserver.server.connection import ConnectionClosed, yield_to_loop
from wstpserver.server.kernels.supervisor import Supervisor
from wstpserver.server.log import Log
from wstpserver.settings import ServerSettings
from wstpserver.wire.decode import decode
from wstpserver.wire.errors import ProtocolError
from wstpserver.wire.messages import MessageCode

#: Commands that connect a client with a kernel.
CONNECTING = frozenset({"ConnectKernel", "ConnectParallelKernel"})

#: Commands that may have to wait for something.
WAITING = CONNECTING | {"StartKernel"}

#: Why a command is refused, for `wstpserver-admin` and others.
NOT_ADMINISTRATOR = (
    "only the administrator may: the user that the server runs as, or root, on the server's computer, or a client with"
    " an access token"
)


class CommandFailed(Exception):
    """The command is well-formed but cannot be carried out; the text is for the log."""


class ServerControl(Protocol):
    """What an administrator can ask of the program itself. Methods return at once."""

    def reload(self) -> str:
        """Read the configuration again; returns why it is not in force, or ""."""

    def stop_because(self, why: str) -> None:
        """Begin to stop, at once if it has begun to already."""


class Handlers:
    """Carries out commands for a client, or for a kernel without a client (None).

    A method returns the text of the reply, or the reply itself as bytes. It raises `CommandFailed`, or the registry's
    `Refused`, where the reply is an ExecutionError.

    Args:
        registry: All kernels, pools and clients.
        supervisor: Knows how kernels start.
        waiting: The clients that wait.
        log: Gets an entry for each kernel outside pools.
        settings: Returns the configuration.
        facts: What the server says of itself.
        clients: All client links.
        send_away: Closes a client's link, for the reason given.
        control: The program; None if nothing can be asked of it.
    """

    def __init__(
        self,
        registry: Registry,
        supervisor: Supervisor,
        waiting: WaitingClients,
        log: Log,
        settings: Callable[[], ServerSettings],
        facts: ServerFacts,
        clients: Mapping[Client, ClientSession],
        send_away: Callable[[ClientSession, Reason], None],
        control: ServerControl | None,
    ) -> None:
        self._registry = registry
        self._supervisor = supervisor
        self._waiting = waiting
        self._log = log
        self._settings = settings
        self._facts = facts
        self._clients = clients
        self._send_away = send_away
        self._control = control
        #: Why the last kernel that StartKernel started did not become ready, "" if it did.
        self._start_trouble = ""

    def run(self, command: Command, session: ClientSession | None) -> str | bytes:
        """Carry out a well-formed command of a client."""
        if command.name in ADMINISTRATIVE and not self._is_administrator(session):
            raise CommandFailed(NOT_ADMINISTRATOR)
        handler: Callable[..., str | bytes] = getattr(self, command.name)
        if command.arguments and isinstance(command.arguments[0], bool):
            return handler(session, setting=command.arguments[0])
        return handler(session, *command.arguments)

    def run_inside(self, command: Command, kernel: KernelSession, session: ClientSession | None) -> str | bytes:
        """Carry out a well-formed command from inside *kernel*, which is bridged to the client of *session*.

        What ends the kernel's own bridge is only prepared while an evaluation is open in it, because its result has to
        reach the client first.
        """
        if command.name in ADMINISTRATIVE:
            raise CommandFailed("a program in a kernel is not the administrator, whoever its client is")
        if command.name == "GetServerInformation":
            return server_information(self._registry, self._supervisor, self._settings())
        if session is not None:
            if command.name == "DisconnectKernel":
                self._registry.leave_later(session.record, Departure.DISCONNECT)
                return SUCCESS
            if command.name == "CloseKernel" and command.arguments == (kernel.record.id,):
                self._registry.leave_later(session.record, Departure.CLOSE)
                return SUCCESS
            if command.name in CONNECTING:
                target, timeout = self._target_of(command)
                return self._connect(session, target, timeout, Purpose.INSIDE)
        return self.run(command, session)

    # -- bridges -----------------------------------------------------------------------------------------------

    def ConnectKernel(
        self, session: ClientSession | None, specifier: str | None = None, timeout: float = DEFAULT_TIMEOUT
    ) -> str:
        return self._connect(session, self._target(specifier), timeout, Purpose.COMMAND)

    def ConnectParallelKernel(self, session: ClientSession | None, timeout: float = DEFAULT_TIMEOUT) -> str:
        return self._connect(session, self._parallel_pool(), timeout, Purpose.COMMAND)

    def DisconnectKernel(self, session: ClientSession | None) -> str:
        self._kernel_of(session)
        assert session is not None
        self._registry.disconnect(session.record)
        return SUCCESS

    def _connect(self, session: ClientSession | None, target: Kernel | Pool, timeout: float, purpose: Purpose) -> str:
        if session is None:
            raise CommandFailed("there is no client to connect")
        registry, client = self._registry, session.record
        deferred = purpose is Purpose.INSIDE
        if isinstance(target, Kernel):
            waiting = registry.connect_to_kernel(client, target, purpose, deferred=deferred)
        else:
            waiting = registry.connect_to_pool(client, target, purpose, deferred=deferred)
        if waiting.state is WaitState.WAITING:
            self._waiting.wait(waiting, timeout)
        if waiting.state is not WaitState.GRANTED:
            raise CommandFailed(waiting.reason)
        return SUCCESS

    def _target_of(self, command: Command) -> tuple[Kernel | Pool, float]:
        """What a connecting command connects to, and its time-out."""
        arguments = command.arguments
        if command.name == "ConnectParallelKernel":
            target: Kernel | Pool = self._parallel_pool()
            timeout = arguments[0] if arguments else DEFAULT_TIMEOUT
        else:
            specifier = arguments[0] if arguments else None
            assert specifier is None or isinstance(specifier, str)
            target = self._target(specifier)
            timeout = arguments[1] if len(arguments) > 1 else DEFAULT_TIMEOUT
        assert isinstance(timeout, float)
        return target, timeout

    # -- kernels -----------------------------------------------------------------------------------------------

    def CloseKernel(self, session: ClientSession | None, identifier: str) -> str:
        self._registry.close_for(session.record if session is not None else None, self._kernel(identifier))
        return SUCCESS

    def StartKernel(self, session: ClientSession | None, command_line: str | None = None) -> str:
        who = session.name if session is not None else "A kernel without a client"
        try:
            kernel = self._registry.start_outside_pools(command_line)
        except Refused as error:
            self._start_trouble = str(error)
            self._log.information(f"{who} was refused a kernel outside pools: {error}")
            if session is not None:
                session.announce(replies.notice(f"StartKernel failed: {error}"))
            raise
        self._log.information(f"{who} started kernel {kernel.id} outside pools")
        reason = self._supervisor.wait_until_started(kernel)
        self._start_trouble = reason or ""
        if reason is not None:
            raise CommandFailed(reason)
        return result(kernel.id)

    def AbortKernel(self, session: ClientSession | None, identifier: str) -> str:
        kernel = self._kernel(identifier)
        others = kernel.client is not None and (session is None or kernel.client is not session.record)
        if others and not self._settings().allow_stealing_kernels and not self._is_administrator(session):
            raise CommandFailed(f"kernel {kernel.id} is bridged to another client")
        if kernel not in self._supervisor.sessions:
            raise CommandFailed(f"kernel {kernel.id} is starting")
        self._supervisor.sessions[kernel].send_message(MessageCode.ABORT, 0)
        return SUCCESS

    @staticmethod
    def _is_administrator(session: ClientSession | None) -> bool:
        return session is not None and session.is_administrator()

    # -- questions ---------------------------------------------------------------------------------------------

    def GetKernelBusyStatus(self, session: ClientSession | None, identifier: str | None = None) -> str:
        kernel = self._kernel_of(session) if identifier is None else self._kernel(identifier)
        return result(str(kernel.busy))

    def GetKernelID(self, session: ClientSession | None) -> str:
        return result(self._kernel_of(session).id)

    def GetMissedOutput(self, session: ClientSession | None) -> bytes:
        parts = []
        for part in replies.missed_output(*self._supervisor.sessions[self._kernel_of(session)].backlog.drain()):
            parts.append(part)
            yield_to_loop()
        return b"".join(parts)

    def GetNumberOfAvailableParallelKernels(self, session: ClientSession | None) -> str:
        return result(str(self._parallel_pool().available))

    def GetPoolName(self, session: ClientSession | None) -> str:
        return result(self._pool_of(session).name)

    def GetServerInformation(self, session: ClientSession | None) -> str:
        administrator = None
        if self._is_administrator(session):
            administrator = Administration(self._facts, self._start_trouble)
        return server_information(self._registry, self._supervisor, self._settings(), administrator)

    # -- administration ----------------------------------------------------------------------------------------

    def DrainPools(self, session: ClientSession, name: str | None = None) -> str:
        pool = self._pool_named(name)
        self._log.information(f"{session.name} drains {self._one_or_all(name)}")
        self._registry.drain(pool)
        return SUCCESS

    def PausePools(self, session: ClientSession, name: str | None = None) -> str:
        pool = self._pool_named(name)
        self._log.information(f"{session.name} pauses {self._one_or_all(name)}")
        self._registry.pause(pool)
        return SUCCESS

    def ResumePools(self, session: ClientSession, name: str | None = None) -> str:
        pool = self._pool_named(name)
        self._log.information(f"{session.name} resumes {self._one_or_all(name)}")
        self._registry.resume(pool)
        return SUCCESS

    def GetClientInformation(self, _session: ClientSession) -> str:
        return client_information(self._registry, self._clients.values())

    def KickClient(self, session: ClientSession, who: str) -> str:
        named = who.removeprefix("Client ")
        found = [one for one in self._clients.values() if named in (one.record.number, one.record.address, one.name)]
        if not found:
            raise CommandFailed(f"there is no client {who}")
        for one in found:
            self._log.information(f"{session.name} closes the link of {one.name}")
            self._send_away(one, Reason.KICKED)
        return SUCCESS

    def ReloadConfiguration(self, session: ClientSession) -> str:
        self._log.information(f"{session.name} has the configuration read again")
        trouble = self._controlled().reload()
        if trouble:
            raise CommandFailed(trouble)
        return SUCCESS

    def StopServer(self, session: ClientSession) -> str:
        self._controlled().stop_because(session.name)
        return SUCCESS

    def _controlled(self) -> ServerControl:
        if self._control is None:
            raise CommandFailed("nothing can be asked of this program")
        return self._control

    def _pool_named(self, name: str | None) -> Pool | None:
        if name is not None and name not in self._registry.pools:
            raise CommandFailed(f"there is no pool {name}; the pools are: {', '.join(self._registry.pools)}")
        return None if name is None else self._registry.pools[name]

    @staticmethod
    def _one_or_all(name: str | None) -> str:
        return "all pools" if name is None else f"pool {name}"

    # -- settings ----------------------------------------------------------------------------------------------

    def SetAllowSilentKernelReplacement(self, session: ClientSession | None, *, setting: bool) -> str:
        self._registry.set_allow_replacement(self._bridged_client(session), setting=setting)
        return SUCCESS

    def SetKeepAlive(self, session: ClientSession | None, *, setting: bool) -> str:
        self._registry.set_keep_alive(self._bridged_client(session), setting=setting)
        return SUCCESS

    def SetReserveKernel(self, session: ClientSession | None, *, setting: bool) -> str:
        self._pool_of(session)
        self._registry.set_reserve(self._kernel_of(session), setting=setting)
        return SUCCESS

    # -- what the arguments name -------------------------------------------------------------------------------

    def _bridged_client(self, session: ClientSession | None) -> Client:
        self._kernel_of(session)
        assert session is not None
        return session.record

    def _kernel_of(self, session: ClientSession | None) -> Kernel:
        """The kernel that the client is bridged to."""
        if session is None or session.record.kernel is None:
            raise CommandFailed("the connection is not bridged")
        return session.record.kernel

    def _pool_of(self, session: ClientSession | None) -> Pool:
        kernel = self._kernel_of(session)
        if kernel.pool is None:
            raise CommandFailed("the kernel is not part of a pool")
        return kernel.pool

    def _kernel(self, identifier: str) -> Kernel:
        kernel = self._registry.kernels.get(identifier)
        if kernel is None:
            raise CommandFailed(f"there is no kernel {identifier}")
        if kernel.state in ENDING:
            raise CommandFailed(f"kernel {identifier} is {kernel.state.value}")
        return kernel

    def _target(self, specifier: str | None = None) -> Kernel | Pool:
        """A kernel by its ID, or a pool by its name; the default pool for None."""
        registry = self._registry
        if specifier is None:
            return registry.pools[self._settings().default_pool.name]
        if specifier in registry.kernels:
            return self._kernel(specifier)
        if specifier in registry.pools:
            return registry.pools[specifier]
        raise CommandFailed(f"there is neither a kernel nor a pool {specifier}")

    def _parallel_pool(self) -> Pool:
        settings = self._settings().parallel_pool
        if settings is None:
            raise CommandFailed("no pool is configured for parallel kernels")
        return self._registry.pools[settings.name]


class Executor:
    """Runs commands. Every command has exactly one reply, whatever happens to it.

    Args:
        handlers: Carry the commands out.
        log: Is told of malformed and failed commands.
    """

    def __init__(self, handlers: Handlers, log: Log) -> None:
        self._handlers = handlers
        self._log = log
        #: Kernels that have a command in progress which waits for something.
        self._running: dict[KernelSession, Event] = {}

    def run_for_client(self, session: ClientSession, packet: bytes | None) -> bool:
        """Carry out a client's command and send the reply; returns when that is done.

        Returns:
            True if the command has connected the client with a kernel.
        """
        connected = False

        def run(command: Command) -> str | bytes:
            nonlocal connected
            answer = self._handlers.run(command, session)
            connected = command.name in CONNECTING
            return answer

        session.replied.clear()
        try:
            session.send(self._reply(self._parse(packet, session.name), session.name, run))
        finally:
            session.replied.set()
        return connected

    def run_for_kernel(self, kernel: KernelSession, session: ClientSession | None, packet: bytes | None) -> None:
        """Carry out a kernel's command, which concerns its own bridge, and write the reply to the kernel.

        Commands of a kernel are carried out one at a time, in order, and its channel reads nothing meanwhile; but while
        a command waits for something, the channel goes on, because it notices the end of the kernel.

        Args:
            kernel: The kernel.
            session: The client that it is bridged to.
            packet: The command, None for one that is too large.
        """
        running = self._running.get(kernel)
        if running is not None:
            gevent.wait([running, kernel.process.exited], count=1)
        name = f"kernel {kernel.record.id}"
        command = self._parse(packet, name)
        if command is None or command.name not in WAITING:
            self._answer_kernel(kernel, session, command, name)
            return
        self._running[kernel] = Event()
        gevent.spawn(self._run_waiting, kernel, session, command, name)

    def _run_waiting(self, kernel: KernelSession, session: ClientSession | None, command: Command, name: str) -> None:
        try:
            self._answer_kernel(kernel, session, command, name)
        finally:
            self._running.pop(kernel).set()

    def _answer_kernel(
        self, kernel: KernelSession, session: ClientSession | None, command: Command | None, name: str
    ) -> None:
        reply = self._reply(command, name, lambda command: self._handlers.run_inside(command, kernel, session))
        try:
            kernel.writer.write(object(), reply, at_boundary=True)
        except ConnectionClosed:
            pass  # the kernel is gone, and with it the question

    def _parse(self, packet: bytes | None, name: str) -> Command | None:
        """The command in a packet; None if it is malformed."""
        try:
            if packet is None:
                raise MalformedCommand("the packet is too large for a command")
            return parse_command(decode(packet))
        except (MalformedCommand, ProtocolError, ValueError, ArithmeticError, RecursionError) as error:
            self._log.debug(f"Malformed command from {name}: {error}")
            return None

    def _reply(self, command: Command | None, name: str, run: Callable[[Command], str | bytes]) -> bytes:
        if command is None:
            return replies.reply(MALFORMED)
        try:
            answer = run(command)
        except (CommandFailed, Refused) as error:
            self._log.debug(f"{command.name} for {name} failed: {error}")
            return replies.reply(refusal(str(error)) if command.name in ADMINISTRATIVE else ERROR)
        except Exception:  # a defect, but the other side must not wait for ever
            self._log.error(f"Internal error in {command.name} for {name}:\n{traceback.format_exc()}")
            return replies.reply(ERROR)
        return answer if isinstance(answer, bytes) else replies.reply(answer)
