"""Peers that are no peers, and greetings that are unusual but fine."""
from __future__ import annotations

import os

import pytest

from tests.support.cases import for_all, for_each
from wstpserver.wire.errors import LocalProtocolError, RemoteProtocolError
from wstpserver.wire.handshake import (
    LINE_LIMIT,
    ConnectHandshake,
    GreetingComplete,
    Handshake,
    ListenHandshake,
    PeerGreeting,
    read_words,
)

UUID = "23E744F7-9AE5-481E-B5EA-9AE4CBF1C047"
DATA = f"id={UUID} connection=data".encode()
WORDS = bytes.fromhex("03000000000000000000000000000000")
OPENED = DATA + WORDS

STRANGERS = {
    b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n": "an HTTP request",
    b"OPTIONS * HTTP/1.1\r\n": "an HTTP request",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n": "an HTTP/2 connection",
    bytes.fromhex("16030100f8010000f40303") + bytes(200): "a TLS hello",
    b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n": "an SSH banner",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n": "a PROXY protocol header",
    b"Math Link 6\n-libraryid '!&*' -decoders 0\n": "without the line that comes before it",
    b"\xff" * 40: r"40 bytes that are no WSTP greeting: b'\xff\xff",
    b"\n": r"1 byte that are no WSTP greeting: b'\n'",
    b"id=not-a-uuid connection=data" + bytes(40): "the line that names the link is malformed: b'id=not-a-uuid",
    b"id=23E744F7-9AE5-481E-B5EA-9AE4CBF1C047 connection=info": "cannot begin with b'id=23E744F7",
    b"id=23E744F7-9AE5-481E-B5EA-9AE4CBF1C0475connection=data": "malformed",
    b"need_msg_portQ": "cannot begin with b'need_msg_portQ'",
    b"need_msg_box": "no WSTP greeting: b'need_msg_box'",
}


@for_all(("said", "named"), STRANGERS.items(), ids=lambda value: repr(value)[:30])
@for_all("size", [1000, 1])
def test_stranger_is_told_by_its_first_bytes(said: bytes, named: str, size: int) -> None:
    handshake = ListenHandshake()
    with pytest.raises(RemoteProtocolError) as raised:
        for at in range(0, len(said), size):
            assert handshake.receive_data(said[at : at + size]) == []
    if size > 1 or "bytes that are" not in named and "malformed" not in named and "no WSTP" not in named:
        assert named in str(raised.value)
    assert raised.value.offset == 0
    assert handshake.data_to_send() == b""
    with pytest.raises(RemoteProtocolError):
        handshake.receive_data(b"")


@for_each(range(50))
def test_random_bytes_never_pass(seed: int) -> None:
    handshake = ListenHandshake()
    with pytest.raises(RemoteProtocolError):
        handshake.receive_data(b"\0" + os.urandom(100))


SERVERS = {
    b"HTTP/1.1 400 Bad Request\r\n": "an HTTP response",
    b"SSH-2.0-OpenSSH_9.2p1\r\n": "an SSH banner",
    b"220 mail.example.org ESMTP\r\n": "the banner of a mail or FTP server",
    WORDS + b"FA#RA~OInputNamePacket\n": "instead of a greeting the peer sent",
}


@for_all(("said", "named"), SERVERS.items(), ids=lambda value: repr(value)[:30])
def test_connecting_to_another_server(said: bytes, named: str) -> None:
    handshake = ConnectHandshake("uuid", uuid=UUID)
    with pytest.raises(RemoteProtocolError, match=named):
        handshake.receive_data(said)


@for_all(
    ("known", "said", "named"),
    [
        (True, b"OKN", "OKY was due"),
        (True, b"msg_port=1Y", "OKY was due"),
        (False, b"OKY", "msg_port= was due"),
        (False, b"msg_port=Y", "no message port"),
        (False, b"msg_port=0Y", "no message port"),
        (False, b"msg_port=65536Y", "no message port"),
        (False, b"msg_port=123456", "no message port"),
        (False, b"msg_port=12N", "no message port"),
        (False, b"SSH-2.0", "an SSH banner"),
    ],
)
def test_connecting_in_classic_mode_to_something_else(known: bool, said: bytes, named: str) -> None:
    handshake = ConnectHandshake("classic", message_port_known=known)
    with pytest.raises(RemoteProtocolError, match=named):
        handshake.receive_data(said)


def greet(handshake: Handshake, greeting: bytes) -> PeerGreeting:
    (event,) = [event for event in handshake.receive_data(greeting) if isinstance(event, GreetingComplete)]
    return event.peer


GREETINGS = {
    "unknown words": (b"-libraryid '!&*' -new 'a b' -flag\n-numericsid boxer\n-envid ''\n", {"new": "a b", "flag": ""}),
    "other order": (b"-envid 'x'\n-formats 1 -tokens 33\n-decoders 0\n", {"envid": "x", "decoders": "0"}),
    "nothing": (b"\n\n\n", {}),
    "a word alone": (b"-libraryid x\nSupport6digitAsciiUnicode\n\n", {"Support6digitAsciiUnicode": ""}),
}


@for_all(("lines", "words"), GREETINGS.values(), ids=GREETINGS)
def test_unusual_greeting_is_fine(lines: bytes, words: dict[str, str]) -> None:
    peer = greet(ListenHandshake(), OPENED + b"Math Link 5\n" + lines)
    assert words.items() <= peer.words.items()


