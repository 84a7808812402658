"""The connections of one listening endpoint, from accepted to open links (docs/wire-protocol.md, section 1).

A link is two TCP connections, data and messages, that arrive in either order among those of other links. `Pairing`
takes what comes in on them, says what is to be sent, and reports which two are a link. It does no input or output and
has no clock: its callers accept, receive, send, close and count seconds, and carry out the events that every call
returns, in their order.

    pairing = Pairing()
    connection = pairing.accept(sock)                  # sock: whatever the caller knows the connection by
    for event in pairing.receive(connection, data):
        match event:
            case Send(connection, data): ...
            case LinkOpened(data, messages, unsent): ...
            ...

UUID mode: both connections come to one port and say the UUID of their link. Classic mode: the message connection says
nothing. It comes to a port that was opened for this one link (`OpenMessagePort`), or to the second port of the link
name, which all links share: then they take turns, and the next one has the answer to its first line when the message
connection of the one before has come.
"""

from __future__ import annotations

from collections import deque
from collections.abc import KeysView, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, Generic, TypeAlias, TypeVar

from wstpserver.wire.errors import LocalProtocolError, RemoteProtocolError
from wstpserver.wire.handshake import LOWER_VERSION, LinkIdentified, ListenHandshake, PeerGreeting

T = TypeVar("T")

#: Seconds of silence after which the peer of a classic link may be waiting for us to greet; see `AwaitSilence`. To a
#: distant peer, twice the time that a packet takes there and back is better where the caller knows it.
SPEAK_AFTER: Final = 0.05


# -- the states of a connection ---------------------------------------------------------------------------------------


class LinkState(Enum):
    """How far a connection has come on its way to being one half of a link."""

    # the hash of an enum is a function in Python, and these are keys where it counts
    __hash__ = object.__hash__

    #: It was accepted and has not said what it is.
    ACCEPTED = auto()
    #: It has said what it is; the other connection of its link has not come.
    IDENTIFIED = auto()
    #: Both connections of the link are here; the greeting on the data connection is not complete.
    PAIRED = auto()
    #: The link is complete and has left the pairing.
    OPEN = auto()
    #: It becomes no link, or the link has been ended.
    CLOSING = auto()


class LinkStep(Enum):
    """What moves a connection from one state to the next."""

    # the hash of an enum is a function in Python, and these are keys where it counts
    __hash__ = object.__hash__

    #: It has said what it is; a classic message connection says so by the port it comes to.
    IDENTIFY = auto()
    #: The other connection of its link is here.
    PAIR = auto()
    #: The greeting on the data connection of its link is complete.
    GREET = auto()
    #: It failed, was given up, or has ended; or the other connection has.
    END = auto()


# Members of an enum are slow to look up.
_PAIRED = LinkState.PAIRED
_CLOSING = LinkState.CLOSING

#: state -> step -> next state. What is not here cannot happen.
TRANSITIONS: Final[Mapping[LinkState, Mapping[LinkStep, LinkState]]] = {
    LinkState.ACCEPTED: {LinkStep.IDENTIFY: LinkState.IDENTIFIED, LinkStep.END: LinkState.CLOSING},
    LinkState.IDENTIFIED: {LinkStep.PAIR: LinkState.PAIRED, LinkStep.END: LinkState.CLOSING},
    LinkState.PAIRED: {LinkStep.GREET: LinkState.OPEN, LinkStep.END: LinkState.CLOSING},
    LinkState.OPEN: {LinkStep.END: LinkState.CLOSING},
    LinkState.CLOSING: {},
}


class LinkConnection(Generic[T]):
    """One TCP connection. Made by `Pairing.accept`.

    Attributes:
        transport: What the caller knows it by.
        identity: What it has said it is, once it has; None for a classic message connection.
        partner: The other connection of its link, while they are PAIRED.
    """

    # members of an enum are slow to look up, and what most connections never set is set here
    identity: LinkIdentified | None = None
    partner: LinkConnection[T] | None = None
    _state = LinkState.ACCEPTED

    def __init__(self, transport: T, handshake: ListenHandshake | None) -> None:
        self.transport = transport
        self._handshake = handshake  # None: a classic message connection has none

    @property
    def state(self) -> LinkState:
        """How far it has come."""
        return self._state

    @property
    def reads(self) -> bool:
        """Whether what comes in on it is for the pairing. If not, the bytes are the link's and can stay unread."""
        handshake = self._handshake
        return handshake is not None and not handshake.complete and self._state is not _CLOSING

    @property
    def peer(self) -> PeerGreeting | None:
        """What the peer said about itself; None before its greeting is complete, and for message connections."""
        return None if self._handshake is None else self._handshake.peer

    @property
    def version(self) -> int | None:
        """The version of the greeting both sides keep to, 3, 4 or 6; None as for `peer`."""
        return None if self._handshake is None else self._handshake.version

    @property
    def offset(self) -> int:
        """Bytes that were used for the handshake: where `leftover` begins in the stream."""
        return 0 if self._handshake is None else self._handshake.offset

    def leftover(self) -> bytes:
        """What came in behind the handshake, handed out once."""
        return b"" if self._handshake is None else self._handshake.leftover()

    def _move(self, step: LinkStep) -> None:
        """The only place where `state` changes."""
        try:
            self._state = TRANSITIONS[self._state][step]
        except KeyError:
            raise LocalProtocolError(f"{step.name} of a connection that is {self._state.name}") from None


