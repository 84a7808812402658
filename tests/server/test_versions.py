"""Bridges between links whose greetings have different versions: only escapes above U+FFFF are rewritten, one way."""

from __future__ import annotations

import gevent
import pytest

from tests.server.whole import Server
from tools.harness.fake_kernel.framing import encode_size
from wstpserver.wire.decode import decode

#: A text with a character that comes as one escape at version 6, which a peer below that does not read.
TEXT = "a\U0001f600b"
ESCAPED = rb"a\|01f600b"


def string(characters, count):
    """A string in format A from its characters on the wire."""
    inner = b"A~" + encode_size(count) + characters
    return b'"' + encode_size(len(inner)) + inner + b"\n"


def function(head, *arguments):
    name = b"A~" + encode_size(len(head)) + head
    return b"F" + encode_size(len(arguments)) + b"#" + encode_size(len(name)) + name + b"\n" + b"".join(arguments)


def received(peer, size):
    """What comes to a peer: at least *size* bytes, up to the end of a packet."""
    data = b""
    while len(data) < size or not data.endswith(b"]"):
        data += gevent.get_hub().threadpool.apply(peer.connection.recv, (65536,))
    return data


@pytest.fixture
def bridge():
    """bridge(client's version, kernel's version) -> (client's peer, kernel's peer)"""
    server = Server()

    def make(client_version, kernel_version):
        kernel, kernel_peer = server.kernel(kernel_version)
        _, client_peer, _ = server.client(kernel, client_version)
        return client_peer, kernel_peer

    yield make
    server.close()


@pytest.mark.parametrize("client_version", [4, 6])
@pytest.mark.parametrize("kernel_version", [4, 6])
def test_escapes_are_rewritten_on_the_way_to_an_older_peer_only(bridge, client_version, kernel_version):
    client, kernel = bridge(client_version, kernel_version)
    directions = [
        (client, kernel, b"EvaluatePacket", client_version > kernel_version),
        (kernel, client, b"ReturnPacket", kernel_version > client_version),
    ]
    for sender, receiver, head, rewrites in directions * 2:
        sent = function(head, string(ESCAPED, 3)) + b"]"
        sender.put(sent)
        got = received(receiver, len(sent))
        assert got == sent if not rewrites else rb"\:d83d\:de00" in got and b"|" not in got
        assert decode(got).args == (TEXT,)


@pytest.mark.parametrize("head", [b"EvaluatePacket", b"ReturnPacket"])
def test_a_large_packet_on_the_way_to_an_older_peer(bridge, head):
    """It goes out in parts, with escapes at its beginning, in its middle and at its end."""
    to_kernel = head == b"EvaluatePacket"
    client, kernel = bridge(6, 4) if to_kernel else bridge(4, 6)
    if not to_kernel:
        evaluation = function(b"EvaluatePacket", string(b"x", 1)) + b"]"
        client.put(evaluation)
        assert received(kernel, len(evaluation)) == evaluation
    texts = [string(ESCAPED, 3), *[string(b"z" * 40, 40)] * 5000]
    sent = function(head, function(b"List", *texts, *texts, texts[0])) + b"]"
    sender, receiver = (client, kernel) if to_kernel else (kernel, client)
    sending = gevent.get_hub().threadpool.spawn(sender.put, sent)
    got = received(receiver, len(sent))
    sending.get()
    assert decode(got) == decode(sent) and b"|" not in got and got.count(rb"\:d83d\:de00") == 3


def test_a_packet_to_an_older_kernel_that_its_client_does_not_finish(bridge):
    """It is completed, and what was sent of it reads back."""
    client, kernel = bridge(6, 4)
    texts = [string(ESCAPED, 3), *[string(b"z" * 40, 40)] * 5000]
    sent = function(b"EvaluatePacket", function(b"List", *texts, *texts)) + b"]"
    client.put(sent[: len(sent) - 100_000])
    beginning = received_bytes(kernel, 100_000)
    client.close()
    got = beginning + received(kernel, 1)
    assert got.endswith(b"$Aborted\n]") and b"|" not in got
    assert decode(got).head.name.endswith("EvaluatePacket")


def received_bytes(peer, size):
    data = b""
    while len(data) < size:
        data += gevent.get_hub().threadpool.apply(peer.connection.recv, (65536,))
    return data
