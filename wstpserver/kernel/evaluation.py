"""Mathics' Evaluation object, tied to a kernel: it can be interrupted, and what it says goes out at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mathics.core.atoms import String
from mathics.core.definitions import Definitions
from mathics.core.evaluation import Evaluation, Message, Output

from wstpserver.kernel.interruption import Interruption

if TYPE_CHECKING:
    from wstpserver.kernel.session import KernelSession

#: Messages kept for Check, which looks at what its argument said; older ones are forgotten.
KEPT_MESSAGES = 1000


class KernelEvaluation(Evaluation):
    """The evaluation object of one kernel. `session` is set when the kernel has its link; builtins find it here."""

    def __init__(self, definitions: Definitions, interruption: Interruption) -> None:
        super().__init__(definitions=definitions, output=_LinkOutput(self), catch_interrupt=False)
        self.interruption = interruption
        self.session: KernelSession | None = None

    def check_stopped(self) -> None:
        """Called by Mathics at every step: where aborts and time limits take effect."""
        if self.interruption.due:
            self.interruption.act()

    def print_out(self, text: Any) -> None:
        """Print. Not kept in `out`: Check would take it for a message, and a long loop would fill the memory."""
        tracing, self.definitions.trace_evaluation = self.definitions.trace_evaluation, False
        try:
            shown = text if isinstance(text, str) else self.format_output(text, "text")
        finally:
            self.definitions.trace_evaluation = tracing
        if self.session is not None:
            self.session.send_text(f"{shown}\n")

    def say(self, symbol: str, tag: str, text: str) -> None:
        """Issue a message of the kernel itself, whose text needs no definition."""
        self.out.append(Message(symbol, tag, text))
        self.output.out(self.out[-1])

    def reset(self) -> None:
        """Forget what an evaluation that was cut short may have left behind."""
        self.recursion_depth = 0
        self.iteration_count = 0
        self.stopped = False
        self.timeout = False
        self.exc_result = self.SymbolNull
        self.last_eval = None
        self.options = None
        self.quiet_all = False
        self.is_boxing = False
        self.predetermined_out = None
        self.out.clear()


class _LinkOutput(Output):
    """Sends messages as Mathics issues them."""

    def __init__(self, evaluation: KernelEvaluation) -> None:
        self._evaluation = evaluation

    def out(self, out: Any) -> None:
        session = self._evaluation.session
        if session is not None and isinstance(out, Message):
            session.send_message(str(out.symbol), out.tag, out.text)
        if len(self._evaluation.out) > KEPT_MESSAGES:
            del self._evaluation.out[:-KEPT_MESSAGES]

    def clear(self, wait: bool) -> None:
        """Nothing is shown here that could be cleared."""

    def display(self, data: Any, metadata: Any) -> None:
        """Rich output (Manipulate) has no form on a link: its text is sent."""
        self._evaluation.print_out(String(str(data.get("text/plain", ""))) if isinstance(data, dict) else "")
