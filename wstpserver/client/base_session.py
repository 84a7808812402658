"""A session apart from the forms of evaluation: its link, its kernel, turns among threads, commands, and its end."""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

from wstpserver.client.address import Address, parse_address
from wstpserver.client.commands import (
    asks_to_keep,
    describe_refusal,
    keep_alive_set,
    kernel_named,
    missed_packets,
    needs_kernel,
    read_information,
    result_of,
)
from wstpserver.client.connecting import connect
from wstpserver.client.deadline import Deadline
from wstpserver.client.errors import (
    CommandError,
    ConnectError,
    EvaluationAborted,
    EvaluationError,
    EvaluationLost,
    EvaluationTimeout,
    KernelLost,
    LinkClosed,
    LinkError,
    LinkTimeout,
)
from wstpserver.client.evaluation import Callbacks, Evaluation
from wstpserver.client.link import Link, Packet
from wstpserver.client.reconnect import RECONNECT_TIME, KernelSettings, Restored, WaitExplanation, not_reached, restore
from wstpserver.client.resync import RequestStream
from wstpserver.wire.errors import WSTPError
from wstpserver.wire.packets import command_packet, evaluate_packet
from wstpserver.wire.values import Expression, Symbol

if TYPE_CHECKING:
    import ssl

#: Seconds in which the server answers a command.
COMMAND_TIMEOUT: Final = 10.0
#: Seconds that the server may take to have a kernel of a pool, where the session has no time-out.
_KERNEL_WAIT: Final = 60.0
#: Seconds for the other side to take the last command; less when the program ends.
_LAST_COMMAND: Final = 1.0
_LAST_COMMAND_AT_EXIT: Final = 0.2
#: How often in a row a connection may break before a question has left on it.
_ATTEMPTS: Final = 3

_FALSE: Final = Symbol("False")
_NULL: Final = Symbol("Null")
_Self = TypeVar("_Self", bound="BaseSession")


