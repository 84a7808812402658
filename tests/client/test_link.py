"""Links: what goes in comes out, in any pieces; time-outs are what they say; nothing is lost and nobody hangs."""

import contextlib
import logging
import os
import random
import select
import socket
import threading

import pytest

from tests.support.cases import for_all
from wstpserver.client import Link, LinkClosed, LinkError, LinkTimeout, connect
from wstpserver.wire.encode import encode
from wstpserver.wire.errors import LocalProtocolError, RemoteProtocolError
from wstpserver.wire.packets import MessageCode
from wstpserver.wire.pairing import LinkOpened, Pairing, Send
from wstpserver.wire.tokens import DecoderLimits
from wstpserver.wire.values import BigReal, Function, PackedArray, Symbol

from .helpers import PROMPT, Worker, raw_peer, takes, two_ends
from .test_connect import ANSWER

EXPRESSIONS = [
    7,
    2**70,
    -1.5,
    "",
    "hëllo \U0001f600",
    Symbol("x"),
    Function(Symbol("Plus"), (1, Function(Function(Symbol("f"), (1,)), ()))),
    BigReal("1.5`20."),
    PackedArray.from_list([[1.5, 2.5], [3.5, 4.5]]),
]


#: More than all buffers between two sockets hold: a peer that does not read makes a put of it wait.
BIG = PackedArray(bytes(30_000_000), "int8", (30_000_000,))


@pytest.fixture(params=["uuid", "classic"])
def ends(request):
    with two_ends(classic=request.param == "classic") as both:
        yield both


@contextlib.contextmanager
def raw_link(script):
    """A link to a raw peer that has greeted in UUID mode; `script(data, messages)` then runs in its thread."""

    def run(socks):
        data, messages = socks
        data.sendall(ANSWER)
        greeting = b""
        while not greeting.endswith(b"-envid ''\n"):  # byte by byte: what follows is for the script
            greeting += data.recv(1)
        script(data, messages)

    with raw_peer(run, 2) as port, connect(f"{port}@127.0.0.1", timeout=PROMPT) as link:
        yield link


def until_closed(sock):
    with contextlib.suppress(OSError):
        while sock.recv(1 << 16):
            pass


# Expressions


@pytest.mark.parametrize("expression", EXPRESSIONS, ids=repr)
def test_both_directions(ends, expression):
    for sender, receiver in (ends, reversed(ends)):
        sender.put(expression)
        assert receiver.get(PROMPT) == expression


def test_packets(ends):
    one, other = ends
    one.put(Function(Symbol("System`ReturnPacket"), (4, "x")))
    one.put(Function(Function(Symbol("f"), ()), ()))
    one.put("text")
    packet = other.get_packet(PROMPT)
    assert (packet.name, packet.arguments) == ("ReturnPacket", (4, "x"))
    assert other.get_packet(PROMPT) == ("", (Function(Function(Symbol("f"), ()), ()),))
    assert other.get_packet(PROMPT) == ("", ("text",))


def test_raw_bytes_in_parts(ends):
    one, other = ends
    data = encode(Function(Symbol("f"), ("abc", 1)))
    for part in (data[:5], memoryview(data)[5:9], bytearray(data[9:])):
        one.put_raw(part)
    assert other.get(PROMPT) == Function(Symbol("f"), ("abc", 1))


def test_the_caller_may_reuse_its_buffer():
    """What was not sent in time is not the caller's memory any more."""
    with two_ends() as (one, other):
        buffer = bytearray(encode(BIG))
        with pytest.raises(LinkTimeout):
            one.put_raw(buffer, timeout=0.1)
        buffer[:] = bytes(len(buffer))
        worker = Worker(lambda: one.put("next", PROMPT))
        assert other.get(PROMPT) == BIG
        assert other.get(PROMPT) == "next"
        worker.finish()


