"""A blocking client library for WSTP, on plain sockets.

A session with a kernel of a WSTPServer, or with a kernel linked to directly:

    from wstpserver.client import Callbacks, Session

    with Session("31415@localhost", callbacks=Callbacks(on_print=print)) as session:
        session.evaluate("2 + 2")                    # 4
        session.StringReverse("hello")               # 'olleh'
        session.evaluate("<|\"a\" -> {1, 2/3}|>")    # {'a': [1, Fraction(2, 3)]}
        session.evaluate("Pause[60]", timeout=2)     # EvaluationTimeout after 2 s; the session goes on
        session.evaluate_text("x = 1/3").text        # '1/3'

What values become in Python: `wstpserver.client.convert`. For asyncio: `wstpserver.client.aio`.

One level below, links that carry expressions and messages in both directions:

    from wstpserver.client import connect, listen, open_link

    link = connect("31415@localhost", timeout=5)     # a link server; classic=True for a plain listening link
    link.put(expression)                             # see wstpserver.wire.values
    expression = link.get(timeout=2)
    link.abort()
    link.close()

    listener = listen("0@localhost")                 # listener.link_name is PORT@HOST
    link = listener.accept(timeout=10)

    link = open_link(sys.argv[1:])                   # -linkmode connect -linkprotocol TCPIP -linkname ...

Every timeout is in seconds, counts for the whole call, and None means no limit. Every exception derives from
`wstpserver.wire.errors.WSTPError`.
"""

from wstpserver.client.address import Address, Endpoint, LinkOptions, parse_address, parse_link_options
from wstpserver.client.arrays import NumericArray
from wstpserver.client.connecting import connect, open_link
from wstpserver.client.convert import Results, to_expression, to_python
from wstpserver.client.errors import (
    CommandError,
    ConnectError,
    EvaluationAborted,
    EvaluationError,
    EvaluationLost,
    EvaluationTimeout,
    KernelLost,
    LinkClosed,
    LinkError,
    LinkSyntaxError,
    LinkTimeout,
    ListenError,
)
from wstpserver.client.events import Callbacks, ExpressionOutput, KernelMessage, TextOutput
from wstpserver.client.link import Link, Packet
from wstpserver.client.listener import Listener, listen
from wstpserver.client.session import Session
from wstpserver.wire.values import BigReal, Function, PackedArray, Symbol

__all__ = [
    "Address", "BigReal", "Callbacks", "CommandError", "ConnectError", "Endpoint", "EvaluationAborted",
    "EvaluationError", "EvaluationLost", "EvaluationTimeout", "ExpressionOutput", "Function", "KernelLost",
    "KernelMessage", "Link", "LinkClosed", "LinkError", "LinkOptions", "LinkSyntaxError", "LinkTimeout", "ListenError",
    "Listener", "NumericArray", "PackedArray", "Packet", "Results", "Session", "Symbol", "TextOutput", "connect",
    "listen", "open_link", "parse_address", "parse_link_options", "to_expression", "to_python",
]  # fmt: skip
