"""A kernel of a pool for a program that launches a kernel: the link of that program, joined to a link of the server.

The process connects to the link of its parent as a kernel does, takes a kernel, says its prompt, and passes bytes on
unchanged, on both connections and in both directions, in C until the link ends. So both links are greeted with one
version of the protocol (docs/wire-protocol.md, section 2). It ends with either link.
"""

from __future__ import annotations

import errno
import os
import queue
import select
import threading
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from wstpserver._native import ffi, lib
from wstpserver.client import (
    Address,
    Callbacks,
    CommandError,
    LinkClosed,
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
#: Seconds without a byte after which the other half of a link counts as ended when one has.
_LAST: Final = 2.0
#: Bytes that are received at a time.
_BUFFER: Final = 256 << 10
#: What a system says of a connection beside errors that the other side has ended, whatever is unread.
_PEER_ENDED: Final[int] = getattr(select, "POLLRDHUP", 0)
_NEVER: Final = Deadline(None)
_FALSE: Final = Symbol("False")
#: The end of a packet, which may come later than the packet.
_END_OF_PACKET: Final = b"]"


class NoKernel(WSTPError):
    """There is no server, or it gives no kernel; the text says why and what to do."""


class ParentGone(WSTPError):
    """The program that launched this one has ended its link before there was a kernel."""


class PoolKernel(NamedTuple):
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
    """Passes bytes on between the links of the parent and of the server, in C (cext/wstpjoin.h).

    The parent is watched from the beginning, so that it is noticed when it goes while a kernel is waited for.
    """

    def __init__(self, parent: DetachedLink) -> None:
        self._parent = parent
        self._unread = parent.unread
        self._waiting: Link | None = None
        self._lock = threading.Lock()
        self.parent_is_gone = False
        self._wake, self._awakened = os.pipe()
        self._watch = threading.Thread(target=self._watch_parent, daemon=True)
        self._watch.start()

    def _watch_parent(self) -> None:
        """Wait until the parent goes, or is not to be watched any more."""
        poll = select.poll()
        for watched in (self._parent.data, self._wake):
            poll.register(watched, select.POLLIN)
        data = None
        while data != b"":
            if any(descriptor == self._wake for descriptor, _ in poll.poll()):
                return
            data = self._parent.data.receive_now()
            if data:  # it does not wait for the prompt
                self._unread += data
                if len(self._unread) >= _BUFFER:  # what else it says stays unread, its end is told beside that
                    poll.modify(self._parent.data, _PEER_ENDED)
        with self._lock:
            self.parent_is_gone = True
            link = self._waiting
        if link is not None:
            link.close(0.0)

    def _stop_watching(self) -> None:
        with self._lock:
            self._waiting = None
        os.write(self._awakened, b".")
        self._watch.join()
        os.close(self._wake)
        os.close(self._awakened)

    def on_parent_gone(self, link: Link) -> None:
        """Close this link if the parent goes before `run`. LinkClosed if it has gone."""
        with self._lock:
            self._waiting = link
            if self.parent_is_gone:
                link.close()

    def give_up(self) -> None:
        """End the parent's link: there is no kernel for it."""
        self._stop_watching()
        for connection in (self._parent.messages, self._parent.data):
            connection.finish_sending()
        limit = Deadline(_LAST)
        while self._parent.data.receive(limit):
            pass  # unread bytes would make the end a reset

    def run(self, server: DetachedLink) -> None:
        """Pass on until one of the links has ended, and everything that came before that end has been passed on."""
        self._stop_watching()
        parent = self._parent
        # C takes the bytes from the socket itself, which are not those of a connection with TLS.
        joined = _Joined() if type(server.data) is Connection else _JoinedByThreads()
        joined.add(parent.data, server.data, self._unread)
        joined.add(server.data, parent.data, server.unread, skip=_END_OF_PACKET)
        joined.add(parent.messages, server.messages, parent.unread_messages)
        joined.add(server.messages, parent.messages, server.unread_messages)
        ended = joined.wait(None)
        while ended not in _DATA:
            ended = joined.wait(None)
        # The kernel has ended, and a kernel's end is that of its whole link; or the parent has.
        (server.messages if ended == _FROM_PARENT else parent.messages).finish_sending()
        while ended is not None and (ended := joined.wait(_LAST)) not in _DATA:
            pass  # at the latest the end of this process ends the other half


#: The places of the ways between the data connections, in the order in which `_Relay.run` adds them.
_FROM_PARENT, _TO_PARENT = _DATA = (0, 1)


class _Joined:
    """Ways of bytes from one connection to another, all in C."""

    def __init__(self) -> None:
        self._ways: Any = ffi.new("struct wstpjoin_way[4]")
        self._count = 0
        self._kept: list[Any] = []

    def add(self, source: Connection, sink: Connection, first: bytes, skip: bytes = b"") -> None:
        """Add a way.

        Args:
            source: Where bytes come from.
            sink: Where they go.
            first: Bytes that were received from there already.
            skip: A byte that is dropped at the beginning, however often it comes.
        """
        size = max(_BUFFER, len(first))
        buffer = ffi.new("uint8_t[]", size)
        ffi.memmove(buffer, first, len(first))
        self._kept += (source, sink, buffer)
        way = self._ways[self._count]
        way.source, way.sink, way.buffer, way.size = source.fileno(), sink.fileno(), buffer, size
        way.begin, way.end, way.skip = 0, len(first), skip[0] if skip else -1
        self._count += 1

    def wait(self, seconds: float | None) -> int | None:
        """Pass on until one more way has ended; its place, or None if nothing moves for this time."""
        milliseconds = -1 if seconds is None else int(seconds * 1000)
        while True:
            ended = int(lib.wstpjoin(self._ways, self._count, milliseconds))
            if ended >= 0:
                return ended if ended < self._count else None
            if ended != -errno.EINTR:
                raise OSError(-ended, os.strerror(-ended))


class _JoinedByThreads:
    """The same for a server that is reached with TLS, whose bytes C has no part in."""

    def __init__(self) -> None:
        self._count = 0
        self._passed = 0
        self._ended: queue.SimpleQueue[int] = queue.SimpleQueue()

    def add(self, source: Connection, sink: Connection, first: bytes, skip: bytes = b"") -> None:
        """Add a way, as to `_Joined`."""
        words = (self._count, source, sink, first, skip)
        threading.Thread(target=self._pass, args=words, daemon=True).start()
        self._count += 1

    def wait(self, seconds: float | None) -> int | None:
        """Wait until one more way has ended; its place, or None if nothing moves for this time."""
        while True:
            passed = self._passed
            try:
                return self._ended.get(timeout=seconds)
            except queue.Empty:
                if self._passed == passed:
                    return None

    def _pass(self, place: int, source: Connection, sink: Connection, data: bytes | None, skip: bytes) -> None:
        is_taken = True
        data = data or source.receive(_NEVER)
        while data:
            data = data.lstrip(skip) if skip else data
            if data and is_taken:
                skip = b""
                try:
                    sink.send(data, _NEVER)
                    self._passed += len(data)
                except LinkClosed:
                    is_taken = False  # what else comes is read to the end: unread bytes would make the end a reset
            data = source.receive(_NEVER)
        sink.finish_sending()
        self._ended.put(place)
