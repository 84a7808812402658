"""Takes command packets from clients and from kernels, and brings the replies to them in time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import gevent

from wstpserver.model.commands import ERROR, MALFORMED, SUCCESS, Command, MalformedCommand, parse_command
from wstpserver.model.registry import Refused
from wstpserver.model.states import Kernel
from wstpserver.server import replies
from wstpserver.server.command_set import CommandFailed, CommandSet
from wstpserver.server.connection import ConnectionClosed
from wstpserver.wire.decode import decode
from wstpserver.wire.errors import ProtocolError

if TYPE_CHECKING:
    from wstpserver.server.broker import Broker
    from wstpserver.server.kernel import KernelServer
    from wstpserver.server.session import Session


#: Commands after which a client waits for a prompt.
_CONNECTING = ("ConnectKernel", "ConnectParallelKernel")


class Executor:
    """Runs commands for a broker."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._commands = CommandSet(broker)
        #: What waits until the evaluation in a kernel is over.
        self._after_evaluation: dict[KernelServer, list[Callable[[], None]]] = {}

    def run_for_client(self, session: Session, packet: bytes | None) -> None:
        """Carry out a client's command and send the reply; returns when that is done."""
        before, waited = session.kernel, session.record.request is not None
        connected: list[Command] = []

        def run(command: Command) -> str | bytes:
            answer = self._commands.run(command, session)
            if command.name in _CONNECTING:
                connected.append(command)
            return answer

        session.replied.clear()
        try:
            session.send(self._reply(packet, session.name, run))
        finally:
            session.replied.set()
        kernel = session.kernel
        if kernel is not None and kernel is before and connected and not kernel.busy:
            if self._broker.settings.send_input_name_packet_upon_kernel_connection:
                session.send(kernel.input_name)  # whoever connects waits for it, also to the kernel that it has
        elif kernel is not None and kernel is not before:
            session.send(self._broker.bad_news(session))
            if self._broker.settings.send_input_name_packet_upon_kernel_connection:
                session.send(kernel.input_name)
            session.send(kernel.question)
            session.resume()
        elif kernel is None and (waited or session.waits_for_kernel or session.bereaved):
            self._broker.client_needs_kernel(session)  # a connection that failed has taken its place in the queue

    def run_for_kernel(self, kernel: KernelServer, packet: bytes | None) -> None:
        """Carry out a kernel's command, which concerns its own bridge, and write the reply to the kernel."""
        name = f"kernel {kernel.record.id}"
        answer = self._reply(packet, name, lambda command: self._run_inside(command, kernel))
        try:
            kernel.writer.write(self, answer, at_boundary=True)
        except ConnectionClosed:
            pass  # the kernel is gone, and with it the question

    def evaluation_ended(self, kernel: KernelServer) -> bool:
        """The kernel's answer has reached its client: carry out what was put off until then.

        True if there was anything; then the client's waiting frames have been seen to.
        """
        actions = self._after_evaluation.pop(kernel, None)
        for action in actions or ():
            action()
        return actions is not None

    def puts_off(self, kernel: KernelServer) -> bool:
        """Whether `evaluation_ended` will find anything to do."""
        return kernel in self._after_evaluation

    def forget(self, kernel: KernelServer) -> None:
        """The kernel is gone, and with it what it has put off."""
        self._after_evaluation.pop(kernel, None)

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

    # -- commands of a kernel that end its own bridge ------------------------------------------------------------

    def _run_inside(self, command: Command, kernel: KernelServer) -> str | bytes:
        """Carry out a command from inside a kernel; one that would end the kernel's own bridge is only prepared,
        because its result has to reach the client first."""
        session = kernel.session
        closes_itself = command.name == "CloseKernel" and command.arguments == (kernel.record.id,)
        if session is None or not (closes_itself or command.name in ("DisconnectKernel", "ConnectKernel")):
            return self._commands.run(command, session)
        if command.name == "ConnectKernel":
            self._check_target(command)
            self._put_off(kernel, lambda: self._begin_connecting(session, command))
        else:
            self._put_off(kernel, lambda: self._commands.run(command, session))
        return SUCCESS

    def _check_target(self, command: Command) -> None:
        """Raise now what can be known now of a connection that is made later."""
        specifier = command.arguments[0] if command.arguments else None
        assert specifier is None or isinstance(specifier, str)
        target = self._commands.target(specifier)
        stealing = self._broker.settings.allow_stealing_kernels
        if isinstance(target, Kernel) and target.client is not None and not stealing:
            raise CommandFailed(f"kernel {target.id} is bridged to another client")

    def _put_off(self, kernel: KernelServer, action: Callable[[], object]) -> None:
        """Carry out *action* after the evaluation. What the client has sent behind it is meant for what comes next."""

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

        self._after_evaluation.setdefault(kernel, []).append(run)
        if kernel.session is not None:
            kernel.session.update_fastpath()

    def _begin_connecting(self, session: Session, command: Command) -> None:
        session.hold()
        gevent.spawn(self._connect, session, command)

    def _connect(self, session: Session, command: Command) -> None:
        session.keeps_queue = True
        try:
            self._commands.run(command, session)
        except (CommandFailed, Refused) as error:
            session.send(replies.notice(f"ConnectKernel failed: {error}"))
            session.resume()
            return
        finally:
            session.keeps_queue = False
        if session.kernel is not None:
            self._broker.welcome(session, session.kernel)