# -- events -----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Send(Generic[T]):
    """These bytes go out on the connection: far fewer than the system takes for a new connection without waiting."""

    connection: LinkConnection[T]
    data: bytes


@dataclass(slots=True)
class OpenMessagePort(Generic[T]):
    """A classic link needs a port for its message connection.

    The caller listens, calls `Pairing.set_message_port` with the port, and `Pairing.accept_message` with what connects
    there and the data connection that this event names.
    """

    connection: LinkConnection[T]


@dataclass(slots=True)
class AwaitSilence(Generic[T]):
    """The peer may be waiting for us to greet first (classic mode: our own connecting side does).

    The caller calls `Pairing.speak` if nothing has come in on the connection `SPEAK_AFTER` seconds from now. Where
    something has, that call does nothing, so no timer needs to be stopped.
    """

    connection: LinkConnection[T]


@dataclass(slots=True)
class LinkOpened(Generic[T]):
    """Two connections are a link, and have left the pairing.

    Attributes:
        data: The data connection; its `peer`, `version`, `offset` and `leftover()` are final.
        messages: The message connection; its `leftover()` may hold messages.
        unsent: The end of our greeting. Goes out on `data` before anything else, alone or together with that.
    """

    data: LinkConnection[T]
    messages: LinkConnection[T]
    unsent: bytes


@dataclass(slots=True)
class Dropped(Generic[T]):
    """The connection becomes no link; the caller closes it.

    Attributes:
        connection: Which.
        reason: Why, in words.
        ended: Whether the peer closed it, which is no fault of anybody; else it was refused.
    """

    connection: LinkConnection[T]
    reason: str
    ended: bool


Event: TypeAlias = Send[T] | OpenMessagePort[T] | AwaitSilence[T] | LinkOpened[T] | Dropped[T]


# -- the pairing ------------------------------------------------------------------------------------------------------