def test_what_is_no_expression_sends_nothing(ends):
    one, other = ends
    with pytest.raises(LocalProtocolError):
        one.put(Function(Symbol("f"), (object(),)))
    one.put(1)
    assert other.get(PROMPT) == 1


@for_all("seed", range(3))
def test_any_split(seed):
    chance = random.Random(seed)
    data = b"".join(encode(expression, end_packet=chance.random() < 0.5) for expression in EXPRESSIONS)

    def script(sock, _):
        position = 0
        while position < len(data):
            size = 1 if seed == 0 else chance.randrange(1, 40)
            sock.sendall(data[position : position + size])
            position += size
        until_closed(sock)

    with raw_link(script) as link:
        for expression in EXPRESSIONS:
            assert link.get(PROMPT) == expression


def test_one_write_for_one_frame(ends, monkeypatch):
    one, other = ends
    writes, send = [], socket.socket.send

    def counting(sock, data, *flags):
        if sock.fileno() == one.fileno():
            writes.append(bytes(data))
        return send(sock, data, *flags)

    monkeypatch.setattr(socket.socket, "send", counting)
    expression = Function(Symbol("EvaluatePacket"), (Function(Symbol("Plus"), (2, 2.5, "x")),))
    one.put(expression)
    assert writes == [encode(expression, ascii=False)]
    assert other.get(PROMPT) == expression


def test_options_of_the_sockets(ends):
    for link in ends:
        for descriptor in (link.fileno(), link.message_fileno()):
            with same_socket(descriptor) as sock:
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert not os.get_inheritable(descriptor)


def same_socket(descriptor):
    """Another object for a socket, whose options are one and the same."""
    return socket.socket(fileno=os.dup(descriptor))


@pytest.mark.skipif(not hasattr(socket, "TCP_QUICKACK"), reason="no TCP_QUICKACK on this system")
def test_quick_acknowledgement_is_set_again_after_a_receive():
    with two_ends() as (one, other), same_socket(other.fileno()) as sock:
        one.put(1)
        other.get(PROMPT)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
        one.put(2)
        other.get(PROMPT)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK)


# Time-outs


def test_get_in_time(ends):
    one, other = ends
    with takes(0.3), pytest.raises(LinkTimeout) as caught:
        one.get(0.3)
    assert str(caught.value) == f"{one.name}: no expression within 0.3 s"
    with takes(0), pytest.raises(LinkTimeout):
        one.get(0)
    other.put(1)
    assert one.get(PROMPT) == 1


def test_a_peer_that_trickles_bytes_does_not_stretch_the_timeout():
    """And what has come so far is kept for the next call."""
    stop = threading.Event()
    text = "a" * 500

    def script(sock, _):
        for byte in encode(text):  # 20 s in all
            sock.sendall(bytes([byte]))
            stop.wait(0.04)
        until_closed(sock)

    with raw_link(script) as link:
        with takes(0.3), pytest.raises(LinkTimeout):
            link.get(0.3)
        stop.set()
        assert link.get(PROMPT) == text


def test_ready(ends):
    one, other = ends
    assert not one.ready()
    with takes(0.2):
        assert not one.ready(0.2)
    other.put(1)
    other.put(2)
    assert one.ready(PROMPT)
    assert one.ready()
    assert (one.get(0), one.get(PROMPT)) == (1, 2)
    assert not one.ready()
    other.close()
    assert one.ready(PROMPT), "the end of the link is something to get"
    with pytest.raises(LinkClosed):
        one.get(0)


def test_half_an_expression_is_not_ready(ends):
    one, other = ends
    data = encode("abc")
    other.put_raw(data[:4])
    assert not one.ready(0.1)
    other.put_raw(data[4:])
    assert one.ready(PROMPT)
    assert one.get(0) == "abc"


