"""One kernel: a loaded engine joined to one link, and what it does with each packet."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

from mathics.core.element import BaseElement
from mathics.core.interrupt import AbortInterrupt, EvaluationInterrupt
from mathics.core.symbols import SymbolNull
from mathics.core.systemsymbols import SymbolFailed

from wstpserver.client.link import Link
from wstpserver.embedded.channel import LinkChannel, MessageThread, SocketTimestamps, StandardOutput
from wstpserver.embedded.convert import FromWire, ToWire
from wstpserver.embedded.engine import Engine
from wstpserver.embedded.evaluator import EvaluationRunner
from wstpserver.embedded.process import EXIT_OK, EXIT_SOFTWARE
from wstpserver.embedded.repl import KernelRepl, leave_on_quit
from wstpserver.wire.errors import LocalProtocolError
from wstpserver.wire.packets import packet
from wstpserver.wire.values import Function, Symbol

#: Packets that answer a question. Without a question they are left over from one (an aborted Input, a command whose
#: answer came too late) and are dropped, as is a plain string.
ANSWERS = frozenset({
    "TextPacket", "ReturnPacket", "ReturnTextPacket", "ReturnExpressionPacket", "InputNamePacket", "OutputNamePacket",
    "MessagePacket", "MenuPacket", "SyntaxPacket", "InputPacket", "InputStringPacket", "BeginDialogPacket",
    "EndDialogPacket", "SuspendPacket", "ResumePacket", "DisplayPacket", "DisplayEndPacket",
})  # fmt: skip

#: The server's answer to a command it cannot carry out; a client that is linked to a kernel directly gets it.
NO_SERVER = '{"status":"ExecutionError"}'

#: Seconds a server has to answer a command, in addition to the time the command itself may take. A client that is
#: linked to the kernel directly never answers. The environment can set another number.
COMMAND_TIMEOUT = 30.0
TIMEOUT_VARIABLE = "WSTPKERNEL_COMMAND_TIMEOUT"

#: Packets that answer Input and InputString. A plain string does too.
INPUT_ANSWERS = frozenset({"TextPacket", "EnterTextPacket", "EnterExpressionPacket", "ReturnPacket"})

MENU_TITLE = "Interrupt> "
MENU_HELP = """\
Your options are:
\tabort (or a) to abort current calculation
\tcontinue (or c) to continue
\texit (or quit, q) to exit the kernel
\tinspect (or i) to enter an interactive dialog
"""


class ClientQuestions:
    """What an evaluation asks the client or the server: Input, the interrupt menu, server commands.

    Each method waits in the main thread; an abort ends the wait.
    """

    def __init__(self, channel: LinkChannel) -> None:
        self._channel = channel

    def input(self, head: str, prompt: str) -> Any:
        """Send an InputPacket or InputStringPacket and wait for the answer.

        Returns:
            A string, or the expression that was sent as one.
        """
        self._channel.write(packet(head, prompt))
        while True:
            answer = self._channel.read_during_evaluation()
            if isinstance(answer, str):
                return answer
            if packet_name(answer) in INPUT_ANSWERS and len(answer.args) == 1:
                return answer.args[0]
            self._channel.defer(answer)

    def menu(self) -> str:
        """Show the interrupt menu until a choice is made.

        Returns:
            "continue" or "inspect".

        Raises:
            AbortInterrupt: "abort" was chosen.
            SystemExit: "exit" was chosen.
        """
        while True:
            self._channel.write(packet("MenuPacket", 1, MENU_TITLE))
            answer = self._answer_to_menu()
            if answer in ("a", "abort"):
                raise AbortInterrupt
            if answer in ("c", "continue"):
                return "continue"
            if answer in ("i", "inspect"):
                return "inspect"
            if answer in ("q", "quit", "exit"):
                raise SystemExit(EXIT_OK)
            self._channel.write(packet("TextPacket", MENU_HELP))

    def _answer_to_menu(self) -> str:
        while True:
            answer = self._channel.read_during_evaluation()
            if packet_name(answer) == "TextPacket" and len(answer.args) == 1:
                answer = answer.args[0]
            if isinstance(answer, str):
                return answer.strip().lower()
            self._channel.defer(answer)

    def command(self, name: str, arguments: tuple[Any, ...], seconds: float = 0.0) -> dict[str, Any] | None:
        """Send WSCommandPacket[name[arguments]] and wait for the answer.

        A server makes its ReturnPacket["json"] the next packet this kernel reads.

        Args:
            name: The command.
            arguments: Its arguments.
            seconds: How long the command itself may take.

        Returns:
            The answer's JSON object; None if none came in time.
        """
        self._channel.write(packet("WSCommandPacket", Function(Symbol(name), arguments)))
        while True:
            answer = self._channel.read_during_evaluation(_command_timeout() + seconds)
            if answer is None:
                return None
            if packet_name(answer) == "ReturnPacket" and len(answer.args) == 1 and isinstance(answer.args[0], str):
                return _parsed(answer.args[0])
            self._channel.defer(answer)


def _command_timeout() -> float:
    try:
        return float(os.environ[TIMEOUT_VARIABLE])
    except (KeyError, ValueError):
        return COMMAND_TIMEOUT


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        answer = json.loads(text)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None


class PacketHandlers:
    """Carries out packets one by one and sends their answers."""

    def __init__(
        self, runner: EvaluationRunner, channel: LinkChannel, repl: KernelRepl, from_wire: FromWire, to_wire: ToWire
    ) -> None:
        self._runner = runner
        self._channel = channel
        self._repl = repl
        self._from_wire = from_wire
        self._to_wire = to_wire
        self._handlers: dict[str, Callable[[tuple[Any, ...]], None]] = {
            "EvaluatePacket": self._evaluate_packet,
            "EnterTextPacket": self._enter_text,
            "EnterExpressionPacket": self._enter_expression,
            "WSCommandPacket": self._command,
        }

    def handle(self, expression: Any) -> None:
        """Carry out one packet. An expression that is no packet is evaluated, and its value sent in a ReturnPacket."""
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
            self._runner.evaluation.message_args("EvaluatePacket", len(arguments), 1)
            self._channel.write(packet("ReturnPacket", Symbol("$Failed")))

    def _evaluate(self, expression: Any) -> None:
        """Evaluate without a line number, and send the value."""
        evaluation = self._runner.evaluation
        evaluation.out.clear()
        value = self._runner.run(lambda: self._converted_value(expression))
        self._return(value)

    def _converted_value(self, expression: Any) -> BaseElement:
        converted = self._from_wire.convert(expression)
        leave_on_quit(converted)
        return evaluate_fully(converted, self._runner.evaluation)

    def _return(self, value: BaseElement) -> None:
        try:
            self._channel.write(packet("ReturnPacket", self._to_wire.convert(value)))
        except LocalProtocolError as error:  # nothing was sent
            self._runner.evaluation.say("General", "unsendable", f"The result cannot be sent over a link: {error}")
            self._channel.write(packet("ReturnPacket", self._to_wire.convert(SymbolFailed)))

    def _enter_text(self, arguments: tuple[Any, ...]) -> None:
        if len(arguments) == 1 and isinstance(arguments[0], str):
            self._repl.enter_text(arguments[0])
        else:
            self._runner.evaluation.say("EnterTextPacket", "string", "EnterTextPacket needs one string.")
            self._repl.prompt()

    def _enter_expression(self, arguments: tuple[Any, ...]) -> None:
        if len(arguments) != 1:
            self._runner.evaluation.message_args("EnterExpressionPacket", len(arguments), 1)
            self._repl.prompt()
            return
        converted: list[BaseElement] = []

        def convert() -> BaseElement:
            converted.append(self._from_wire.convert(arguments[0]))
            return SymbolNull

        self._runner.run(convert)
        self._repl.enter_expression(converted[0] if converted else SymbolFailed)

    def _command(self, _arguments: tuple[Any, ...]) -> None:
        self._channel.write(packet("ReturnPacket", NO_SERVER))


def packet_name(expression: Any) -> str:
    """The head of a packet without its context; "" if the head is no symbol."""
    if isinstance(expression, Function) and isinstance(expression.head, Symbol):
        return expression.head.name.removeprefix("System`")
    return ""


def evaluate_fully(expression: BaseElement, evaluation: Any) -> BaseElement:
    """The value of an expression. Atoms are their own value."""
    value = expression.evaluate(evaluation) if hasattr(expression, "evaluate") else expression
    return SymbolNull if value is None else value


class _DialogReturn(EvaluationInterrupt):
    """Return[value] at the top of a line in a dialog: ends the dialog."""

    def __init__(self, value: BaseElement) -> None:
        super().__init__()
        self.value = value


class EmbeddedSession:
    """Serves one link. Builtins find this object as `evaluation.session`.

    Attributes:
        channel: The link, for whole packets.
        questions: What an evaluation can ask the client or the server.
        from_wire: Converts values to expressions.
        to_wire: Converts expressions to values.
        runner: Runs evaluations.
    """

    def __init__(self, engine: Engine, link: Link) -> None:
        """Take over descriptor 1 and the signals SIGINT and SIGALRM of the process."""
        self._engine = engine
        self._link = link
        interrupts = engine.interrupts
        interrupts.on_interrupt = self._interrupted
        interrupts.install_signal_handlers()
        timestamps = SocketTimestamps(link)
        self.channel = LinkChannel(link, timestamps, interrupts)
        self.questions = ClientQuestions(self.channel)
        self.from_wire = FromWire(engine.definitions)
        self.to_wire = ToWire(engine.definitions)
        self.runner = EvaluationRunner(engine.evaluation)
        self._repl = KernelRepl(self.runner, self.channel, self.to_wire)
        self._handlers = PacketHandlers(self.runner, self.channel, self._repl, self.from_wire, self.to_wire)
        self._stdout = StandardOutput(lambda text: self.channel.write_from_thread(packet("TextPacket", text)))
        self.channel.before_writing = self._stdout.flush
        self._messages = MessageThread(link, timestamps, interrupts)
        engine.evaluation.session = self

    def run(self) -> int:
        """Send the first prompt and serve packets until the link closes or Quit; returns the exit code."""
        self._stdout.start()
        self._messages.start()
        try:
            self._repl.begin()
            while True:
                self._handlers.handle(self.channel.read())
                self._engine.number_tables.trim()
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else EXIT_OK
        except Exception as error:
            print(f"wstpkernel: {type(error).__name__}: {error}", file=sys.stderr)
            return EXIT_SOFTWARE
        finally:
            self._link.close()

    def send_text(self, text: str) -> None:
        """Send a TextPacket at once."""
        self.channel.write(packet("TextPacket", text))

    def send_message(self, symbol: str, tag: str, text: str) -> None:
        """Send a MessagePacket and its TextPacket at once."""
        self.channel.write(
            packet("MessagePacket", Symbol(symbol), tag), packet("TextPacket", f"{symbol}::{tag}: {text}\n")
        )

    def dialog(self, first: BaseElement | None = None) -> BaseElement:
        """Run a dialog inside the current evaluation.

        Args:
            first: Its first line, if any.

        Returns:
            The value of the Return that ended the dialog.
        """
        self._repl.dialog_depth += 1
        depth = self._repl.dialog_depth
        before, self._repl.on_dialog_return = self._repl.on_dialog_return, _end_dialog
        self.channel.write(packet("BeginDialogPacket", depth))
        try:
            if first is None:
                self._repl.begin()
            else:
                self._repl.show(first)
            while True:
                self._handlers.handle(self.channel.read_during_evaluation())
        except _DialogReturn as end:
            return end.value
        finally:
            self._repl.dialog_depth -= 1
            self._repl.on_dialog_return = before
            self.channel.write(packet("EndDialogPacket", depth))

    def _interrupted(self) -> None:
        if self.questions.menu() == "inspect":
            self.dialog()


def _end_dialog(value: BaseElement) -> None:
    raise _DialogReturn(value)


def serve(engine: Engine, link: Link) -> int:
    """Run a kernel on `link` until it ends, and return the exit code."""
    engine.start_session()
    return EmbeddedSession(engine, link).run()
