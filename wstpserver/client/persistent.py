"""A session that comes back to its kernel when the connection has broken."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from wstpserver.client.commands import result_of
from wstpserver.client.conversation import Conversation
from wstpserver.client.deadline import Deadline
from wstpserver.client.errors import (
    CommandError,
    ConnectError,
    EvaluationAborted,
    EvaluationLost,
    EvaluationTimeout,
    KernelLost,
    LinkClosed,
    LinkError,
    LinkTimeout,
)
from wstpserver.client.evaluation import Evaluation
from wstpserver.client.events import Callbacks
from wstpserver.client.link import Link, Packet
from wstpserver.client.options import Address
from wstpserver.client.way_back import PATIENCE, Returned, Settings, come_back
from wstpserver.wire.packets import evaluate_packet
from wstpserver.wire.values import Expression, Symbol

#: How often in a row a connection may break before a question has left on it.
_ATTEMPTS: Final = 3


def patience_of(reconnect: bool | float) -> float | None:
    """The seconds that the argument `reconnect` of a session means; None for False."""
    return PATIENCE if reconnect is True else float(reconnect) if reconnect else None


class Persistent(Conversation):
    """A conversation that runs evaluations and, if wished, outlives its connection."""

    def __init__(
        self,
        link: Link | str | int | Address,
        timeout: float | None,
        callbacks: Callbacks | None,
        keep_kernel: bool,
        reconnect: bool | float,
    ) -> None:
        #: Seconds to try for when the connection has broken; None not to come back.
        self.patience = patience_of(reconnect)
        #: What the server is told about the kernel on every connection.
        self._settings = Settings(True, True) if self.patience is not None else Settings()
        if self.patience is not None and isinstance(link, Link):
            raise ValueError("reconnect needs an address to come back to, and was given a link")
        deadline = Deadline(timeout)
        super().__init__(link, timeout, callbacks, keep_kernel)
        if self.patience is not None:
            try:
                with self._having_turn(deadline):
                    self._learn_kernel(deadline)
            except BaseException:
                self.link.close()
                raise

    def adopt(
        self, address: Address, kernel: str, settings: Settings, returned: Returned, patience: float | None
    ) -> None:
        """The link of this session has been brought back to a kernel: know it, and hand on what it wrote meanwhile.

        `patience`: seconds to try for when the connection breaks, None not to.
        """
        self.address, self._kernel, self._settings, self.patience = address, kernel, settings, patience
        self._exchange.relink(self.link, returned.prompt, returned.busy, returned.question)
        listener = self._exchange.listen_for("ReturnPacket", self._callbacks, Deadline(None))
        for packet in returned.missed:
            listener.overhear(packet)

    def settle_in(self, settings: Settings, timeout: float | None) -> None:
        """Wait for the kernel, learn its ID, and tell the server what to do with it. As `evaluate`; CommandError."""
        self._settings = settings
        deadline = Deadline(timeout)
        with self._having_turn(deadline):
            self._learn_kernel(deadline)

    def _learn_kernel(self, deadline: Deadline) -> None:
        """Wait for the kernel, ask for its ID, and have it kept for this session. As `evaluate`, and CommandError."""
        evaluation = self._exchange.listen_for("ReturnPacket", self._callbacks, deadline)
        self._exchange.run(evaluation, evaluate_packet(Symbol("Null")), deadline, mark=False)
        self._kernel = str(result_of("GetKernelID", self._exchange.command("GetKernelID", (), deadline)))
        for name, value in self._settings.commands():
            # Refused for a kernel outside all pools: that stays alive, and nobody else is given it.
            self._exchange.command(name, (value,), deadline)

    def reconnect(self, timeout: float | None = PATIENCE) -> tuple[int, tuple[Packet, ...]]:
        """Connect to the server again and take the kernel back, whatever became of the former connection.

        Returns what the kernel wrote meanwhile: (number of packets that the server did not keep, packets, oldest
        first). A kernel at work is waited for. On the new connection the server keeps the kernel alive and reserved
        when the session is not there, until `close`.

        Raises LinkClosed if there is no way back within `timeout` seconds (one can try again), KernelLost if the
        kernel is gone, CommandError if its ID is not known (`kernel_id`) or the session was given a link.
        """
        deadline = Deadline(timeout)
        with self._having_turn(deadline):
            if self._settings.keep_alive is None:
                self._settings = Settings(True, True)
            returned = self._return(None, deadline, deadline, None)
            return returned.dropped, returned.missed

    # Evaluations

    def _run(
        self, question: Expression, last: str, deadline: Deadline, callbacks: Callbacks | None
    ) -> Evaluation:
        """One evaluation from its question to its last packet."""
        for attempt in range(_ATTEMPTS):
            evaluation = self._exchange.listen_for(last, self._heard(callbacks), deadline)
            self._know_kernel(deadline)
            self._be_linked(evaluation, deadline)
            try:
                # A line of input ends with a prompt, and another prompt may still be under way (the first one, or that
                # of a kernel just connected to); an evaluation ends with a ReturnPacket, which comes for nothing else.
                self._exchange.run(evaluation, question, deadline, mark=last == "InputNamePacket")
                break
            except LinkClosed as error:
                if not self._comes_back():
                    raise
                if evaluation.asked:
                    self._finish_elsewhere(evaluation, deadline, error)
                    break
                if attempt == _ATTEMPTS - 1:
                    raise
            except KernelLost:
                self._kernel = None  # there may be another one
                raise
        return evaluation

    def _heard(self, callbacks: Callbacks | None) -> Callbacks:
        """Those of a call, and where one is missing that of the session."""
        return self._callbacks if callbacks is None else callbacks.over(self._callbacks)

    def _comes_back(self) -> bool:
        return self.patience is not None and self._kernel is not None and not self._closed

    def _know_kernel(self, deadline: Deadline) -> None:
        """Before an evaluation: know which kernel it is; another one since a command, or since one was lost."""
        if self.patience is not None and self._kernel is None and not self.link.ended:
            self._learn_kernel(deadline)

    def _be_linked(self, evaluation: Evaluation, deadline: Deadline) -> None:
        """Come back if the connection has broken meanwhile; `evaluation` overhears what was missed."""
        if self._comes_back() and (self.link.ended or (self.link.ready(0) and self.link.ended)):
            returned = self._return(evaluation, Deadline(self.patience), deadline, None)
            for packet in returned.missed:
                evaluation.overhear(packet)

    def _finish_elsewhere(self, evaluation: Evaluation, deadline: Deadline, error: LinkClosed) -> None:
        """Come back to the kernel for the rest of an evaluation. EvaluationLost if it is not there."""
        returned = self._return(evaluation, Deadline(self.patience), deadline, error)
        with self._exchange.running(evaluation, deadline):
            self._exchange.current(evaluation)
            question = () if returned.question is None else (returned.question,)
            for packet in (*returned.missed, *question):
                if packet.name == "ReturnPacket" and packet.arguments == (evaluation.token,):
                    continue
                if evaluation.take(packet):
                    return
            if returned.busy:
                self._exchange.finish(evaluation, deadline)
                return
        gone = f", {returned.dropped} packets of it not kept" if returned.dropped else ""
        raise EvaluationLost(
            f"the connection broke during an evaluation ({error.message}). The session is back at kernel "
            f"{self._kernel}, but the answer is lost{gone}; whether the evaluation took place is not known",
            returned.missed,
            returned.dropped,
        ) from error

    @contextmanager
    def _coming_back(self, timeout: float | None) -> Iterator[None]:
        """For a batch: come back before it, and when the connection breaks in it, end it with EvaluationLost."""
        deadline = Deadline(timeout)
        evaluation = self._exchange.listen_for("ReturnPacket", self._callbacks, deadline)
        self._know_kernel(deadline)
        self._be_linked(evaluation, deadline)
        try:
            yield
        except LinkClosed as error:
            if not self._comes_back():
                raise
            returned = self._return(evaluation, Deadline(self.patience), Deadline(timeout), error)
            raise EvaluationLost(
                f"the connection broke during a batch ({error.message}). The session is back at kernel {self._kernel}; "
                "how far it got beyond the last value is not known",
                returned.missed,
                returned.dropped,
            ) from error
        except KernelLost:
            self._kernel = None
            raise

    def _return(
        self, evaluation: Evaluation | None, patience: Deadline, deadline: Deadline, error: LinkError | None
    ) -> Returned:
        """Come back to the kernel; `error` is what made it necessary. LinkClosed, KernelLost, EvaluationTimeout."""
        if self.address is None or self._kernel is None:
            raise CommandError("the session cannot come back: it knows no address of a server, or not the kernel's ID")
        self.link.close(0)

        def check() -> None:
            if self._closed:
                raise LinkClosed("the link was closed by this program", self.link.name)
            if evaluation is not None and evaluation.abort_requested:
                raise EvaluationAborted("the evaluation was aborted while the connection was down")

        self._exchange.current(evaluation)
        try:
            returned = come_back(self.address, self._kernel, self._settings, patience, deadline, check)
        except KernelLost as lost:
            reason = "" if error is None else f" (the connection ended: {error.message})"
            self._kernel = None
            raise KernelLost(f"{lost}{reason}") from error
        except LinkTimeout as timeout:
            if deadline.expired:
                raise EvaluationTimeout(f"no result {deadline}: {timeout.message}") from timeout
            raise _no_way(timeout) from timeout
        except ConnectError as failure:
            raise _no_way(failure) from failure
        finally:
            self._exchange.current(None)
        self.link = returned.link
        # An evaluation that has been sent is gone on with here; another one would first be waited for.
        asked = evaluation is not None and evaluation.asked
        busy = returned.busy and not asked
        self._exchange.relink(returned.link, returned.prompt, busy, returned.question if busy else None)
        if self._closed:
            self.link.close()
        return returned


def _no_way(error: LinkError) -> LinkClosed:
    return LinkClosed(f"the connection broke, and there is no way back: {error.message}", error.where, error.advice)
