"""LinkCreate, LinkConnect, LinkRead, LinkWrite and others: links of a program's own, over the client library.

A link object is LinkObject["name", n, n], as in Wolfram kernels; n finds the link here. A created link can be used as
soon as the other side has connected; reading and writing wait for that. Waits end when the evaluation is aborted.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Any

from mathics.core.atoms import Integer, MachineReal, Rational, String
from mathics.core.attributes import A_PROTECTED
from mathics.core.element import BaseElement
from mathics.core.expression import Expression
from mathics.core.list import ListExpression
from mathics.core.symbols import Symbol, SymbolFalse, SymbolNull, SymbolTrue, strip_context
from mathics.core.systemsymbols import SymbolFailed

from wstpserver.client.connecting import connect
from wstpserver.client.errors import LinkError, LinkTimeout
from wstpserver.client.link import Link
from wstpserver.client.listener import Listener, listen
from wstpserver.embedded.builtins.library import Library
from wstpserver.embedded.evaluator import KernelEvaluation
from wstpserver.wire.errors import WSTPError

LINKS = Library()

SymbolLinkObject = Symbol("System`LinkObject")

#: Seconds between two looks whether the evaluation was aborted.
POLL = 0.05

#: Seconds to establish a connection.
CONNECT_TIMEOUT = 30.0

_OPTIONS = ("LinkProtocol", "LinkMode", "LinkHost", "LinkOptions")

_MESSAGES = {
    "linke": "A link cannot be opened: `1`.",
    "linkn": "`1` is no link that is open in this kernel.",
    "linkx": "The link `1` failed: `2`.",
    "linkp": "Link protocol `1` is not supported in this kernel; use LinkProtocol -> \"TCPIP\".",
}


class _KernelLink:
    """One link: listening until the other side has connected, then open.

    A thread accepts, so that the other side need not wait for the first use, and both sides can be in one kernel.
    """

    def __init__(self, name: str, number: int, link: Link | None) -> None:
        self.name = name
        self.number = number
        self._link = link
        self._error: WSTPError | None = None
        self._settled = threading.Event()  # there is a link, or an error
        self._closed = False
        if link is not None:
            self._settled.set()

    def accept_from(self, listener: Listener) -> None:
        """Accept one connection in a new thread."""
        threading.Thread(target=self._accept, args=(listener,), name="link", daemon=True).start()

    def _accept(self, listener: Listener) -> None:
        with listener:
            while self._link is None and not self._closed:
                try:
                    self._link = listener.accept(POLL)
                except LinkTimeout:
                    continue
                except WSTPError as error:
                    self._error = error
                    break
        if self._closed and self._link is not None:
            self._link.close()
        self._settled.set()

    def opened(self, evaluation: Any) -> Link:
        """The link; waits for the other side if there is none yet."""
        while not self._settled.wait(POLL):
            evaluation.check_stopped()
        if self._link is None:
            raise self._error or LinkError("the link is closed", self.name)
        return self._link

    def is_ready(self, seconds: float) -> bool:
        """Whether an expression can be read within `seconds`."""
        if not self._settled.wait(seconds):
            return False
        return self._link is not None and bool(self._link.ready(seconds))

    def close(self) -> None:
        """Close the link, or stop listening."""
        self._closed = True
        if self._link is not None:
            self._link.close()


_links: dict[int, _KernelLink] = {}
_numbers = itertools.count(2)  # 1 is $ParentLink


def _add(name: str, link: Link | None) -> _KernelLink:
    number = next(_numbers)
    _links[number] = _KernelLink(name, number, link)
    return _links[number]


def _object(link: _KernelLink) -> BaseElement:
    return Expression(SymbolLinkObject, String(link.name), Integer(link.number), Integer(link.number))


def _find(element: BaseElement) -> _KernelLink | None:
    if isinstance(element, Expression) and element.head is SymbolLinkObject and len(element.elements) == 3:
        number = element.elements[1]
        if isinstance(number, Integer):
            return _links.get(number.value)
    return None


def _text(element: BaseElement | None) -> str:
    return element.value if isinstance(element, String) else ""


def _is_classic(options: dict[str, BaseElement]) -> bool:
    return not (isinstance(options.get("LinkOptions"), Integer) and options["LinkOptions"].value & 4)


def _open(symbol: str, name: str, evaluation: Any, options: dict[str, BaseElement], *, listens: bool) -> BaseElement:
    protocol = _text(options.get("LinkProtocol")) or "TCPIP"
    if protocol.upper() not in ("TCPIP", "TCP", "AUTOMATIC"):
        evaluation.message(symbol, "linkp", String(protocol))
        return SymbolFailed
    try:
        if listens:
            listener = listen(name or "0@127.0.0.1", classic=_is_classic(options))
            created = _add(listener.link_name, None)
            created.accept_from(listener)
            return _object(created)
        return _object(_add(name, connect(name, CONNECT_TIMEOUT, classic=_is_classic(options))))
    except WSTPError as error:
        evaluation.message(symbol, "linke", String(str(error)))
        return SymbolFailed


@LINKS.define("LinkCreate", 0, 1, options=_OPTIONS, messages=_MESSAGES,
              usage="LinkCreate[] makes a link that another program can connect to.")  # fmt: skip
def link_create(
    evaluation: Any, name: BaseElement | None = None, *, options: dict[str, BaseElement]
) -> BaseElement | None:
    """A listening link."""
    return _open("LinkCreate", _text(name), evaluation, options, listens=True)


@LINKS.define("LinkConnect", 1, options=_OPTIONS, messages=_MESSAGES,
              usage='LinkConnect["port@host"] connects to a link that another program made.')  # fmt: skip
def link_connect(evaluation: Any, name: BaseElement, *, options: dict[str, BaseElement]) -> BaseElement | None:
    """A connected link."""
    return _open("LinkConnect", _text(name), evaluation, options, listens=False) if isinstance(name, String) else None


@LINKS.define("LinkOpen", 1, options=_OPTIONS, messages=_MESSAGES,
              usage='LinkOpen["port@host", LinkMode -> mode] opens a link by Connect or Listen.')  # fmt: skip
def link_open(evaluation: Any, name: BaseElement, *, options: dict[str, BaseElement]) -> BaseElement | None:
    """LinkConnect or LinkCreate, as the option LinkMode says."""
    mode = options.get("LinkMode")
    mode_name = _text(mode) or (strip_context(mode.get_name()) if mode is not None else "Connect")
    if not isinstance(name, String) or mode_name not in ("Connect", "Listen", "Create"):
        return None
    return _open("LinkOpen", name.value, evaluation, options, listens=mode_name != "Connect")


def _use(
    symbol: str, element: BaseElement, evaluation: Any, action: Callable[[_KernelLink], BaseElement]
) -> BaseElement:
    """Carry out `action` on the link an object names; $Failed with a message if that fails."""
    link = _find(element)
    if link is None:
        evaluation.message(symbol, "linkn", element)
        return SymbolFailed
    try:
        return action(link)
    except (LinkError, WSTPError) as error:
        evaluation.message(symbol, "linkx", element, String(str(error)))
        link.close()
        _links.pop(link.number, None)
        return SymbolFailed


@LINKS.define("LinkActivate", 1, messages=_MESSAGES, usage="LinkActivate[link] waits for the other side of a link.")
def link_activate(evaluation: Any, element: BaseElement) -> BaseElement | None:
    """Wait for the other side."""

    def activate(link: _KernelLink) -> BaseElement:
        link.opened(evaluation)
        return element

    return _use("LinkActivate", element, evaluation, activate)


@LINKS.define("LinkWrite", 2, messages=_MESSAGES, usage="LinkWrite[link, expr] writes an expression to a link.")
def link_write(evaluation: Any, element: BaseElement, expression: BaseElement) -> BaseElement | None:
    """Write an expression."""
    session = evaluation.session if isinstance(evaluation, KernelEvaluation) else None
    if session is None:
        return None

    def write(link: _KernelLink) -> BaseElement:
        value = expression
        if isinstance(value, Expression) and value.has_form("Unevaluated", 1):
            value = value.elements[0]
        link.opened(evaluation).put(session.to_wire.convert(value))
        return SymbolNull

    return _use("LinkWrite", element, evaluation, write)


@LINKS.define("LinkRead", 1, 2, messages=_MESSAGES, attributes=A_PROTECTED,
              usage="LinkRead[link] reads an expression from a link; LinkRead[link, h] wraps h around it.")  # fmt: skip
def link_read(evaluation: Any, element: BaseElement, head: BaseElement | None = None) -> BaseElement | None:
    """Read an expression, which is evaluated unless it is wrapped into `head`."""
    session = evaluation.session if isinstance(evaluation, KernelEvaluation) else None
    if session is None:
        return None

    def read(link: _KernelLink) -> BaseElement:
        opened = link.opened(evaluation)
        while not opened.ready(POLL):
            evaluation.check_stopped()
        value: BaseElement = session.from_wire.convert(opened.get())
        return value if head is None else Expression(head, value)

    return _use("LinkRead", element, evaluation, read)


@LINKS.define("LinkReadyQ", 1, 2, messages=_MESSAGES,
              usage="LinkReadyQ[link, t] tells whether an expression can be read within t seconds.")  # fmt: skip
def link_ready(evaluation: Any, element: BaseElement, seconds: BaseElement | None = None) -> BaseElement | None:
    """Whether an expression is there."""
    wait = float(seconds.value) if isinstance(seconds, Integer | MachineReal | Rational) else 0.0

    def ready(link: _KernelLink) -> BaseElement:
        left = wait
        while True:
            if link.is_ready(min(left, POLL)):
                return SymbolTrue
            left -= POLL
            if left <= 0:
                return SymbolFalse
            evaluation.check_stopped()

    return _use("LinkReadyQ", element, evaluation, ready)


@LINKS.define("LinkInterrupt", 1, 2, messages=_MESSAGES, usage="LinkInterrupt[link] interrupts the other side.")
def link_interrupt(evaluation: Any, element: BaseElement, code: BaseElement | None = None) -> BaseElement | None:
    """Send the interrupt message, or another one."""

    def interrupt(link: _KernelLink) -> BaseElement:
        link.opened(evaluation).send_message(code.value if isinstance(code, Integer) else 2)
        return SymbolNull

    return _use("LinkInterrupt", element, evaluation, interrupt)


@LINKS.define("LinkClose", 1, messages=_MESSAGES, usage="LinkClose[link] closes a link.")
def link_close(evaluation: Any, element: BaseElement) -> BaseElement | None:
    """Close a link; what was written before is still read by the other side."""

    def close(link: _KernelLink) -> BaseElement:
        _links.pop(link.number, None)
        link.close()
        return SymbolNull

    return _use("LinkClose", element, evaluation, close)


@LINKS.define("Links", 0, 1, usage="Links[] lists the open links; Links[\"name\"] those of a name.")
def links(evaluation: Any, name: BaseElement | None = None) -> BaseElement | None:
    """The open links."""
    wanted = [link for link in _links.values() if name is None or link.name == _text(name)]
    return ListExpression(*map(_object, wanted))


