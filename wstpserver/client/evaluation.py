"""One evaluation under way: what each packet of the kernel means until its last one (wire notes, section 6)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from wstpserver.client.deadline import Deadline
from wstpserver.client.errors import EvaluationError, KernelLost
from wstpserver.client.events import Callbacks, KernelMessage
from wstpserver.client.expression_values import to_expression
from wstpserver.client.link import Packet
from wstpserver.wire.packets import enter_expression_packet, return_packet, text_packet
from wstpserver.wire.values import Expression, Function, Symbol

#: How a line begins that the server itself sends to a client, and not the kernel.
NOTICE_PREFIX: Final = "WSTPServer: "
#: What such a line says when the kernel has died and the server went on with another one; a prompt follows.
REPLACED: Final = "a new one has taken its place"

#: Packets by which a kernel asks for something, and waits.
QUESTIONS: Final = frozenset({"InputPacket", "InputStringPacket", "MenuPacket"})
_RESULTS: Final = frozenset({"ReturnTextPacket", "ReturnExpressionPacket"})
_OVERHEARD: Final = QUESTIONS | {"TextPacket", "MessagePacket", "InputNamePacket", "OutputNamePacket"}

_FAILED: Final = Symbol("$Failed")
_CONTINUE: Final = "c"


class Evaluation:
    """Takes the packets of one evaluation, calls back, answers questions, and keeps what comes out.

    `last` is the name of the packet that ends it, `put` sends an answer.
    """

    def __init__(self, last: str, callbacks: Callbacks, put: Callable[[Expression], None]) -> None:
        self._last = last
        self._callbacks = callbacks
        self._put = put
        self._message: KernelMessage | None = None  # its text comes in the next packet
        self._dialogs = 0
        self._label = ""  # of the result in the next packet
        #: Whether an abort was asked for.
        self.abort_requested = False
        #: When whoever waits goes on without the kernel's answer to the abort; None for never.
        self.patience: Deadline | None = None
        #: When an abort that had no effect is to be repeated; None for the next opportunity.
        self.repeat_abort: Deadline | None = None
        #: Whether the question may have left, and what marks the place of its answers among those before.
        self.asked = False
        self.token: int | None = None
        #: The value returned, None if the kernel returned none.
        self.value: Expression | None = None
        #: The label of the value.
        self.output_name: str | None = None
        #: The prompt that ended the evaluation or came during it.
        self.prompt: str | None = None
        #: Where the kernel found a syntax error.
        self.syntax_error: int | None = None
        #: What the server said about itself, not printed until it is clear that it is no reason for an end.
        self.notice: str | None = None

    def take(self, packet: Packet) -> bool:
        """Deal with `packet`; whether it was the last. KernelLost, EvaluationError, and what callbacks raise."""
        if packet.name != "TextPacket":
            self._tell_message("")
        if self.notice is not None:
            self._settle_notice(packet)
        handler = _HANDLERS.get(packet.name)
        if handler is not None:
            handler(self, packet)
        return packet.name == self._last and (self._dialogs == 0 or self._enters_dialogs)

    @property
    def _enters_dialogs(self) -> bool:
        """Whether a dialog's prompt ends this: only lines that are entered can go on inside it."""
        return self._last == "InputNamePacket" and self._callbacks.on_dialog is not None

    def overhear(self, packet: Packet) -> None:
        """A packet that was under way before the evaluation began. What it says, asks and shows counts, and prompts
        do; but it is no answer to this evaluation."""
        if packet.name in _OVERHEARD:
            self.take(packet)
        elif packet.name in _RESULTS:
            self._announce(packet)

    def _settle_notice(self, packet: Packet) -> None:
        notice, self.notice = self.notice, None
        assert notice is not None
        if packet.name == "InputNamePacket" and REPLACED in notice:
            raise KernelLost(f"the kernel was replaced: {notice.removeprefix(NOTICE_PREFIX).strip()}")
        self._print(notice)

    def _print(self, text: str) -> None:
        if self._callbacks.on_print is not None:
            self._callbacks.on_print(text)

    def _tell_message(self, text: str) -> None:
        """Hand on the message that was begun, if any."""
        message, self._message = self._message, None
        if message is not None and self._callbacks.on_message is not None:
            self._callbacks.on_message(message._replace(text=text))

    def _text(self, packet: Packet) -> None:
        text = _string(packet)
        if self._message is not None:
            self._tell_message(text)
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


#: Packets without an entry (display, suspension, what is no packet at all) are passed over.
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
