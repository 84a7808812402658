"""The handshake replayed from recorded conversations, each side in turn played by ours, whole and in pieces."""
from __future__ import annotations

import itertools
import re

import pytest

from tests.support.cases import for_all, for_each
from tests.wire.replay import Conversation, load_conversations, pieces, said_to
from wstpserver.wire.errors import RemoteProtocolError
from wstpserver.wire.handshake import (
    ConnectAgain,
    ConnectHandshake,
    Event,
    GreetingComplete,
    Handshake,
    LinkIdentified,
    ListenHandshake,
    MessagePort,
)

WORDS = bytes.fromhex("03000000000000000000000000000000")
UUID = "23E744F7-9AE5-481E-B5EA-9AE4CBF1C047"
FIRST = """Math Link %d
-libraryid '!&*' -decoders 0
-numericsid boxer -tokens 33,98,100,102,116,118,120 -textid 'Jan 01 2026, 00:00:00' -formats 1,2,3,4,5,6,7
"""
#: the version we say -> our first lines; both versions -> the lines behind them
OURS = {version: (FIRST % version).encode() for version in (4, 6)}
THEN = {3: b"", 4: b"-envid ''\n", 6: b"-envid ''\n-symboldicts 0 -stringdicts 0\nSupport6digitAsciiUnicode\n"}


def version_in(stream: bytes) -> int:
    match = re.search(rb"Math Link (\d)", stream)
    assert match is not None
    return int(match[1])


def answer_to(version: int) -> bytes:
    """Our whole greeting to a peer whose version we read first."""
    ours = 6 if version >= 6 else 4
    return OURS[ours] + THEN[min(ours, version)]


CONVERSATIONS = load_conversations()
#: Sizes of pieces; None for all at once.
SIZES = [None, 1, 2, 3, 7, 50]
#: Each conversation in pieces of each size.
in_pieces = for_each(list(itertools.product(CONVERSATIONS, SIZES)), lambda case: f"{case[0].name} by {case[1]}")


def converse(handshake: Handshake, data: bytes, size: int | None) -> tuple[list[Event], bytes]:
    """Feed `data` in pieces: (events, everything the handshake had to say)."""
    events: list[Event] = []
    sent = handshake.data_to_send()
    for piece in pieces(data, size):
        events += handshake.receive_data(piece)
        sent += handshake.data_to_send()
    return events, sent


@in_pieces
def test_listening_side(case: tuple[Conversation, int | None]) -> None:
    """It reads the peer's version and answers 6 to 6, and 4 to everything below."""
    conversation, size = case
    recorded = conversation.first_bytes(0)
    version = version_in(recorded)
    before, after = said_to(6 if version == 6 else 4, recorded)
    handshake = ListenHandshake()
    if conversation.is_classic:
        handshake.set_message_port(45419)
    events, sent = converse(handshake, before + after, size)
    identified, complete = events
    assert isinstance(identified, LinkIdentified)
    assert isinstance(complete, GreetingComplete)
    assert (complete.peer.version, complete.peer.words["numericsid"]) == (version, "boxer")
    assert handshake.complete
    assert handshake.peer == complete.peer
    assert handshake.version == (6 if version == 6 else 4)
    assert handshake.leftover() == after
    assert handshake.leftover() == b""
    if conversation.is_classic:
        asks = before[13:14] == b"Y"
        assert identified == LinkIdentified("classic", None, "data", asks)
        assert sent == (b"msg_port=45419Y" if asks else b"OKY") + answer_to(version)
    else:
        assert identified == LinkIdentified("uuid", before[3:39].decode(), "data")
        assert sent == WORDS + answer_to(version)


@in_pieces
def test_message_connection_of_uuid_mode(case: tuple[Conversation, int | None]) -> None:
    conversation, size = case
    if conversation.is_classic:
        assert not conversation.first_bytes(1).startswith(b"id=")  # nothing goes before the messages
        return
    said = conversation.first_bytes(1)
    handshake = ListenHandshake()
    events, sent = converse(handshake, said, size)
    assert events == [LinkIdentified("uuid", said[3:39].decode(), "mesg")]
    assert sent == b""
    assert handshake.complete
    assert handshake.leftover() == said[55:]
    assert handshake.offset == len(said)