class Pairing(Generic[T]):
    """All connections of one listening endpoint that are no links yet.

    Args:
        message_port: The second port of the link name, to which the message connections of all classic links come; None
            where the name has one port.
    """

    def __init__(self, message_port: int | None = None) -> None:
        self._message_port = message_port
        self._pending: dict[LinkConnection[T], None] = {}
        #: Connections that are IDENTIFIED in UUID mode, by UUID and channel.
        self._waiting: dict[tuple[str, str], LinkConnection[T]] = {}
        #: Classic links whose message connection has not come to the shared port. Only the first hears from us.
        self._turns: deque[LinkConnection[T]] = deque()
        #: The connections that are no links yet, in the order in which they were accepted.
        self.pending: KeysView[LinkConnection[T]] = self._pending.keys()

    def accept(self, transport: T) -> LinkConnection[T]:
        """A connection to the port of the link name, or to the first one if it has two."""
        connection = LinkConnection(transport, ListenHandshake())
        self._pending[connection] = None
        return connection

    def receive(self, connection: LinkConnection[T], data: bytes) -> list[Event[T]]:
        """Takes what came in on a connection that `reads`; b"" is the end of what the peer sends."""
        handshake = connection._handshake
        if handshake is None or handshake.complete or connection._state is _CLOSING:
            raise LocalProtocolError("what comes in on this connection is not for the pairing")
        try:
            if not data:
                handshake.receive_end()
            happened = handshake.receive_data(data)
        except RemoteProtocolError as error:
            return self._dropped(connection, error.message, ended=not data)
        events: list[Event[T]] = []
        identity = connection.identity
        for event in happened:
            if isinstance(event, LinkIdentified):
                identity = event
                self._identified(connection, event, events)
        if identity is None or identity.channel == "data":
            self._go_on(connection, events)
        return events

    def set_message_port(self, connection: LinkConnection[T], port: int) -> list[Event[T]]:
        """Answers `OpenMessagePort`; nothing happens if the connection has been dropped meanwhile.

        Raises:
            LocalProtocolError: `port` is no port.
        """
        events: list[Event[T]] = []
        if connection.reads:
            self._tell_port(connection, port, events)
        return events

    def accept_message(self, transport: T, data: LinkConnection[T] | None = None) -> list[Event[T]]:
        """A connection to a message port, in classic mode.

        Args:
            transport: What the caller knows it by.
            data: The link that the port was opened for (`OpenMessagePort`); None for the shared port.
        """
        connection: LinkConnection[T] = LinkConnection(transport, None)
        events: list[Event[T]] = []
        if data is None and self._turns:
            data = self._turns.popleft()
        if data is None or data.state is not LinkState.IDENTIFIED:
            connection._move(LinkStep.END)
            return [Dropped(connection, "no classic link is waiting for a message connection", ended=False)]
        self._pending[connection] = None
        connection._move(LinkStep.IDENTIFY)
        self._pair(data, connection)
        self._go_on(data, events)
        self._give_turn(events)
        return events

    def speak(self, connection: LinkConnection[T], version: int = LOWER_VERSION) -> list[Event[T]]:
        """Greets first if the peer of a classic link still says nothing; see `AwaitSilence`.

        Args:
            connection: The data connection.
            version: What to say; see `ListenHandshake.speak`.
        """
        events: list[Event[T]] = []
        if connection._handshake is not None and connection.reads:
            connection._handshake.speak(version)
            self._go_on(connection, events)
        return events

    def drop(self, connection: LinkConnection[T], reason: str) -> list[Event[T]]:
        """Gives a connection up; nothing happens if it is a link or given up already."""
        if connection.state in (LinkState.OPEN, LinkState.CLOSING):
            return []
        return self._dropped(connection, reason, ended=False)

    def _identified(self, connection: LinkConnection[T], identity: LinkIdentified, events: list[Event[T]]) -> None:
        connection.identity = identity
        connection._move(LinkStep.IDENTIFY)
        if identity.uuid is not None:
            self._identified_by_uuid(connection, identity.uuid, identity.channel, events)
        elif self._message_port is not None:
            self._turns.append(connection)
            if identity.needs_message_port:
                self._tell_port(connection, self._message_port, events)
        elif identity.needs_message_port:
            events.append(OpenMessagePort(connection))
        else:
            events += self._dropped(connection, _NO_SECOND_PORT, ended=False)

    def _identified_by_uuid(
        self, connection: LinkConnection[T], uuid: str, channel: str, events: list[Event[T]]
    ) -> None:
        if (uuid, channel) in self._waiting:
            kind = "data" if channel == "data" else "message"
            events += self._dropped(connection, f"a second {kind} connection says that it is {uuid}", ended=False)
            return
        partner = self._waiting.pop((uuid, "mesg" if channel == "data" else "data"), None)
        if partner is None:
            self._waiting[uuid, channel] = connection
        elif channel == "data":
            self._pair(connection, partner)
        else:
            self._pair(partner, connection)
            self._go_on(partner, events)

    @staticmethod
    def _pair(data: LinkConnection[T], messages: LinkConnection[T]) -> None:
        data.partner, messages.partner = messages, data
        data._move(LinkStep.PAIR)
        messages._move(LinkStep.PAIR)

    def _give_turn(self, events: list[Event[T]]) -> None:
        """The first classic link of those that share a message port may hear from us."""
        if self._turns:
            self._go_on(self._turns[0], events)

    def _tell_port(self, connection: LinkConnection[T], port: int, events: list[Event[T]]) -> None:
        assert connection._handshake is not None, "classic links have a handshake"
        try:
            connection._handshake.set_message_port(port)
        except RemoteProtocolError as error:
            events += self._dropped(connection, error.message, ended=False)
        else:
            self._go_on(connection, events)

    def _go_on(self, connection: LinkConnection[T], events: list[Event[T]]) -> None:
        """Reports what there is to send on a data connection, and the link if it is complete."""
        handshake, identity = connection._handshake, connection.identity
        if handshake is None or connection._state is _CLOSING or (identity is not None and identity.channel == "mesg"):
            return
        if self._turns and connection in self._turns and connection is not self._turns[0]:
            return
        outgoing = handshake.data_to_send()
        if handshake.complete and connection._state is _PAIRED:
            self._open(connection, outgoing, events)
        elif outgoing:
            events.append(Send(connection, outgoing))
            if handshake.awaits_greeting:
                events.append(AwaitSilence(connection))

    def _open(self, connection: LinkConnection[T], unsent: bytes, events: list[Event[T]]) -> None:
        partner = connection.partner
        assert partner is not None, "a paired connection has a partner"
        for half in (connection, partner):
            half._move(LinkStep.GREET)
            half.partner = None  # which would keep both alive
            del self._pending[half]
        events.append(LinkOpened(connection, partner, unsent))

    def _dropped(self, connection: LinkConnection[T], reason: str, *, ended: bool) -> list[Event[T]]:
        """The connection and, if it has one, its partner become no link."""
        self._forget(connection)
        events: list[Event[T]] = [Dropped(connection, reason, ended)]
        if connection.partner is not None:
            self._forget(connection.partner)
            events.append(Dropped(connection.partner, f"the other connection of its link: {reason}", ended))
        if connection in self._turns:
            self._turns.remove(connection)
            self._give_turn(events)
        return events

    def _forget(self, connection: LinkConnection[T]) -> None:
        connection._move(LinkStep.END)
        self._pending.pop(connection, None)
        identity = connection.identity
        if identity is not None and identity.uuid is not None:
            key = (identity.uuid, identity.channel)
            if self._waiting.get(key) is connection:
                del self._waiting[key]


_NO_SECOND_PORT: Final = (
    "it names a message port of its own, but this endpoint has one port for everything; the client should use"
    " -linkoptions 4, or a link name with one port"
)
