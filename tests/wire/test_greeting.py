"""The handshake replayed from recorded conversations, each side in turn played by ours, whole and in pieces."""
from __future__ import annotations

import re

import pytest

from tests.wire.replay import Conversation, as_version_4, load_conversations, pieces
from wstpserver.wire.handshake import (
    GREETING_V4,
    ConnectHandshake,
    Event,
    GreetingComplete,
    Handshake,
    LinkIdentified,
    ListenHandshake,
    MessagePort,
)

WORDS = bytes.fromhex("03000000000000000000000000000000")
OURS_TO_VERSION_3 = GREETING_V4.removesuffix(b"-envid ''\n")

conversations = pytest.mark.parametrize("conversation", load_conversations(), ids=lambda c: c.name)
in_pieces = pytest.mark.parametrize("size", [None, 1, 2, 3, 7, 50])


def converse(handshake: Handshake, data: bytes, size: int | None) -> tuple[list[Event], bytes]:
    """Feed `data` in pieces: (events, everything the handshake had to say)."""
    events: list[Event] = []
    sent = handshake.data_to_send()
    for piece in pieces(data, size):
        events += handshake.receive_data(piece)
        sent += handshake.data_to_send()
    return events, sent


@conversations
@in_pieces
def test_listening_side(conversation: Conversation, size: int | None) -> None:
    before, after = as_version_4(conversation.first_bytes(0))
    handshake = ListenHandshake()
    if conversation.is_classic:
        handshake.set_message_port(45419)
    events, sent = converse(handshake, before + after, size)
    identified, complete = events
    assert isinstance(identified, LinkIdentified)
    assert isinstance(complete, GreetingComplete)
    assert (complete.peer.version, complete.peer.words["numericsid"]) == (
        int(re.search(rb"Math Link (\d)", before)[1]),  # type: ignore[index]
        "boxer",
    )
    assert handshake.complete
    assert handshake.peer == complete.peer
    assert handshake.leftover() == after
    assert handshake.leftover() == b""
    if conversation.is_classic:
        asks = before[13:14] == b"Y"
        assert identified == LinkIdentified("classic", None, "data", asks)
        assert sent == (b"msg_port=45419Y" if asks else b"OKY") + GREETING_V4
    else:
        assert identified == LinkIdentified("uuid", before[3:39].decode(), "data")
        assert sent == WORDS + GREETING_V4


@conversations
@in_pieces
def test_message_connection_of_uuid_mode(conversation: Conversation, size: int | None) -> None:
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


@conversations
@in_pieces
def test_connecting_side(conversation: Conversation, size: int | None) -> None:
    before, after = as_version_4(b"".join(conversation.listening[0]))
    version = int(re.search(rb"Math Link (\d)", before)[1])  # type: ignore[index]
    recorded = conversation.first_bytes(0)
    ours = OURS_TO_VERSION_3 if version == 3 else GREETING_V4
    if conversation.is_classic:
        handshake = ConnectHandshake("classic", message_port_known=recorded.startswith(b"need_msg_portN"))
        opening = recorded[:14]
    else:
        handshake = ConnectHandshake("uuid", uuid=recorded[3:39].decode())
        opening = recorded[:71]
    events, sent = converse(handshake, before + after, size)
    assert sent == opening + ours
    *port, complete = events
    assert port == [MessagePort(int(found)) for found in re.findall(rb"msg_port=(\d+)Y", before)]
    assert isinstance(complete, GreetingComplete)
    assert complete.peer.version == version
    assert ("envid" in complete.peer.words) == (version >= 4)
    assert handshake.leftover() == after


@conversations
def test_connecting_message_connection_of_uuid_mode(conversation: Conversation) -> None:
    if conversation.is_classic:
        handshake = ConnectHandshake("classic", "mesg")
        assert (handshake.data_to_send(), handshake.complete) == (b"", True)
        return
    recorded = conversation.first_bytes(1)
    handshake = ConnectHandshake("uuid", "mesg", recorded[3:39].decode())
    assert handshake.data_to_send() == recorded[:55]
    assert handshake.complete


@pytest.mark.parametrize("mode", ["uuid", "classic"])
@pytest.mark.parametrize("known", [True, False])
@in_pieces
def test_ours_with_ours(mode: str, known: bool, size: int | None) -> None:
    uuid = "23E744F7-9AE5-481E-B5EA-9AE4CBF1C047"
    listening = ListenHandshake()
    connecting = ConnectHandshake(mode, uuid=uuid, message_port_known=known)  # type: ignore[arg-type]
    events: list[Event] = []
    while not (listening.complete and connecting.complete):
        outgoing = connecting.data_to_send()
        for piece in pieces(outgoing, size):
            events += listening.receive_data(piece)
        if any(isinstance(event, LinkIdentified) and event.needs_message_port for event in events):
            listening.set_message_port(40319)
        answer = listening.data_to_send()
        for piece in pieces(answer, size):
            events += connecting.receive_data(piece)
        assert outgoing or answer, "both sides wait"
    assert sum(isinstance(event, GreetingComplete) for event in events) == 2
    assert (MessagePort(40319) in events) == (mode == "classic" and not known)


def test_the_last_line_waits_for_the_version_of_the_peer() -> None:
    handshake = ListenHandshake()
    handshake.receive_data(b"id=23E744F7-9AE5-481E-B5EA-9AE4CBF1C047 connection=data" + WORDS)
    assert handshake.data_to_send() == WORDS + OURS_TO_VERSION_3
    assert handshake.receive_data(b"Math Link 6") == []
    assert handshake.data_to_send() == b""
    handshake.receive_data(b"\n")
    assert handshake.data_to_send() == b"-envid ''\n"


def test_message_port_is_given_when_the_caller_has_it() -> None:
    handshake = ListenHandshake()
    assert handshake.receive_data(b"need_msg_portY") == [LinkIdentified("classic", None, "data", True)]
    assert handshake.data_to_send() == b""
    handshake.set_message_port(1)
    assert handshake.data_to_send() == b"msg_port=1Y" + OURS_TO_VERSION_3


def test_uuid_in_lower_case_is_the_same_link() -> None:
    handshake = ListenHandshake()
    (event,) = handshake.receive_data(b"id=23e744f7-9ae5-481e-b5ea-9ae4cbf1c047 connection=mesg")
    assert isinstance(event, LinkIdentified)
    assert event.uuid == "23E744F7-9AE5-481E-B5EA-9AE4CBF1C047"