def test_put_in_time_to_a_peer_that_does_not_read():
    """The rest is not lost: it goes out before what is put next, so that the peer sees whole expressions."""
    with two_ends() as (one, other):
        with takes(0.3), pytest.raises(LinkTimeout, match="bytes could not be sent within 0.3 s"):
            one.put(BIG, timeout=0.3)
        with takes(0.1), pytest.raises(LinkTimeout):
            one.put(5, timeout=0.1)
        worker = Worker(lambda: one.put("end", PROMPT))
        assert other.get(PROMPT) == BIG
        assert other.get(PROMPT) == 5
        assert other.get(PROMPT) == "end"
        worker.finish()


def test_only_one_thread_at_a_time_receives(ends):
    one, other = ends
    worker = Worker(one.get, PROMPT)
    while not one._receiver.lock.locked():
        threading.Event().wait(0.001)
    with takes(0.2), pytest.raises(LinkTimeout, match="another thread is receiving"):
        one.get(0.2)
    other.put(1)
    assert worker.finish() == 1


# Two directions at once


def test_two_peers_that_both_send_much_do_not_wait_for_each_other():
    with two_ends() as (one, other):
        def exchange(link):
            link.put(BIG, PROMPT)
            return link.get(PROMPT)

        for worker in [Worker(exchange, end) for end in (one, other)]:
            assert worker.finish(2 * PROMPT) == BIG


def test_one_thread_gets_while_another_puts(ends):
    """As a kernel does: a thousand small expressions each way, in order."""
    one, other = ends

    def send(link):
        for number in range(1000):
            link.put(Function(Symbol("f"), (number, "x" * (number % 300))))

    def receive(link):
        for number in range(1000):
            assert link.get(PROMPT).args[0] == number

    for worker in [Worker(action, link) for link in (one, other) for action in (send, receive)]:
        worker.finish(30)


# The end of a link


@pytest.mark.parametrize("which", [0, 1])
def test_everything_sent_before_a_close_arrives(ends, which):
    """However late the other side reads."""
    closing, reading = ends[which], ends[1 - which]
    closing.put("a" * 200_000)
    closing.put(Function(Symbol("last"), ()))
    closing.close(timeout=0.1)  # the other side does not say meanwhile that it has read everything
    assert len(reading.get(PROMPT)) == 200_000
    assert reading.get(PROMPT) == Function(Symbol("last"), ())
    with takes(0), pytest.raises(LinkClosed, match="the other side closed the link$"):
        reading.get(PROMPT)
    with pytest.raises(LinkClosed):
        reading.get(PROMPT)
    with pytest.raises(LinkClosed):
        reading.put(1)


def test_much_more_than_the_buffers_hold_arrives_after_a_close():
    with two_ends() as (one, other):
        sending = Worker(one.put, BIG)
        got = Worker(other.get, PROMPT)
        sending.finish()
        one.close(timeout=PROMPT)
        assert got.finish() == BIG


def test_a_close_with_unread_input_does_not_destroy_output():
    """A socket closed with unread input resets the connection, and the reset may overtake what was sent."""
    with two_ends() as (one, other):
        other.put("unread" * 10_000)
        one.put("a" * 100_000)
        one.close()
        assert other.get(PROMPT) == "a" * 100_000
        with pytest.raises(LinkClosed):
            other.get(PROMPT)


def test_a_close_sends_no_message():
    """Message 9 would make the vendor's library drop what it has not read."""
    heard = []

    def script(data, messages):
        data.recv(1 << 16)
        while piece := messages.recv(100):
            heard.append(piece)

    with raw_link(script) as link:
        link.put(1)
    assert b"".join(heard) == b"id=" + heard[0][3:39] + b" connection=mesg"


def test_a_close_waits_only_so_long_for_a_peer_that_does_not_read():
    with two_ends() as (one, _):
        with pytest.raises(LinkTimeout):
            one.put(BIG, timeout=0.1)
        with takes(0.3):
            one.close(timeout=0.3)


