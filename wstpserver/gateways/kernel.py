"""A kernel of a pool for a program that launches a kernel: the link of that program, joined to a link of the server.

The process connects to the link of its parent as a kernel does, takes a kernel, says its prompt, and passes bytes on
unchanged, on both connections and in both directions. So both links are greeted with one version of the protocol
(docs/wire-protocol.md, section 2). It ends with either link.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from wstpserver.client import (
    Address,
    Callbacks,
    CommandError,
    LinkClosed,
    LinkError,
    LinkOptions,
    Session,
    connect,
    open_link,
)
from wstpserver.client.commands import describe_refusal, server_information
from wstpserver.client.deadline import Deadline
from wstpserver.client.link import DetachedLink, Link
from wstpserver.client.transport import Connection
from wstpserver.wire.errors import WSTPError
from wstpserver.wire.handshake import LOWER_VERSION, OUR_VERSION
from wstpserver.wire.packets import packet
from wstpserver.wire.values import Symbol

#: Seconds to wait for a kernel of a pool that is full, unless the server says how long its clients wait.
_KERNEL_WAIT: Final = 60.0
#: Seconds for the greeting of a link.
_GREETING: Final = 30.0
#: Seconds that the server's answers to commands may take after what it waits for itself.
_ANSWER: Final = 10.0
#: Seconds for the other half of a link to end when one has.
_LAST: Final = 2.0
_NEVER: Final = Deadline(None)
_FALSE: Final = Symbol("False")
#: The end of a packet, which may come later than the packet.
_END_OF_PACKET: Final = b"]"


class NoKernel(WSTPError):
    """There is no server, or it gives no kernel; the text says why and what to do."""


class ParentGone(WSTPError):
    """The program that launched this one has ended its link before there was a kernel."""


@dataclass(frozen=True)
class PoolKernel:
    """Which kernel to take.

    Attributes:
        address: The server, and its pool.
        keep: Whether the pool's settings say what becomes of the kernel when the parent goes; else it is closed.
    """

    address: Address
    keep: bool = False


def serve_link(options: LinkOptions, wanted: PoolKernel, tell: Callable[[str], None]) -> None:
    """Be a kernel on the link that a parent has asked for, until one side ends it.

    Args:
        options: The parent's link options. Of a link that is listened on, the name is told.
        wanted: The kernel.
        tell: Gets lines for the user: what is waited for, and the name of a link that is listened on.

    Raises:
        LinkError: There is no link with the parent.
        NoKernel: There is no kernel. The parent's link has been closed then.
        ParentGone: The parent did not wait for it.
    """
    parent = open_link(options, _GREETING if options.mode == "connect" else None, on_listening=tell)
    # The two streams have one form only if both links are greeted with the same version.
    version = OUR_VERSION if parent.version == OUR_VERSION else LOWER_VERSION
    ends = parent.detach()
    relay = _Relay(ends)
    try:
        server, prompt = _take_kernel(wanted, version, relay, tell)
    except WSTPError as error:
        is_gone = relay.parent_is_gone  # what follows ends the link in any case
        relay.give_up()
        if is_gone:
            raise ParentGone("the program that wanted a kernel has ended its link") from None
        raise NoKernel(str(error)) from None
    ends.data.send(parent.encode(packet("InputNamePacket", prompt)), _NEVER)
    relay.run(server)


def _take_kernel(
    wanted: PoolKernel, version: int, relay: _Relay, tell: Callable[[str], None]
) -> tuple[DetachedLink, str]:
    """A link of the server with a kernel that is idle, and the kernel's prompt. WSTPError."""
    pool = wanted.address.pool
    link = connect(wanted.address.server, _GREETING, without_kernel=True, version=version)
    relay.on_parent_gone(link)
    callbacks = Callbacks(on_notice=tell, on_print=tell, on_message=lambda message: tell(message.text))
    session = Session(link, callbacks=callbacks, results="expression", keep_kernel=True)
    try:
        if pool is not None:
            _connect_to_pool(session, pool)
        line = session.evaluate(Symbol("$Line"))
        if not wanted.keep:
            try:
                session.command("SetKeepAlive", _FALSE)
            except CommandError:
                pass  # a kernel without a server, which ends with its link
    except BaseException:
        session.keep_kernel = wanted.keep
        session.close()
        raise
    prompt = session.prompt or f"In[{line if isinstance(line, int) else 1}]:= "
    return link.detach(), prompt


