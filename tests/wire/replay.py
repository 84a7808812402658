"""The recorded conversations of tests/data/handshakes.json, cut into what each side of a connection said."""
from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

DATA = Path(__file__).parent.parent / "data"


class Conversation(NamedTuple):
    """What both sides sent, by connection, in order and in the pieces that were recorded."""

    name: str
    connecting: dict[int, list[bytes]]
    listening: dict[int, list[bytes]]

    def first_bytes(self, connection: int) -> bytes:
        """What the connecting side sent on a connection."""
        return b"".join(self.connecting.get(connection, []))

    @property
    def is_classic(self) -> bool:
        return self.first_bytes(0).startswith(b"need_msg_port")


def load_conversations() -> list[Conversation]:
    """All recorded conversations."""
    conversations = []
    for entry in json.loads((DATA / "handshakes.json").read_text()):
        sent: dict[str, dict[int, list[bytes]]] = {"connecting": {}, "listening": {}}
        for event in entry["events"]:
            if "hex" in event:
                pieces = sent[event["from"]].setdefault(event["connection"], [])
                pieces.append(bytes.fromhex(event["hex"]))
        name = f"{entry['name']} ({entry['library']})"
        conversations.append(Conversation(name, sent["connecting"], sent["listening"]))
    return conversations


def said_to(version: int, stream: bytes) -> tuple[bytes, bytes]:
    """What that side would have sent to a peer of version 3, 4 or 6.

    Returns:
        (up to the end of its greeting, what came after). The lower one of both versions says which lines there are.
    """
    start = stream.index(b"Math Link ")
    lines = stream[start:].splitlines(keepends=True)
    count = next(index for index, line in enumerate(lines) if not _is_greeting_line(line))
    greeting = lines[:3] + FURTHER[min(version, int(lines[0].split()[-1]))]
    return stream[:start] + b"".join(greeting), stream[start + sum(map(len, lines[:count])) :]


#: version -> the lines that follow the first three
FURTHER = {
    3: [],
    4: [b"-envid ''\n"],
    5: [b"-envid ''\n", b"-symboldicts 1 -stringdicts 1\n"],
    6: [b"-envid ''\n", b"-symboldicts 1 -stringdicts 1\n", b"Support6digitAsciiUnicode\n"],
}


def _is_greeting_line(line: bytes) -> bool:
    return line.startswith((b"Math Link ", b"-libraryid", b"-numericsid", b"-envid", b"-symboldicts", b"Support6"))


def pieces(data: bytes, size: int | None) -> list[bytes]:
    """`data` whole (size None) or in pieces of `size` bytes."""
    return [data] if size is None else [data[at : at + size] for at in range(0, len(data), size)]
