"""A client library for WSTP in Python, with blocking calls on plain sockets.

A session with a kernel of a WSTPServer, or with a kernel linked to directly:

    from wstpserver.client import Session

    with Session("31415@localhost") as session:
        session.evaluate("2 + 2")                    # 4
        session.StringReverse("hello")               # 'olleh'
        session.evaluate('<|"a" -> {1, 2/3}|>')      # {'a': [1, Fraction(2, 3)]}
        session.evaluate("Pause[60]", timeout=2)     # EvaluationTimeout after 2 s; the session can still be used
        session.evaluate_text("x = 1/3").text        # '1/3'

The Python values of expressions: `wstpserver.client.convert`. Sessions for asyncio: `wstpserver.client.aio`. Several
kernels at a time: `wstpserver.client.parallel`. Servers on the local network: `wstpserver.client.discover`.

One level below are links, which carry expressions and messages in both directions:

    from wstpserver.client import connect, listen, open_link

    link = connect("31415@localhost", timeout=5)     # a link server; classic=True for a plain listening link
    link.put(expression)                             # see wstpserver.wire.values
    expression = link.get(timeout=2)
    link.abort()
    link.close()

    listener = listen("0@localhost")                 # listener.link_name is PORT@HOST
    link = listener.accept(timeout=10)

    link = open_link(sys.argv[1:])                   # -linkmode connect -linkprotocol TCPIP -linkname ...

Every time-out is in seconds, counts for the whole call, and None means no limit. Every exception derives from
`WSTPError`.
"""

from typing import TYPE_CHECKING, Any

from wstpserver.client.address import (
    Address,
    Endpoint,
    LinkOptions,
    default_address,
    parse_address,
    parse_link_options,
)
from wstpserver.client.arrays import NumericArray
from wstpserver.client.connecting import connect, open_link
from wstpserver.client.convert import Results, to_expression, to_python
from wstpserver.client.errors import (
    AccessDenied,
    CommandError,
    ConnectError,
    EvaluationAborted,
    EvaluationError,
    EvaluationFailed,
    EvaluationLost,
    EvaluationTimeout,
    KernelLost,
    KernelWarning,
    LinkClosed,
    LinkError,
    LinkSyntaxError,
    LinkTimeout,
    ListenError,
    ProfileError,
)
from wstpserver.client.evaluation import Callbacks, ExpressionOutput, KernelMessage, TextOutput
from wstpserver.client.link import Link, Packet
from wstpserver.client.session import KernelFunction, Session
from wstpserver.wire.errors import LocalProtocolError, RemoteProtocolError, WSTPError
from wstpserver.wire.values import BigReal, Function, PackedArray, Symbol

if TYPE_CHECKING:
    from wstpserver.client.listener import Listener, listen

__all__ = [
    "AccessDenied", "Address", "BigReal", "Callbacks", "CommandError", "ConnectError", "Endpoint",
    "EvaluationAborted", "EvaluationError", "EvaluationFailed", "EvaluationLost", "EvaluationTimeout",
    "ExpressionOutput", "Function",
    "KernelFunction", "KernelLost", "KernelMessage", "KernelWarning", "Link", "LinkClosed", "LinkError",
    "LinkOptions", "LinkSyntaxError", "LinkTimeout", "ListenError", "Listener", "LocalProtocolError", "NumericArray",
    "PackedArray", "Packet", "ProfileError", "RemoteProtocolError", "Results", "Session", "Symbol", "TextOutput",
    "WSTPError", "connect", "default_address", "listen", "open_link", "parse_address", "parse_link_options",
    "to_expression", "to_python",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """What listens is imported when it is used: a program that connects need not wait for it."""
    if name in ("Listener", "listen"):
        from wstpserver.client import listener

        return getattr(listener, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
