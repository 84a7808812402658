"""A link: expressions and messages to and from a kernel, a client or a server, with plain blocking calls."""

from __future__ import annotations

from typing import Final, NamedTuple

from wstpserver.client.deadline import Deadline, OwnedLock
from wstpserver.client.errors import LinkClosed, LinkTimeout
from wstpserver.client.messages import ArrivalCallback, MessageCallback, MessageChannel
from wstpserver.client.transport import Connection
from wstpserver.wire.decode import NEED_DATA, Decoder
from wstpserver.wire.encode import encode
from wstpserver.wire.errors import RemoteProtocolError
from wstpserver.wire.messages import MessageCode
from wstpserver.wire.tokens import DecoderLimits
from wstpserver.wire.values import Expression, Function, Symbol

#: Seconds that `Link.close` waits for what was sent to arrive.
CLOSE_TIMEOUT: Final = 2.0
#: Seconds for a thread that was woken to leave its call.
_LET_GO: Final = 1.0
_TAKES_NOTHING: Final = "The other side is not reading; the rest will be sent before anything else"


class Packet(NamedTuple):
    """A top-level expression taken apart: ``ReturnPacket[4]`` is ``Packet("ReturnPacket", (4,))``.

    `name` is without a ``System` `` context. An expression whose head is no symbol has the name "" and itself as the
    only argument.
    """

    name: str
    arguments: tuple[Expression, ...]


def packet_of(expression: Expression) -> Packet:
    """An expression as a packet."""
    if isinstance(expression, Function) and isinstance(expression.head, Symbol):
        return Packet(expression.head.name.removeprefix("System`"), expression.args)
    return Packet("", (expression,))


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
        self._seven_bit = seven_bit
        decoder = Decoder(limits, offset)
        decoder.feed(leftover)
        self._receiver = Receiver(data, messages, decoder, name)
        self._writing = OwnedLock(name, "another thread is sending")
        self._closed = False
        #: ``PORT@HOST`` of the link, or both ports in classic mode.
        self.name = name

    # Data

    def put(self, expression: Expression, timeout: float | None = None) -> None:
        """Send `expression` as one packet, in one write. What Python values stand for: `wstpserver.wire.encode`.

        Raises LocalProtocolError for a value that is no expression, LinkClosed, and LinkTimeout when the peer takes
        no more: then the rest is kept, and goes out before the next one.
        """
        self.put_raw(self.encode(expression), timeout)

    def encode(self, expression: Expression) -> bytes:
        """The bytes with which `put` sends `expression`. LocalProtocolError."""
        # UTF-8 throughout: a program on the library of 2023 that passes text in format A on to a third one crashes.
        return encode(expression, ascii=False, seven_bit=self._seven_bit)

    def put_raw(self, data: bytes | bytearray | memoryview, timeout: float | None = None) -> None:
        """Send bytes that are already WSTP: whole expressions, or parts that later calls complete. As `put`."""
        deadline = Deadline(timeout)
        with self._writing.within(deadline):
            self._check_open()
            if self._data.ended or self._messages.closing:  # it may still take bytes, but nobody is there to read them
                raise LinkClosed(self._data.end_reason, self.name)
            unsent = self._data.send(data, deadline, self._receiver.read_ahead)
        if unsent:
            raise LinkTimeout(f"{unsent} bytes could not be sent {deadline}", self.name, _TAKES_NOTHING)

    def get(self, timeout: float | None = None) -> Expression:
        """The next whole expression.

        Raises LinkTimeout (a part that has come is kept for the next call), LinkClosed once the peer has ended and
        everything it sent has been delivered, and RemoteProtocolError for bytes that are not WSTP, from then on at
        each call.
        """
        deadline = Deadline(timeout)
        expression = self._receiver.next(deadline)
        if expression is None:
            raise LinkTimeout(f"no expression {deadline}", self.name)
        return expression

    def get_packet(self, timeout: float | None = None) -> Packet:
        """The next expression, taken apart into the name of its head and its arguments. As `get`."""
        return packet_of(self.get(timeout))

    def ready(self, timeout: float | None = 0.0) -> bool:
        """Whether `get` would not wait: a whole expression is here, or the link has ended, before `timeout`."""
        return self._receiver.ready(Deadline(timeout))

    def holds_one(self) -> bool:
        """Whether an expression is here that `get` would return without a look at the connection (unlike `ready`)."""
        return self._receiver.holds_one()

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

    def next_message(
        self, timeout: float | None = None, on_arrival: ArrivalCallback | None = None
    ) -> tuple[int, int]:
        """The next message from the peer: (code, argument). LinkTimeout, LinkClosed.

        The library's own close shows as (MessageCode.LINK_CLOSING, 0). LinkError after `on_message`. `on_arrival` is
        called when something has come and is not yet read, the moment to ask the system when it came; it says how many
        bytes to read, None for all. Whoever gives it must go on calling this: `get` then leaves the messages alone.
        """
        return self._messages.next(Deadline(timeout), on_arrival)

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
    def ended(self) -> bool:
        """Whether the end of the link has been seen, on either side. `ready` looks."""
        return self._closed or self._data.ended or self._messages.closing

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
        self._closed = self._receiver.closed = True
        deadline = Deadline(timeout)
        with self._writing.if_free(timeout):
            try:
                self._data.send(b"", deadline)  # what an earlier put left over
            except LinkClosed:
                pass
        self._data.finish_sending()
        self._messages.finish_sending()
        with self._receiver.lock.if_free() as owned:
            if owned:
                self._data.linger(deadline)
        self._data.wake()
        self._messages.close()
        # Threads that were waiting have been woken, and let go of their locks at once.
        with self._receiver.lock.if_free(_LET_GO), self._writing.if_free(_LET_GO):
            self._data.close()

    def __enter__(self) -> Link:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Link {self.name}{' closed' if self._closed else ''}>"

    def _check_open(self) -> None:
        if self._closed:
            raise LinkClosed("the link was closed by this program", self.name)


