"""What both roles of the handshake share: bytes in, bytes out, events, and the exchange of greetings.

The conversation is a generator that yields wherever it must wait for the peer (or for the caller), so it
reads from top to bottom as it goes over the wire. docs/wire-protocol.md, sections 1 and 2.
"""
from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator
from typing import Literal, NamedTuple, TypeAlias, TypeVar

from .errors import RemoteProtocolError
from .foreign import describe, looks_like
from .greeting_lines import (
    COMMON_LINES,
    ENVIRONMENT_LINE,
    LINE_LIMIT,
    PeerGreeting,
    lines_after,
    read_version,
    read_words,
)

Mode: TypeAlias = Literal["uuid", "classic"]
Channel: TypeAlias = Literal["data", "mesg"]


class LinkIdentified(NamedTuple):
    """An accepted connection has said what it is.

    uuid pairs the two connections of a link in UUID mode (upper case). With needs_message_port, a classic
    link waits for `set_message_port`.
    """

    mode: Mode
    uuid: str | None
    channel: Channel
    needs_message_port: bool = False


class MessagePort(NamedTuple):
    """The listening side of a classic link waits for the message connection on this port."""

    port: int


class GreetingComplete(NamedTuple):
    """Both sides have greeted; expressions follow."""

    peer: PeerGreeting


Event: TypeAlias = LinkIdentified | MessagePort | GreetingComplete

T = TypeVar("T")
#: A step of the conversation: yields while it waits, returns what it read.
Step: TypeAlias = Generator[None, None, T]

#: The four 32-bit words both sides exchange in UUID mode. The library sends these and ignores what it gets.
WORDS = b"\x03\0\0\0" + b"\0" * 12

#: Bytes a peer may send ahead of its turn.
_AHEAD_LIMIT = 1 << 16


class Handshake(ABC):
    """Base of ListenHandshake and ConnectHandshake.

    Give it what comes in (`receive_data`, returns events) and send what it has to say (`data_to_send`) after
    making it and after every call, until `complete`; then `leftover()` has the bytes that came after its end.
    RemoteProtocolError, once raised, is raised by every further call.
    """

    #: The lines with which we begin our greeting.
    _lines = COMMON_LINES

    def __init__(self) -> None:
        #: Whether the handshake is over for this connection.
        self.complete = False
        #: The peer's greeting, once it is complete.
        self.peer: PeerGreeting | None = None
        self._received = bytearray()
        self._offset = 0  # of _received[0] in the stream
        self._outgoing = bytearray()
        self._events: list[Event] = []
        self._error: RemoteProtocolError | None = None
        self._steps = self._conversation()
        self._resume()

    @abstractmethod
    def _conversation(self) -> Step[None]:
        """The whole handshake; ends when this connection's part of it is over."""

    def receive_data(self, data: bytes | bytearray | memoryview) -> list[Event]:
        """Take bytes from the peer; return what happened. RemoteProtocolError if they are no handshake."""
        if self._error is not None:
            raise self._error
        self._received += data
        self._resume()
        events = self._events[:]
        self._events.clear()  # in place: a step may hold the list across a yield
        return events

    def receive_end(self) -> None:
        """The peer has closed the connection: RemoteProtocolError unless the handshake is complete."""
        if self._error is not None:
            raise self._error
        if not self.complete:
            seen = self._offset + len(self._received)
            known = looks_like(bytes(self._received))
            detail = f", after {known}" if known else f", after {seen} bytes of it" if seen else ""
            raise RemoteProtocolError("the peer closed the connection during the handshake" + detail, seen)

    def data_to_send(self) -> bytes:
        """The bytes to send now; each is handed out once."""
        outgoing = bytes(self._outgoing)
        self._outgoing.clear()
        return outgoing

    def leftover(self) -> bytes:
        """What came in behind the end of the handshake, handed out once; b"" before that end."""
        if not self.complete:
            return b""
        leftover = bytes(self._received)
        self._offset += len(leftover)
        self._received.clear()
        return leftover

    @property
    def offset(self) -> int:
        """Bytes of the connection that were used: where `leftover()` begins in the stream."""
        return self._offset

    def _resume(self) -> None:
        """Run the conversation as far as it goes."""
        if self.complete:
            return
        try:
            next(self._steps)
            if len(self._received) > _AHEAD_LIMIT:
                raise RemoteProtocolError(f"more than {_AHEAD_LIMIT} bytes ahead of the greeting", self._offset)
        except StopIteration:
            self.complete = True
        except RemoteProtocolError as error:
            self._error = error
            raise

    # Steps.

    def _read(self, size: int) -> Step[bytes]:
        """Exactly `size` bytes."""
        while len(self._received) < size:
            yield
        data = bytes(self._received[:size])
        del self._received[:size]
        self._offset += size
        return data

    def _read_line(self) -> Step[bytes]:
        """A line, without its line feed."""
        searched = 0
        while (end := self._received.find(b"\n", searched)) < 0:
            searched = len(self._received)
            if searched > LINE_LIMIT:
                raise RemoteProtocolError(f"a greeting line of more than {LINE_LIMIT} bytes", self._offset)
            yield
        if end > LINE_LIMIT:
            raise RemoteProtocolError(f"a greeting line of more than {LINE_LIMIT} bytes", self._offset)
        line = yield from self._read(end + 1)
        return line[:-1]

    def _greet(self) -> Step[None]:
        """Section 2, both directions."""
        self._outgoing += self._lines
        yield from self._hear_greeting()

    def _hear_greeting(self) -> Step[None]:
        """Read the peer's lines after ours have gone out, except the last.

        That one waits for the peer's version, which says whether there is to be one. It costs nothing: the peer
        has to have that line before our first expression and not sooner.
        """
        opening = b"Math Link "
        while not self._received.startswith(opening) and opening.startswith(self._received):
            yield
        if not self._received.startswith(opening):
            raise RemoteProtocolError(
                f"instead of a greeting the peer sent {describe(bytes(self._received))}", self._offset
            )
        start = self._offset
        version = read_version((yield from self._read_line()), start)
        if version >= 4:
            self._outgoing += ENVIRONMENT_LINE
        words: dict[str, str] = {}
        for _ in range(lines_after(version)):
            start = self._offset
            words.update(read_words((yield from self._read_line()), start))
        self.peer = PeerGreeting(version, words)
        self._events.append(GreetingComplete(self.peer))
