"""Takes command packets from clients and from kernels, carries them out, and brings the replies to them."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import TypeAlias

import gevent
from gevent.event import Event

from wstpserver.pools import commands as replies
from wstpserver.pools.commands import (
    ADMINISTRATIVE,
    DEFAULT_TIMEOUT,
    ERROR,
    INFORMATION,
    MALFORMED,
    SUCCESS,
    Command,
    MalformedCommand,
    parse_command,
)
from wstpserver.pools.registry import Refused, Registry, TokenRequired
from wstpserver.pools.states import (
    Client,
    Departure,
    Kernel,
    Pool,
    Purpose,
    Reason,
    WaitingClient,
    WaitState,
)
from wstpserver.server.access import AccessTokens
from wstpserver.server.bridge.client_session import ClientSession, CommandInHand
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
from wstpserver.wire.packets import MessageCode

#: Commands that connect a client with a kernel.
CONNECTING = frozenset({"ConnectKernel", "ConnectParallelKernel"})

#: Commands that may have to wait for something.
WAITING = CONNECTING | {"StartKernel", "RestartServer"}

#: Seconds for which missed output is put together before others have their turn: each evaluation of theirs waits for
#: two such turns, one on each way.
PACKING_TURN = 0.0001

#: Who is told something, by the value of InformationFor.
_TOLD = {"bridged": "clients that are bridged to a kernel", "token": "clients with an access token"}


#: The text of a reply, or the reply itself.
Answer: TypeAlias = str | bytes | bytearray


class CommandFailed(Exception):
    """The command is well-formed but cannot be carried out; the text is for the log."""


class Denied(CommandFailed):
    """The client has no right to the command; the text is told to it."""


@dataclass(frozen=True, slots=True)
class ServerControl:
    """What administrative commands do with the server as a whole.

    Attributes:
        reload: Reads the configuration again; returns why that is not possible, "" if it has been done.
        stop: Begins to stop the server.
        restart: Restarts the server: returns why that was not possible, and does not return if it was.
        leave: Begins to stop the server, which leaves its kernels to the next one for so many seconds; returns why that
            is not possible, "" if it is.
    """

    reload: Callable[[], str]
    stop: Callable[[], None]
    restart: Callable[[], str]
    leave: Callable[[float], str]


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
        tokens: The access tokens.
        control: Reloads and stops the server; None where nothing does.
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
        tokens: AccessTokens,
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
        self._tokens = tokens
        self._control = control
        #: Why the last kernel that StartKernel started did not become ready, "" if it did.
        self._start_trouble = ""

    def run(self, command: Command, session: ClientSession | None) -> Answer:
        """Carry out a well-formed command of a client."""
        self._check_rights(command, session, None)
        return self._run(command, session)

    def _run(self, command: Command, session: ClientSession | None) -> Answer:
        handler: Callable[..., Answer] = getattr(self, command.name)
        if command.arguments and isinstance(command.arguments[0], bool):
            return handler(session, setting=command.arguments[0])
        return handler(session, *command.arguments)

    def run_inside(self, command: Command, kernel: KernelSession, session: ClientSession | None) -> Answer:
        """Carry out a well-formed command from inside *kernel*, which is bridged to the client of *session*.

        What ends the kernel's own bridge is only prepared while an evaluation is open in it, because its result has to
        reach the client first.
        """
        self._check_rights(command, session, kernel)
        if command.name == "RestartServer":
            raise CommandFailed("a kernel cannot restart the server")
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
        return self._run(command, session)

    # -- who may do what ---------------------------------------------------------------------------------------

    def _check_rights(self, command: Command, session: ClientSession | None, inside: KernelSession | None) -> None:
        """Raise Denied for a command that this client, or the kernel that it comes from inside of, has no right to."""
        settings, registry, name = self._settings(), self._registry, command.name
        if name == "Authenticate":
            return
        if (session is not None and session.record.authenticated) or (
            # whoever evaluates in such a kernel has said a token
            inside is not None and registry.requires_token(inside.record.pool) and name not in ADMINISTRATIVE
        ):
            return
        why = ""
        if name in ADMINISTRATIVE:
            why = f"{name} is for the server's own user and root on its computer, and for clients with an access token"
        elif settings.requires_token and inside is None:
            why = 'before anything else an access token is needed: WSCommandPacket[Authenticate["token"]]'
        elif name == "StartKernel" and registry.requires_token(None):
            why = str(TokenRequired(name))
        elif self._tells(command, session, inside) and not self._may_be_told(session, inside):
            why = f"{name} is for {_TOLD[settings.information_for]} (InformationFor)"
        for argument in command.arguments:
            kernel = registry.kernels.get(argument) if isinstance(argument, str) else None
            if kernel is not None and kernel is not (inside and inside.record) and registry.requires_token(kernel.pool):
                why = why or str(TokenRequired(f"kernel {kernel.id}"))
        if why and (inside is not None or not self._is_administrator(session)):
            raise Denied(why)

    @staticmethod
    def _tells(command: Command, session: ClientSession | None, inside: KernelSession | None) -> bool:
        """Whether the answer is limited by InformationFor: what the busy status of a kernel is to those who have it."""
        if command.name != "GetKernelBusyStatus" or not command.arguments:
            return command.name in INFORMATION
        own = inside.record if inside is not None else session.record.kernel if session is not None else None
        return own is None or own.id != command.arguments[0]

    def _may_be_told(self, session: ClientSession | None, inside: KernelSession | None) -> bool:
        """Whether InformationFor lets a client without a token know things."""
        told = self._settings().information_for
        bridged = inside is not None or (session is not None and session.record.kernel is not None)
        return told == "any" or (told == "bridged" and bridged)

    def Authenticate(self, session: ClientSession | None, token: str) -> str:
        if session is None:
            raise CommandFailed("there is no client to authenticate")
        if not self._tokens.are_known:
            return SUCCESS  # a client that has a token for another server need not know that this one asks for none
        origin = session.origin
        why = self._tokens.check(token, origin)
        if why:
            self._tokens.refusals.add(origin, session.name, why)
            session.close_link()
            raise Denied(why)
        self._registry.authenticate(session.record)
        return SUCCESS

    # -- the server as a whole ---------------------------------------------------------------------------------

    def ReloadConfiguration(self, session: ClientSession | None) -> str:
        why = self._controlled(session).reload()
        if why:
            raise Denied(why)
        return SUCCESS

    def RestartServer(self, session: ClientSession | None) -> str:
        raise Denied(self._controlled(session).restart())

    def StopServer(self, session: ClientSession | None, seconds: float | None = None) -> str:
        control = self._controlled(session)
        if seconds is None:
            control.stop()
            return SUCCESS
        reason = control.leave(seconds)
        if reason:
            raise Denied(reason)
        return SUCCESS

    def _controlled(self, session: ClientSession | None) -> ServerControl:
        if self._control is None or session is None:
            raise CommandFailed("there is no server to control")
        return self._control

    def resume(self, command: Command, session: ClientSession | None, seconds: float) -> str:
        """Carry on with a command that another process has begun: wait for the kernel, or report the restart."""
        if command.name == "RestartServer":
            return SUCCESS
        if session is None or session.record.waiting is None:
            raise CommandFailed("the client that asked does not wait any more")
        return self._await(session.record.waiting, seconds)

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
        return self._await(waiting, timeout)

    def _await(self, waiting: WaitingClient, timeout: float) -> str:
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
        kernel = self._registry.kernel_named(identifier)
        self._registry.close_for(session.record if session is not None else None, kernel)
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
        kernel = self._registry.kernel_named(identifier)
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
        kernel = self._kernel_of(session) if identifier is None else self._registry.kernel_named(identifier)
        return result(str(kernel.busy))

    def GetKernelID(self, session: ClientSession | None) -> str:
        return result(self._kernel_of(session).id)

    def GetMissedOutput(self, session: ClientSession | None) -> bytearray:
        kernel = self._supervisor.sessions[self._kernel_of(session)]
        return put_together(replies.missed_output(*kernel.backlog.drain()))

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
        return self._admit(session, name, "drains", self._registry.drain)

    def PausePools(self, session: ClientSession, name: str | None = None) -> str:
        return self._admit(session, name, "pauses", self._registry.pause)

    def ResumePools(self, session: ClientSession, name: str | None = None) -> str:
        return self._admit(session, name, "resumes", self._registry.resume)

    def _admit(
        self, session: ClientSession, name: str | None, does: str, change: Callable[[Pool | None], None]
    ) -> str:
        pools = self._registry.pools
        if name is not None and name not in pools:
            raise CommandFailed(f"there is no pool {name}; the pools are: {', '.join(pools)}")
        self._log.information(f"{session.name} {does} {'all pools' if name is None else f'pool {name}'}")
        change(None if name is None else pools[name])
        return SUCCESS

    def GetClientInformation(self, _session: ClientSession) -> str:
        return client_information(self._registry, self._clients.values())

    def KickClient(self, session: ClientSession, who: str, idle: float | None = None) -> str:
        named = who.removeprefix("Client ")
        found = [one for one in self._clients.values() if named in (one.record.number, one.record.address, one.name)]
        if not found:
            raise CommandFailed(f"there is no client {who}")
        if idle is not None and not all(one.has_been_idle_for(idle) for one in found):
            raise CommandFailed(f"client {who} has not been idle for {idle:g} s")
        for one in found:
            self._log.information(f"{session.name} closes the link of {one.name}")
            self._send_away(one, Reason.KICKED)
        return SUCCESS

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

    def _target(self, specifier: str | None = None) -> Kernel | Pool:
        """A kernel by its ID, or a pool by its name; the default pool for None."""
        registry = self._registry
        if specifier is None:
            return registry.pools[self._settings().default_pool.name]
        if specifier in registry.kernels:
            return self._registry.kernel_named(specifier)
        if specifier in registry.pools:
            return registry.pools[specifier]
        raise CommandFailed(f"there is neither a kernel nor a pool {specifier}")

    def _parallel_pool(self) -> Pool:
        settings = self._settings().parallel_pool
        if settings is None:
            raise CommandFailed("no pool is configured for parallel kernels")
        return self._registry.pools[settings.name]


def put_together(parts: Iterable[bytes | memoryview]) -> bytearray:
    """All the parts in one, with a turn for others after each `PACKING_TURN`."""
    whole = bytearray()  # which grows in place: joining the parts at the end would hold up everybody
    turn_ends = monotonic() + PACKING_TURN
    for part in parts:
        whole += part
        if monotonic() >= turn_ends:
            yield_to_loop()
            turn_ends = monotonic() + PACKING_TURN
    return whole


@dataclass(slots=True)
class _Running:
    """A command of a kernel that waits for something."""

    packet: bytes
    command: Command
    #: Not None if another process has begun to carry it out: how long it may still wait.
    seconds: float | None = None
    ended: Event = field(default_factory=Event)


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
        self._running: dict[KernelSession, _Running] = {}

    def run_for_client(self, session: ClientSession, packet: bytes | None, seconds: float | None = None) -> bool:
        """Carry out a client's command and send the reply; returns when that is done.

        Args:
            session: The client.
            packet: The command, None for one that is too large.
            seconds: Not None if another process has begun to carry it out: how long it may still wait.

        Returns:
            True if the command has connected the client with a kernel.
        """
        connected = False

        def run(command: Command) -> Answer:
            nonlocal connected
            if seconds is not None:
                answer: Answer = self._handlers.resume(command, session, seconds)
            else:
                answer = self._handlers.run(command, session)
            connected = command.name in CONNECTING
            return answer

        session.replied = Event()
        try:
            command = self._parse(packet, session.name)
            if packet is not None and command is not None and command.name in WAITING:
                session.command = CommandInHand(packet, command.name == "StartKernel")
            session.send(self._reply(command, session.name, run))
        finally:
            session.command = None
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
            kernel.waiting_command = packet
            gevent.wait([running.ended, kernel.process.exited], count=1)
            kernel.waiting_command = None
        name = f"kernel {kernel.record.id}"
        command = self._parse(packet, name)
        if command is None or command.name not in WAITING:
            self._answer_kernel(kernel, session, command, name)
            return
        assert packet is not None
        self._run_waiting(kernel, session, _Running(packet, command))

    def running_for(self, kernel: KernelSession) -> tuple[bytes, bool]:
        """The command of a kernel that is being carried out and waits, b"" if there is none; and whether another
        process can go on with it (`resume_for_kernel`) rather than carry it out anew.
        """
        running = self._running.get(kernel)
        return (b"", False) if running is None else (running.packet, running.command.name in CONNECTING)

    def resume_for_kernel(
        self, kernel: KernelSession, session: ClientSession | None, packet: bytes, seconds: float
    ) -> None:
        """Go on with a command of a kernel that another process has begun to carry out.

        Args:
            kernel: The kernel.
            session: The client that it is bridged to.
            packet: The command.
            seconds: How long it may still wait.
        """
        command = self._parse(packet, f"kernel {kernel.record.id}")
        if command is not None:
            self._run_waiting(kernel, session, _Running(packet, command, seconds))

    def _run_waiting(self, kernel: KernelSession, session: ClientSession | None, running: _Running) -> None:
        self._running[kernel] = running
        gevent.spawn(self._run_to_its_end, kernel, session, running)

    def _run_to_its_end(self, kernel: KernelSession, session: ClientSession | None, running: _Running) -> None:
        try:
            self._answer_kernel(kernel, session, running.command, f"kernel {kernel.record.id}", running.seconds)
        finally:
            self._running.pop(kernel).ended.set()

    def _answer_kernel(
        self,
        kernel: KernelSession,
        session: ClientSession | None,
        command: Command | None,
        name: str,
        seconds: float | None = None,
    ) -> None:
        def run(command: Command) -> Answer:
            if seconds is not None:
                return self._handlers.resume(command, session, seconds)
            return self._handlers.run_inside(command, kernel, session)

        reply = self._reply(command, name, run)
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

    def _reply(self, command: Command | None, name: str, run: Callable[[Command], Answer]) -> bytes | bytearray:
        if command is None:
            return replies.reply(MALFORMED)
        try:
            answer = run(command)
        except (Denied, TokenRequired) as error:
            self._log.information(f"{command.name} was refused to {name}: {error}")
            return replies.reply(replies.error_because(str(error)))
        except (CommandFailed, Refused) as error:
            self._log.debug(f"{command.name} for {name} failed: {error}")
            return replies.reply(replies.error_because(str(error)) if command.name in ADMINISTRATIVE else ERROR)
        except Exception:  # a defect, but the other side must not wait for ever
            self._log.error(f"Internal error in {command.name} for {name}:\n{traceback.format_exc()}")
            return replies.reply(ERROR)
        return replies.reply(answer) if isinstance(answer, str) else answer
