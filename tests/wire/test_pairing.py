"""Connections of many links become these links, whatever the order in which they and their bytes come."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.support.cases import for_all, for_each
from wstpserver.wire.errors import LocalProtocolError
from wstpserver.wire.handshake import ConnectHandshake, GreetingComplete, MessagePort
from wstpserver.wire.pairing import (
    TRANSITIONS,
    AwaitSilence,
    Dropped,
    LinkConnection,
    LinkOpened,
    LinkState,
    LinkStep,
    OpenMessagePort,
    Pairing,
    Send,
)

FIRST = "23E744F7-9AE5-481E-B5EA-9AE4CBF1C047"
SECOND = "FF09EF14-8F7D-42C5-9FA3-912DFB3963C3"


class Peers:
    """Connecting sides of links, and the pairing they talk to: bytes travel when a test says so."""

    def __init__(self, message_port: int | None = None) -> None:
        self.pairing: Pairing[str] = Pairing(message_port)
        self.connections: dict[str, LinkConnection[str]] = {}
        self.handshakes: dict[str, ConnectHandshake] = {}
        self.towards: dict[str, bytearray] = {}  # bytes on their way to us
        self.links: list[LinkOpened[str]] = []
        self.dropped: list[Dropped[str]] = []
        self.asked: list[str] = []
        self.silent: list[LinkConnection[str]] = []

    def connect(self, name: str, handshake: ConnectHandshake) -> None:
        self.handshakes[name] = handshake
        self.connections[name] = self.pairing.accept(name)
        self.towards[name] = bytearray(handshake.data_to_send())

    def carry_out(self, events: list[Any]) -> None:
        for event in events:
            if isinstance(event, Send):
                self._deliver(event.connection.transport, event.data)
            elif isinstance(event, LinkOpened):
                self._deliver(event.data.transport, event.unsent)
                self.links.append(event)
            elif isinstance(event, OpenMessagePort):
                self.asked.append(event.connection.transport)
            elif isinstance(event, AwaitSilence):
                self.silent.append(event.connection)
            else:
                self.dropped.append(event)

    def _deliver(self, name: str, data: bytes) -> None:
        handshake = self.handshakes[name]
        for event in handshake.receive_data(data):
            if isinstance(event, GreetingComplete | MessagePort):
                self.towards[name + " saw " + type(event).__name__] = bytearray()
        self.towards[name] += handshake.data_to_send()

    def saw(self, name: str, event: type) -> bool:
        return f"{name} saw {event.__name__}" in self.towards

    def move(self, name: str, count: int | None = None) -> None:
        """Bytes of one connection arrive, as far as they are for the pairing."""
        connection = self.connections[name]
        data = bytes(self.towards[name][:count])
        if data and connection.reads:
            del self.towards[name][: len(data)]
            self.carry_out(self.pairing.receive(connection, data))

    def settle(self) -> None:
        """Everything arrives that is under way, and then the time of silence is over where one was awaited."""
        while any(self.towards[name] and self.connections[name].reads for name in self.connections) or self.silent:
            for name in list(self.connections):
                self.move(name)
            if not any(self.towards[name] and self.connections[name].reads for name in self.connections):
                silent, self.silent = self.silent, []
                for connection in silent:
                    self.carry_out(self.pairing.speak(connection))


def uuid_link(peers: Peers, name: str, uuid: str) -> None:
    peers.connect(f"{name} data", ConnectHandshake("uuid", "data", uuid))
    peers.connect(f"{name} messages", ConnectHandshake("uuid", "mesg", uuid))


@for_all("order", [["a data", "a messages"], ["a messages", "a data"]])
def test_the_two_connections_of_a_link_find_each_other_in_either_order(order: list[str]) -> None:
    peers = Peers()
    uuid_link(peers, "a", FIRST)
    for name in order:
        peers.move(name)
    peers.settle()
    assert [(link.data.transport, link.messages.transport) for link in peers.links] == [("a data", "a messages")]
    assert {connection.state for connection in peers.connections.values()} == {LinkState.OPEN}
    assert peers.saw("a data", GreetingComplete)
    assert peers.links[0].data.version == 6
    assert peers.links[0].messages.version is None
    assert not peers.pairing.pending


@for_each(range(40))
def test_links_come_about_however_their_bytes_are_interleaved(seed: int) -> None:
    rng = random.Random(seed)
    peers = Peers()
    links = [f"{rng.getrandbits(128):032X}" for _ in range(5)]
    for number, digits in enumerate(links):
        uuid_link(peers, str(number), "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])))
    names = list(peers.connections)
    while len(peers.links) < len(links):
        peers.move(rng.choice(names), rng.randint(1, 60))
    assert not peers.dropped
    assert not peers.pairing.pending
    for link in peers.links:
        assert link.data.transport.split()[0] == link.messages.transport.split()[0]
        assert link.data.peer is not None


def test_states_follow_what_came() -> None:
    peers = Peers()
    uuid_link(peers, "a", FIRST)
    data, messages = peers.connections["a data"], peers.connections["a messages"]
    assert (data.state, messages.state, data.reads) == (LinkState.ACCEPTED, LinkState.ACCEPTED, True)
    peers.move("a data", 54)
    assert data.state is LinkState.ACCEPTED
    peers.move("a data", 1)
    assert (data.state, data.partner) == (LinkState.IDENTIFIED, None)
    peers.move("a messages")
    assert (data.state, messages.state, messages.reads) == (LinkState.PAIRED, LinkState.PAIRED, False)
    assert (data.partner, messages.partner) == (messages, data)
    peers.settle()
    assert (data.state, messages.state, data.reads) == (LinkState.OPEN, LinkState.OPEN, False)


def test_what_comes_behind_the_handshake_is_the_links() -> None:
    peers = Peers()
    uuid_link(peers, "a", FIRST)
    peers.towards["a messages"] += b"\0\0\0\2\0\0\0\0"
    peers.move("a messages")
    peers.move("a data")
    while not peers.links:
        data = bytes(peers.towards["a data"])
        peers.towards["a data"].clear()
        peers.carry_out(peers.pairing.receive(peers.connections["a data"], data + b"\xa1\x07\n]" * (b"envid" in data)))
    (link,) = peers.links
    assert link.messages.leftover() == b"\0\0\0\2\0\0\0\0"
    assert link.data.leftover() == b"\xa1\x07\n]"
    assert link.data.leftover() == b""
    assert link.messages.offset == 55 + 8


@for_all(("channel", "word"), [("data", "data"), ("mesg", "message")])
def test_a_second_connection_that_says_the_same_is_refused_and_the_first_stays(channel: Any, word: str) -> None:
    peers = Peers()
    peers.connect("first", ConnectHandshake("uuid", channel, FIRST))
    peers.connect("second", ConnectHandshake("uuid", channel, FIRST))
    peers.settle()
    (dropped,) = peers.dropped
    assert dropped.connection.transport == "second"
    assert dropped.reason == f"a second {word} connection says that it is {FIRST}"
    assert not dropped.ended
    assert peers.connections["second"].state is LinkState.CLOSING
    peers.connect("partner", ConnectHandshake("uuid", "mesg" if channel == "data" else "data", FIRST))
    peers.settle()
    assert {peers.links[0].data.transport, peers.links[0].messages.transport} == {"first", "partner"}


def test_what_is_no_link_is_refused_with_what_it_is() -> None:
    peers = Peers()
    connection = peers.pairing.accept("browser")
    (dropped,) = peers.pairing.receive(connection, b"GET / HTTP/1.1\r\n\r\n")
    assert dropped == Dropped(connection, "the peer opened the connection with an HTTP request", ended=False)
    assert connection.state is LinkState.CLOSING
    assert not connection.reads
    assert not peers.pairing.pending
    with pytest.raises(LocalProtocolError, match="not for the pairing"):
        peers.pairing.receive(connection, b"more")


def test_the_end_of_one_connection_takes_the_other_along() -> None:
    peers = Peers()
    uuid_link(peers, "a", FIRST)
    peers.move("a data", 55)
    peers.move("a messages")
    events = peers.pairing.receive(peers.connections["a data"], b"")
    assert [(event.connection.transport, event.ended) for event in events if isinstance(event, Dropped)] == [
        ("a data", True), ("a messages", True),
    ]  # fmt: skip
    assert "the other connection of its link" in events[1].reason  # type: ignore[union-attr]
    assert not peers.pairing.pending
    uuid_link(peers, "b", FIRST)  # the UUID is free again
    peers.settle()
    assert len(peers.links) == 1


def test_given_up_connections_leave_no_trace() -> None:
    peers = Peers()
    peers.connect("late", ConnectHandshake("uuid", "data", FIRST))
    peers.settle()
    (dropped,) = peers.pairing.drop(peers.connections["late"], "its greeting did not come in time")
    assert isinstance(dropped, Dropped)
    assert (dropped.reason, dropped.ended) == ("its greeting did not come in time", False)
    assert peers.pairing.drop(peers.connections["late"], "again") == []
    uuid_link(peers, "a", FIRST)
    peers.settle()
    assert len(peers.links) == 1
    assert peers.pairing.drop(peers.links[0].data, "too late") == []


def test_pending_connections_are_in_the_order_of_their_coming() -> None:
    pairing: Pairing[int] = Pairing()
    for number in range(5):
        pairing.accept(number)
    assert [connection.transport for connection in pairing.pending] == [0, 1, 2, 3, 4]
    pairing.drop(next(iter(pairing.pending)), "no room")
    assert [connection.transport for connection in pairing.pending] == [1, 2, 3, 4]


# -- classic mode -----------------------------------------------------------------------------------------------------


def test_a_classic_link_has_a_message_port_opened() -> None:
    peers = Peers()
    peers.connect("classic", ConnectHandshake("classic"))
    peers.settle()
    assert peers.asked == ["classic"]
    connection = peers.connections["classic"]
    peers.carry_out(peers.pairing.set_message_port(connection, 36573))
    assert peers.saw("classic", MessagePort)
    peers.carry_out(peers.pairing.accept_message("messages", connection))
    peers.settle()
    (link,) = peers.links
    assert (link.data.transport, link.messages.transport) == ("classic", "messages")
    assert (link.messages.leftover(), link.messages.offset, link.messages.peer) == (b"", 0, None)
    assert peers.saw("classic", GreetingComplete)


def test_the_greeting_may_be_complete_before_the_message_connection_comes() -> None:
    peers = Peers()
    peers.connect("classic", ConnectHandshake("classic"))
    peers.settle()
    peers.carry_out(peers.pairing.set_message_port(peers.connections["classic"], 1024))
    peers.settle()
    assert not peers.connections["classic"].reads
    assert not peers.links
    peers.carry_out(peers.pairing.accept_message("messages", peers.connections["classic"]))
    assert len(peers.links) == 1


def test_a_port_for_a_link_that_is_gone_is_no_error() -> None:
    peers = Peers()
    peers.connect("classic", ConnectHandshake("classic"))
    peers.settle()
    connection = peers.connections["classic"]
    peers.carry_out(peers.pairing.receive(connection, b""))
    assert peers.pairing.set_message_port(connection, 1024) == []
    (dropped,) = peers.pairing.accept_message("messages", connection)
    assert isinstance(dropped, Dropped)
    assert (dropped.connection.transport, dropped.connection.state) == ("messages", LinkState.CLOSING)


def test_one_message_connection_is_enough() -> None:
    peers = Peers()
    peers.connect("classic", ConnectHandshake("classic"))
    peers.settle()
    peers.carry_out(peers.pairing.set_message_port(peers.connections["classic"], 1024))
    for name in ("messages", "more"):
        peers.carry_out(peers.pairing.accept_message(name, peers.connections["classic"]))
    peers.settle()
    assert [dropped.connection.transport for dropped in peers.dropped] == ["more"]
    assert peers.links[0].messages.transport == "messages"


def test_a_port_of_the_clients_own_is_refused_where_the_name_has_one_port() -> None:
    peers = Peers()
    peers.connect("classic", ConnectHandshake("classic", message_port_known=True))
    peers.settle()
    (dropped,) = peers.dropped
    assert "-linkoptions 4" in dropped.reason
    assert not peers.pairing.pending


@pytest.mark.parametrize("known", [True, False])
def test_classic_links_that_share_a_port_take_turns(known: Any) -> None:
    """Their message connections say nothing: only one link at a time knows that it may connect."""
    peers = Peers(message_port=40319)
    for name in ("first", "second", "third"):
        peers.connect(name, ConnectHandshake("classic", message_port_known=known))
        peers.settle()
    assert not peers.asked
    assert [peers.handshakes[name].offset > 0 for name in ("first", "second", "third")] == [True, False, False]
    peers.carry_out(peers.pairing.accept_message("of the first"))
    peers.settle()
    assert [peers.handshakes[name].offset > 0 for name in ("second", "third")] == [True, False]
    peers.carry_out(peers.pairing.drop(peers.connections["second"], "gone"))  # its turn passes on
    peers.settle()
    peers.carry_out(peers.pairing.accept_message("of the third"))
    peers.settle()
    assert [(link.data.transport, link.messages.transport) for link in peers.links] == [
        ("first", "of the first"), ("third", "of the third"),
    ]  # fmt: skip
    (dropped,) = peers.pairing.accept_message("of nobody")
    assert isinstance(dropped, Dropped)
    assert dropped.reason == "no classic link is waiting for a message connection"


def test_uuid_links_come_to_a_name_with_two_ports_as_well() -> None:
    peers = Peers(message_port=40319)
    uuid_link(peers, "a", SECOND)
    peers.settle()
    assert len(peers.links) == 1


@for_all("version", [4, 6])
def test_silence_is_ended_by_the_listening_side(version: int) -> None:
    peers = Peers(message_port=40319)
    peers.connect("ours", ConnectHandshake("classic", message_port_known=True))
    peers.move("ours")
    (connection,) = peers.silent
    peers.carry_out(peers.pairing.speak(connection, version))
    assert peers.pairing.speak(connection) == []
    peers.move("ours")
    peers.carry_out(peers.pairing.accept_message("messages"))
    assert [link.data.version for link in peers.links] == [version]
    assert peers.pairing.speak(connection) == []


def test_a_peer_that_greets_is_not_spoken_to_first() -> None:
    pairing: Pairing[str] = Pairing(message_port=40319)
    connection = pairing.accept("library")
    answer, silence = pairing.receive(connection, b"need_msg_portN")
    assert answer == Send(connection, b"OKYMath Link")
    assert silence == AwaitSilence(connection)
    assert pairing.receive(connection, b"Math Link") == []
    (greeting,) = pairing.receive(connection, b" 6")  # the library waits for our version before it ends the line
    assert isinstance(greeting, Send)
    assert greeting.data.startswith(b" 6\n-libraryid ")
    assert pairing.speak(connection) == []


def test_a_greeting_that_came_with_the_first_line_needs_no_silence() -> None:
    pairing: Pairing[str] = Pairing(message_port=40319)
    (sent,) = pairing.receive(pairing.accept("eager"), b"need_msg_portNMath Link 5\n")
    assert isinstance(sent, Send)
    assert sent.data.startswith(b"OKYMath Link 4\n")


# -- the table --------------------------------------------------------------------------------------------------------


def test_the_table_is_complete_and_every_state_can_be_reached() -> None:
    assert set(TRANSITIONS) == set(LinkState)
    reached = {LinkState.ACCEPTED}
    for _ in LinkState:
        reached |= {following for state in reached for following in TRANSITIONS[state].values()}
    assert reached == set(LinkState)
    for state, steps in TRANSITIONS.items():
        assert (LinkStep.END in steps) == (state is not LinkState.CLOSING)
