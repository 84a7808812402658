"""The message connection of a link: interrupts, aborts and other messages that overtake the data."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Final

from wstpserver.client.deadline import Deadline, OwnedLock
from wstpserver.client.errors import LinkClosed, LinkError, LinkTimeout, logger
from wstpserver.client.transport import Connection
from wstpserver.wire.packets import MessageReader, encode_message

#: Messages kept for a program that does not ask for them; older ones are dropped.
_KEPT: Final = 4096

#: Called with the code and the argument of a message.
MessageCallback = Callable[[int, int], None]

#: Called when messages have come and are not yet read; says how many bytes of them to read, None for all.
ArrivalCallback = Callable[[], "int | None"]


class MessageChannel:
    """Sends and receives messages. Any thread may send; one thread at a time receives.

    Args:
        connection: The message connection.
        where: The name of the link in errors.
        leftover: Bytes received already.
    """

    def __init__(self, connection: Connection, where: str, leftover: bytes = b"") -> None:
        self._connection = connection
        self._where = where
        self._reader = MessageReader()
        self._received: deque[tuple[int, int]] = deque(self._reader.feed(leftover), _KEPT)
        self._sending = OwnedLock(where, "another thread is sending a message")
        self._receiving = OwnedLock(where, "another thread is waiting for messages")
        self._callback: MessageCallback | None = None
        self._attended = False
        self._thread: threading.Thread | None = None

    def fileno(self) -> int:
        """Return the descriptor of the connection."""
        return self._connection.fileno()

    @property
    def closing(self) -> bool:
        """Whether the peer has said that it closes the link, as far as messages have been received."""
        return self._reader.closing

    def unattended(self) -> Connection | None:
        """The connection, if no thread is reading it and it may still say something."""
        attended = self._attended or self._callback is not None or self._receiving.locked()
        if attended or self._connection.ended or self.closing:
            return None
        return self._connection

    def take_now(self) -> None:
        """Receive what is there and keep it for `next`, unless another thread does."""
        with self._receiving.if_free() as owned:
            data = self._connection.receive_now() if owned else None
            if data:
                self._received.extend(self._reader.feed(data))

    def send(self, code: int, argument: int, deadline: Deadline) -> None:
        """Send a message in one write.

        Args:
            code: The code (`wstpserver.wire.packets.MessageCode`).
            argument: The argument.
            deadline: When to give up.

        Raises:
            LinkClosed: The link has ended.
            LinkTimeout: The peer takes nothing; the message follows with the next one.
        """
        with self._sending.within(deadline):
            unsent = self._connection.send(encode_message(code, argument), deadline)
        if unsent:
            raise LinkTimeout(f"the other side takes no messages {deadline}", self._where)

    def next(self, deadline: Deadline, on_arrival: ArrivalCallback | None = None) -> tuple[int, int]:
        """Wait for the next message.

        Args:
            deadline: When to give up.
            on_arrival: Called when something has come, before it is read; returns how many bytes to read, None for all.
                Callers that give it must go on calling this: a thread that waits for data leaves the messages alone
                from then on.

        Returns:
            The code and the argument.

        Raises:
            LinkTimeout: None came in time.
            LinkClosed: The connection has ended.
            LinkError: A callback gets the messages (`start`).
        """
        self._attended = self._attended or on_arrival is not None
        if self._callback is not None:
            raise LinkError("messages of this link go to its callback", self._where)
        with self._receiving.within(deadline):
            while not self._received:
                if not self._connection.wait_readable(deadline):
                    raise LinkTimeout(f"no message {deadline}", self._where)
                # What comes after the deadline waits for the next call: nothing is read before `on_arrival` was asked.
                self._receive_now(None if on_arrival is None else on_arrival())
            return self._received.popleft()

    def _receive_now(self, at_most: int | None = None) -> None:
        """Read once what is there, which may be nothing after all. LinkClosed at the end."""
        data = self._connection.receive_now(at_most)
        if data == b"":
            raise LinkClosed(f"no more messages: {self._connection.end_reason}", self._where)
        if data:
            self._received.extend(self._reader.feed(data))

    def start(self, callback: MessageCallback) -> None:
        """From now on hand every message to `callback` in a thread of its own, the waiting ones first."""
        first = self._callback is None
        self._callback = callback
        if first:
            name = f"messages of {self._where}"
            self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
            self._thread.start()

    def _serve(self) -> None:
        with self._receiving.within(Deadline(None)):
            while True:
                while self._received:
                    self._hand_over(*self._received.popleft())
                self._connection.wait_readable(Deadline(None))
                try:
                    self._receive_now()
                except LinkClosed:
                    return

    def _hand_over(self, code: int, argument: int) -> None:
        callback = self._callback
        assert callback is not None
        try:
            callback(code, argument)
        except Exception:
            # The link must receive later aborts even though a callback has failed.
            logger(__name__).exception("%s: the callback for message %d failed", self._where, code)

    def flush(self, deadline: Deadline) -> None:
        """Send what an earlier `send` left over, and wait until the peer's system has everything."""
        with self._sending.if_free(deadline.remaining() or 0.0) as owned:
            if owned:
                self._connection.flush(deadline)

    def detach(self) -> tuple[Connection, bytes]:
        """Give the connection away, with the messages that were received and not asked for. No thread may use it."""
        received = b"".join(encode_message(code, argument) for code, argument in self._received)
        self._received.clear()
        return self._connection, received

    def finish_sending(self) -> None:
        """Tell the peer that no more messages will come."""
        self._connection.finish_sending()

    def close(self) -> None:
        """End the connection, and the thread that serves it unless that is the caller."""
        self._connection.wake()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(_CALLBACK_TIME)
        self._connection.close()


#: Seconds to wait for a callback that is still at work when the link is closed.
_CALLBACK_TIME: Final = 1.0
