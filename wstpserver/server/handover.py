"""What one process of the server hands over to the next: a versioned record of everything that is under way.

The next process is the same one that has executed the program again (`restart`), or another one that takes kernels
over. A record consists of values of JSON; bytes are text in base64 (`packed`). Descriptors are numbers that mean
something in the process that reads the record: it inherits them, or puts the numbers of those that it was sent in their
place.

    {"format": 1, "program": "1.2.3",                  the format, and the version of the program that wrote it
     "registry": {...},                                `Registry.record`: kernels, pools, clients, who waits
     "kernels": {id: kernel, ...},                     `KernelSession.hand_over`, for each kernel that has a link
     "clients": [client, ...],                         `ClientSession.hand_over`, in the order of the registry's clients
     "leaving": [link, ...],                           of clients that only have to read why they were closed
     "unpaired": [{...}, ...],                         `LinkHandshakes.hand_over`: connections that are no link yet
     ...}                                              what else `app` hands over

    kernel: {"process": {"pid": 1, "parent": 0, "output": {"descriptor": 5, "rest": "", "lines": []}},
             "link": link, "input_name": "", "question": "", "backlog": ["", ...], "dropped": 0, "discards": false}
    link:   {"data": 7, "messages": 8,                 descriptors of its two connections
             "version": 4, "address": "",              as of `OpenLink`
             "received": "", "messages_received": "",  received, and not passed on: the beginning of a frame perhaps
             "unsent": "", "messages_unsent": "",      to be sent before anything else
             "open_tail": false}                       the last frame that was sent has no `]`

What a record does not say has its default, and what is not known here is passed over, so a later version of the same
format can add to it. A change that an earlier program would misread makes another format; `decode` brings records of
earlier formats to the present one.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import socket
import tempfile
from collections.abc import Iterable, Mapping
from typing import Any

from wstpserver.server.connection import Connection
from wstpserver.server.handshake import OpenLink
from wstpserver.version import VERSION

#: The format of the records that are written here.
FORMAT = 1


class HandoverError(Exception):
    """A record cannot be used; the text says why."""


# -- records as bytes --------------------------------------------------------------------------------------------


def encode(record: Mapping[str, Any]) -> bytes:
    """The bytes of a record, with its format and the version of this program."""
    return json.dumps({"format": FORMAT, "program": VERSION, **record}, separators=(",", ":")).encode()


def decode(data: bytes) -> dict[str, Any]:
    """The record of `encode`, in the present format.

    Raises:
        HandoverError: It is none, or its format is one of a later version of the program.
    """
    try:
        record = json.loads(data)
    except ValueError as error:
        raise HandoverError(f"what the server before this one left cannot be read: {error}") from None
    if not isinstance(record, dict) or not isinstance(record.get("format"), int):
        raise HandoverError("what the server before this one left has no format")
    check_format(record["format"], str(record.get("program", "")))
    return record


def check_format(number: int, program: str = "") -> None:
    """Check that records of this format can be read here.

    Raises:
        HandoverError: They cannot.
    """
    if not 1 <= number <= FORMAT:
        raise HandoverError(
            f"version {VERSION} cannot go on with what version {program or '(unknown)'} hands over: that has format"
            f" {number}, and only formats up to {FORMAT} are known"
        )


def packed(data: bytes | bytearray | memoryview) -> str:
    """Bytes as a value of JSON."""
    return base64.b64encode(data).decode("ascii")


def unpacked(text: str) -> bytes:
    """The bytes of `packed`."""
    return base64.b64decode(text)


# -- a record in a file ------------------------------------------------------------------------------------------


def store(record: Mapping[str, Any]) -> int:
    """Write a record to a file without a name; returns its descriptor, which the next program inherits.

    Raises:
        OSError: That is not possible.
    """
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("wstpserver-handover", 0)
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
            os.set_inheritable(descriptor, True)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(encode(record))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def fetch(descriptor: int) -> dict[str, Any]:
    """Read the record that `store` wrote, and close the file.

    Raises:
        HandoverError: There is none, or it cannot be used.
    """
    try:
        with open(descriptor, "rb") as file:
            file.seek(0)
            return decode(file.read())
    except OSError as error:
        raise HandoverError(f"what the server before this one left cannot be read: {error.strerror}") from None


def descriptors(record: object) -> list[int]:
    """All descriptors that a record names."""
    found: list[int] = []
    if isinstance(record, Mapping):
        for key, value in record.items():
            if key in _DESCRIPTORS and isinstance(value, int):
                found.append(value)
            else:
                found += descriptors(value)
    elif isinstance(record, list):
        for value in record:
            found += descriptors(value)
    return found


#: The keys of descriptors.
_DESCRIPTORS = frozenset({"data", "messages", "descriptor"})


def set_inheritable(numbers: Iterable[int], *, inheritable: bool) -> None:
    """Let the next program have these descriptors, or not."""
    for number in numbers:
        with contextlib.suppress(OSError):
            os.set_inheritable(number, inheritable)


# -- links -------------------------------------------------------------------------------------------------------


def link_record(
    data: Connection,
    messages: Connection,
    version: int,
    address: str,
    *,
    received: bytes = b"",
    messages_received: bytes = b"",
    messages_unsent: bytes = b"",
    open_tail: bool = False,
) -> dict[str, Any]:
    """The record of a link that is at frame boundaries in both directions.

    Args:
        data: Its data connection; what that keeps unsent is in the record.
        messages: Its message connection.
        version: The version of its greeting.
        address: The address of the peer.
        received: What was received on the data connection and not passed on.
        messages_received: The same on the message connection.
        messages_unsent: What is to be sent there before anything else.
        open_tail: Whether the last frame that was sent has no `]`.
    """
    record: dict[str, Any] = {
        "data": data.socket.fileno(),
        "messages": messages.socket.fileno(),
        "version": version,
        "address": address,
    }
    unsent = bytes(data.unsent or b"")
    parts = {
        "received": received,
        "messages_received": messages_received,
        "unsent": unsent,
        "messages_unsent": messages_unsent,
    }
    record |= {name: packed(part) for name, part in parts.items() if part}
    if open_tail:
        record["open_tail"] = True
    return record


def link_of_record(record: Mapping[str, Any]) -> OpenLink:
    """The link of a `link_record`; its `leftover` is what was received. Whoever writes to it sends `unsent_of` first.

    Raises:
        OSError: A descriptor is none of an open connection.
        KeyError: It is no record of a link.
    """
    data = socket.socket(fileno=record["data"])
    try:
        messages = socket.socket(fileno=record["messages"])
    except BaseException:
        data.close()
        raise
    try:
        for one in (data, messages):
            one.set_inheritable(False)
        return OpenLink(
            Connection(data),
            Connection(messages),
            unpacked(record.get("received", "")),
            unpacked(record.get("messages_received", "")),
            greeting_version=record["version"],
            address=record.get("address", ""),
        )
    except BaseException:
        data.close()
        messages.close()
        raise
