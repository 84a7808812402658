"""What an evaluation asks the client or the server while it runs: Input, the interrupt menu, server commands."""

from __future__ import annotations

import json
import os
from typing import Any

from mathics.core.interrupt import AbortInterrupt

from wstpserver.kernel.channel import Channel
from wstpserver.kernel.exits import EXIT_OK
from wstpserver.kernel.packets_in import packet_name
from wstpserver.wire.packets import packet
from wstpserver.wire.values import Function, Symbol

#: Seconds a server gets to answer a command, beyond the time the command itself may take. A kernel that is linked to a
#: client directly has nobody to answer. The environment may set another number.
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


class Questions:
    """Questions of one kernel. Each method waits in the main thread; an abort ends the wait."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def input(self, head: str, prompt: str) -> Any:
        """Send InputPacket or InputStringPacket; return the answer: a string, or an expression that was sent as one."""
        self._channel.write(packet(head, prompt))
        while True:
            answer = self._channel.read_during_evaluation()
            if isinstance(answer, str):
                return answer
            if packet_name(answer) in INPUT_ANSWERS and len(answer.args) == 1:
                return answer.args[0]
            self._channel.defer(answer)

    def menu(self) -> str:
        """Show the interrupt menu until a choice is made: returns "continue" or "inspect".

        Raises AbortInterrupt or SystemExit for the other choices.
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

    def command(self, name: str, arguments: tuple[Any, ...], patience: float = 0.0) -> dict[str, Any] | None:
        """Give the server a command; return its answer, or None if there was none in time.

        Sends WSCommandPacket[name[arguments]]; a server makes its ReturnPacket["json"] the next thing this kernel
        reads.
        `patience` is the time in seconds the command itself may take.
        """
        self._channel.write(packet("WSCommandPacket", Function(Symbol(name), arguments)))
        while True:
            answer = self._channel.read_during_evaluation(_command_timeout() + patience)
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