def test_close_ends_what_other_threads_wait_for(ends):
    one, _ = ends
    messages = []
    waiting = Worker(one.get)
    one.on_message(lambda *message: messages.append(message))
    while not one._receiver.lock.locked():
        threading.Event().wait(0.001)
    with takes(0):
        one.close(timeout=0.2)
    with pytest.raises(LinkClosed, match="closed by this program"):
        waiting.finish()
    one.close()
    for call in (lambda: one.put(1), lambda: one.get(0), one.abort, lambda: one.on_message(print)):
        with pytest.raises(LinkClosed, match="closed by this program"):
            call()
    assert one.closed
    assert messages == []


def test_close_ends_a_put_that_waits():
    with two_ends() as (one, _):
        waiting = Worker(one.put, BIG)
        while not one._writing.locked():
            threading.Event().wait(0.001)
        one.close(timeout=0.3)
        with pytest.raises(LinkClosed):
            waiting.finish()


def test_a_peer_that_dies_in_the_middle_of_an_expression():
    """What was complete before is delivered; then the reason."""
    data = encode(1) + encode(Function(Symbol("f"), ("abc", 2)))[:-6]

    def script(sock, _):
        sock.sendall(data)

    with raw_link(script) as link:
        assert link.get(PROMPT) == 1
        with takes(0), pytest.raises(LinkClosed, match="in the middle of an expression"):
            link.get(PROMPT)


def test_a_reset_connection_counts_as_its_end():
    def script(sock, _):
        sock.sendall(encode(1))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    with raw_link(script) as link:
        with contextlib.suppress(LinkClosed):  # the reset may overtake the expression
            assert link.get(PROMPT) == 1
        with takes(0), pytest.raises(LinkClosed):
            link.get(PROMPT)


def test_a_peer_that_has_gone_takes_nothing():
    with two_ends() as (one, other):
        other.close(0)
        with pytest.raises(LinkClosed) as caught:
            while True:
                one.put("a" * 100_000, timeout=PROMPT)
        assert caught.value.where == one.name


def test_bytes_that_are_no_expression():
    def script(sock, _):
        sock.sendall(encode(1) + b"garbage" * 10)
        until_closed(sock)

    with raw_link(script) as link:
        assert link.get(PROMPT) == 1
        for _ in range(2):
            with pytest.raises(RemoteProtocolError) as caught:
                link.get(PROMPT)
            # 7 bytes of the first expression lie between the greeting and the garbage.
            assert caught.value.offset >= len(ANSWER) + 7
        assert link.ready()


def test_limits_on_what_is_received():
    def script(sock, _):
        sock.sendall(encode("a" * 100))
        until_closed(sock)

    def run(socks):
        socks[0].sendall(ANSWER)
        script(socks[0], None)

    limits = DecoderLimits(text=50)
    with raw_peer(run, 2) as port:
        link = connect(f"{port}@127.0.0.1", PROMPT, limits=limits)
        with link, pytest.raises(RemoteProtocolError):
            link.get(PROMPT)


# Messages


def test_messages_in_both_directions(ends):
    for sender, receiver in (ends, reversed(ends)):
        sender.interrupt()
        sender.abort()
        sender.send_message(255, 2**32 - 1)
        assert receiver.next_message(PROMPT) == (MessageCode.INTERRUPT, 0)
        assert receiver.next_message(PROMPT) == (MessageCode.ABORT, 0)
        assert receiver.next_message(PROMPT) == (255, 2**32 - 1)
        with takes(0.1), pytest.raises(LinkTimeout):
            receiver.next_message(0.1)


def test_messages_overtake_data():
    """An abort arrives although the data connection is stuck."""
    with two_ends() as (one, other):
        with pytest.raises(LinkTimeout):
            one.put(BIG, timeout=0.1)
        one.abort()
        assert other.next_message(PROMPT) == (MessageCode.ABORT, 0)


