"""Takes command packets from clients and from kernels, and brings the replies to them."""

from __future__ import annotations

import traceback
from collections.abc import Callable

import gevent
from gevent.event import Event

from wstpserver.pools.commands import ERROR, MALFORMED, Command, MalformedCommand, parse_command
from wstpserver.pools.registry import Refused
from wstpserver.server.bridge.client_session import ClientSession
from wstpserver.server.bridge.kernel_session import KernelSession
from wstpserver.server.commands import replies
from wstpserver.server.commands.handlers import CONNECTING, WAITING, CommandFailed, Handlers
from wstpserver.server.connection import ConnectionClosed
from wstpserver.server.log import Log
from wstpserver.wire.decode import decode
from wstpserver.wire.errors import ProtocolError


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
            return replies.reply(ERROR)
        except Exception:  # a defect, but the other side must not wait for ever
            self._log.error(f"Internal error in {command.name} for {name}:\n{traceback.format_exc()}")
            return replies.reply(ERROR)
        return answer if isinstance(answer, bytes) else replies.reply(answer)
