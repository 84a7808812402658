"""The receiving half of a link: bytes from the data connection, made into expressions."""

from __future__ import annotations

from typing import Final

from wstpserver.client.connection import Connection
from wstpserver.client.deadline import Deadline
from wstpserver.client.errors import LinkClosed
from wstpserver.client.locks import OwnedLock
from wstpserver.client.messages import MessageChannel
from wstpserver.wire.decode import NEED_DATA, Decoder
from wstpserver.wire.errors import RemoteProtocolError
from wstpserver.wire.values import Expression

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
