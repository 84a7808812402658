"""A link: expressions and messages to and from a kernel, a client or a server, with plain blocking calls."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

from wstpserver.client.connection import Connection
from wstpserver.client.deadline import Deadline
from wstpserver.client.errors import LinkClosed, LinkTimeout
from wstpserver.client.messages import MessageCallback, MessageChannel
from wstpserver.wire.decode import NEED_DATA, Decoder
from wstpserver.wire.encode import encode
from wstpserver.wire.errors import RemoteProtocolError
from wstpserver.wire.limits import DecoderLimits
from wstpserver.wire.messages import MessageCode
from wstpserver.wire.values import Expression, Function, Symbol

#: Seconds that `Link.close` waits for what was sent to arrive.
CLOSE_TIMEOUT: Final = 2.0
#: Seconds without data after the peer's farewell, and between two looks whether there was one.
_SILENCE: Final = 1.0
#: Bytes taken in while a `put` waits for a peer that is itself sending.
_READ_AHEAD: Final = 1 << 30


class Packet(NamedTuple):
    """A top-level expression taken apart: ``ReturnPacket[4]`` is ``Packet("ReturnPacket", (4,))``.

    `name` is without a ``System` `` context. An expression whose head is no symbol has the name "" and itself as the
    only argument.
    """

    name: str
    arguments: tuple[Expression, ...]


class Link:
    """One open link. Made by `connect`, `Listener.accept` and `open_link`.

    One thread may `get` while another calls `put`; any thread may send messages, and call `close`, which ends the
    waits of the others with LinkClosed. All timeouts are in seconds for the whole call; None waits for ever.

    `leftover`: bytes received behind the greeting, at `offset` in the stream. `seven_bit`: the peer reads no UTF-8.
    """

    def __init__(
        self,
        data: Connection,
        messages: MessageChannel,
        name: str,
        *,
        offset: int = 0,
        leftover: bytes = b"",
        limits: DecoderLimits | None = None,
        seven_bit: bool = False,
    ) -> None:
        self._data = data
        self._messages = messages
        self._decoder = Decoder(limits, offset)
        self._decoder.feed(leftover)
        self._seven_bit = seven_bit
        self._reading = threading.Lock()
        self._writing = threading.Lock()
        self._read_ahead_left = 0
        self._ready: list[Expression] = []  # an expression that `ready` found, at most one
        self._closed = False
        #: ``PORT@HOST`` of the link, or both ports in classic mode.
        self.name = name

    # Data

    def put(self, expression: Expression, timeout: float | None = None) -> None:
        """Send `expression` as one packet, in one write. What Python values stand for: `wstpserver.wire.encode`.

        Raises LocalProtocolError for a value that is no expression, LinkClosed, and LinkTimeout when the peer takes
        no more: then the rest is kept, and goes out before the next one.
        """
        # UTF-8 throughout: a program on the library of 2023 that passes text in format A on to a third one crashes.
        self.put_raw(encode(expression, ascii=False, seven_bit=self._seven_bit), timeout)

    def put_raw(self, data: bytes | bytearray | memoryview, timeout: float | None = None) -> None:
        """Send bytes that are already WSTP: whole expressions, or parts that later calls complete. As `put`."""
        deadline = Deadline(timeout)
        with self._own(self._writing, deadline, "another thread is sending"):
            self._check_open()
            if self._data.ended or self._messages.closing:  # it may still take bytes, but nobody is there to read them
                raise LinkClosed(self._data.end_reason, self.name)
            self._read_ahead_left = _READ_AHEAD
            unsent = self._data.send(data, deadline, self._read_ahead)
        if unsent:
            raise LinkTimeout(f"{unsent} bytes could not be sent {deadline}", self.name, _TAKES_NOTHING)

    def get(self, timeout: float | None = None) -> Expression:
        """The next whole expression.

        Raises LinkTimeout (a part that has come is kept for the next call), LinkClosed once the peer has ended and
        everything it sent has been delivered, and RemoteProtocolError for bytes that are not WSTP, from then on at
        each call.
        """
        deadline = Deadline(timeout)
        with self._own(self._reading, deadline, "another thread is receiving"):
            if self._ready:
                return self._ready.pop()
            if not self._fetch(deadline):
                raise LinkTimeout(f"no expression {deadline}", self.name)
            return self._ready.pop()

    def get_packet(self, timeout: float | None = None) -> Packet:
        """The next expression, taken apart into the name of its head and its arguments. As `get`."""
        expression = self.get(timeout)
        if isinstance(expression, Function) and isinstance(expression.head, Symbol):
            return Packet(expression.head.name.removeprefix("System`"), expression.args)
        return Packet("", (expression,))

    def ready(self, timeout: float | None = 0.0) -> bool:
        """Whether `get` would not wait: a whole expression is here, or the link has ended, before `timeout`."""
        deadline = Deadline(timeout)
        with self._own(self._reading, deadline, "another thread is receiving"):
            try:
                return bool(self._ready) or self._fetch(deadline)
            except (LinkClosed, RemoteProtocolError):
                return True  # and `get` says which

    def _fetch(self, deadline: Deadline) -> bool:
        """Receive until there is an expression, and keep it; False if the deadline comes first."""
        while True:
            expression = self._decoder.next_expression()
            if expression is not NEED_DATA:
                self._ready.append(expression)
                return True
            self._check_open()
            data = self._receive(deadline)
            if data is None:
                return False
            if not data:
                raise self._ended()
            self._decoder.feed(data)

    def _receive(self, deadline: Deadline) -> bytes | None:
        """The next bytes; b"" at the end of the link; None if the deadline comes first.

        The link ends with the data connection, or some silence after the peer's message that it closes the link: the
        library of 2015 leaves the connections of a link that its link server gave open then.
        """
        while True:
            farewell = self._messages.closing
            unattended = self._messages.unattended()
            wait = deadline if unattended is not None else deadline.at_most(_SILENCE)
            readable, message = self._data.wait_with(unattended, wait)
            if readable:
                data = self._data.receive_now()
                if data is not None:
                    return data
            elif message:
                self._messages.take_now()
            elif farewell:
                return b""
            elif deadline.expired:
                return None

    def _ended(self) -> LinkClosed:
        if self._closed:
            return LinkClosed("the link was closed by this program", self.name)
        reason = self._data.end_reason
        if not self._decoder.at_boundary:
            reason += ", in the middle of an expression"
        return LinkClosed(reason, self.name)

    def _read_ahead(self) -> bool:
        """Take in what the peer sends while we send, unless another thread does. For `Connection.send`."""
        if not self._reading.acquire(blocking=False):
            return False
        try:
            data = self._data.receive_now()
            if data:
                self._decoder.feed(data)
                self._read_ahead_left -= len(data)
            return data != b"" and self._read_ahead_left > 0
        finally:
            self._reading.release()

    # Messages

    def send_message(self, code: int, argument: int = 0, timeout: float | None = None) -> None:
        """Send a message past all data (`wstpserver.wire.messages.MessageCode`). LinkClosed, LinkTimeout."""
        self._check_open()
        self._messages.send(code, argument, Deadline(timeout))

    def interrupt(self) -> None:
        """Ask a kernel to stop and offer its menu (message 2)."""
        self.send_message(MessageCode.INTERRUPT)

    def abort(self) -> None:
        """Ask a kernel to give its evaluation up (message 3)."""
        self.send_message(MessageCode.ABORT)

    def next_message(self, timeout: float | None = None) -> tuple[int, int]:
        """The next message from the peer: (code, argument). LinkTimeout, LinkClosed.

        The library's own close shows as (MessageCode.LINK_CLOSING, 0). LinkError after `on_message`.
        """
        return self._messages.next(Deadline(timeout))

    def on_message(self, callback: MessageCallback) -> None:
        """Hand every message from now on to ``callback(code, argument)``, in a thread started for it.

        That is how a kernel learns of an abort while it evaluates. An exception in the callback is logged.
        """
        self._check_open()
        self._messages.start(callback)

    # Both connections

    def fileno(self) -> int:
        """The data connection's descriptor, for select; note that `get` may hold input that it has read already."""
        return self._data.fileno()

    def message_fileno(self) -> int:
        """The message connection's descriptor."""
        return self._messages.fileno()

    @property
    def closed(self) -> bool:
        """Whether `close` was called here."""
        return self._closed

    def close(self, timeout: float = CLOSE_TIMEOUT) -> None:
        """End the link; whatever was put before still arrives.

        Waits at most `timeout` seconds until the peer's system has taken everything; what it has not taken by then
        still goes out, unless the peer goes on sending. Unlike the library this sends no message 9, which would make
        the peer drop what it has not read (docs/wire-protocol.md, section 5). May be called twice.
        """
        if self._closed:
            return
        self._closed = True
        deadline = Deadline(timeout)
        with self._try_own(self._writing, timeout):
            try:
                self._data.send(b"", deadline)  # what an earlier put left over
            except LinkClosed:
                pass
        self._data.finish_sending()
        self._messages.finish_sending()
        if self._reading.acquire(blocking=False):
            try:
                self._data.linger(deadline)
            finally:
                self._reading.release()
        self._data.wake()
        self._messages.close()
        # Threads that were waiting have been woken, and let go of their locks at once.
        with self._try_own(self._reading, _LET_GO), self._try_own(self._writing, _LET_GO):
            self._data.close()

    def __enter__(self) -> Link:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Link {self.name}{' closed' if self._closed else ''}>"

    # Helpers

    def _check_open(self) -> None:
        if self._closed:
            raise LinkClosed("the link was closed by this program", self.name)

    @contextmanager
    def _own(self, lock: threading.Lock, deadline: Deadline, otherwise: str) -> Iterator[None]:
        """Hold `lock`, waiting for it no longer than the deadline."""
        remaining = deadline.remaining()
        if not lock.acquire(timeout=-1 if remaining is None else remaining):
            raise LinkTimeout(f"{otherwise}, {deadline}", self.name)
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def _try_own(self, lock: threading.Lock, timeout: float) -> Iterator[None]:
        """Hold `lock` if it can be had within `timeout` seconds, and go on without it otherwise."""
        owned = lock.acquire(timeout=timeout)
        try:
            yield
        finally:
            if owned:
                lock.release()


#: Seconds for a thread that was woken to leave its call.
_LET_GO: Final = 1.0
_TAKES_NOTHING: Final = "The other side is not reading; the rest will be sent before anything else"