def _connect_to_pool(session: Session, pool: str) -> None:
    information = server_information(session)
    if pool not in information.pools:
        raise CommandError(f"the server has no pool {pool}; its pools are: {', '.join(information.pools)}")
    told = session.command("GetServerInformation").get("KernelWaitTimeout")
    wait = float(told) if isinstance(told, (int, float)) and told > 0 else _KERNEL_WAIT
    try:
        session.command("ConnectKernel", pool, wait, timeout=wait + _ANSWER)
    except CommandError as error:
        if not error.reply:
            raise
        reason = describe_refusal(server_information(session), pool)
        raise CommandError(f"the server gives no kernel of pool {pool}: {reason}", error.reply) from None


class _Relay:
    """Passes bytes on between the links of the parent and of the server.

    The parent is listened to from the beginning, so that it is noticed when it goes while a kernel is waited for.
    """

    def __init__(self, parent: DetachedLink) -> None:
        self._parent = parent
        self._ended: queue.SimpleQueue[_Stream] = queue.SimpleQueue()
        self._waiting: Link | None = None
        self._lock = threading.Lock()
        self.parent_is_gone = False
        self._from_parent = _Stream(parent.data, parent.unread, self._parent_ended)
        self._from_parent.start()

    def on_parent_gone(self, link: Link) -> None:
        """Close this link if the parent goes before `run`. LinkClosed if it has gone."""
        with self._lock:
            self._waiting = link
            if self.parent_is_gone:
                link.close()

    def _parent_ended(self, stream: _Stream) -> None:
        with self._lock:
            self.parent_is_gone = True
            link = self._waiting
        if link is not None:
            link.close(0.0)
        self._ended.put(stream)

    def give_up(self) -> None:
        """End the parent's link: there is no kernel for it."""
        for connection in (self._parent.messages, self._parent.data):
            connection.finish_sending()
        self._from_parent.drop()
        self._from_parent.join(_LAST)

    def run(self, server: DetachedLink) -> None:
        """Pass on until one of the links has ended, and everything that came before that end has been passed on."""
        with self._lock:
            self._waiting = None
        to_parent = _Stream(server.data, server.unread.lstrip(_END_OF_PACKET), self._ended.put, skip=_END_OF_PACKET)
        to_parent.pass_on_to(self._parent.data)
        to_parent.start()
        for source, first, sink in (
            (self._parent.messages, self._parent.unread_messages, server.messages),
            (server.messages, server.unread_messages, self._parent.messages),
        ):
            messages = _Stream(source, first, lambda stream: None)
            messages.pass_on_to(sink)
            messages.start()
        self._from_parent.pass_on_to(server.data)
        if self._ended.get() is to_parent:
            # The kernel has ended, and a kernel's end is that of its whole link.
            self._parent.messages.finish_sending()
        else:
            server.messages.finish_sending()
        try:
            self._ended.get(timeout=_LAST)
        except queue.Empty:
            pass  # the end of this process ends the other half


class _Stream(threading.Thread):
    """One direction of one connection: receives, and sends on what came, also what came before it knew where to.

    Args:
        source: Where bytes come from.
        first: Bytes that were received from there already.
        on_end: Called when the source has ended and everything has been sent on.
        skip: A byte that is dropped at the beginning, however often it comes.
    """

    def __init__(
        self, source: Connection, first: bytes, on_end: Callable[[_Stream], None], skip: bytes = b""
    ) -> None:
        super().__init__(daemon=True)
        self._source = source
        self._first = first
        self._on_end = on_end
        self._skip = skip
        self._sink: Connection | None = None
        self._decided = threading.Event()

    def pass_on_to(self, sink: Connection) -> None:
        """Say where the bytes go."""
        self._sink = sink
        self._decided.set()

    def drop(self) -> None:
        """From now on what comes goes nowhere."""
        self._decided.set()

    def run(self) -> None:
        """Pass on until the end of the source."""
        data = self._first or self._source.receive(_NEVER)
        while data:
            self._decided.wait()
            data = data.lstrip(self._skip) if self._skip else data
            if data:
                self._skip = b""
                self._send(data)
            data = self._source.receive(_NEVER)
        if self._sink is not None:
            self._sink.finish_sending()
        self._on_end(self)

    def _send(self, data: bytes) -> None:
        if self._sink is None:
            return
        try:
            self._sink.send(data, _NEVER)
        except LinkClosed:
            self._sink = None  # what else comes is read to the end: unread bytes would make the end a reset


def link_problem(error: LinkError) -> str:
    """What is wrong with the link of the parent, for the user."""
    return f"the link of the program that launched this kernel: {error}"
