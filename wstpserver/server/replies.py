"""What the server itself writes into conversations, as bytes of whole frames."""

from __future__ import annotations

from collections.abc import Iterable

from wstpserver.wire.encode import encode
from wstpserver.wire.values import Expression, Function, Symbol


def _encode(expression: Expression, end_packet: bool = True) -> bytes:
    # UTF-8 text (format D), which every version of the library reads: the library of 13.2 crashes when a program
    # passes an expression with 7-bit text (format A) on to another link.
    return encode(expression, end_packet=end_packet, ascii=False)


def reply(text: str) -> bytes:
    """``ReturnPacket["text"]``: the answer to a command."""
    return _encode(Function(Symbol("ReturnPacket"), (text,)))


def notice(text: str) -> bytes:
    """``TextPacket["WSTPServer: text"]``: something the person at the client should know."""
    return _encode(Function(Symbol("TextPacket"), (f"WSTPServer: {text}\n",)))


def evaluate(expression: Expression) -> bytes:
    """``EvaluatePacket[expression]``."""
    return _encode(Function(Symbol("EvaluatePacket"), (expression,)))


def missed_output(frames: Iterable[bytes], dropped: int) -> bytes:
    """``ReturnPacket[{dropped, {packet, packet, ...}}]`` from frames as they came, without their ``]``.

    The frames are not decoded: a list of n arguments is its header followed by their bytes.
    """
    packets = list(frames)
    parts = [
        _function_header("ReturnPacket", 1),
        _function_header("List", 2),
        _encode(dropped, end_packet=False),
        _function_header("List", len(packets)),
        *packets,
        b"]",
    ]
    return b"".join(parts)


def _function_header(head: str, count: int) -> bytes:
    """The bytes of a function's beginning, up to its first argument."""
    whole = _encode(Function(Symbol(head), (Symbol("x"),) * count), end_packet=False)
    argument = _encode(Symbol("x"), end_packet=False)
    return whole[: len(whole) - count * len(argument)]
