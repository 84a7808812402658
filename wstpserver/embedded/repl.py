"""The interactive session: EnterTextPacket, EnterExpressionPacket, prompts, line numbers, In and Out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from mathics.core.atoms import Integer
from mathics.core.definitions import Definitions
from mathics.core.element import BaseElement
from mathics.core.expression import Expression
from mathics.core.parser import MathicsMultiLineFeeder
from mathics.core.parser.util import parser
from mathics.core.rules import Rule
from mathics.core.symbols import Symbol, SymbolNull
from mathics.core.systemsymbols import SymbolAborted, SymbolIn, SymbolOut

from wstpserver.embedded.channel import LinkChannel
from wstpserver.embedded.convert import ToWire
from wstpserver.embedded.evaluator import EvaluationRunner, KernelEvaluation
from wstpserver.embedded.format import text_of
from wstpserver.embedded.process import EXIT_OK
from wstpserver.wire.packets import packet

#: Symbols that end the kernel when they are the whole input, without brackets.
QUIT_SYMBOLS = frozenset({Symbol("System`Quit"), Symbol("System`Exit")})

HOOKS = {name: Symbol(f"System`${name}") for name in ("Pre", "Post", "PrePrint")}


class TextFeeder(MathicsMultiLineFeeder):
    """Feeds entered text to Mathics' parser, and knows where in the text a syntax error is.

    The parser asks for lines until an expression is complete, and is called again for the next expression.

    Args:
        text: One or more expressions.
        name: What messages call the text ("line 1 of ...").
    """

    def __init__(self, text: str, name: str) -> None:
        super().__init__(text, name)
        self._start = 0
        self._rest: str | None = None

    def begin_expression(self) -> None:
        """The parser is about to be called."""
        self._start = sum(map(len, self.lines[: self.lineno]))
        self._rest = None

    def message(self, symbol_name: str, tag: str, *args: Any) -> None:
        """Called by the tokeniser. The last argument of sntxf and sntxb is the text that could not be parsed."""
        if symbol_name == "Syntax" and tag in ("sntxf", "sntxb") and args:
            self._rest = str(args[-1])
        elif symbol_name == "Syntax" and tag == "sntxi":
            self._rest = ""
        super().message(symbol_name, tag, *args)

    def error_position(self) -> int:
        """The number of characters before the place that could not be parsed, in the whole text."""
        tokeniser = getattr(parser, "tokeniser", None)
        if tokeniser is None:
            return self._start
        if self._rest is None:
            return self._start + int(tokeniser.pos)
        return self._start + len(tokeniser.source_text.rstrip()) - len(self._rest)


class LineHistory:
    """Line numbers, In and Out of one kernel.

    Rules are inserted and removed by identity: Mathics' own functions compare all of them.
    """

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions
        self._kept: deque[tuple[int, str, Rule]] = deque()

    @property
    def line(self) -> int:
        """$Line: the number of the next input, or of the input being evaluated."""
        return int(self._definitions.get_line_no())

    @property
    def length(self) -> int:
        """The number of lines kept: $HistoryLength, which Mathics limits to 100."""
        return int(self._definitions.get_history_length())

    def advance(self) -> None:
        """Increase $Line for the next input."""
        self._definitions.set_line_no(self.line + 1)

    def record_input(self, line: int, expression: BaseElement) -> None:
        """Record In[line] := expression."""
        self._record(line, "System`In", Rule(Expression(SymbolIn, Integer(line)), expression))

    def record_output(self, line: int, value: BaseElement) -> None:
        """Record Out[line] = value."""
        self._record(line, "System`Out", Rule(Expression(SymbolOut, Integer(line)), value))

    def trim(self, line: int) -> None:
        """Remove lines that are too old to be kept after `line`, and lines above it, after $Line was set back."""
        first = line - self.length + 1
        while self._kept and not first <= self._kept[0][0] <= line:
            _, name, rule = self._kept.popleft()
            self._remove(name, rule)

    def _record(self, line: int, name: str, rule: Rule) -> None:
        if self.length < 1:
            return
        for entry in [entry for entry in self._kept if entry[0] == line and entry[1] == name]:
            self._kept.remove(entry)
            self._remove(name, entry[2])
        definition = self._definitions.get_user_definition(name)
        definition.downvalues.insert(0, rule)
        self._changed(name)
        self._kept.append((line, name, rule))

    def _remove(self, name: str, rule: Rule) -> None:
        values = self._definitions.get_user_definition(name).downvalues
        for index, value in enumerate(values):
            if value is rule:
                del values[index]
                self._changed(name)
                return

    def _changed(self, name: str) -> None:
        self._definitions.mark_changed(self._definitions.get_user_definition(name))
        self._definitions.clear_definitions_cache(name)


class KernelRepl:
    """Evaluates entered lines and answers them.

    $Line is the number in the prompt, from the moment the prompt is sent.

    Attributes:
        history: In and Out.
        dialog_depth: How many dialogs are open; changes the prompts, and the effect of Return.
        on_dialog_return: Called with the argument of a Return that reaches the top of a line in a dialog.
    """

    def __init__(self, runner: EvaluationRunner, channel: LinkChannel, to_wire: ToWire) -> None:
        self._runner = runner
        self._evaluation: KernelEvaluation = runner.evaluation
        self._definitions = self._evaluation.definitions
        self._channel = channel
        self._to_wire = to_wire
        self.history = LineHistory(self._definitions)
        self.dialog_depth = 0
        self.on_dialog_return: Callable[[BaseElement], None] = lambda value: None

    def begin(self) -> None:
        """The first prompt of the session, or of a dialog."""
        self.history.advance()
        self.prompt()

    def prompt(self) -> None:
        """InputNamePacket["In[n]:= "]: the kernel is ready for a line."""
        self._channel.write(packet("InputNamePacket", f"{self._prefix()}In[{self.history.line}]:= "))

    def enter_text(self, text: str) -> None:
        """Evaluate every expression in the text, each with a line number and an answer of its own, then prompt once.

        After a syntax error the rest of the text is dropped; the line counts, as in Wolfram kernels. After an abort the
        rest is dropped too: an abort is meant for the whole text.
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
        """Evaluate a line that was sent as an expression, then prompt."""
        self._line(expression, self._answer_expression)
        self.prompt()

    def show(self, expression: BaseElement) -> None:
        """Evaluate the first line of a dialog, answer with text as if it had been typed, then prompt."""
        self.history.advance()
        self._line(expression, self._answer_text)
        self.prompt()

    def _parse(self, feeder: TextFeeder) -> tuple[BaseElement | None, bool]:
        """Parse one expression; the parser's messages are sent.

        Returns:
            The expression or None, and whether there was an error.
        """
        found: list[Any] = []

        def parse() -> BaseElement:
            found.extend(self._evaluation.parse_feeder_returning_code_and_messages(feeder))
            return SymbolNull

        self._runner.run(parse)
        if not found:  # aborted, or the parser itself failed
            return None, True
        expression, _, messages = found
        return expression, expression is None and bool(messages)

    def _line(self, expression: BaseElement, answer: Callable[[int, BaseElement], None]) -> BaseElement:
        """Evaluate one line, answer it, and return its value."""
        leave_on_quit(expression)
        line = self.history.line
        self._evaluation.out.clear()
        self.history.record_input(line, expression)
        stored: list[BaseElement] = []
        value = self._runner.run(
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
        """The value to show; the value for Out is appended to `stored`."""
        evaluation = self._evaluation
        evaluation.predetermined_out = None
        value = self._hook("Pre", expression).evaluate(evaluation) or SymbolNull
        value = self._hooked_value("Post", value)
        # `4;` shows nothing, but % is 4: CompoundExpression leaves the value in predetermined_out.
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

        ended = self._runner.run(render)
        shown = text[0] if text else ("$Aborted" if ended is SymbolAborted else "$Failed")
        name = self._output_name(line, value)
        self._channel.write(packet("OutputNamePacket", name), packet("ReturnTextPacket", shown))

    def _answer_expression(self, line: int, value: BaseElement) -> None:
        self._channel.write(
            packet("OutputNamePacket", f"{self._prefix()}Out[{line}]= "),
            packet("ReturnExpressionPacket", self._to_wire.convert(value)),
        )

    def _output_name(self, line: int, value: BaseElement) -> str:
        head = value.get_head()
        form = f"//{self._definitions.shorten_name(head.get_name())}" if head in self._definitions.outputforms else ""
        return f"{self._prefix()}Out[{line}]{form}= "

    def _prefix(self) -> str:
        return "(Dialog) " * bool(self.dialog_depth)


def leave_on_quit(expression: BaseElement) -> None:
    """Raise SystemExit if the whole input is Quit or Exit."""
    if isinstance(expression, Symbol) and expression in QUIT_SYMBOLS:
        raise SystemExit(EXIT_OK)