@for_each(
    list(itertools.product(CONVERSATIONS, SIZES, [6, 4])), lambda case: f"{case[0].name} by {case[1]} in {case[2]}"
)
def test_connecting_side(case: tuple[Conversation, int | None, int]) -> None:
    """In UUID mode it says 6 at once, and again 4 where that does not do; in classic mode it reads first."""
    conversation, size, ours = case
    recorded, heard = conversation.first_bytes(0), b"".join(conversation.listening[0])
    version = version_in(heard)
    if conversation.is_classic:
        handshake = ConnectHandshake("classic", message_port_known=recorded.startswith(b"need_msg_portN"))
        opening, ours = recorded[:14], 6 if version >= 6 else 4
    else:
        handshake = ConnectHandshake("uuid", uuid=recorded[3:39].decode(), version=ours)
        opening = recorded[:71]
    before, after = said_to(ours, heard)
    events, sent = converse(handshake, before + after, size)
    if (ours, version) == (6, 5):
        assert events == [ConnectAgain(4)]
        assert not handshake.complete
        assert sent == opening + OURS[6]
        assert handshake.version is None
        return
    assert sent == opening + OURS[ours] + THEN[min(ours, version)]
    *port, complete = events
    assert port == [MessagePort(int(found)) for found in re.findall(rb"msg_port=(\d+)Y", before)]
    assert isinstance(complete, GreetingComplete)
    assert complete.peer.version == version
    assert handshake.version == min(ours, version)
    assert ("envid" in complete.peer.words) == (version >= 4)
    assert handshake.leftover() == after


@for_each(CONVERSATIONS, lambda conversation: conversation.name)
def test_connecting_message_connection_of_uuid_mode(conversation: Conversation) -> None:
    if conversation.is_classic:
        handshake = ConnectHandshake("classic", "mesg")
        assert (handshake.data_to_send(), handshake.complete) == (b"", True)
        return
    recorded = conversation.first_bytes(1)
    handshake = ConnectHandshake("uuid", "mesg", recorded[3:39].decode())
    assert handshake.data_to_send() == recorded[:55]
    assert handshake.complete


@for_each(list(itertools.product(["uuid", "classic"], [True, False], [4, 6], SIZES)))
def test_ours_with_ours(case: tuple[str, bool, int, int | None]) -> None:
    """In classic mode both read first, and the listening side speaks when it is told that nothing comes."""
    mode, known, said, size = case
    listening = ListenHandshake()
    if mode == "uuid":
        connecting = ConnectHandshake("uuid", uuid=UUID, version=said)
    else:
        connecting = ConnectHandshake("classic", message_port_known=known)
    events: list[Event] = []
    silences = 0
    while not (listening.complete and connecting.complete):
        outgoing = connecting.data_to_send()
        for piece in pieces(outgoing, size):
            events += listening.receive_data(piece)
        if any(isinstance(event, LinkIdentified) and event.needs_message_port for event in events):
            listening.set_message_port(40319)
        if not outgoing and listening.awaits_greeting:
            silences += 1
            listening.speak(said)
        answer = listening.data_to_send()
        for piece in pieces(answer, size):
            events += connecting.receive_data(piece)
        assert outgoing or answer, "both sides wait"
    assert sum(isinstance(event, GreetingComplete) for event in events) == 2
    assert (MessagePort(40319) in events) == (mode == "classic" and not known)
    assert listening.version == connecting.version == said
    assert silences == (mode == "classic")


@for_all(("version", "ours"), [(3, 4), (4, 4), (5, 4), (6, 6), (7, 6), (10, 6)])
def test_our_version_is_said_when_that_of_the_peer_is_there(version: int, ours: int) -> None:
    handshake = ListenHandshake()
    handshake.receive_data(f"id={UUID} connection=data".encode() + WORDS)
    assert handshake.data_to_send() == WORDS + b"Math Link"  # the library waits for that much
    assert not handshake.awaits_greeting
    assert handshake.receive_data(b"Math Link ") == []
    assert handshake.data_to_send() == b""
    handshake.receive_data(b"%d" % version)  # and then for our version, before it ends its line
    assert b"Math Link" + handshake.data_to_send() == OURS[ours]
    handshake.receive_data(b"\n")
    assert handshake.data_to_send() == THEN[min(ours, version)]


