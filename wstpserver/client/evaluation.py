"""Evaluations: what happens in one, the functions that are called with it, and what each packet means until the last.

docs/wire-protocol.md, section 6, describes the packets.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from wstpserver.client.convert import to_expression
from wstpserver.client.deadline import Deadline
from wstpserver.client.errors import EvaluationError, KernelLost, KernelWarning, logger
from wstpserver.client.link import Packet
from wstpserver.wire.packets import enter_expression_packet, return_packet, text_packet
from wstpserver.wire.values import Expression, Function, Symbol

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class KernelMessage(NamedTuple):
    """A message such as ``Power::infy``.

    Attributes:
        symbol: The name of its symbol, "Power".
        tag: Its tag, "infy".
        text: Its text as the kernel prints it, usually without a line feed at the end.
    """

    symbol: str
    tag: str
    text: str


class TextOutput(NamedTuple):
    """The result of a line of text that was entered.

    Attributes:
        name: The label, "Out[1]= "; None for a Null result.
        text: The result as text; None for Null.
        prompt: The kernel's next prompt, "In[2]:= ".
        syntax_error: The position of the first wrong character, counted from 1; None if the syntax is right.
    """

    name: str | None
    text: str | None
    prompt: str
    syntax_error: int | None


class ExpressionOutput(NamedTuple):
    """The result of an expression that was entered.

    Attributes:
        name: The label, "Out[1]= "; None for a Null result.
        value: The value, in the form of results that was asked for.
        prompt: The kernel's next prompt, "In[2]:= ".
    """

    name: str | None
    value: Any
    prompt: str


class Callbacks(NamedTuple):
    """Functions called while an evaluation runs, in the thread that waits for it.

    An exception raised in one of them aborts the evaluation and propagates to the caller.

    Attributes:
        on_print: Gets text that is printed, as the kernel sends it (`Print` ends it with a line feed). By default the
            text goes to `sys.stdout`.
        on_message: Gets a `KernelMessage`. By default the message becomes a warning, a `KernelWarning`.
        on_input: Gets the prompt of `Input` or `InputString` and returns the line. Without it the evaluation is
            aborted.
        on_menu: Gets the prompt of an interrupted kernel's menu and returns the choice. By default "c", continue.
        on_call: Gets the number and the arguments of an installed function that the kernel calls, and returns its value
            (see `wstpserver.client.convert`). By default $Failed.
        on_result: Gets the label, "Out[1]= " or "", and the value of each result of a line that was entered. A line of
            several expressions has several results.
        on_dialog: Gets the prompt of a dialog that a line opens. With it that prompt ends the line, and the next line
            goes to the dialog; without it the dialog is left at once.
        on_notice: Gets what the server says about itself and what the session waits for, such as "waiting for a kernel
            of pool Main". By default `on_print` gets a notice of the server if it is given; otherwise notices are
            logged as warnings of the logger "wstpserver.client".
    """

    on_print: Callable[[str], object] | None = None
    on_message: Callable[[KernelMessage], object] | None = None
    on_input: Callable[[str], str] | None = None
    on_menu: Callable[[str], str] | None = None
    on_call: Callable[[int, Expression], object] | None = None
    on_result: Callable[[str, Expression], object] | None = None
    on_dialog: Callable[[str], object] | None = None
    on_notice: Callable[[str], object] | None = None

    def over(self, other: Callbacks) -> Callbacks:
        """Return these callbacks, and where one is missing that of `other`."""
        return Callbacks._make(mine or its for mine, its in zip(self, other, strict=True))

    @classmethod
    def quiet(cls) -> Callbacks:
        """Return callbacks that drop what is printed, messages and notices."""
        return cls(on_print=drop, on_message=drop, on_notice=drop)


def drop(_: object) -> None:
    """A callback that does nothing."""


def print_text(text: str) -> None:
    """What is done with printed text where there is no `on_print`."""
    sys.stdout.write(text)


def warn_of_message(message: KernelMessage) -> None:
    """What is done with a message where there is no `on_message`: a warning at the line that called the library."""
    level = 1
    frame = sys._getframe()
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
        level += 1
    text = message.text.strip() or f"{message.symbol}::{message.tag}"
    warnings.warn(text, KernelWarning, stacklevel=level)


def log_notice(text: str) -> None:
    """What is done with a notice where nobody else takes it."""
    logger("wstpserver.client").warning("%s", text)


#: The beginning of a line that the server itself sends to a client.
NOTICE_PREFIX: Final = "WSTPServer: "
#: In such a line: the kernel has died and the server went on with another one; a prompt follows.
REPLACED: Final = "a new one takes its place"
#: In such a line: the client has no kernel any more.
TAKEN_OVER: Final = "another client connected to this kernel by its ID"

#: Packets by which a kernel asks for something, and waits.
QUESTIONS: Final = frozenset({"InputPacket", "InputStringPacket", "MenuPacket"})
#: And those by which it asks for something to be done.
REQUESTS: Final = QUESTIONS | {"CallPacket"}
_RESULTS: Final = frozenset({"ReturnTextPacket", "ReturnExpressionPacket"})
_OVERHEARD: Final = QUESTIONS | {"TextPacket", "MessagePacket", "InputNamePacket", "OutputNamePacket"}

#: Messages that are kept for `EvaluationFailed`; an evaluation may give millions.
_KEPT_MESSAGES: Final = 100

_FAILED: Final = Symbol("$Failed")
_CONTINUE: Final = "c"


def replaced(notice: str) -> KernelLost:
    """The error for a notice that says that another kernel takes the place of one that died."""
    return KernelLost(f"the kernel was replaced: {notice.removeprefix(NOTICE_PREFIX).strip()}")


def is_taken_over(packet: Packet) -> bool:
    """Whether this packet of the server says that another client has the kernel now."""
    text = packet.arguments[0] if packet.arguments else None
    return (
        packet.name == "TextPacket" and isinstance(text, str) and text.startswith(NOTICE_PREFIX) and TAKEN_OVER in text
    )


class Evaluation:
    """Takes the packets of one evaluation, calls back, answers questions, and keeps the results.

    Args:
        last: The name of the packet that ends the evaluation.
        callbacks: The functions to call.
        put: Sends an answer to the kernel.

    Attributes:
        abort_requested: Whether an abort was asked for.
        grace: When the caller that waits goes on without the kernel's answer to the abort; None for never.
        repeat_abort: When an abort that had no effect is repeated; None for the next opportunity.
        asked: Whether the question may have left.
        unanswered: Whether the kernel has asked something, and the answer has not left yet.
        token: The number whose evaluation marks the place of the answers; None if there is none.
        value: The value returned; None if the kernel returned none.
        output_name: The label of the value.
        prompt: The prompt that ended the evaluation or came during it.
        syntax_error: Where the kernel found a syntax error.
        messages: The messages so far, the first of them.
        notice: What the server said last, not handed on until it is clear that it is not the reason for an end.
    """

    def __init__(self, last: str, callbacks: Callbacks, put: Callable[[Expression], None]) -> None:
        self._last = last
        self._callbacks = callbacks
        self._put = put
        self._message: KernelMessage | None = None  # its text comes in the next packet
        self._dialogs = 0
        self._label = ""  # of the result in the next packet
        self.abort_requested = False
        self.grace: Deadline | None = None
        self.repeat_abort: Deadline | None = None
        self.asked = False
        self.unanswered = False
        self.token: int | None = None
        self.value: Expression | None = None
        self.output_name: str | None = None
        self.prompt: str | None = None
        self.syntax_error: int | None = None
        self.messages: list[KernelMessage] = []
        self.notice: str | None = None

    def take(self, packet: Packet) -> bool:
        """Process the next packet.

        Args:
            packet: A packet of the kernel or of the server.

        Returns:
            Whether it was the last packet of the evaluation.

        Raises:
            KernelLost: The server has put another kernel in its place, or has given it to another client.
            EvaluationError: The kernel asks for input and there is no `on_input`.
            Exception: Whatever a callback raises.
        """
        if packet.name != "TextPacket":
            self._tell_message("")
        if self.notice is not None:
            self._settle_notice(packet)
        handler = _HANDLERS.get(packet.name)
        if handler is not None:
            self.unanswered = packet.name in REQUESTS
            handler(self, packet)
            self.unanswered = False
        return packet.name == self._last and (self._dialogs == 0 or self._enters_dialogs)

    @property
    def _enters_dialogs(self) -> bool:
        """Whether a dialog's prompt ends this: only lines that are entered can go on inside it."""
        return self._last == "InputNamePacket" and self._callbacks.on_dialog is not None

    def overhear(self, packet: Packet) -> None:
        """Process a packet that was under way before the evaluation began.

        Its output, questions, results and prompts are handed on, but it is no answer to this evaluation. Raises as
        `take`.
        """
        if packet.name in _OVERHEARD:
            self.take(packet)
        elif packet.name in _RESULTS:
            self._announce(packet)

    def tell_notice(self) -> None:
        """Hand on what the server said, since nothing follows it at once."""
        notice = self.notice
        if notice is not None and REPLACED not in notice:
            self.notice = None
            self._hand_on(notice)

    def _settle_notice(self, packet: Packet) -> None:
        notice, self.notice = self.notice, None
        assert notice is not None
        if packet.name == "InputNamePacket" and REPLACED in notice:
            raise replaced(notice)
        self._hand_on(notice)

    def _hand_on(self, notice: str) -> None:
        if self._callbacks.on_notice is None and self._callbacks.on_print is not None:
            self._callbacks.on_print(notice)
        else:
            self.announce_wait(notice.removeprefix(NOTICE_PREFIX).strip())

    def announce_wait(self, text: str) -> None:
        """Tell the callbacks what is waited for, or what the server says."""
        (self._callbacks.on_notice or log_notice)(text)

    def _print(self, text: str) -> None:
        (self._callbacks.on_print or print_text)(text)

    def _tell_message(self, text: str) -> None:
        """Hand on the message that was begun, if any."""
        message, self._message = self._message, None
        if message is None:
            return
        message = message._replace(text=text)
        if len(self.messages) < _KEPT_MESSAGES:
            self.messages.append(message)
        (self._callbacks.on_message or warn_of_message)(message)

    def _text(self, packet: Packet) -> None:
        text = _string(packet)
        if self._message is not None:
            self._tell_message(text)
        elif is_taken_over(packet):
            raise KernelLost(text.removeprefix(NOTICE_PREFIX).strip())
        elif text.startswith(NOTICE_PREFIX):
            self.notice = text
        else:
            self._print(text)

    def _message_begins(self, packet: Packet) -> None:
        symbol, tag = (*packet.arguments, "", "")[:2]
        name = symbol.name if isinstance(symbol, Symbol) else str(symbol)
        self._message = KernelMessage(name, tag.name if isinstance(tag, Symbol) else str(tag), "")

    def _returned(self, packet: Packet) -> None:
        if self._last == packet.name:  # another one belongs to something that was under way before
            self.value = _content(packet)

    def _showed(self, packet: Packet) -> None:
        self.value = _content(packet)
        self.output_name = self._label or None
        self._announce(packet)

    def _announce(self, packet: Packet) -> None:
        label, self._label = self._label, ""
        if self._callbacks.on_result is not None:
            self._callbacks.on_result(label, _content(packet))

    def _named(self, packet: Packet) -> None:
        self._label = _string(packet)

    def _prompted(self, packet: Packet) -> None:
        self.prompt = _string(packet)
        if self._dialogs and self._enters_dialogs and self._callbacks.on_dialog is not None:
            self._callbacks.on_dialog(self.prompt)
        elif self._dialogs:
            # Nobody is there to talk to the dialog: leave it, so that the evaluation goes on.
            self._put(enter_expression_packet(Function(Symbol("Return"), ())))

    def _found_syntax_error(self, packet: Packet) -> None:
        position = packet.arguments[0] if packet.arguments else None
        self.syntax_error = position if isinstance(position, int) else None

    def _asked(self, packet: Packet) -> None:
        prompt = _string(packet)
        if self._callbacks.on_input is None:
            raise EvaluationError(f"the evaluation asks for input ({prompt!r}), and there is no on_input to give it")
        self._put(text_packet(self._callbacks.on_input(prompt)))

    def _offered_menu(self, packet: Packet) -> None:
        prompt = next((part for part in reversed(packet.arguments) if isinstance(part, str)), "")
        self._put(text_packet(self._callbacks.on_menu(prompt) if self._callbacks.on_menu else _CONTINUE))

    def _called(self, packet: Packet) -> None:
        number, arguments = (*packet.arguments, 0, 0)[:2]
        answer: Expression = _FAILED
        if self._callbacks.on_call is not None and isinstance(number, int):
            answer = to_expression(self._callbacks.on_call(number, arguments))
        self._put(return_packet(answer))

    def _dialog_begins(self, packet: Packet) -> None:
        self._dialogs += 1

    def _dialog_ends(self, packet: Packet) -> None:
        self._dialogs = max(0, self._dialogs - 1)


def _content(packet: Packet) -> Expression:
    return packet.arguments[0] if packet.arguments else Symbol("Null")


def _string(packet: Packet) -> str:
    return next((part for part in packet.arguments if isinstance(part, str)), "")


#: Packets without an entry (display, suspension, expressions that are no packets) are skipped.
_HANDLERS: Final[dict[str, Callable[[Evaluation, Packet], None]]] = {
    "TextPacket": Evaluation._text,
    "MessagePacket": Evaluation._message_begins,
    "ReturnPacket": Evaluation._returned,
    "ReturnTextPacket": Evaluation._showed,
    "ReturnExpressionPacket": Evaluation._showed,
    "OutputNamePacket": Evaluation._named,
    "InputNamePacket": Evaluation._prompted,
    "SyntaxPacket": Evaluation._found_syntax_error,
    "InputPacket": Evaluation._asked,
    "InputStringPacket": Evaluation._asked,
    "MenuPacket": Evaluation._offered_menu,
    "CallPacket": Evaluation._called,
    "BeginDialogPacket": Evaluation._dialog_begins,
    "EndDialogPacket": Evaluation._dialog_ends,
}
