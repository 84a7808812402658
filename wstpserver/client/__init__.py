"""A blocking client library for WSTP, on plain sockets."""

from wstpserver.client.connecting import connect
from wstpserver.client.errors import (
    CommandError,
    ConnectError,
    EvaluationAborted,
    EvaluationError,
    EvaluationTimeout,
    KernelLost,
    LinkClosed,
    LinkError,
    LinkSyntaxError,
    LinkTimeout,
    ListenError,
)
from wstpserver.client.link import Link, Packet
from wstpserver.client.listener import Listener, listen
from wstpserver.client.opening import open_link
from wstpserver.client.options import Address, Endpoint, LinkOptions, parse_address, parse_link_options

__all__ = [
    "Address", "CommandError", "ConnectError", "Endpoint", "EvaluationAborted", "EvaluationError",
    "EvaluationTimeout", "KernelLost", "Link", "LinkClosed", "LinkError", "LinkOptions", "LinkSyntaxError",
    "LinkTimeout", "ListenError", "Listener", "Packet", "connect", "listen", "open_link", "parse_address",
    "parse_link_options",
]  # fmt: skip