def test_a_callback_hears_of_messages_while_the_link_is_busy(ends):
    one, other = ends
    heard = []
    third = threading.Event()

    def callback(code, argument):
        heard.append((code, argument, threading.current_thread()))
        if len(heard) == 3:
            third.set()

    other.send_message(130, 1)  # before anybody listens: not lost
    one.on_message(callback)
    waiting = Worker(one.get, PROMPT)
    other.abort()
    other.send_message(131, 2)
    assert third.wait(PROMPT)
    assert [entry[:2] for entry in heard] == [(130, 1), (3, 0), (131, 2)]
    assert len({entry[2] for entry in heard}) == 1
    assert heard[0][2] is not threading.main_thread()
    with pytest.raises(LinkError, match="go to its callback"):
        one.next_message(0)
    other.put(1)
    assert waiting.finish() == 1


def test_only_one_thread_at_a_time_waits_for_messages(ends):
    one, other = ends
    first = Worker(one.next_message, PROMPT)
    while not one._messages._receiving.locked():
        threading.Event().wait(0.001)
    with takes(0.2), pytest.raises(LinkTimeout, match="another thread is waiting for messages"):
        one.next_message(0.2)
    waiting = Worker(one.get, PROMPT)  # with the messages in other hands
    other.abort()
    assert first.finish() == (MessageCode.ABORT, 0)
    other.put(1)
    assert waiting.finish() == 1


def test_a_callback_that_fails_costs_no_messages(ends, caplog):
    one, other = ends
    caplog.set_level(logging.ERROR, "wstpserver.client")
    second = threading.Event()

    def callback(code, argument):
        if code == 130:
            raise ValueError("on purpose")
        second.set()

    one.on_message(callback)
    other.send_message(130)
    other.send_message(131)
    assert second.wait(PROMPT)
    assert "callback for message 130 failed" in caplog.text


def test_a_callback_may_close_the_link(ends):
    one, other = ends
    closed = threading.Event()

    def callback(code, argument):
        one.close(timeout=0.5)
        closed.set()

    one.on_message(callback)
    other.send_message(1)
    assert closed.wait(PROMPT)
    with pytest.raises(LinkClosed):
        other.get(PROMPT)


def test_the_librarys_farewell_does_not_hide_data():
    """Its close writes half a message 9 and ends both connections; what it sent before is still delivered."""

    def script(data, messages):
        data.sendall(encode(1))
        messages.sendall(b"\0\0\0\x09")

    with raw_link(script) as link:
        assert link.next_message(PROMPT) == (MessageCode.LINK_CLOSING, 0)
        assert link.get(PROMPT) == 1
        with pytest.raises(LinkClosed):
            link.get(PROMPT)
        with pytest.raises(LinkClosed):
            link.next_message(PROMPT)


def test_descriptors(ends):
    one, other = ends
    assert one.fileno() != one.message_fileno()
    os.fstat(one.fileno())
    other.abort()
    assert select.select([one.message_fileno()], [], [], PROMPT)[0]


def test_repr(ends):
    one, _ = ends
    assert repr(one) == f"<Link {one.name}>"
    one.close()
    assert repr(one) == f"<Link {one.name} closed>"
    assert isinstance(one, Link)


def test_a_farewell_without_an_end_of_the_connections_is_an_end():
    """So does the library of 2015 leave a link of its link server; data that comes after it is still delivered."""
    go_on = threading.Event()
    done = threading.Event()

    def script(data, messages):
        data.sendall(encode(1))
        messages.sendall(b"\0\0\0\x09")
        assert go_on.wait(PROMPT)
        data.sendall(encode(2))
        assert done.wait(PROMPT)

    for with_callback in (False, True):
        go_on.clear()
        done.clear()
        with raw_link(script) as link:
            if with_callback:
                link.on_message(lambda *_: None)
            assert link.get(PROMPT) == 1
            waiting = Worker(link.get, PROMPT)
            go_on.set()
            assert waiting.finish() == 2
            with takes(0), pytest.raises(LinkClosed):
                link.get(PROMPT)
            with pytest.raises(LinkClosed):
                link.put(3)
            done.set()


