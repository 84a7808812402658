"""What a session is beside its evaluations: a link, an order among threads, the server's commands, the end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NoReturn, TypeVar

from wstpserver.client.commands import asks_to_keep, kernel_named, missed_packets, result_of
from wstpserver.client.connecting import connect
from wstpserver.client.deadline import Deadline
from wstpserver.client.errors import CommandError, EvaluationError, EvaluationTimeout, LinkClosed, LinkTimeout
from wstpserver.client.evaluation import Evaluation
from wstpserver.client.events import Callbacks
from wstpserver.client.exchange import Exchange
from wstpserver.client.link import Link, Packet
from wstpserver.client.options import Address, parse_address
from wstpserver.wire.packets import command_packet
from wstpserver.wire.values import Expression, Symbol

#: Seconds in which the server answers a command.
COMMAND_TIMEOUT: Final = 10.0
#: Seconds for the other side to take the last command.
_FAREWELL: Final = 1.0

_Self = TypeVar("_Self", bound="Conversation")


class Conversation:
    """The link of a session, over `link`: an open Link, or an address to connect to within `timeout` seconds."""

    def __init__(
        self, link: Link | str | int | Address, timeout: float | None, callbacks: Callbacks | None, keep_kernel: bool
    ) -> None:
        #: Whether `close` leaves the kernel to its own settings.
        self.keep_kernel = keep_kernel
        #: Where the server is; None for a link that was given.
        self.address: Address | None = None
        self._kernel: str | None = None
        self._turn = threading.Lock()
        self._owner: int | None = None
        self._closed = False
        self._callbacks = callbacks or Callbacks()
        deadline = Deadline(timeout)
        if isinstance(link, Link):
            self.link = link
            pool = None
        else:
            address = parse_address(link)
            pool = address.pool
            self.address = Address(address.data, address.message)
            self.link = connect(self.address, deadline.remaining(), without_kernel=pool is not None)
        self._exchange = Exchange(self.link, self._callbacks)
        if pool is not None:
            self._join(pool, deadline)

    def _join(self, pool: str, deadline: Deadline) -> None:
        try:
            try:
                # A server may have given us a kernel nevertheless: unused as it is, it must not stay reserved.
                self.command("SetKeepAlive", Symbol("False"), timeout=deadline.remaining())
            except CommandError:
                pass  # it has not
            self.command("ConnectKernel", pool, timeout=deadline.remaining())
        except BaseException:
            self.link.close()
            raise

    @property
    def prompt(self) -> str | None:
        """The kernel's last prompt, "In[1]:= "; None before the first one."""
        return self._exchange.prompt

    @property
    def kernel_id(self) -> str | None:
        """The ID of the server's kernel, as far as it is known: from ``command("GetKernelID")``, from a connection by
        ID, from a profile, and always with ``reconnect``.
        """
        return self._kernel

    # From other threads

    def abort(self, patience: float | None = None) -> bool:
        """Ask the kernel to give the running evaluation up; False if none runs. `evaluate` then raises.

        `patience`: seconds after which `evaluate` raises even if the kernel does not react; None to wait for it.
        """
        return self._exchange.abort(patience)

    def interrupt(self) -> bool:
        """Ask the kernel to stop and offer its menu (`Callbacks.on_menu`); False if nothing runs."""
        return self._exchange.interrupt()

    # The server

    def command(self, name: str, *arguments: Expression, timeout: float | None = COMMAND_TIMEOUT) -> Any:
        """Give the server a command, ``WSCommandPacket[name[arguments]]``; its "result", None if it has none.

        Raises CommandError if the server refuses it, or if the other side is no WSTPServer; LinkTimeout, LinkClosed.
        """
        deadline = Deadline(timeout)
        with self._having_turn(deadline):
            result = result_of(name, self._commanded(name, arguments, deadline))
        if asks_to_keep(name, arguments):
            self.keep_kernel = True
        self._kernel = kernel_named(name, arguments, result, self._kernel)
        return result

    def send_command(self, name: str, *arguments: Expression) -> None:
        """Give the server a command and do not wait: whatever it or a kernel without a server answers is skipped."""
        with self._having_turn(Deadline(None)):
            self._exchange.lose_step()
            self.link.put(command_packet(name, *arguments))

    def missed_output(self, timeout: float | None = COMMAND_TIMEOUT) -> tuple[int, tuple[Expression, ...]]:
        """What the kernel wrote while nobody was connected to it: (number of packets lost, packets, oldest first).

        Once asked for it is forgotten. Raises CommandError where there is none, LinkTimeout, LinkClosed.
        """
        deadline = Deadline(timeout)
        with self._having_turn(deadline):
            packet = self._commanded("GetMissedOutput", (), deadline)
        return missed_packets(packet)

    def _commanded(self, name: str, arguments: tuple[Expression, ...], deadline: Deadline) -> Packet:
        """The server's answer to a command."""
        self._be_linked(self._exchange.listen_for("ReturnPacket", self._callbacks, deadline), deadline)
        return self._exchange.command(name, arguments, deadline)

    def _be_linked(self, evaluation: Evaluation, deadline: Deadline) -> None:
        """See to it that the link is there, if that is wished; `evaluation` hears what was missed."""

    # Order

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

        Any thread may call it, more than once. A kernel linked to directly ends with its link.
        """
        self._closed = True
        if not self.keep_kernel and not self.link.closed:
            try:
                self.link.put(command_packet("SetKeepAlive", Symbol("False")), _FAREWELL)
            except (LinkClosed, LinkTimeout):
                pass  # gone, or deaf
        self.link.close()

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError("a session holds a link and cannot be copied or pickled; connect anew, if need be by kernel_id")
