"""Shows what a kernel wrote while nobody was connected to it."""

from __future__ import annotations

from collections.abc import Sequence

from wstpserver.cli.script_terminal import Terminal
from wstpserver.client import CommandError, KernelMessage, Session
from wstpserver.wire.values import Expression, Function, Symbol

_RESULTS = ("ReturnPacket", "ReturnTextPacket", "ReturnExpressionPacket")


def show_missed_output(session: Session, terminal: Terminal) -> None:
    """Ask the server for the output and print it; nothing where there is none."""
    try:
        dropped, packets = session.missed_output()
    except CommandError:  # a server without this command
        return
    if dropped:
        terminal.error(f"wstpscript: {dropped} packets that came before are lost")
    _Printer(terminal).show(packets)


class _Printer:
    """Packets that no question waits for, in the manner of an interactive session."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._label = ""
        self._message: KernelMessage | None = None

    def show(self, packets: Sequence[Expression]) -> None:
        for packet in packets:
            if isinstance(packet, Function) and isinstance(packet.head, Symbol) and packet.args:
                self._take(packet.head.name.removeprefix("System`"), packet.args)

    def _take(self, name: str, arguments: tuple[Expression, ...]) -> None:
        first = arguments[0]
        text = first if isinstance(first, str) else _plain(first)
        if name == "TextPacket" and self._message is not None:
            self._terminal.message(self._message._replace(text=text))
            self._message = None
        elif name == "TextPacket":
            self._terminal.write(text)
        elif name == "MessagePacket":
            self._message = KernelMessage(text, str(arguments[-1]), "")
        elif name == "OutputNamePacket":
            self._label = text
        elif name in _RESULTS:
            # Without a label it is the answer to a program, which a Null does not interest.
            if self._label or first != Symbol("Null"):
                self._terminal.result(self._label, text)
            self._label = ""


def _plain(value: Expression) -> str:
    return value.name if isinstance(value, Symbol) else repr(value)