class BaseSession:
    """What all forms of evaluation of a `Session` share.

    A session that is given an address connects without a kernel. It takes one when it is first needed, and tells the
    server at once what becomes of it when the link ends.

    Args:
        link: An open Link, or an address to connect to.
        timeout: Seconds to connect, and to get a kernel if the address names a pool or `reconnect` is given.
        callbacks: The functions to call.
        keep_kernel: Whether the kernel is left to its own settings at the end.
        reconnect: Seconds to try for when the connection has broken; None not to reconnect.
        token: The access token to say; None for that of the environment variable WSTPSERVER_TOKEN_FILE.
        tls: How certificates are checked; None as `ssl.create_default_context` does.

    Attributes:
        link: The link.
        address: Where the server is; None for a link that was given.
        keep_kernel: Whether `close` leaves the kernel to its own settings.
        retry_for: Seconds to try for when the connection has broken; None not to reconnect.
    """

    def __init__(
        self,
        link: Link | str | int | Address,
        timeout: float | None,
        *,
        callbacks: Callbacks | None,
        keep_kernel: bool,
        reconnect: float | None,
        token: str | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.retry_for = reconnect
        #: Called when the session is back at its kernel after the connection broke.
        self.on_reconnected: Callable[[], object] | None = None
        self.keep_kernel = keep_kernel
        self.address: Address | None = None
        #: What the server is told about the kernel on every connection.
        self._settings = KernelSettings() if reconnect is None else KernelSettings(keep_alive=True, reserve=True)
        self._kernel: str | None = None
        self._keep_alive: bool | None = None  # what the server was told last
        self._announced_end = False  # whether that was said by this class, and not by the program
        self._turn = threading.Lock()
        self._owner: int | None = None
        self._closed = False
        self._callbacks = callbacks or Callbacks()
        deadline = Deadline(timeout)
        if isinstance(link, Link):
            if reconnect is not None:
                raise ValueError("reconnect needs an address to connect to again, and was given a link")
            self.link = link
            pool = None
        else:
            address = parse_address(link).with_access(token, tls)
            pool = address.pool
            self.address = address.server
            self.link = connect(self.address, deadline.remaining(), without_kernel=True)
        #: Whether the link has a kernel, as far as is known; else one is taken before it is needed.
        self._has_kernel = isinstance(link, Link)
        self._requests = RequestStream(self.link, self._callbacks)
        try:
            if pool is not None:
                self._connect_to(pool, deadline)
            if reconnect is not None:
                with self._having_turn(deadline):
                    self._learn_kernel(deadline)
        except BaseException:
            self.link.close()
            raise
        _open_sessions.add(self)

    def _connect_to(self, pool: str, deadline: Deadline) -> None:
        """Take a kernel of a pool, or the one with this ID."""
        remaining = deadline.remaining()
        # The server gives up a little earlier than this does, so that there is time left to ask it for the reason.
        wait = _KERNEL_WAIT if remaining is None else max(remaining - 1, 0.8 * remaining)
        with self._explaining(pool):
            self.command("ConnectKernel", pool, wait, timeout=remaining)
        if not self.keep_kernel:
            try:
                self.command("SetKeepAlive", _FALSE, timeout=deadline.remaining())
                self._announced_end = True
            except CommandError:
                pass  # it is a kernel without a pool, or another server: `close` tries again

    @property
    def prompt(self) -> str | None:
        """The kernel's last prompt, "In[1]:= "; None before the first one."""
        return self._requests.prompt

    @property
    def kernel_id(self) -> str | None:
        """The ID of the server's kernel, as far as it is known.

        It is known from ``command("GetKernelID")``, from a connection by ID, from a profile, and always with
        ``reconnect``.
        """
        return self._kernel

    # From other threads

    def abort(self, grace: float | None = None) -> bool:
        """Ask the kernel to abort the running evaluation. `evaluate` then raises EvaluationAborted.

        Args:
            grace: Seconds after which `evaluate` raises even if the kernel does not react; None to wait for it.

        Returns:
            False if no evaluation runs.
        """
        return self._requests.abort(grace)

    def interrupt(self) -> bool:
        """Ask the kernel to stop and offer its menu (`Callbacks.on_menu`).

        Returns:
            False if no evaluation runs.
        """
        return self._requests.interrupt()

    # The server

    def command(self, name: str, *arguments: Expression, timeout: float | None = COMMAND_TIMEOUT) -> Any:
        """Give the server a command, ``WSCommandPacket[name[arguments]]``.

        A command about the session's kernel takes one first if there is none yet.

        Args:
            name: The command.
            *arguments: Its arguments.
            timeout: Seconds for the answer; None for no limit.

        Returns:
            The "result" of the server's answer; None if it has none.

        Raises:
            CommandError: The server does not carry it out, or the other side is not a WSTPServer.
            EvaluationTimeout: There was no kernel in time, or another thread used the session.
            LinkTimeout: The server did not answer in time.
            LinkClosed: The link has ended.
        """
        deadline = Deadline(timeout)
        with self._having_turn(deadline):
            if not self._has_kernel and needs_kernel(name, arguments):
                if keep_alive_set(name, arguments) is False:
                    self.keep_kernel = False  # what the kernel will be told that is taken first
                    return None
                self._take_kernel(deadline)
            packet = self._commanded(name, arguments, deadline)
            try:
                result = result_of(name, packet)
            except CommandError as error:
                raise self._explained(error, name, arguments, deadline) from None
        self._note_command(name, arguments, result)
        return result

    def _note_command(self, name: str, arguments: tuple[Expression, ...], result: object) -> None:
        """Know what a command that succeeded has changed."""
        if asks_to_keep(name, arguments):
            self.keep_kernel = True
        setting = keep_alive_set(name, arguments)
        if setting is not None:
            self._keep_alive, self._announced_end = setting, False
        self._kernel = kernel_named(name, arguments, result, self._kernel)
        if name in ("ConnectKernel", "ConnectParallelKernel"):
            self._requests.connected()
            self._has_kernel = True
            self._keep_alive, self._announced_end = None, False
        elif name == "DisconnectKernel":
            self._has_kernel = self.address is None

    def _explained(
        self, error: CommandError, name: str, arguments: tuple[Expression, ...], deadline: Deadline
    ) -> CommandError:
        """The error with the reason, where the server refuses to connect to a kernel."""
        if name != "ConnectKernel" or not error.reply:
            return error
        target = arguments[0] if arguments else None
        try:
            packet = self._commanded("GetServerInformation", (), deadline.at_most(COMMAND_TIMEOUT))
            information = read_information(result_of("GetServerInformation", packet))
        except WSTPError:
            return error
        reason = describe_refusal(information, target if isinstance(target, str) else None)
        return CommandError(f"{error.message}: {reason}", error.reply)

    def send_command(self, name: str, *arguments: Expression) -> None:
        """Give the server a command and do not wait: what it or a kernel without a server answers is skipped.

        Args:
            name: The command.
            *arguments: Its arguments.

        Raises:
            LinkClosed: The link has ended.
        """
        with self._having_turn(Deadline(None)):
            self._send_command(name, arguments, Deadline(None))

    def _send_command(self, name: str, arguments: tuple[Expression, ...], deadline: Deadline) -> None:
        self._requests.send_command(name, arguments, deadline)
        setting = keep_alive_set(name, arguments)
        if setting is not None:
            self._keep_alive, self._announced_end = setting, False

    def missed_output(self, timeout: float | None = COMMAND_TIMEOUT) -> tuple[int, tuple[Expression, ...]]:
        """Return what the kernel wrote while no client was connected to it. The server forgets it.

        Args:
            timeout: Seconds for the answer; None for no limit.

        Returns:
            The number of packets that the server did not keep, and the packets, oldest first.

        Raises:
            CommandError: The other side is not a WSTPServer of this kind.
            LinkTimeout: The server did not answer in time.
            LinkClosed: The link has ended.
        """
        deadline = Deadline(timeout)
        with self._having_turn(deadline):
            if not self._has_kernel:
                self._take_kernel(deadline)
            packet = self._commanded("GetMissedOutput", (), deadline)
        return missed_packets(packet)

    def _commanded(self, name: str, arguments: tuple[Expression, ...], deadline: Deadline) -> Packet:
        """The server's answer to a command."""
        self._be_linked(self._listener(deadline), deadline)
        try:
            return self._requests.command(name, arguments, deadline)
        except LinkTimeout as error:
            raise LinkTimeout(f"{name}: the server did not answer {deadline}", error.where) from error

    # The kernel

    def _listener(self, deadline: Deadline) -> Evaluation:
        return self._requests.listen_for("ReturnPacket", self._callbacks, deadline)

    def _take_kernel(self, deadline: Deadline) -> None:
        """Have the server connect the link to a kernel, and say what becomes of it when the link ends.

        Raises as `Session.evaluate`.
        """
        self._requests.check_kernel()
        self._wait_for_kernel(deadline)
        if not self.keep_kernel and self.retry_for is None:
            # Now and not at the end: the kernel is closed even if this program is killed. A kernel without a server
            # may not answer this.
            self._send_command("SetKeepAlive", (_FALSE,), deadline)
            self._announced_end = True

    def _learn_kernel(self, deadline: Deadline) -> None:
        """Take a kernel, learn its ID, and have it kept. Raises CommandError, and as `Session.evaluate`."""
        self._wait_for_kernel(deadline)
        self._kernel = str(result_of("GetKernelID", self._requests.command("GetKernelID", (), deadline)))
        for name, value in self._settings.commands():
            # Refused for a kernel outside all pools: that stays alive, and nobody else is given it.
            self._requests.command(name, (value,), deadline)
        self._keep_alive = self._settings.keep_alive

    def _wait_for_kernel(self, deadline: Deadline) -> None:
        """Return when a kernel has answered: the first evaluation makes the server connect one."""
        evaluation = self._listener(deadline)
        with self._explaining(None):
            self._requests.run(evaluation, evaluate_packet(_NULL), deadline, mark=False)
        self._has_kernel = True
        if evaluation.abort_requested:
            self._requests.desync()
            raise EvaluationAborted("the evaluation was aborted before it was sent")

    def _ensure_kernel(self, deadline: Deadline) -> None:
        """Before an evaluation: have a kernel, and with `reconnect` know which one it is."""
        if self.retry_for is not None and self._kernel is None and not self.link.ended:
            self._requests.check_kernel()
            self._learn_kernel(deadline)
        elif not self._has_kernel:
            self._take_kernel(deadline)

    @contextmanager
    def _explaining(self, pool: str | None) -> Iterator[None]:
        """While no kernel comes inside: tell the callbacks what is waited for, and why it takes long."""
        explained = WaitExplanation(self.address, pool, self._callbacks)
        self._requests.on_slow = explained.tell
        try:
            yield
        except EvaluationTimeout as error:
            raise EvaluationTimeout(f"{error}: {explained.text}") from error.__cause__
        except LinkTimeout as error:
            raise LinkTimeout(f"{error.message}: {explained.text}", error.where, error.advice) from error.__cause__
        finally:
            self._requests.on_slow = None

    def continue_with(
        self, address: Address, kernel: str, settings: KernelSettings, restored: Restored, retry_for: float | None
    ) -> None:
        """Know the kernel that the link of this session has been restored to, and hand on what it wrote meanwhile.

        Args:
            address: Where the server is.
            kernel: The kernel's ID.
            settings: What the server was told about it.
            restored: What `restore` returned for the link.
            retry_for: Seconds to try for when the connection breaks; None not to reconnect.
        """
        self.address, self._kernel, self._settings, self.retry_for = address, kernel, settings, retry_for
        self._keep_alive = settings.keep_alive
        self._requests.relink(self.link, restored.prompt, restored.question, busy=restored.busy)
        listener = self._listener(Deadline(None))
        for packet in restored.missed:
            listener.overhear(packet)

    def survive(self, address: Address, kernel: str, settings: KernelSettings, retry_for: float | None) -> None:
        """Reconnect to the kernel when the connection breaks, as a session does that was made with ``reconnect``.

        Args:
            address: Where the server is.
            kernel: The ID of the kernel, which the session has.
            settings: What the server was told about it.
            retry_for: Seconds to try for.
        """
        self.address, self._kernel, self._settings, self.retry_for = address, kernel, settings, retry_for
        self._has_kernel, self._keep_alive = True, settings.keep_alive

    def settle(self, settings: KernelSettings, timeout: float | None) -> None:
        """Take a kernel, learn its ID, and tell the server what to do with it.

        Args:
            settings: What the server is told.
            timeout: Seconds for all of it; None for no limit.

        Raises:
            CommandError: The other side is not a WSTPServer.
            EvaluationTimeout: There was no kernel in time.
            LinkClosed: The link has ended.
        """
        self._settings = settings
        deadline = Deadline(timeout)
        with self._having_turn(deadline):
            self._learn_kernel(deadline)

    # Evaluations

    def _run(self, question: Expression, last: str, deadline: Deadline, callbacks: Callbacks | None) -> Evaluation:
        """One evaluation from its question to its last packet."""
        for attempt in range(_ATTEMPTS):
            evaluation = self._requests.listen_for(last, self._heard(callbacks), deadline)
            try:
                self._ensure_kernel(deadline)
                self._be_linked(evaluation, deadline)
                # A line of input ends with a prompt, and another prompt may still be under way (the first one, or that
                # of a kernel just connected to); an evaluation ends with a ReturnPacket, which comes for nothing else.
                self._requests.run(evaluation, question, deadline, mark=last == "InputNamePacket")
                break
            except LinkClosed as error:
                if not self._can_reconnect():
                    raise
                if evaluation.asked:
                    self._finish_elsewhere(evaluation, deadline, error)
                    break
                if attempt == _ATTEMPTS - 1:
                    raise
            except KernelLost:
                self._lose_kernel()
                raise
        return evaluation

    def _heard(self, callbacks: Callbacks | None) -> Callbacks:
        """The callbacks of a call, and where one is missing that of the session."""
        return self._callbacks if callbacks is None else callbacks.over(self._callbacks)

    def _lose_kernel(self) -> None:
        """The kernel is another client's, or there is another one in its place: not known, and told nothing yet."""
        self._kernel = None
        self._has_kernel = self.address is None
        self._keep_alive, self._announced_end = None, False

    # Reconnecting

    def reconnect(self, timeout: float | None = RECONNECT_TIME) -> tuple[int, tuple[Packet, ...]]:
        """Connect to the server again and take the kernel back, whatever became of the former connection.

        A kernel at work is waited for. On the new connection the server keeps the kernel alive and reserved while the
        session is not connected, until `close`.

        Args:
            timeout: Seconds to try for; None for no limit.

        Returns:
            What the kernel wrote meanwhile: the number of packets that the server did not keep, and the packets, oldest
            first.

        Raises:
            LinkClosed: The server was not reached in time; one can try again.
            KernelLost: The kernel is gone.
            CommandError: The kernel's ID is not known (`kernel_id`), or the session was given a link.
        """
        deadline = Deadline(timeout)
        with self._having_turn(deadline):
            if self._settings.keep_alive is None:
                self._settings = KernelSettings(keep_alive=True, reserve=True)
            restored = self._restore(None, deadline, deadline, None)
            return restored.dropped, restored.missed

    def _can_reconnect(self) -> bool:
        return self.retry_for is not None and self._kernel is not None and not self._closed

    def _be_linked(self, evaluation: Evaluation, deadline: Deadline) -> None:
        """Reconnect if the connection has broken meanwhile; `evaluation` overhears what was missed."""
        if self._can_reconnect() and (self.link.ended or (self.link.ready(0) and self.link.ended)):
            restored = self._restore(evaluation, Deadline(self.retry_for), deadline, None)
            for packet in restored.missed:
                evaluation.overhear(packet)

    def _finish_elsewhere(self, evaluation: Evaluation, deadline: Deadline, error: LinkClosed) -> None:
        """Reconnect to the kernel for the rest of an evaluation. EvaluationLost if it is not there."""
        restored = self._restore(evaluation, Deadline(self.retry_for), deadline, error)
        with self._requests.running(evaluation, deadline):
            self._requests.set_current(evaluation)
            question = () if restored.question is None else (restored.question,)
            for packet in (*restored.missed, *question):
                if packet.name == "ReturnPacket" and packet.arguments == (evaluation.token,):
                    continue
                if evaluation.take(packet):
                    return
            if restored.busy:
                self._requests.finish(evaluation, deadline)
                return
        gone = f", {restored.dropped} packets of it not kept" if restored.dropped else ""
        raise EvaluationLost(
            f"the connection broke during an evaluation ({error.message}). The session is back at kernel "
            f"{self._kernel}, but the answer is lost{gone}; whether the evaluation took place is not known",
            restored.missed,
            restored.dropped,
        ) from error

    @contextmanager
    def _surviving(self, timeout: float | None) -> Iterator[None]:
        """For a batch: reconnect before it, and when the connection breaks in it, end it with EvaluationLost."""
        deadline = Deadline(timeout)
        evaluation = self._listener(deadline)
        try:
            self._ensure_kernel(deadline)
            self._be_linked(evaluation, deadline)
            yield
        except LinkClosed as error:
            if not self._can_reconnect():
                raise
            restored = self._restore(evaluation, Deadline(self.retry_for), Deadline(timeout), error)
            raise EvaluationLost(
                f"the connection broke during a batch ({error.message}). The session is back at kernel {self._kernel}; "
                "how far it got beyond the last value is not known",
                restored.missed,
                restored.dropped,
            ) from error
        except KernelLost:
            self._lose_kernel()
            raise

    def _restore(
        self, evaluation: Evaluation | None, retry_until: Deadline, deadline: Deadline, error: LinkError | None
    ) -> Restored:
        """Reconnect to the kernel; `error` is what made it necessary. LinkClosed, KernelLost, EvaluationTimeout."""
        if self.address is None or self._kernel is None:
            raise CommandError("the session cannot reconnect: it knows no address of a server, or not the kernel's ID")
        self.link.close(0)

        def check() -> None:
            if self._closed:
                raise LinkClosed("the link was closed by this program", self.link.name)
            if evaluation is not None and evaluation.abort_requested:
                raise EvaluationAborted("the evaluation was aborted while the connection was down")

        self._requests.set_current(evaluation)
        try:
            restored = restore(self.address, self._kernel, self._settings, retry_until, deadline, check)
        except KernelLost as lost:
            reason = "" if error is None else f" (the connection ended: {error.message})"
            self._kernel = None
            raise KernelLost(f"{lost}{reason}") from error
        except LinkTimeout as timeout:
            if deadline.expired:
                raise EvaluationTimeout(f"no result {deadline}: {timeout.message}") from timeout
            raise not_reached(timeout) from timeout
        except ConnectError as failure:
            raise not_reached(failure) from failure
        finally:
            self._requests.set_current(None)
        self.link = restored.link
        self._has_kernel = True
        self._keep_alive = self._settings.keep_alive
        # An evaluation that has been sent continues here; another one would first be waited for.
        busy = restored.busy and not (evaluation is not None and evaluation.asked)
        self._requests.relink(restored.link, restored.prompt, restored.question if busy else None, busy=busy)
        if self._closed:
            self.link.close()
        if self.on_reconnected is not None:
            self.on_reconnected()
        return restored

    # Turns

    @contextmanager
    def _having_turn(self, deadline: Deadline) -> Iterator[None]:
        if self._owner == threading.get_ident():
            raise EvaluationError(
                "this session is in the middle of an evaluation: a callback cannot start another, "
                "and evaluate_many must be finished or closed first"
            )
        remaining = deadline.remaining()
        if not self._turn.acquire(timeout=-1 if remaining is None else remaining):
            raise EvaluationTimeout(f"another thread is evaluating in this session, {deadline}")
        self._owner = threading.get_ident()
        try:
            yield
        finally:
            self._owner = None
            self._turn.release()

    # The end

    def close(self) -> None:
        """Close the link, after telling the server that the kernel may end (see `keep_kernel`).

        Any thread may call it, more than once. A kernel linked to directly ends with its link. Sessions that are open
        when the interpreter exits are closed then.
        """
        self._close(_LAST_COMMAND)

    def _close(self, timeout: float) -> None:
        self._closed = True
        _open_sessions.discard(self)
        keeps = self.keep_kernel
        # A program that set `keep_kernel` only now takes back what was announced at the start.
        is_said = not self._announced_end if keeps else self._keep_alive is False
        if self._has_kernel and not is_said and not self.link.closed:
            try:
                self.link.put(command_packet("SetKeepAlive", Symbol(str(keeps))), timeout)
            except (LinkClosed, LinkTimeout):
                pass  # it has ended, or does not read
        self.link.close()

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        where = self.link.name if self.address is None else str(self.address)
        kernel = f"kernel {self._kernel}" if self._kernel else "kernel ID not asked for"
        kernel = kernel if self._requests.lost is None else "without a kernel"
        return f"<{type(self).__name__} {where}, {kernel}{', closed' if self.link.closed else ''}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a session holds a link and cannot be copied or pickled; connect anew, if need be by kernel_id")


_open_sessions: weakref.WeakSet[BaseSession] = weakref.WeakSet()


def _close_open_sessions() -> None:
    """At exit: no kernel stays reserved for a program that has ended."""
    if os.getpid() != _process:
        return  # a forked child: the links are its parent's
    for session in list(_open_sessions):
        session._close(_LAST_COMMAND_AT_EXIT)


_process: Final = os.getpid()
atexit.register(_close_open_sessions)
