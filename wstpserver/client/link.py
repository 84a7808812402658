"""A link: expressions and messages to and from a kernel, a client or a server, with plain blocking calls."""

from __future__ import annotations

from typing import Final, NamedTuple

from wstpserver.client.connection import Connection
from wstpserver.client.deadline import Deadline
from wstpserver.client.errors import LinkClosed, LinkTimeout
from wstpserver.client.locks import OwnedLock
from wstpserver.client.messages import ArrivalCallback, MessageCallback, MessageChannel
from wstpserver.client.receiver import Receiver
from wstpserver.wire.decode import Decoder
from wstpserver.wire.encode import encode
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
