"""A link: expressions and messages to and from a kernel, a client or a server, with blocking calls."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final, NamedTuple

from wstpserver.client.deadline import Deadline, OwnedLock
from wstpserver.client.errors import LinkClosed, LinkTimeout
from wstpserver.client.messages import ArrivalCallback, MessageCallback, MessageChannel
from wstpserver.client.transport import Connection
from wstpserver.wire.decode import NEED_DATA, Decoder
from wstpserver.wire.encode import encode
from wstpserver.wire.errors import RemoteProtocolError
from wstpserver.wire.handshake import OUR_VERSION
from wstpserver.wire.packets import MessageCode
from wstpserver.wire.tokens import DecoderLimits
from wstpserver.wire.values import Expression, Function, Symbol

#: Seconds that `Link.close` waits for what was sent to arrive.
CLOSE_TIMEOUT: Final = 2.0
#: Seconds for a thread that was woken to release its lock.
_RELEASE: Final = 1.0
_TAKES_NOTHING: Final = "The other side is not reading; the rest will be sent before anything else"


class Packet(NamedTuple):
    """A top-level expression taken apart: ``ReturnPacket[4]`` is ``Packet("ReturnPacket", (4,))``.

    Attributes:
        name: The head, without a ``System` `` context; "" if the head is no symbol.
        arguments: The arguments; the expression itself if the head is no symbol.
    """

    name: str
    arguments: tuple[Expression, ...]


def packet_of(expression: Expression) -> Packet:
    """Take an expression apart."""
    if isinstance(expression, Function) and isinstance(expression.head, Symbol):
        return Packet(expression.head.name.removeprefix("System`"), expression.args)
    return Packet("", (expression,))


class DetachedLink(NamedTuple):
    """The connections of a link.

    Attributes:
        data: The data connection.
        messages: The message connection.
        unread: Bytes that were received on the data connection and not read as expressions.
        unread_messages: Bytes of messages likewise.
    """

    data: Connection
    messages: Connection
    unread: bytes
    unread_messages: bytes


