"""What the kernel does with each packet that comes over the link."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from mathics.core.element import BaseElement
from mathics.core.symbols import SymbolNull
from mathics.core.systemsymbols import SymbolFailed

from wstpserver.kernel.channel import Channel
from wstpserver.kernel.entering import Lines, leave_on_quit
from wstpserver.kernel.evaluator import Evaluator
from wstpserver.kernel.incoming import Incoming
from wstpserver.kernel.outgoing import Outgoing
from wstpserver.wire.errors import LocalProtocolError
from wstpserver.wire.packets import packet
from wstpserver.wire.values import Function, Symbol

#: Packets that answer something. Without a question they are left over from one (an Input that was aborted, a command
#: that was given up) and are dropped, and so is a plain string.
ANSWERS = frozenset({
    "TextPacket", "ReturnPacket", "ReturnTextPacket", "ReturnExpressionPacket", "InputNamePacket", "OutputNamePacket",
    "MessagePacket", "MenuPacket", "SyntaxPacket", "InputPacket", "InputStringPacket", "BeginDialogPacket",
    "EndDialogPacket", "SuspendPacket", "ResumePacket", "DisplayPacket", "DisplayEndPacket",
})  # fmt: skip

#: The server's answer to a command it cannot carry out; given here to a client that is linked to a kernel directly.
NO_SERVER = '{"status":"ExecutionError"}'


class Dispatcher:
    """Takes packets one by one and sends what they call for."""

    def __init__(
        self, evaluator: Evaluator, channel: Channel, lines: Lines, incoming: Incoming, outgoing: Outgoing
    ) -> None:
        self._evaluator = evaluator
        self._channel = channel
        self._lines = lines
        self._incoming = incoming
        self._outgoing = outgoing
        self._handlers: dict[str, Callable[[tuple[Any, ...]], None]] = {
            "EvaluatePacket": self._evaluate_packet,
            "EnterTextPacket": self._enter_text,
            "EnterExpressionPacket": self._enter_expression,
            "WSCommandPacket": self._command,
        }

    def handle(self, expression: Any) -> None:
        """Carry out one packet. An expression that is no packet is evaluated and comes back in a ReturnPacket."""
        head = packet_name(expression)
        handler = self._handlers.get(head)
        if handler is not None:
            handler(expression.args)
        elif head in ANSWERS or isinstance(expression, str):
            print(f"wstpkernel: an answer without a question was dropped: {head or 'a string'}", file=sys.stderr)
        else:
            self._evaluate(expression)

    def _evaluate_packet(self, arguments: tuple[Any, ...]) -> None:
        if len(arguments) == 1:
            self._evaluate(arguments[0])
        else:
            self._evaluator.evaluation.message_args("EvaluatePacket", len(arguments), 1)
            self._channel.write(packet("ReturnPacket", Symbol("$Failed")))

    def _evaluate(self, expression: Any) -> None:
        """Evaluate outside the lines of the session, and return the value."""
        evaluation = self._evaluator.evaluation
        evaluation.out.clear()
        value = self._evaluator.run(lambda: self._converted_value(expression))
        self._return(value)

    def _converted_value(self, expression: Any) -> BaseElement:
        converted = self._incoming.convert(expression)
        leave_on_quit(converted)
        return evaluate_fully(converted, self._evaluator.evaluation)

    def _return(self, value: BaseElement) -> None:
        try:
            self._channel.write(packet("ReturnPacket", self._outgoing.convert(value)))
        except LocalProtocolError as error:  # nothing was sent
            self._evaluator.evaluation.say("General", "unsendable", f"The result cannot be sent over a link: {error}")
            self._channel.write(packet("ReturnPacket", self._outgoing.convert(SymbolFailed)))

    def _enter_text(self, arguments: tuple[Any, ...]) -> None:
        if len(arguments) == 1 and isinstance(arguments[0], str):
            self._lines.enter_text(arguments[0])
        else:
            self._evaluator.evaluation.say("EnterTextPacket", "string", "EnterTextPacket needs one string.")
            self._lines.prompt()

    def _enter_expression(self, arguments: tuple[Any, ...]) -> None:
        if len(arguments) != 1:
            self._evaluator.evaluation.message_args("EnterExpressionPacket", len(arguments), 1)
            self._lines.prompt()
            return
        converted: list[BaseElement] = []

        def convert() -> BaseElement:
            converted.append(self._incoming.convert(arguments[0]))
            return SymbolNull

        self._evaluator.run(convert)
        self._lines.enter_expression(converted[0] if converted else SymbolFailed)

    def _command(self, _arguments: tuple[Any, ...]) -> None:
        self._channel.write(packet("ReturnPacket", NO_SERVER))


def packet_name(expression: Any) -> str:
    """The head of a packet without its context; "" for what has no symbol as its head."""
    if isinstance(expression, Function) and isinstance(expression.head, Symbol):
        return expression.head.name.removeprefix("System`")
    return ""


def evaluate_fully(expression: BaseElement, evaluation: Any) -> BaseElement:
    """The value of an expression; atoms are their own."""
    value = expression.evaluate(evaluation) if hasattr(expression, "evaluate") else expression
    return SymbolNull if value is None else value
