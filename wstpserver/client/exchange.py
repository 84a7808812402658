"""Questions to a kernel and their answers: evaluations, what they leave behind, and the server's commands.

`step` sees to it that no answer goes to another question.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from wstpserver.client.deadline import Deadline
from wstpserver.client.errors import EvaluationAborted, EvaluationTimeout, LinkClosed, LinkTimeout
from wstpserver.client.evaluation import NOTICE_PREFIX, QUESTIONS, Evaluation
from wstpserver.client.events import Callbacks
from wstpserver.client.link import Link, Packet
from wstpserver.client.step import ABORTED, Step, note_abort
from wstpserver.wire.packets import command_packet
from wstpserver.wire.values import Expression


class Exchange(Step):
    """The kernel's side of a session. One thread at a time runs; any thread may abort and interrupt."""

    def __init__(self, link: Link, callbacks: Callbacks) -> None:
        super().__init__(link)
        self._callbacks = callbacks
        self._taken_over = False  # the kernel may be in the middle of somebody else's evaluation
        self._question: Packet | None = None  # from there, came during a command
        self._state = threading.Lock()  # guards _current and its abort_requested
        self._current: Evaluation | None = None

    def relink(self, link: Link, prompt: str | None, busy: bool, question: Packet | None) -> None:
        """Go on with another link to the same kernel. `busy`: it is in the middle of something, and has asked that."""
        self.link = link
        self.prompt = prompt or self.prompt
        self._in_step = True
        self._abandoned = False
        self._taken_over = busy
        self._question = question
        self._notice = None

    # Evaluations

    def run(self, evaluation: Evaluation, question: Expression, deadline: Deadline, *, mark: bool) -> None:
        """Send `question` and give `evaluation` the kernel's packets until its last one.

        `mark`: tell where its answers begin even if all seems well. Raises EvaluationTimeout, LinkClosed, and what
        the evaluation raises; then, and if it left an abort without effect, the next call finds its step first.
        """
        with self.running(evaluation, deadline):
            self.prepare(evaluation, deadline)
            evaluation.token = self._ask_token(deadline) if mark else None
            evaluation.asked = True
            self.link.put(question, deadline.remaining())
            if evaluation.token is not None:
                self._overhear_until(evaluation.token, evaluation, deadline)
            self.finish(evaluation, deadline)

    def prepare(self, evaluation: Evaluation, deadline: Deadline) -> None:
        """Get what came before out of the way; from now on aborts mean `evaluation`."""
        self.find_step(deadline)
        self.current(evaluation)
        if self._taken_over:
            self._settle(evaluation, deadline)

    def finish(self, evaluation: Evaluation, deadline: Deadline) -> None:
        """Give `evaluation` the packets up to its last one. To be called while it is `running`."""
        while not evaluation.take(self._get(deadline, evaluation)):
            pass

    def current(self, evaluation: Evaluation | None) -> None:
        """From now on aborts mean this evaluation."""
        with self._state:
            self._current = evaluation

    @contextmanager
    def running(self, evaluation: Evaluation, deadline: Deadline) -> Iterator[None]:
        """What happens inside belongs to `evaluation`; whatever goes wrong leaves the exchange able to go on."""
        try:
            yield
        except LinkTimeout as error:
            self.abandon()
            raise EvaluationTimeout(f"no result {deadline}; the kernel was told to abort") from error
        except LinkClosed as error:
            self._notice = evaluation.notice or self._notice
            raise self._with_notice(error) from error
        except BaseException:
            self.abandon()
            raise
        finally:
            self.current(None)
            self._remember_prompt(evaluation)

    def abort(self, patience: float | None) -> bool:
        """Abort what runs, or give it up after `patience` seconds; False if nothing does."""
        with self._state:
            if self._current is None:
                return False
            note_abort(self._current, patience)
        try:
            self.link.abort()
        except LinkClosed:
            pass  # whoever waits for the evaluation learns that
        return True

    def interrupt(self) -> bool:
        """Interrupt what runs; False if nothing does."""
        with self._state:
            if self._current is None:
                return False
        self.link.interrupt()
        return True

    # Packets

    def _overhear_until(self, token: int, evaluation: Evaluation, deadline: Deadline) -> None:
        """Hand on what still comes from before `evaluation`, up to the answer that stands before its own."""
        while True:
            packet = self._get(deadline, evaluation)
            if packet.name == "ReturnPacket" and packet.arguments in ((token,), (ABORTED,)):
                return
            evaluation.overhear(packet)

    def _settle(self, evaluation: Evaluation, deadline: Deadline) -> None:
        """Wait for the end of what a kernel was in the middle of that was taken over by its ID, or for the prompt of
        the dialog it is in. `evaluation` overhears, and answers its questions. EvaluationAborted."""
        question, self._question = self._question, None
        if question is not None:
            evaluation.overhear(question)
        token = self._ask_token(deadline)
        while (packet := self._get(deadline, evaluation)) != ("ReturnPacket", (token,)):
            if packet == ("ReturnPacket", (ABORTED,)):  # the end of that evaluation, or of our token
                token = self._ask_token(deadline)
            evaluation.overhear(packet)
        self._taken_over = False
        if evaluation.abort_requested:
            self.lose_step()
            raise EvaluationAborted("aborted while the kernel was finishing what it had been given before")

    # The server

    def command(self, name: str, arguments: tuple[Expression, ...], deadline: Deadline) -> Packet:
        """The server's ReturnPacket to a command. Output that comes before it goes to the session's callbacks."""
        listener = self.listen_for("ReturnPacket", self._callbacks, deadline)
        try:
            self.find_step(deadline)
            self._in_step = False  # unless the answer comes
            self.link.put(command_packet(name, *arguments), deadline.remaining())
            while (packet := self._get(deadline, None)).name != "ReturnPacket":
                if packet.name in QUESTIONS:
                    self._question = packet
                else:
                    listener.overhear(packet)
        except LinkClosed as error:
            self._notice = listener.notice or self._notice
            raise self._with_notice(error) from error
        finally:
            self._remember_prompt(listener)
        self._in_step = True
        if name.startswith("Connect"):
            self._taken_over = True
        return packet

    def listen_for(self, last: str, callbacks: Callbacks, deadline: Deadline) -> Evaluation:
        """An evaluation of this exchange that ends with a packet of that name."""
        return Evaluation(last, callbacks, lambda answer: self.link.put(answer, deadline.remaining()))

    def _remember_prompt(self, evaluation: Evaluation) -> None:
        if evaluation.prompt is not None:
            self.prompt = evaluation.prompt

    def _with_notice(self, error: LinkClosed) -> LinkClosed:
        """The error with the reason that the server gave before it closed the link."""
        if self._notice is None:
            return error
        reason = self._notice.removeprefix(NOTICE_PREFIX).strip().rstrip(".")
        return LinkClosed(f"{error.message}; the server says: {reason}", error.where, error.advice)