#: Seconds without data after the peer's farewell that count as the end, and between two looks whether there was one.
_SILENCE: Final = 1.0
#: Bytes taken in while a put waits for a peer that is itself sending.
_READ_AHEAD: Final = 1 << 30


class Receiver:
    """Hands out the expressions that come in on `data`, one thread at a time.

    It keeps an eye on `messages` too while it waits, unless another thread does: there the peer says that it closes.
    """

    def __init__(self, data: Connection, messages: MessageChannel, decoder: Decoder, where: str) -> None:
        self._data = data
        self._messages = messages
        self._decoder = decoder
        self._where = where
        self._ready: list[Expression] = []  # what `ready` found, at most one
        self._patience: Deadline | None = None  # with the connections of a peer that has said farewell
        self._read_ahead_left = _READ_AHEAD
        #: Held by the thread that receives.
        self.lock = OwnedLock(where, "another thread is receiving")
        #: Set when this program closes the link.
        self.closed = False

    def next(self, deadline: Deadline) -> Expression | None:
        """The next expression; None if the deadline comes first. LinkTimeout (the lock), LinkClosed,
        RemoteProtocolError.
        """
        with self.lock.within(deadline):
            self._read_ahead_left = _READ_AHEAD
            if not self._ready and not self._fetch(deadline):
                return None
            return self._ready.pop()

    def ready(self, deadline: Deadline) -> bool:
        """Whether `next` would not wait."""
        with self.lock.within(deadline):
            try:
                return bool(self._ready) or self._fetch(deadline)
            except (LinkClosed, RemoteProtocolError):
                return True  # and `next` says which

    def holds_one(self) -> bool:
        """Whether an expression has been received already, or bytes that make `next` fail; looks at no connection."""
        with self.lock.within(Deadline(0)):
            if not self._ready:
                try:
                    expression = self._decoder.next_expression()
                except RemoteProtocolError:
                    return True
                if expression is not NEED_DATA:
                    self._ready.append(expression)
            return bool(self._ready)

    def read_ahead(self) -> bool:
        """Take in what is there while another thread sends, unless one receives; whether there may be more."""
        with self.lock.if_free() as owned:
            if not owned or self._read_ahead_left <= 0:
                return False
            data = self._data.receive_now()
            if data:
                self._decoder.feed(data)
                self._read_ahead_left -= len(data)
            return data != b""

    def _fetch(self, deadline: Deadline) -> bool:
        """Receive until there is an expression, and keep it; False if the deadline comes first."""
        while True:
            expression = self._decoder.next_expression()
            if expression is not NEED_DATA:
                self._ready.append(expression)
                return True
            if self.closed:
                raise self._ended()
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
            if self._messages.closing and self._patience is None:
                self._patience = Deadline(_SILENCE)
            unattended = self._messages.unattended()
            readable, message = self._data.wait_with(unattended, self._next_look(deadline, unattended is not None))
            if readable:
                data = self._data.receive_now()
                if data is not None:
                    self._patience = None
                    return data
            elif message:
                self._messages.take_now()
            elif self._patience is not None and self._patience.expired:
                return b""
            elif deadline.expired:
                return None

    def _next_look(self, deadline: Deadline, watches_messages: bool) -> Deadline:
        """Until when to wait before something else is to be looked at."""
        if self._patience is not None:
            return deadline.at_most(self._patience.remaining() or 0.0)
        return deadline if watches_messages else deadline.at_most(_SILENCE)

    def _ended(self) -> LinkClosed:
        if self.closed:
            return LinkClosed("the link was closed by this program", self._where)
        reason = self._data.end_reason
        if not self._decoder.at_boundary:
            reason += ", in the middle of an expression"
        return LinkClosed(reason, self._where)
