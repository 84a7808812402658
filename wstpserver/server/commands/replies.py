"""What the server itself writes into conversations, as bytes of whole frames."""

from __future__ import annotations

from collections.abc import Iterator

from wstpserver.wire.encode import encode
from wstpserver.wire.packets import PacketHead
from wstpserver.wire.tokens import encode_size
from wstpserver.wire.values import Expression, Function, Symbol

_ABORTED = Symbol("$Aborted")

#: Packets of missed output that are put together before others have their turn.
FRAMES_IN_A_TURN = 2048


def _encode(expression: Expression) -> bytes:
    # UTF-8 text (format D), which every version of the library reads: the library of 13.2 crashes when a program
    # passes an expression with 7-bit text (format A) on to another link.
    return encode(expression, end_packet=True, ascii=False)


def _packet(head: str, *arguments: Expression) -> bytes:
    return _encode(Function(Symbol(head), arguments))


def reply(text: str) -> bytes:
    """`ReturnPacket["text"]`: the answer to a command."""
    return _packet("ReturnPacket", text)


def notice(text: str) -> bytes:
    """`TextPacket["WSTPServer: text"]`: something that the person at the client should know."""
    return _packet("TextPacket", f"WSTPServer: {text}\n")


def evaluate(expression: Expression) -> bytes:
    """`EvaluatePacket[expression]`."""
    return _packet("EvaluatePacket", expression)


def aborted(head: PacketHead, output_name: str) -> bytes:
    """What ends an evaluation for its client that no kernel will answer.

    Args:
        head: The packet that began it.
        output_name: The prompt of its output, such as "Out[3]= ".
    """
    if head == PacketHead.EnterTextPacket:
        return _packet("OutputNamePacket", output_name) + _packet("ReturnTextPacket", "$Aborted")
    if head == PacketHead.EnterExpressionPacket:
        return _packet("OutputNamePacket", output_name) + _packet("ReturnExpressionPacket", _ABORTED)
    return _packet("ReturnPacket", _ABORTED)


def missed_output(frames: list[bytes], dropped: int) -> Iterator[bytes]:
    """`ReturnPacket[{dropped, {packet, packet, ...}}]` in parts, between which others may have their turn.

    The packets are not decoded: an expression with n arguments is its header followed by their bytes.

    Args:
        frames: The packets as they came, without their `]`. They are taken out of the list one by one.
        dropped: How many there were before these.
    """
    number = encode(dropped, end_packet=False, ascii=False)
    yield b"".join((_header("ReturnPacket", 1), _header("List", 2), number, _header("List", len(frames))))
    frames.reverse()
    while frames:
        yield b"".join([frames.pop() for _ in range(min(FRAMES_IN_A_TURN, len(frames)))])
    yield b"]"


def _header(head: str, count: int) -> bytes:
    """The bytes of an expression with this head and number of arguments, up to its first argument."""
    empty = encode(Function(Symbol(head), ()), end_packet=False, ascii=False)
    return b"F" + encode_size(count) + empty[1 + len(encode_size(0)) :]