@for_all(("version", "lines"), [(3, 2), (4, 3), (5, 3), (6, 5), (7, 5), (99, 5)])
def test_the_lower_version_says_how_many_lines_there_are(version: int, lines: int) -> None:
    handshake = ListenHandshake()
    greeting = b"Math Link %d\n" % version + b"".join(b"-line %d\n" % number for number in range(lines))
    assert greet(handshake, OPENED + greeting + b"-more\n").version == version
    assert handshake.leftover() == b"-more\n"


@for_all("version", [0, 1, 2])
def test_peer_below_version_3_is_refused(version: int) -> None:
    with pytest.raises(RemoteProtocolError, match=f"version {version}; 3 is the lowest") as raised:
        ListenHandshake().receive_data(OPENED + b"Math Link %d\n" % version)
    assert raised.value.offset == len(OPENED)


@for_all("line", [b"Math Link \n", b"Math Link six\n", b"Math Link 12345\n", b"Math Link 6 \n"])
def test_version_line_without_version(line: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="begins with `Math Link` and a version"):
        ListenHandshake().receive_data(OPENED + line)


def test_expression_where_a_greeting_line_is_due() -> None:
    greeting = b"Math Link 5\n-libraryid x\n-numericsid boxer\n"
    with pytest.raises(RemoteProtocolError, match="a greeting line holds b'FA#QA~NEvaluatePacket'") as raised:
        ListenHandshake().receive_data(OPENED + greeting + b"FA#QA~NEvaluatePacket\n\xe4\2\0\0\0\n]")
    assert raised.value.offset == len(OPENED + greeting)


def test_quoted_words() -> None:
    assert read_words(b"-a 'b c' -d 'e'f -g '-h'", 0) == {"a": "b c", "d": "ef", "g": "-h"}


@for_all("line", [b"-a \xe9", b"-a \0", b"-a b\r", b"#DA~Ax", b"1 2"])
def test_line_that_holds_no_words(line: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="a greeting line holds"):
        read_words(line, 7)


@for_all("start", [b"Math Link 5\n-libraryid ", b"Math Link 5"])
def test_endless_line_is_cut(start: bytes) -> None:
    handshake = ListenHandshake()
    handshake.receive_data(OPENED + start)
    with pytest.raises(RemoteProtocolError, match=f"more than {LINE_LIMIT} bytes"):
        for _ in range(100):
            handshake.receive_data(b"x" * 100)
    with pytest.raises(RemoteProtocolError, match=f"more than {LINE_LIMIT} bytes"):
        ListenHandshake().receive_data(OPENED + start + b"x" * 5000 + b"\n")


def test_flood_ahead_of_the_message_port_is_cut() -> None:
    handshake = ListenHandshake()
    handshake.receive_data(b"need_msg_portY")
    with pytest.raises(RemoteProtocolError, match="ahead of the greeting"):
        for _ in range(20):
            handshake.receive_data(bytes(10_000))


@for_all(
    ("said", "told"),
    [
        (b"", "during the handshake$|during the handshake \\(at byte 0\\)"),
        (b"id=23E7", "after 7 bytes of it"),
        (OPENED, "after 71 bytes of it"),
    ],
)
def test_end_of_the_connection(said: bytes, told: str) -> None:
    handshake = ListenHandshake()
    handshake.receive_data(said)
    with pytest.raises(RemoteProtocolError, match=told):
        handshake.receive_end()


def test_end_after_the_handshake_is_no_error() -> None:
    handshake = ListenHandshake()
    handshake.receive_data(DATA.replace(b"data", b"mesg"))
    handshake.receive_end()


def test_alert_of_a_tls_server() -> None:
    handshake = ConnectHandshake("uuid", uuid=UUID)
    handshake.receive_data(bytes.fromhex("15030100020246"))
    with pytest.raises(RemoteProtocolError, match="after a TLS alert"):
        handshake.receive_end()


@for_all("uuid", [None, "", "x", UUID + "0", UUID[:-1], UUID.replace("-", "")])
def test_our_own_uuid_is_checked(uuid: str | None) -> None:
    with pytest.raises(LocalProtocolError, match="no UUID"):
        ConnectHandshake("uuid", uuid=uuid)


def test_our_own_arguments_are_checked() -> None:
    with pytest.raises(LocalProtocolError, match="version 5"):
        ConnectHandshake("uuid", uuid=UUID, version=5)
    with pytest.raises(LocalProtocolError):
        ConnectHandshake("other")  # type: ignore[arg-type]
    with pytest.raises(LocalProtocolError):
        ListenHandshake().set_message_port(65536)


def test_formats_of_the_peer() -> None:
    assert PeerGreeting(6, {"formats": "1,2,3,4,5,6,7"}).formats == (1, 2, 3, 4, 5, 6, 7)
    assert not PeerGreeting(6, {"formats": "1,2,3,4,5,6,7"}).seven_bit
    assert PeerGreeting(4, {}).seven_bit
    assert PeerGreeting(4, {"formats": "1,2,x"}).formats == (1, 2)
    assert PeerGreeting(4, {"formats": ""}).formats == (1,)
