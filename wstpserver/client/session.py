"""A session with a kernel: evaluate, with output while it happens, timeouts, and aborts that leave it usable."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from wstpserver.client.commands import asks_to_keep, missed_packets, result_of
from wstpserver.client.connecting import CONNECT_TIMEOUT, connect
from wstpserver.client.deadline import Deadline
from wstpserver.client.errors import (
    CommandError,
    EvaluationAborted,
    EvaluationError,
    EvaluationTimeout,
    LinkClosed,
    LinkTimeout,
)
from wstpserver.client.evaluation import Evaluation
from wstpserver.client.events import Callbacks, ExpressionOutput, TextOutput
from wstpserver.client.exchange import ABORTED, Exchange
from wstpserver.client.link import Link
from wstpserver.client.options import Address, parse_address
from wstpserver.wire.packet_builders import (
    command_packet,
    enter_expression_packet,
    enter_text_packet,
    evaluate_packet,
)
from wstpserver.wire.values import Expression, Function, Symbol

#: Seconds in which the server answers a command.
COMMAND_TIMEOUT: Final = 10.0

_NULL: Final = Symbol("Null")


class Session:
    """A conversation with one kernel, over `link`: an open Link, or an address to connect to.

    `link`: see `parse_address`; ``wstp://host:port/pool`` takes a kernel of that pool. `timeout`: seconds to connect.
    `callbacks`: who hears of output, messages and questions; each call of `evaluate` may give its own on top.

    One evaluation runs at a time; further threads wait. `abort`, `interrupt` and `close` work from any thread.
    The session opens no thread. It never gives the answer of one evaluation to another: after a timeout or an abort
    it first finds its place in the kernel's answers again.

    `keep_kernel`: what becomes of a server's kernel at `close`. By default the server is told to end it (SetKeepAlive
    False), because a kernel that was used stays reserved and counts against its pool's maximum. With True, or if the
    kernel was asked for by its ID, its own settings decide. When the connection breaks they do as well, so that one
    can come back to the kernel by its ID.

    Raises ConnectError, LinkTimeout, LinkSyntaxError; CommandError for a pool that gives no kernel.
    """

    def __init__(
        self,
        link: Link | str | int | Address = "",
        timeout: float | None = CONNECT_TIMEOUT,
        *,
        callbacks: Callbacks | None = None,
        keep_kernel: bool = False,
    ) -> None:
        #: Whether `close` leaves the kernel to its own settings.
        self.keep_kernel = keep_kernel
        deadline = Deadline(timeout)
        pool: str | None = None
        if isinstance(link, Link):
            self.link = link
        else:
            address = parse_address(link)
            pool = address.pool
            self.link = connect(Address(address.data, address.message), deadline.remaining())
        self._callbacks = callbacks or Callbacks()
        self._turn = threading.Lock()
        self._owner: int | None = None
        self._exchange = Exchange(self.link, self._callbacks)
        if pool is not None:
            self._join(pool, deadline)

    def _join(self, pool: str, deadline: Deadline) -> None:
        try:
            try:
                # The server may have given us a kernel of its default pool already: unused, it must not stay reserved.
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

    # Evaluation

    def evaluate(
        self, expression: Expression, timeout: float | None = None, *, callbacks: Callbacks | None = None
    ) -> Expression:
        """The value of `expression`; a str is Wolfram Language text and means ``ToExpression["text"]``.

        Of several expressions in a text the value is that of the last. What a syntax error gives is ``$Failed``, with
        a message. `timeout`: seconds; when they are over the kernel is told to abort and EvaluationTimeout is raised
        at once, the kernel being given time by the next call.

        Raises EvaluationAborted if `abort` ended it; an evaluation that aborts itself returns Symbol("$Aborted").
        Raises LinkClosed when the kernel dies or the link ends, KernelLost when the server put another kernel in its
        place, EvaluationError when it asks for input and nobody gives any.
        """
        if isinstance(expression, str):
            expression = Function(Symbol("ToExpression"), (expression,))
        deadline = Deadline(timeout)
        with self._having_turn(deadline):
            evaluation = self._run(evaluate_packet(expression), "ReturnPacket", deadline, callbacks)
            value = _NULL if evaluation.value is None else evaluation.value
            self._settle_abort(evaluation, value == ABORTED)
            return value

    def evaluate_text(
        self, text: str, timeout: float | None = None, *, callbacks: Callbacks | None = None
    ) -> TextOutput:
        """Enter a line of text as at a prompt: it counts as ``In[n]``, and its result comes as formatted text.

        Timeouts and errors as `evaluate`.
        """
        deadline = Deadline(timeout)
        with self._having_turn(deadline):
            evaluation = self._run(enter_text_packet(text), "InputNamePacket", deadline, callbacks)
            value = evaluation.value
            self._settle_abort(evaluation, value == "$Aborted" or value == ABORTED)
            shown = value if isinstance(value, str) or value is None else str(value)
            return TextOutput(evaluation.output_name, shown, evaluation.prompt or "", evaluation.syntax_error)

    def enter_expression(
        self, expression: Expression, timeout: float | None = None, *, callbacks: Callbacks | None = None
    ) -> ExpressionOutput:
        """Enter an expression as at a prompt: it counts as ``In[n]``. Timeouts and errors as `evaluate`."""
        deadline = Deadline(timeout)
        with self._having_turn(deadline):
            evaluation = self._run(enter_expression_packet(expression), "InputNamePacket", deadline, callbacks)
            value = _NULL if evaluation.value is None else evaluation.value
            self._settle_abort(evaluation, value == ABORTED)
            return ExpressionOutput(evaluation.output_name, value, evaluation.prompt or "")

    def _run(
        self, question: Expression, last: str, deadline: Deadline, callbacks: Callbacks | None
    ) -> Evaluation:
        """One evaluation from its question to its last packet."""
        effective = self._callbacks if callbacks is None else callbacks.over(self._callbacks)
        evaluation = self._exchange.listen_for(last, effective, deadline)
        # A line of input ends with a prompt, and another prompt may still be under way (the first one, or that of a
        # kernel just connected to); an evaluation ends with a ReturnPacket, which comes for nothing else.
        self._exchange.run(evaluation, question, deadline, mark=last == "InputNamePacket")
        return evaluation

    def _settle_abort(self, evaluation: Evaluation, is_aborted: bool) -> None:
        """EvaluationAborted if an abort was asked for and took place."""
        if not evaluation.abort_requested:
            return
        self._exchange.lose_step()  # the abort, or its repetition, may come too late and must not hit what follows
        if is_aborted:
            raise EvaluationAborted("the evaluation was aborted")

    def synchronize(self, timeout: float | None = None) -> None:
        """Wait until a kernel is there and has answered everything; raises as `evaluate`.

        Useful after connecting to a server that may first have to start a kernel.
        """
        self.evaluate(_NULL, timeout)

    # From other threads

    def abort(self) -> bool:
        """Ask the kernel to give the running evaluation up; False if none runs. `evaluate` then raises."""
        return self._exchange.abort()

    def interrupt(self) -> bool:
        """Ask the kernel to stop and offer its menu (`Callbacks.on_menu`); False if nothing runs."""
        return self._exchange.interrupt()

    # The server

    def command(self, name: str, *arguments: Expression, timeout: float | None = COMMAND_TIMEOUT) -> object:
        """Give the server a command, ``WSCommandPacket[name[arguments]]``; its "result", None if it has none.

        Raises CommandError if the server refuses it, or if the other side is no WSTPServer; LinkTimeout, LinkClosed.
        """
        deadline = Deadline(timeout)
        with self._having_turn(deadline):
            result = result_of(name, self._exchange.command(name, arguments, deadline))
        if asks_to_keep(name, arguments):
            self.keep_kernel = True
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
            packet = self._exchange.command("GetMissedOutput", (), deadline)
        return missed_packets(packet)

    # Order

    @contextmanager
    def _having_turn(self, deadline: Deadline) -> Iterator[None]:
        if self._owner == threading.get_ident():
            raise EvaluationError("this session is in the middle of an evaluation: a callback cannot start another")
        remaining = deadline.remaining()
        if not self._turn.acquire(timeout=-1 if remaining is None else remaining):
            raise EvaluationTimeout(f"another thread is evaluating in this session, {deadline}")
        self._owner = threading.get_ident()
        try:
            yield
        finally:
            self._owner = None
            self._turn.release()

    def close(self) -> None:
        """Close the link, after telling the server that the kernel may end (see `keep_kernel`).

        Any thread may call it, more than once. A kernel linked to directly ends with its link.
        """
        if not self.keep_kernel and not self.link.closed:
            try:
                self.link.put(command_packet("SetKeepAlive", Symbol("False")), _FAREWELL)
            except (LinkClosed, LinkTimeout):
                pass  # gone, or deaf
        self.link.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


#: Seconds for the other side to take the last command.
_FAREWELL: Final = 1.0