def lockstep(one: Handshake, other: Handshake) -> None:
    """The two talk with one byte on its way at a time."""
    streams = [bytearray(), bytearray()]
    sides = [one, other]
    while not (one.complete and other.complete):
        moved = False
        for index, side in enumerate(sides):
            streams[index] += side.data_to_send()
            if streams[index] and not sides[1 - index].complete:
                sides[1 - index].receive_data(bytes([streams[index].pop(0)]))
                moved = True
        assert moved, "both sides wait"


def test_a_greeting_in_lockstep() -> None:
    listening, connecting = ListenHandshake(), ConnectHandshake("uuid", uuid=UUID)
    lockstep(listening, connecting)
    assert listening.version == connecting.version == 6


def test_speaking_is_only_for_a_peer_that_says_nothing() -> None:
    handshake = ListenHandshake()
    handshake.speak()
    handshake.receive_data(b"need_msg_portN")
    assert handshake.data_to_send() == b"OKYMath Link"
    assert handshake.awaits_greeting
    handshake.receive_data(b"Math Link ")
    assert handshake.awaits_greeting
    handshake.receive_data(b"6")
    assert not handshake.awaits_greeting
    assert b"Math Link" + handshake.data_to_send() == OURS[6]
    handshake.speak()
    assert handshake.data_to_send() == b""
    handshake.receive_data(b"\n")
    assert handshake.data_to_send() == THEN[6]
    handshake.speak()
    assert handshake.data_to_send() == b""


@for_all("version", [3, 4, 5, 6])
def test_what_was_said_into_the_silence_suits_every_peer(version: int) -> None:
    """A greeting that was under way meets ours: the lower version counts, and ours is 4."""
    handshake = ListenHandshake()
    handshake.receive_data(b"need_msg_portN")
    assert handshake.data_to_send() == b"OKYMath Link"
    handshake.speak()
    assert b"Math Link" + handshake.data_to_send() == OURS[4]
    agreed = min(4, version)
    lines = b"".join([FIRST.encode() % version, THEN[agreed], b"\xa1\1\n]"])
    handshake.receive_data(lines)
    assert handshake.data_to_send() == THEN[agreed]
    assert (handshake.complete, handshake.version, handshake.leftover()) == (True, agreed, b"\xa1\1\n]")


def test_a_peer_that_was_told_6_and_says_5_is_refused() -> None:
    handshake = ListenHandshake()
    handshake.receive_data(b"need_msg_portN")
    handshake.speak(6)
    with pytest.raises(RemoteProtocolError, match="version 5, which does not suit our 6"):
        handshake.receive_data(b"Math Link 5\n")


@for_all("mode", ["uuid", "classic"])
@for_all("version", [4, 6])
def test_a_client_says_that_it_wants_no_kernel(mode: str, version: int) -> None:
    listening = ListenHandshake()
    connecting = ConnectHandshake(mode, uuid=UUID, message_port_known=True, without_kernel=True)  # type: ignore[arg-type]
    while not listening.complete:
        listening.receive_data(connecting.data_to_send())
        listening.speak(version)
        connecting.receive_data(listening.data_to_send())
    assert listening.peer is not None
    assert listening.peer.without_kernel


def test_message_port_is_given_when_the_caller_has_it() -> None:
    handshake = ListenHandshake()
    assert handshake.receive_data(b"need_msg_portY") == [LinkIdentified("classic", None, "data", True)]
    assert handshake.data_to_send() == b""
    assert not handshake.awaits_greeting
    handshake.set_message_port(1)
    assert handshake.data_to_send() == b"msg_port=1YMath Link"
    assert handshake.awaits_greeting


def test_uuid_in_lower_case_is_the_same_link() -> None:
    handshake = ListenHandshake()
    (event,) = handshake.receive_data(b"id=23e744f7-9ae5-481e-b5ea-9ae4cbf1c047 connection=mesg")
    assert isinstance(event, LinkIdentified)
    assert event.uuid == "23E744F7-9AE5-481E-B5EA-9AE4CBF1C047"
