"""What the server answers to commands, and what they say about the kernel's future."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from wstpserver.client.errors import CommandError
from wstpserver.client.link import Packet
from wstpserver.wire.values import Expression, Function, Symbol

_KERNEL_ID: Final = re.compile(r"[0-9a-f]{4}(-[0-9a-f]{4}){2}")


def asks_to_keep(name: str, arguments: tuple[Expression, ...]) -> bool:
    """Whether this command shows that the kernel is meant to outlive the session."""
    if not arguments:
        return False
    first = arguments[0]
    if name == "ConnectKernel":
        return isinstance(first, str) and _KERNEL_ID.fullmatch(first) is not None
    return name == "SetKeepAlive" and first in (True, Symbol("True"))


def kernel_named(
    name: str, arguments: tuple[Expression, ...], result: object, before: str | None
) -> str | None:
    """The ID of the kernel after this command, as far as it tells; `before` what was known."""
    if name == "GetKernelID":
        return str(result)
    if name in ("ConnectKernel", "ConnectParallelKernel", "DisconnectKernel"):
        asked = arguments[0] if arguments else None
        return asked if isinstance(asked, str) and _KERNEL_ID.fullmatch(asked) else None
    return before


def reply_of(packet: Packet, prefix: str = "") -> dict[str, Any]:
    """The server's JSON. CommandError, its text with this *prefix*, if it is none."""
    text = packet.arguments[0] if packet.arguments else None
    try:
        reply = json.loads(text) if isinstance(text, str) else None
    except ValueError:
        reply = None
    if not isinstance(reply, dict):
        raise CommandError(f"{prefix}the other side is no WSTPServer, it answered {text!r}")
    return reply


def result_of(name: str, packet: Packet) -> Any:
    """The "result" in the server's JSON, None if it reports success alone. CommandError for anything else."""
    reply = reply_of(packet, f"{name}: ")
    if "result" in reply:
        return reply["result"]
    if reply.get("status") != "ExecutionSuccess":
        raise CommandError(f"{name}: the server answers {reply.get('status')}", reply)
    return None


def missed_packets(packet: Packet) -> tuple[int, tuple[Expression, ...]]:
    """What answers GetMissedOutput: (number of packets lost, packets, oldest first). CommandError."""
    match packet.arguments:
        case (Function(args=(int(dropped), Function(args=packets))),):
            return dropped, packets
        case (Function(args=(int(dropped), _)),):  # an empty list, packed
            return dropped, ()
    raise CommandError("GetMissedOutput: the server keeps none, or the other side is no WSTPServer")
