"""EnterTextPacket and EnterExpressionPacket: the lines of an interactive session."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mathics.core.element import BaseElement
from mathics.core.expression import Expression
from mathics.core.symbols import Symbol, SymbolNull
from mathics.core.systemsymbols import SymbolAborted

from wstpserver.kernel.channel import Channel
from wstpserver.kernel.evaluation import KernelEvaluation
from wstpserver.kernel.evaluator import Evaluator
from wstpserver.kernel.exits import EXIT_OK
from wstpserver.kernel.history import History
from wstpserver.kernel.outgoing import Outgoing
from wstpserver.kernel.text_feeder import TextFeeder
from wstpserver.kernel.text_form import text_of
from wstpserver.wire.packets import packet

#: Symbols that end the kernel when they are a whole input, without brackets.
QUIT_SYMBOLS = frozenset({Symbol("System`Quit"), Symbol("System`Exit")})

HOOKS = {name: Symbol(f"System`${name}") for name in ("Pre", "Post", "PrePrint")}


class Lines:
    """Evaluates entered lines and answers them. `dialog_depth` changes the prompts, and what Return does.

    $Line is the number in the prompt, from the moment it is shown.
    """

    def __init__(self, evaluator: Evaluator, channel: Channel, outgoing: Outgoing) -> None:
        self._evaluator = evaluator
        self._evaluation: KernelEvaluation = evaluator.evaluation
        self._definitions = self._evaluation.definitions
        self._channel = channel
        self._outgoing = outgoing
        self.history = History(self._definitions)
        self.dialog_depth = 0
        #: Called with the argument of a Return that reaches the top of a line in a dialog.
        self.on_dialog_return: Callable[[BaseElement], None] = lambda value: None

    def begin(self) -> None:
        """The first prompt of the session, or of a dialog."""
        self.history.advance()
        self.prompt()

    def prompt(self) -> None:
        """InputNamePacket["In[n]:= "]: the kernel is ready for a line."""
        self._channel.write(packet("InputNamePacket", f"{self._prefix()}In[{self.history.line}]:= "))

    def enter_text(self, text: str) -> None:
        """Every expression in the text gets a line number and an answer of its own; one prompt ends them all.

        After a syntax error the rest of the text is dropped; the line counts, as in other kernels. After an abort it
        is dropped too: whoever aborts means all of it.
        """
        feeder = TextFeeder(text, f"In[{self.history.line}]")
        while not feeder.empty():
            feeder.begin_expression()
            expression, failed = self._parse(feeder)
            if failed:
                self.history.advance()
                self._channel.write(packet("SyntaxPacket", feeder.error_position()))
                break
            if expression is None:
                continue
            if self._line(expression, self._answer_text) is SymbolAborted and expression is not SymbolAborted:
                break
        self.prompt()

    def enter_expression(self, expression: BaseElement) -> None:
        """One line that was sent as an expression."""
        self._line(expression, self._answer_expression)
        self.prompt()

    def show(self, expression: BaseElement) -> None:
        """A first line of a dialog, whose value is shown as text as if it had been typed."""
        self.history.advance()
        self._line(expression, self._answer_text)
        self.prompt()

    def _parse(self, feeder: TextFeeder) -> tuple[BaseElement | None, bool]:
        """(next expression or None, whether there was an error); its messages are sent."""
        found: list[Any] = []

        def parse() -> BaseElement:
            found.extend(self._evaluation.parse_feeder_returning_code_and_messages(feeder))
            return SymbolNull

        self._evaluator.run(parse)
        if not found:  # aborted, or the parser itself failed
            return None, True
        expression, _, messages = found
        return expression, expression is None and bool(messages)

    def _line(self, expression: BaseElement, answer: Callable[[int, BaseElement], None]) -> BaseElement:
        """Evaluate one line and answer it; its value."""
        leave_on_quit(expression)
        line = self.history.line
        self._evaluation.out.clear()
        self.history.record_input(line, expression)
        stored: list[BaseElement] = []
        value = self._evaluator.run(
            lambda: self._evaluate_hooked(expression, stored),
            on_return=self.on_dialog_return if self.dialog_depth else None,
        )
        self.history.record_output(line, stored[0] if stored else value)
        if value is not SymbolNull:
            answer(line, value)
        self.history.trim(line)
        self.history.advance()
        return value

    def _evaluate_hooked(self, expression: BaseElement, stored: list[BaseElement]) -> BaseElement:
        """The value to show; what Out is to hold goes to `stored`."""
        evaluation = self._evaluation
        evaluation.predetermined_out = None
        value = self._hook("Pre", expression).evaluate(evaluation) or SymbolNull
        value = self._hooked_value("Post", value)
        # `4;` shows nothing, but % is 4: CompoundExpression leaves the value there.
        silent = evaluation.predetermined_out if value is SymbolNull else None
        evaluation.predetermined_out = None
        kept = value if silent is None else silent
        stored.append(evaluation.get_stored_result(kept, self._definitions.outputforms))
        return value if value is SymbolNull else self._hooked_value("PrePrint", value)

    def _hook(self, name: str, value: BaseElement) -> BaseElement:
        symbol = HOOKS[name]
        return Expression(symbol, value) if self._definitions.get_ownvalues(symbol.name) else value

    def _hooked_value(self, name: str, value: BaseElement) -> BaseElement:
        hooked = self._hook(name, value)
        return value if hooked is value else hooked.evaluate(self._evaluation) or SymbolNull

    def _answer_text(self, line: int, value: BaseElement) -> None:
        text: list[str] = []

        def render() -> BaseElement:
            text.append(text_of(value, self._evaluation))
            return SymbolNull

        ended = self._evaluator.run(render)
        shown = text[0] if text else ("$Aborted" if ended is SymbolAborted else "$Failed")
        name = self._output_name(line, value)
        self._channel.write(packet("OutputNamePacket", name), packet("ReturnTextPacket", shown))

    def _answer_expression(self, line: int, value: BaseElement) -> None:
        self._channel.write(
            packet("OutputNamePacket", f"{self._prefix()}Out[{line}]= "),
            packet("ReturnExpressionPacket", self._outgoing.convert(value)),
        )

    def _output_name(self, line: int, value: BaseElement) -> str:
        head = value.get_head()
        form = f"//{self._definitions.shorten_name(head.get_name())}" if head in self._definitions.outputforms else ""
        return f"{self._prefix()}Out[{line}]{form}= "

    def _prefix(self) -> str:
        return "(Dialog) " * bool(self.dialog_depth)


def leave_on_quit(expression: BaseElement) -> None:
    """Raise SystemExit if the whole input is Quit or Exit."""
    if expression in QUIT_SYMBOLS:
        raise SystemExit(EXIT_OK)
