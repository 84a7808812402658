"""The conversation of a warm parent with its server: one JSON object per datagram, on an inherited socket.

    server -> parent   {"launch": N, "arguments": [...], "directory": path or null, "environment": {...} or null}
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

#: Bytes a request may have.
LARGEST_REQUEST = 1 << 20


class ServerGone(Exception):
    """The server closed its end: everything ends."""


class BadRequest(Exception):
    """A datagram that is no launch request. `launch` is its number as far as it could be read, else None."""

    def __init__(self, reason: str, launch: Any = None) -> None:
        super().__init__(reason)
        self.launch = launch


@dataclass(frozen=True)
class LaunchRequest:
    """A kernel to start. `output` is a descriptor that now belongs to the receiver."""

    launch: int
    arguments: tuple[str, ...]
    directory: str | None
    environment: dict[str, str]
    output: int


class WarmSocket:
    """The parent's end. Descriptors received are closed here when their request is refused."""

    def __init__(self, descriptor: int) -> None:
        """Takes the descriptor over. OSError if it is no socket."""
        self.socket = socket.socket(fileno=descriptor)
        self.socket.setblocking(True)

    def send(self, **event: Any) -> None:
        """Tell the server something; ServerGone if it is not there."""
        try:
            self.socket.send(json.dumps(event).encode())
        except OSError as error:
            raise ServerGone from error

    def receive(self) -> LaunchRequest:
        """The next request. Raises ServerGone at the end, BadRequest for anything else."""
        try:
            data, descriptors, flags, _ = socket.recv_fds(self.socket, LARGEST_REQUEST, 4)
        except OSError as error:
            raise ServerGone from error
        if not data:
            raise ServerGone
        try:
            return _understood(data, descriptors, truncated=bool(flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC)))
        except BadRequest:
            for descriptor in descriptors:
                os.close(descriptor)
            raise


def _understood(data: bytes, descriptors: list[int], truncated: bool) -> LaunchRequest:
    if truncated:
        raise BadRequest("the request is too long")
    try:
        request = json.loads(data)
    except ValueError as error:
        raise BadRequest(f"the request is not JSON: {error}") from None
    if not isinstance(request, dict) or not isinstance(request.get("launch"), int):
        raise BadRequest("the request has no launch number")
    launch = request["launch"]
    arguments: Any = request.get("arguments")
    directory, environment = request.get("directory"), request.get("environment")
    if not _are_strings(arguments):
        raise BadRequest("arguments must be a list of strings", launch)
    if not (directory is None or isinstance(directory, str)):
        raise BadRequest("directory must be a string or null", launch)
    environment = {} if environment is None else environment
    if not isinstance(environment, dict) or not _are_strings(list(environment.values())):
        raise BadRequest("environment must be an object of strings, or null", launch)
    if len(descriptors) != 1:
        raise BadRequest(f"one descriptor must come along, not {len(descriptors)}", launch)
    return LaunchRequest(launch, tuple(arguments), directory, environment, descriptors[0])


def _are_strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def report_failure(descriptor: int, reason: str) -> None:
    """Tell the server on that descriptor that no kernel can be had; nothing happens if there is no server."""
    try:
        WarmSocket(descriptor).send(event="failed", reason=reason)
    except (OSError, ServerGone):
        return
