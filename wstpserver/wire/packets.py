"""The packets a link can carry, by the head of the top-level expression (docs/wire-protocol.md, section 6).

The codes are this package's own: the wire carries names. They are shared with the C scanner: cext/wstpscan.c holds the
same table in the same order, and a test compares the two.
"""

from __future__ import annotations

from enum import IntEnum

from wstpserver.wire.values import Expression, Function, Symbol


class PacketHead(IntEnum):
    """What kind of packet a frame is. `OTHER` is every head that is not in the table, and every atom.

    Codes run from 0 without a gap and stay below 64: the scanner keeps sets of them as bits of one 64-bit word.
    """

    # The enum's own hash is a function in Python, and these are keys on the hot path.
    __hash__ = int.__hash__

    OTHER = 0
    WSCommandPacket = 1
    EvaluatePacket = 2
    EnterTextPacket = 3
    EnterExpressionPacket = 4
    ReturnPacket = 5
    ReturnTextPacket = 6
    ReturnExpressionPacket = 7
    InputNamePacket = 8
    OutputNamePacket = 9
    TextPacket = 10
    MessagePacket = 11
    SyntaxPacket = 12
    MenuPacket = 13
    InputPacket = 14
    InputStringPacket = 15
    DisplayPacket = 16
    DisplayEndPacket = 17
    SuspendPacket = 18
    ResumePacket = 19
    BeginDialogPacket = 20
    EndDialogPacket = 21
    CallPacket = 22
    ExpressionPacket = 23


def packet(name: str, *arguments: Expression) -> Function:
    """A packet by the name of its head."""
    return Function(Symbol(name), arguments)


def evaluate_packet(expression: Expression) -> Function:
    """Evaluate; the answer is a ReturnPacket."""
    return packet("EvaluatePacket", expression)


def enter_text_packet(text: str) -> Function:
    """A line of input as text; the answers end with the next InputNamePacket."""
    return packet("EnterTextPacket", text)


def enter_expression_packet(expression: Expression) -> Function:
    """A line of input as expression."""
    return packet("EnterExpressionPacket", expression)


def command_packet(command: str, *arguments: Expression) -> Function:
    """A command to the server itself, `WSCommandPacket[command[arguments...]]`."""
    return packet("WSCommandPacket", packet(command, *arguments))


def return_packet(expression: Expression) -> Function:
    """The result of an EvaluatePacket, a CallPacket or a command."""
    return packet("ReturnPacket", expression)


def text_packet(text: str) -> Function:
    """Printed output, the text of a message, or the client's answer to an input packet."""
    return packet("TextPacket", text)
