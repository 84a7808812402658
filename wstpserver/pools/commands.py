"""The command language: what a `WSCommandPacket` may hold, and the replies to it.

The forms are those of the specification's section "Command Language"; AbortKernel, Authenticate, GetMissedOutput and
the administrative commands are this server's own.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from wstpserver.wire.encode import encode
from wstpserver.wire.packets import PacketHead
from wstpserver.wire.tokens import encode_size
from wstpserver.wire.values import Expression, Function, Symbol

SUCCESS = '{"status":"ExecutionSuccess"}'
ERROR = '{"status":"ExecutionError"}'
MALFORMED = '{"status":"PacketMalformed"}'

#: "the function will wait for a short default timeout period", in seconds.
DEFAULT_TIMEOUT = 5.0

#: A longer time-out than this, in seconds, is malformed: about 30 years, which timers can count.
LONGEST_TIMEOUT = 1e9

#: A command packet longer than this many bytes is malformed without being looked at.
MAXIMUM_COMMAND_SIZE = 65536

Argument = str | float | bool


@dataclass(frozen=True, slots=True)
class Command:
    """One well-formed command: its name and its arguments as Python values (seconds are floats)."""

    name: str
    arguments: tuple[Argument, ...] = ()


class MalformedCommand(ValueError):
    """A command packet that is not of a documented form; the text says what is wrong with it."""


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    raise MalformedCommand(f"a string was expected, not {_shown(value)}")


def _seconds(value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LONGEST_TIMEOUT:
        return float(value)
    raise MalformedCommand(f"a number of seconds was expected, not {_shown(value)}")


def _truth(value: object) -> bool:
    if isinstance(value, Symbol):
        name = value.name.removeprefix("System`")
        if name in ("True", "False"):
            return name == "True"
    raise MalformedCommand(f"True or False was expected, not {_shown(value)}")


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python writes
        return "a number of many digits"
    return text if len(text) <= 80 else text[:80] + "..."


_Reader = Callable[[object], Argument]

#: Every form there is: a command's name and, for each number of arguments, how they are read.
FORMS: dict[str, tuple[Sequence[_Reader], ...]] = {
    "AbortKernel": ((_text,),),
    "Authenticate": ((_text,),),
    "CloseKernel": ((_text,),),
    "ConnectKernel": ((), (_text,), (_text, _seconds)),
    "ConnectParallelKernel": ((), (_seconds,)),
    "DisconnectKernel": ((),),
    "DrainPools": ((), (_text,)),
    "GetClientInformation": ((),),
    "GetKernelBusyStatus": ((), (_text,)),
    "GetKernelID": ((),),
    "GetMissedOutput": ((),),
    "GetNumberOfAvailableParallelKernels": ((),),
    "GetPoolName": ((),),
    "GetServerInformation": ((),),
    "KickClient": ((_text,), (_text, _seconds)),
    "PausePools": ((), (_text,)),
    "ReloadConfiguration": ((),),
    "RestartServer": ((),),
    "ResumePools": ((), (_text,)),
    "SetAllowSilentKernelReplacement": ((_truth,),),
    "SetKeepAlive": ((_truth,),),
    "SetReserveKernel": ((_truth,),),
    "StartKernel": ((), (_text,)),
    "StopServer": ((), (_seconds,)),
}

#: Commands for the server's own user and root on its computer, and for clients with an access token.
ADMINISTRATIVE = frozenset(
    {
        "DrainPools", "GetClientInformation", "KickClient", "PausePools", "ReloadConfiguration", "RestartServer",
        "ResumePools", "StopServer",
    }
)  # fmt: skip

#: Commands whose answers InformationFor limits; it limits GetKernelBusyStatus about the kernels of others as well.
INFORMATION = frozenset({"GetKernelID", "GetMissedOutput", "GetServerInformation"})


def parse_command(packet: object) -> Command:
    """Return the command in `WSCommandPacket[command[arguments]]`, a decoded expression.

    Raises:
        MalformedCommand: It has no documented form.
    """
    if not isinstance(packet, Function) or len(packet.args) != 1:
        raise MalformedCommand("WSCommandPacket takes one command")
    command = packet.args[0]
    if not isinstance(command, Function) or not isinstance(command.head, Symbol):
        raise MalformedCommand(f"a command such as GetKernelID[] was expected, not {_shown(command)}")
    name = command.head.name.rpartition("`")[2]
    forms = FORMS.get(name)
    if forms is None:
        raise MalformedCommand(f"there is no command {name}")
    for readers in forms:
        if len(readers) == len(command.args):
            return Command(name, tuple(read(value) for read, value in zip(readers, command.args, strict=True)))
    counts = " or ".join(str(len(readers)) for readers in forms)
    raise MalformedCommand(f"{name} takes {counts} arguments, not {len(command.args)}")


# -- what the server itself writes into conversations, as bytes of whole frames ---------------------------------------

_ABORTED = Symbol("$Aborted")

#: Packets of missed output, and bytes of them, that are put together before anybody looks at the clock.
FRAMES_IN_A_PART = 64
BYTES_IN_A_PART = 1 << 16


def _encode(expression: Expression) -> bytes:
    # UTF-8 text (format D), which every version of the library reads: the library of 13.2 crashes when a program
    # passes an expression with 7-bit text (format A) on to another link.
    return encode(expression, end_packet=True, ascii=False)


def _packet(head: str, *arguments: Expression) -> bytes:
    return _encode(Function(Symbol(head), arguments))


def reply(text: str) -> bytes:
    """`ReturnPacket["text"]`: the answer to a command."""
    return _packet("ReturnPacket", text)


def error_because(reason: str) -> str:
    """`ERROR` with the reason, for commands that the specification does not have, and for what it does not forbid."""
    return json.dumps({"status": "ExecutionError", "reason": reason}, ensure_ascii=False, separators=(",", ":"))


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


def missed_output(frames: deque[bytes], dropped: int) -> Iterator[bytes | memoryview]:
    """`ReturnPacket[{dropped, {packet, packet, ...}}]` in parts that cost next to nothing each, so that others may have
    their turn between them.

    The packets are not decoded: an expression with n arguments is its header followed by their bytes.

    Args:
        frames: The packets as they came, without their `]`. They are taken out one by one.
        dropped: How many there were before these.
    """
    number = encode(dropped, end_packet=False, ascii=False)
    yield b"".join((_header("ReturnPacket", 1), _header("List", 2), number, _header("List", len(frames))))
    while frames:
        part: list[bytes] = []
        size = 0
        while frames and len(part) < FRAMES_IN_A_PART and size + len(frames[0]) <= BYTES_IN_A_PART:
            part.append(frames.popleft())
            size += len(part[-1])
        yield b"".join(part)
        if frames and len(frames[0]) > BYTES_IN_A_PART:
            large = memoryview(frames.popleft())
            for begin in range(0, len(large), BYTES_IN_A_PART):
                yield large[begin : begin + BYTES_IN_A_PART]
    yield b"]"


def _header(head: str, count: int) -> bytes:
    """The bytes of an expression with this head and number of arguments, up to its first argument."""
    empty = encode(Function(Symbol(head), ()), end_packet=False, ascii=False)
    return b"F" + encode_size(count) + empty[1 + len(encode_size(0)) :]
