"""The packets a link can carry, by the head of the top-level expression.

The codes are this package's own (the wire carries names, the protocol notes, section 6). They are shared with the
C scanner: ``cext/wstpscan_heads.c`` holds the same table in the same order and a test compares the two.
"""

from __future__ import annotations

from enum import IntEnum


class PacketHead(IntEnum):
    """What kind of packet a frame is. ``OTHER`` is every head that is not in the table, and every atom.

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


#: Name of a head as text travels on the wire, without a context -> its code.
HEAD_BY_NAME: dict[str, PacketHead] = {head.name: head for head in PacketHead if head is not PacketHead.OTHER}


def packet_head(name: str) -> PacketHead:
    """The code for the full name of a symbol; ``System`EvaluatePacket`` is the same symbol as ``EvaluatePacket``."""
    return HEAD_BY_NAME.get(name.removeprefix("System`"), PacketHead.OTHER)
