"""One evaluation under way: what each packet means until its last one (docs/wire-protocol.md, section 6)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from wstpserver.client.convert import to_expression
from wstpserver.client.deadline import Deadline
from wstpserver.client.errors import EvaluationError, KernelLost
from wstpserver.client.events import Callbacks, KernelMessage, log_notice, print_text, warn_of_message
from wstpserver.client.link import Packet
from wstpserver.wire.packets import enter_expression_packet, return_packet, text_packet
from wstpserver.wire.values import Expression, Function, Symbol

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
        patience: When whoever waits goes on without the kernel's answer to the abort; None for never.
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
        self.patience: Deadline | None = None
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
