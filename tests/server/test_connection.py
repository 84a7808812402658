"""One connection: waiting, ending, closing, and messages that wait for nobody."""
import contextlib
import socket
import struct

import gevent
import pytest

from tests.server.connections import tcp_pair
from tools.harness.processes import own_descriptors
from wstpserver.server.connection import (
    Connection,
    ConnectionClosed,
    MessageWriter,
    peer_name,
    run_messages,
    yield_to_loop,
)
from wstpserver.wire.packets import CLOSING, encode_message


@pytest.fixture
def pair():
    """A stream and the other end of its connection, a plain socket."""
    before = own_descriptors()
    ours, theirs = tcp_pair()
    stream = Connection(ours)
    theirs.settimeout(60)
    yield stream, theirs
    stream.close()
    theirs.close()
    assert own_descriptors().keys() == before.keys()


def fill(stream, piece=b"x" * 65536):
    """Send until the connection takes no more; returns how much that was."""
    total = 0
    while sent := stream.try_send(piece):
        total += sent
    return total


def reset(connection):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def test_bytes_in_both_directions(pair):
    stream, theirs = pair
    stream.send(b"hello")
    assert theirs.recv(10) == b"hello"
    receiving = gevent.spawn(stream.receive_bytes)
    gevent.sleep(0)
    theirs.sendall(b"answer")
    assert receiving.get(timeout=60) == b"answer"


def test_a_send_larger_than_the_buffers_waits_for_the_reader(pair):
    stream, theirs = pair
    data = bytes(range(256)) * 80_000
    sending = gevent.spawn(stream.send, data)
    gevent.sleep(0)
    assert not sending.ready()
    received = bytearray()
    theirs.setblocking(False)
    while len(received) < len(data):
        with contextlib.suppress(BlockingIOError):
            received += theirs.recv(1 << 20)
        yield_to_loop()
    sending.get(timeout=60)
    assert received == data


@pytest.mark.parametrize("how", ["close", "reset", "half close"])
def test_the_end_of_the_peer_is_the_end_of_the_stream(pair, how):
    stream, theirs = pair
    receiving = gevent.spawn(stream.receive_bytes)
    gevent.sleep(0)
    if how == "reset":
        reset(theirs)
    elif how == "close":
        theirs.close()
    else:
        theirs.shutdown(socket.SHUT_WR)
    assert receiving.get(timeout=60) == b""
    assert stream.receive_bytes() == b""


def test_sending_to_a_peer_that_is_gone(pair):
    stream, theirs = pair
    reset(theirs)
    with pytest.raises(ConnectionClosed):
        for _ in range(3):
            stream.send(b"x" * 100_000)


def test_end_wakes_whoever_waits(pair):
    stream, theirs = pair
    fill(stream)
    receiving, sending = gevent.spawn(stream.receive_bytes), gevent.spawn(stream.send, b"more" * 10_000_000)
    gevent.sleep(0)
    stream.end()
    stream.end()
    assert receiving.get(timeout=60) == b""
    with pytest.raises(ConnectionClosed):
        sending.get(timeout=60)
    stream.wait_readable()  # does not wait any more
    with pytest.raises(ConnectionClosed):
        stream.send(b"x")


def test_finish_sending_delivers_what_was_sent(pair):
    stream, theirs = pair
    stream.send(b"last words")
    stream.finish_sending()
    assert theirs.recv(100) == b"last words" and theirs.recv(100) == b""
    theirs.sendall(b"still heard")
    assert stream.receive_bytes() == b"still heard"


def test_a_greenlet_that_is_killed_while_it_waits_leaves_the_stream_usable(pair):
    stream, theirs = pair
    for _ in range(3):
        waiting = gevent.spawn(stream.receive_bytes)
        gevent.sleep(0)
        waiting.kill()
    theirs.sendall(b"x")
    assert stream.receive_bytes() == b"x"


def test_names_of_peers(pair):
    stream, theirs = pair
    host, port = theirs.getsockname()
    assert peer_name(stream.socket) == f"{host}:{port}"
    reset(theirs)
    assert stream.receive_bytes() == b""
    assert peer_name(stream.socket) == "(gone)"


# Messages

#: More messages than fit into the buffers of two sockets.
MANY = 50_000


def test_messages_are_whole_or_not_at_all(pair):
    """A peer reads nothing for a while: it finds the first messages, none in pieces, and later ones again."""
    stream, theirs = pair
    writer = MessageWriter(stream)
    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    for number in range(MANY):
        writer.send(128, number)
    received = bytearray()
    theirs.setblocking(False)
    last = encode_message(255, 7)
    while not received.endswith(last):
        with contextlib.suppress(BlockingIOError):
            received += theirs.recv(1 << 20)
        writer.send(255, 7)
        yield_to_loop()
    assert len(received) % 8 == 0
    messages = list(struct.iter_unpack(">2I", received))
    numbers = [argument for code, argument in messages if code == 128]
    assert numbers == sorted(set(numbers)) and numbers[0] == 0 and 100 < len(numbers) < MANY


def test_messages_to_a_peer_that_is_gone_go_nowhere(pair):
    stream, theirs = pair
    reset(theirs)
    writer = MessageWriter(stream)
    for _ in range(10):
        writer.send(2, 0)


@pytest.mark.parametrize("size", [1, 3, 8, 20])
def test_messages_in_pieces_until_the_peer_closes(pair, size):
    stream, theirs = pair
    taken = []
    reading = gevent.spawn(run_messages, stream, lambda *message: taken.append(message), encode_message(2, 1)[:3])
    data = encode_message(2, 1)[3:] + encode_message(3, 0) + encode_message(128, 2**32 - 1) + CLOSING + b"ignored"
    for start in range(0, len(data), size):
        theirs.sendall(data[start : start + size])
        gevent.sleep(0.001)
    assert reading.get(timeout=60) is True
    assert taken == [(2, 1), (3, 0), (128, 2**32 - 1)]


def test_an_end_without_notice(pair):
    stream, theirs = pair
    theirs.sendall(encode_message(2, 0)[:5])
    theirs.close()
    assert run_messages(stream, lambda *_: None) is False
