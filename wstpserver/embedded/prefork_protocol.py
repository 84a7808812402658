"""The messages between a server and its warm parent: one JSON object per datagram, on an inherited socket.

server -> parent   {"launch": N, "arguments": [...], "directory": path or null,
                    "environment": {name: value, or null to take it away} or null}
with one descriptor: the standard output and error of the kernel
parent -> server   {"event": "ready"}, {"event": "failed", "reason": ...}
{"event": "launched", "launch": N, "pid": P}
{"event": "not-launched", "launch": N, "reason": ...}
{"event": "exited", "pid": P, "status": as of os.waitpid}
"""

from __future__ import annotations

import json
import os
import socket
from dataclasses import dataclass
from typing import Any

#: Largest request, in bytes.
LARGEST_REQUEST = 1 << 20


class ServerGone(Exception):
    """The server closed its end of the socket."""


class BadForkRequest(Exception):
    """A datagram that is no launch request. `launch` is its number if that could be read, else None."""

    def __init__(self, reason: str, launch: Any = None) -> None:
        super().__init__(reason)
        self.launch = launch


@dataclass(frozen=True)
class ForkRequest:
    """A kernel to start.

    Attributes:
        launch: The server's number for this request.
        arguments: The kernel's command line, without the program's name.
        directory: The kernel's working directory; None for that of the parent.
        environment: Variables to set in addition to those of the parent; None takes one away.
        output: A descriptor for standard output and error; it belongs to the receiver of the request.
    """

    launch: int
    arguments: tuple[str, ...]
    directory: str | None
    environment: dict[str, str | None]
    output: int


class PreforkSocket:
    """The parent's end of the socket. Descriptors that come with a bad request are closed here."""

    def __init__(self, descriptor: int) -> None:
        """Take over `descriptor`.

        Raises:
            OSError: It is no socket.
        """
        self.socket = socket.socket(fileno=descriptor)
        self.socket.settimeout(None)  # whatever the server set

    def send(self, **event: Any) -> None:
        """Send an event to the server.

        Raises:
            ServerGone: The server closed its end.
        """
        try:
            self.socket.send(json.dumps(event).encode())
        except OSError as error:
            raise ServerGone from error

    def receive(self) -> ForkRequest:
        """Wait for the next request.

        Raises:
            ServerGone: The server closed its end.
            BadForkRequest: The datagram is no launch request.
        """
        try:
            data, descriptors, flags, _ = socket.recv_fds(self.socket, LARGEST_REQUEST, 4)
        except OSError as error:
            raise ServerGone from error
        if not data:
            raise ServerGone
        try:
            if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
                raise BadForkRequest("the request is too long")
            return _parsed(data, descriptors)
        except BadForkRequest:
            for descriptor in descriptors:
                os.close(descriptor)
            raise


def _parsed(data: bytes, descriptors: list[int]) -> ForkRequest:
    try:
        request = json.loads(data)
    except ValueError as error:
        raise BadForkRequest(f"the request is not JSON: {error}") from None
    if not isinstance(request, dict) or not isinstance(request.get("launch"), int):
        raise BadForkRequest("the request has no launch number")
    launch = request["launch"]
    arguments: Any = request.get("arguments")
    directory, environment = request.get("directory"), request.get("environment")
    if not _are_strings(arguments):
        raise BadForkRequest("arguments must be a list of strings", launch)
    if not (directory is None or isinstance(directory, str)):
        raise BadForkRequest("directory must be a string or null", launch)
    environment = {} if environment is None else environment
    if not isinstance(environment, dict) or not _are_strings(
        [value for value in environment.values() if value is not None]
    ):
        raise BadForkRequest("environment must be an object of strings and nulls, or null", launch)
    if len(descriptors) != 1:
        raise BadForkRequest(f"one descriptor must come along, not {len(descriptors)}", launch)
    return ForkRequest(launch, tuple(arguments), directory, environment, descriptors[0])


def _are_strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def report_failure(descriptor: int, reason: str) -> None:
    """Tell the server on `descriptor` that no kernel can be started; without a server nothing happens."""
    try:
        PreforkSocket(descriptor).send(event="failed", reason=reason)
    except (OSError, ServerGone):
        return