class Link:
    """One open link. Made by `connect`, `Listener.accept` and `open_link`.

    One thread may `get` while another calls `put`; any thread may send messages, and call `close`, which ends the
    waits of the others with LinkClosed. All time-outs are in seconds for the whole call; None for no limit.

    Args:
        data: The data connection.
        messages: The message connection.
        name: ``PORT@HOST`` of the link, or both ports in classic mode.
        offset: The number of bytes that the greeting took in the data stream.
        leftover: Bytes received behind the greeting.
        limits: How large an expression may be that is received.
        seven_bit: Whether the peer reads no UTF-8.
        version: The version of the greeting.

    Attributes:
        name: The name of the link.
        version: The version of the greeting. Bytes of expressions can be passed on between two links of one version.
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
        version: int = OUR_VERSION,
    ) -> None:
        self._data = data
        self._messages = messages
        self._seven_bit = seven_bit
        decoder = Decoder(limits, offset)
        decoder.feed(leftover)
        self._receiver = Receiver(data, messages, decoder, name)
        self._writing = OwnedLock(name, "another thread is sending")
        self._closed = False
        self._has_sent_message = False
        self.name = name
        self.version = version

    # Data

    def put(self, expression: Expression, timeout: float | None = None) -> None:
        """Send an expression as one packet, in one write.

        Args:
            expression: The expression (see `wstpserver.wire.values`).
            timeout: Seconds; None for no limit.

        Raises:
            LocalProtocolError: The value is no expression.
            LinkClosed: The link has ended.
            LinkTimeout: The peer takes no more. The rest is kept, and is sent before anything else.
        """
        self.put_raw(self.encode(expression), timeout)

    def encode(self, expression: Expression) -> bytes:
        """Return the bytes with which `put` sends an expression.

        Raises:
            LocalProtocolError: The value is no expression.
        """
        # UTF-8 throughout: a program on the library of 2023 that passes text in format A on to a third one crashes.
        return encode(expression, ascii=False, seven_bit=self._seven_bit)

    def put_raw(self, data: bytes | bytearray | memoryview, timeout: float | None = None) -> None:
        """Send bytes that are already WSTP: whole expressions, or parts that later calls complete. Raises as `put`."""
        deadline = Deadline(timeout)
        with self._writing.within(deadline):
            self._check_open()
            if self._data.ended or self._messages.closing:  # it may still take bytes, but nobody is there to read them
                raise LinkClosed(self._data.end_reason, self.name)
            unsent = self._data.send(data, deadline, self._receiver.read_ahead)
        if unsent:
            raise LinkTimeout(f"{unsent} bytes could not be sent {deadline}", self.name, _TAKES_NOTHING)

    def get(self, timeout: float | None = None) -> Expression:
        """Receive the next whole expression.

        Args:
            timeout: Seconds; None for no limit.

        Returns:
            The expression.

        Raises:
            LinkTimeout: None came in time. A part that has come is kept for the next call.
            LinkClosed: The peer has ended, and everything that it sent has been delivered.
            RemoteProtocolError: The peer sent bytes that are not WSTP. From then on each call raises it.
        """
        deadline = Deadline(timeout)
        expression = self._receiver.next(deadline)
        if expression is None:
            raise LinkTimeout(f"no expression {deadline}", self.name)
        return expression

    def get_packet(self, timeout: float | None = None) -> Packet:
        """Receive the next expression, taken apart into the name of its head and its arguments. Raises as `get`."""
        return packet_of(self.get(timeout))

    def ready(self, timeout: float | None = 0.0) -> bool:
        """Wait until `get` would not wait: a whole expression is here, or the link has ended.

        Args:
            timeout: Seconds; None for no limit.

        Returns:
            False if the time-out came first.

        Raises:
            LinkTimeout: Another thread receives.
        """
        return self._receiver.ready(Deadline(timeout))

    def put_back(self, expressions: Iterable[Expression]) -> None:
        """Let `get` return these again, in their order, before anything else."""
        self._receiver.put_back(expressions)

    def holds_one(self) -> bool:
        """Whether an expression is here that `get` would return without a look at the connection (unlike `ready`)."""
        return self._receiver.holds_one()

    # Messages

    def send_message(self, code: int, argument: int = 0, timeout: float | None = None) -> None:
        """Send a message, which overtakes all data.

        Args:
            code: The code (`wstpserver.wire.packets.MessageCode`).
            argument: The argument.
            timeout: Seconds; None for no limit.

        Raises:
            LinkClosed: The link has ended.
            LinkTimeout: The peer takes nothing; the message is sent before the next one, or at `close`.
        """
        self._check_open()
        self._has_sent_message = True
        self._messages.send(code, argument, Deadline(timeout))

    def interrupt(self) -> None:
        """Ask a kernel to stop and offer its menu (message 2). Raises as `send_message`."""
        self.send_message(MessageCode.INTERRUPT)

    def abort(self) -> None:
        """Ask a kernel to abort its evaluation (message 3). Raises as `send_message`."""
        self.send_message(MessageCode.ABORT)

    def next_message(self, timeout: float | None = None, on_arrival: ArrivalCallback | None = None) -> tuple[int, int]:
        """Receive the next message. The library's own close is (MessageCode.LINK_CLOSING, 0).

        Args:
            timeout: Seconds; None for no limit.
            on_arrival: Called when something has come and is not yet read, the moment to ask the system when it came;
                returns how many bytes to read, None for all. Callers that give it must go on calling this: `get` then
                leaves the messages alone.

        Returns:
            The code and the argument.

        Raises:
            LinkTimeout: None came in time.
            LinkClosed: The link has ended.
            LinkError: `on_message` was called.
        """
        return self._messages.next(Deadline(timeout), on_arrival)

    def on_message(self, callback: MessageCallback) -> None:
        """Have every message from now on given to a callback, in a thread started for that.

        A kernel learns of an abort that way while it evaluates.

        Args:
            callback: Gets the code and the argument. An exception in it is logged.

        Raises:
            LinkClosed: `close` was called.
        """
        self._check_open()
        self._messages.start(callback)

    # Both connections

    def detach(self) -> DetachedLink:
        """Give the connections away, for a program that passes bytes on. This link must not be used any more.

        Nothing may be on its way in that was asked for here: an expression that has been received in part is lost.
        """
        messages, received = self._messages.detach()
        self._closed = True
        return DetachedLink(self._data, messages, self._receiver.take_rest(), received)

    def fileno(self) -> int:
        """Return the data connection's descriptor, for select. `get` may hold input that it has read already."""
        return self._data.fileno()

    def message_fileno(self) -> int:
        """Return the message connection's descriptor."""
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
        """End the link; whatever was put or sent as a message before still arrives. May be called twice.

        What the peer's system has not taken in time still goes out, unless the peer goes on sending. Unlike the library
        this sends no message 9, which would make the peer drop what it has not read (docs/wire-protocol.md, section 5).
        Messages are acknowledged before the data connection ends, since a peer that sees its end may look at nothing
        else: an abort that was sent just before is not lost.

        Args:
            timeout: Seconds to wait until the peer's system has taken everything.
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
        if self._has_sent_message:
            self._messages.flush(deadline)
        self._messages.finish_sending()
        self._data.finish_sending()
        with self._receiver.lock.if_free() as owned:
            if owned:
                self._data.linger(deadline)
        self._data.wake()
        self._messages.close()
        # Threads that were waiting have been woken, and release their locks at once.
        with self._receiver.lock.if_free(_RELEASE), self._writing.if_free(_RELEASE):
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


#: Seconds without data after the peer said that it closes that count as the end, and between two looks for that.
_SILENCE: Final = 1.0
#: Bytes received while a put waits for a peer that is itself sending.
_READ_AHEAD: Final = 1 << 30


class Receiver:
    """The receiving half of a link: returns the expressions that come in, to one thread at a time.

    While it waits it receives messages too, unless another thread does: there the peer says that it closes.

    Args:
        data: The data connection.
        messages: The message connection.
        decoder: Makes expressions of the bytes.
        where: The name of the link in errors.

    Attributes:
        lock: Held by the thread that receives.
        closed: Set when this program closes the link.
    """

    def __init__(self, data: Connection, messages: MessageChannel, decoder: Decoder, where: str) -> None:
        self._data = data
        self._messages = messages
        self._decoder = decoder
        self._where = where
        self._ready: deque[Expression] = deque()  # what `ready` found, and what was put back
        self._closing_deadline: Deadline | None = None  # with the connections of a peer that has said that it closes
        self._read_ahead_left = _READ_AHEAD
        self.lock = OwnedLock(where, "another thread is receiving")
        self.closed = False

    def next(self, deadline: Deadline) -> Expression | None:
        """Wait for the next expression.

        Returns:
            The expression; None if the deadline comes first.

        Raises:
            LinkTimeout: Another thread receives.
            LinkClosed: The link has ended.
            RemoteProtocolError: The peer sent bytes that are not WSTP.
        """
        with self.lock.within(deadline):
            self._read_ahead_left = _READ_AHEAD
            if not self._ready and not self._fetch(deadline):
                return None
            return self._ready.popleft()

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

    def take_rest(self) -> bytes:
        """The bytes received behind the last expression that `next` returned or `ready` found."""
        return self._decoder.take_rest()

    def put_back(self, expressions: Iterable[Expression]) -> None:
        """Return these first."""
        with self.lock.within(Deadline(0)):
            self._ready.extendleft(reversed(tuple(expressions)))

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
            if self._messages.closing and self._closing_deadline is None:
                self._closing_deadline = Deadline(_SILENCE)
            unattended = self._messages.unattended()
            look = self._next_look(deadline, watches_messages=unattended is not None)
            readable, message = self._data.wait_with(unattended, look)
            if readable:
                data = self._data.receive_now()
                if data is not None:
                    self._closing_deadline = None
                    return data
            elif message:
                self._messages.take_now()
            elif self._closing_deadline is not None and self._closing_deadline.expired:
                return b""
            elif deadline.expired:
                return None

    def _next_look(self, deadline: Deadline, *, watches_messages: bool) -> Deadline:
        """Until when to wait before something else is to be looked at."""
        if self._closing_deadline is not None:
            return deadline.at_most(self._closing_deadline.remaining() or 0.0)
        return deadline if watches_messages else deadline.at_most(_SILENCE)

    def _ended(self) -> LinkClosed:
        if self.closed:
            return LinkClosed("the link was closed by this program", self._where)
        reason = self._data.end_reason
        if not self._decoder.at_boundary:
            reason += ", in the middle of an expression"
        return LinkClosed(reason, self._where)