def test_messages_are_kept_while_only_data_is_asked_for(ends):
    one, other = ends
    other.abort()
    other.send_message(130, 1)
    with pytest.raises(LinkTimeout):
        one.get(0.2)
    assert one.next_message(0) == (MessageCode.ABORT, 0)
    assert one.next_message(0) == (130, 1)


def test_waiting_without_poll(monkeypatch):
    """As on Windows."""
    monkeypatch.delattr(select, "poll")
    with two_ends() as (one, other):
        one.put([0] * 10)
        assert other.get(PROMPT).args == (0,) * 10
        other.abort()
        with takes(0.2), pytest.raises(LinkTimeout):
            one.get(0.2)
        assert one.next_message(PROMPT) == (MessageCode.ABORT, 0)
        with pytest.raises(LinkTimeout):
            one.put(BIG, timeout=0.2)


def test_a_short_look_after_a_farewell_is_no_end():
    """Data sent before it may still be under way; only a second without any counts."""
    done = threading.Event()

    def script(data, messages):
        messages.sendall(b"\0\0\0\x09")
        assert done.wait(PROMPT)

    with raw_link(script) as link, takes(0.9):
        assert link.next_message(PROMPT) == (MessageCode.LINK_CLOSING, 0)
        with pytest.raises(LinkTimeout):
            link.get(0.05)
        with pytest.raises(LinkClosed):
            while True:
                with contextlib.suppress(LinkTimeout):
                    link.get(0.05)
        done.set()


# Messages sent just before the end


def test_messages_left_over_arrive_before_the_link_ends(ends):
    """The peer takes no messages for a while: what could not be sent goes out at the end, the abort last of all."""
    one, other = ends
    for link, option in (one, socket.SO_SNDBUF), (other, socket.SO_RCVBUF):  # the system's are a million messages
        with socket.socket(fileno=os.dup(link.message_fileno())) as sock:
            sock.setsockopt(socket.SOL_SOCKET, option, 4096)
    sent, waits = 0, False
    while not waits:
        with pytest.raises(LinkTimeout):
            while True:
                sent += 1
                one.send_message(130, sent, 0)
        try:
            one.send_message(MessageCode.ABORT, 0, 0)
        except LinkTimeout:
            waits = True  # else the system has made room meanwhile
    closing = Worker(one.close, PROMPT)
    received = []
    with pytest.raises(LinkClosed):
        while True:
            received.append(other.next_message(PROMPT))
    closing.finish()
    assert received[-2:] == [(130, sent), (MessageCode.ABORT, 0)]


def test_an_abort_is_there_when_the_data_connection_ends():
    """A server that sees the end of the data may look at nothing else."""
    found = []

    def script(socks):
        data, messages, received = greet(socks)
        while data.recv(1 << 16):
            pass
        messages.setblocking(False)
        found.append(received or messages.recv(100))
        messages.settimeout(PROMPT)
        found.append(messages.recv(100))

    with raw_peer(script, connections=2) as port:
        link = connect(f"{port}@127.0.0.1", PROMPT)
        link.abort()
        link.close()
    assert found == [bytes([0, 0, 0, 3, 0, 0, 0, 0]), b""], "the abort, and no message 9"


def greet(socks):
    """The listening side of UUID mode on two sockets; (data, messages, the messages received behind the greeting)."""
    pairing = Pairing()
    connections = [(pairing.accept(sock), sock) for sock in socks]
    opened = []
    while not opened:
        for connection, sock in connections:
            if not connection.reads:
                continue
            for event in pairing.receive(connection, sock.recv(1 << 16)):
                if isinstance(event, Send):
                    event.connection.transport.sendall(event.data)
                elif isinstance(event, LinkOpened):
                    event.data.transport.sendall(event.unsent)
                    opened.append((event.data.transport, event.messages.transport, event.messages.leftover()))
    return opened[0]
