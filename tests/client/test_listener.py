"""Listening: which connections make a link, and what the others cost."""

import logging
import random
import socket
import threading

import pytest

from tests.support.cases import for_all
from tools.harness.server import free_ports
from wstpserver.client import LinkClosed, LinkTimeout, ListenError, connect, listen, listener
from wstpserver.wire.handshake import ConnectHandshake
from wstpserver.wire.packets import MessageCode

from .helpers import PROMPT, Worker, takes

UUIDS = [f"{number:08X}-0000-4000-8000-000000000000" for number in range(64)]


@pytest.fixture
def listening():
    with listen("0@127.0.0.1") as made:
        yield made


@pytest.fixture
def accepting(listening):
    """A thread that accepts links for as long as the test runs; the list of them."""
    links = []
    more = threading.Condition()

    def run():
        while True:
            try:
                link = listening.accept(PROMPT)
            except LinkClosed:
                return
            with more:
                links.append(link)
                more.notify_all()

    def wait_for(count):
        with more:
            assert more.wait_for(lambda: len(links) >= count, PROMPT), f"{len(links)} of {count} links came"
        return links

    worker = Worker(run)
    yield wait_for
    listening.close()
    worker.finish()
    for link in links:
        link.close(0)


def port_of(made):
    return made.address.data.port


def raw(made, first=b""):
    sock = socket.create_connection(("127.0.0.1", port_of(made)), PROMPT)
    sock.sendall(first)
    return sock


def identify(uuid, channel):
    return f"id={uuid} connection={channel}".encode()


def say_hello(sock, uuid, pieces):
    """The connecting side's data connection, its bytes in pieces of the sizes that `pieces()` gives."""
    handshake = ConnectHandshake("uuid", "data", uuid)
    while True:
        outgoing = handshake.data_to_send()
        while outgoing:
            size = pieces()
            sock.sendall(outgoing[:size])
            outgoing = outgoing[size:]
        if handshake.complete:
            return
        handshake.receive_data(sock.recv(4096))


def test_link_names():
    with listen("0@127.0.0.1") as one, listen("0@127.0.0.1", classic=True) as two:
        assert one.link_name == f"{port_of(one)}@127.0.0.1"
        data, message = two.link_name.split(",")
        assert data != message
        assert port_of(one) != 0
    with listen("0@127.0.0.1,0@127.0.0.1") as classic:
        assert classic.address.message is not None


def test_a_port_in_use(listening):
    with pytest.raises(ListenError, match="the port is in use.*or 0 for any free one"):
        listen(f"{port_of(listening)}@127.0.0.1")


def test_a_message_port_in_use_frees_the_data_port(listening):
    (port,) = free_ports()
    with pytest.raises(ListenError):
        listen(f"{port}@127.0.0.1,{port_of(listening)}@127.0.0.1")
    with listen(f"{port}@127.0.0.1"):
        pass


def test_an_interface_that_is_not_ours():
    with pytest.raises(ListenError, match="cannot listen"):
        listen("0@192.0.2.77")


@for_all("classic_listener", [False, True])
@for_all("classic_client", [False, True])
def test_both_modes_on_one_port(classic_listener, classic_client):
    """A client that forgot -linkoptions 4 is served as well."""
    with listen("0@127.0.0.1", classic=classic_listener) as made:
        worker = Worker(made.accept, PROMPT)
        with connect(f"{port_of(made)}@127.0.0.1", PROMPT, classic=classic_client) as link, worker.finish() as other:
            link.put(1)
            other.put(2)
            assert (other.get(PROMPT), link.get(PROMPT)) == (1, 2)
            link.abort()
            other.send_message(200, 7)
            assert other.next_message(PROMPT) == (MessageCode.ABORT, 0)
            assert link.next_message(PROMPT) == (200, 7)


def test_a_client_that_names_a_message_port_needs_a_classic_listener(listening):
    worker = Worker(listening.accept, 1)
    with raw(listening, b"need_msg_portN") as sock:
        assert sock.recv(16) in (b"", b"OKY")
        with pytest.raises(LinkTimeout, match="use -linkoptions 4"):
            worker.finish()


@pytest.mark.parametrize("mesg_first", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_the_halves_of_many_links_in_any_order(accepting, listening, mesg_first, seed):
    """Interleaved, each split at random: every message connection goes to the link with its UUID."""
    chance = random.Random(seed)
    count = 12
    messages, data = {}, {}

    def open_messages():
        for number in chance.sample(range(count), count):
            line = identify(UUIDS[number], "mesg")
            cut = chance.randrange(1, len(line))
            messages[number] = raw(listening, line[:cut])
            messages[number].sendall(line[cut:] + (128 + number).to_bytes(4, "big") + bytes(4))

    def open_data():
        for number in chance.sample(range(count), count):
            data[number] = raw(listening)
            say_hello(data[number], UUIDS[number], lambda: chance.randrange(1, 60))
            data[number].sendall(b"\xa1" + bytes([number]) + b"\n]")

    try:
        for step in (open_messages, open_data) if mesg_first else (open_data, open_messages):
            step()
        for link in accepting(count):
            assert link.next_message(PROMPT) == (128 + link.get(PROMPT), 0)
    finally:
        for sock in (*messages.values(), *data.values()):
            sock.close()


def test_garbage_costs_the_others_nothing(accepting, listening, caplog):
    caplog.set_level(logging.INFO, "wstpserver.client")
    bad = [
        raw(listening, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
        raw(listening, b"\x16\x03\x01\x02\x00\x01\x00"),
        raw(listening, identify("no-uuid", "data")),
        raw(listening, b"\0" * 100_000),
        raw(listening),
        raw(listening, identify(UUIDS[0], "data")[:20]),
        raw(listening, identify(UUIDS[1], "mesg")),
        raw(listening, identify(UUIDS[2], "data")),
    ]
    try:
        with connect(listening.link_name, timeout=PROMPT) as link:
            link.put(1)
            assert accepting(1)[0].get(PROMPT) == 1
    finally:
        for sock in bad:
            sock.close()
    assert "an HTTP request" in caplog.text


@pytest.mark.parametrize("first", [b"", b"id=", identify(UUIDS[0], "mesg"), identify(UUIDS[0], "data")])
def test_half_a_link_is_dropped_after_a_while(listening, monkeypatch, first):
    monkeypatch.setattr(listener, "GREETING_TIMEOUT", 0.2)
    with raw(listening, first) as sock, takes(0.2):
        worker = Worker(listening.accept, 1.0)
        while sock.recv(4096):  # ends when the listener has closed it
            pass
        with pytest.raises(LinkTimeout, match="no complete link within 0.2 s"):
            worker.finish()


def test_too_many_arrivals_drop_the_oldest(accepting, listening, monkeypatch):
    monkeypatch.setattr(listener, "MAXIMUM_PENDING", 4)
    socks = [raw(listening, b"id=") for _ in range(5)]
    try:
        assert socks[0].recv(1) == b""
        with connect(listening.link_name, timeout=PROMPT):
            accepting(1)
    finally:
        for sock in socks:
            sock.close()


def test_the_same_uuid_twice(accepting, listening):
    """The second half of the same kind is refused, and the link comes about with the first."""
    with raw(listening) as data, raw(listening) as messages:
        say_hello(data, UUIDS[0], lambda: 4096)
        with raw(listening, identify(UUIDS[0], "data")) as other:
            assert other.recv(1) == b""
        messages.sendall(identify(UUIDS[0], "mesg"))
        accepting(1)


def greet_classic(sock, handshake):
    """The listening side greets first: it is told nothing before that."""
    while not handshake.complete:
        handshake.receive_data(sock.recv(1 << 16))
        sock.sendall(handshake.data_to_send())


def test_classic_links_do_not_wait_for_each_other(accepting, listening):
    """A message connection says nothing about itself, so each link is told a port of its own."""
    with raw(listening, b"need_msg_portY") as first:
        answer = first.recv(100)
        port = int(answer.removeprefix(b"msg_port=").split(b"Y")[0])
        second = Worker(lambda: connect(listening.link_name, PROMPT, classic=True))
        connect(listening.link_name, PROMPT).close(0)
        early = accepting(2)
        with second.finish() as link:
            link.put(2)
            link.send_message(131)
            assert sorted(_first(accepted) for accepted in early) == [(0, 0), (2, 131)]
        with socket.create_connection(("127.0.0.1", port), PROMPT) as message:
            handshake = ConnectHandshake("classic", "data")
            handshake.data_to_send()
            handshake.receive_data(answer)
            greet_classic(first, handshake)
            first.sendall(b"\xe4\1\0\0\0\n]")
            message.sendall((130).to_bytes(4, "big") + bytes(4))
            (last,) = accepting(3)[2:]
            assert _first(last) == (1, 130)


def _first(link):
    """The first expression and the code of the first message of a link; zeros if it was closed at once."""
    try:
        return link.get(PROMPT), link.next_message(PROMPT)[0]
    except LinkClosed:
        return 0, 0


def test_a_stray_connection_to_the_message_port():
    with listen("0@127.0.0.1", classic=True) as made:
        worker = Worker(made.accept, PROMPT)
        with socket.create_connection(("127.0.0.1", made.address.message.port), PROMPT) as stray:
            assert stray.recv(1) == b""
        with connect(made.link_name, timeout=PROMPT) as link, worker.finish() as other:
            link.abort()
            assert other.next_message(PROMPT) == (MessageCode.ABORT, 0)


def test_a_classic_client_that_dies_gives_its_turn_away(listening):
    worker = Worker(listening.accept, PROMPT)
    with raw(listening, b"need_msg_portY") as first:
        assert first.recv(100).startswith(b"msg_port=")
        second = Worker(lambda: connect(listening.link_name, PROMPT, classic=True))
        first.shutdown(socket.SHUT_WR)
        with second.finish(), worker.finish():
            pass


def test_accept_in_time(listening):
    with takes(0.2), pytest.raises(LinkTimeout, match="no link within 0.2 s"):
        listening.accept(0.2)


def test_arrivals_do_not_stretch_accept(listening):
    """A client that trickles its greeting keeps it busy, and the deadline stands."""
    stop = threading.Event()

    def trickle():
        with raw(listening) as sock:
            for byte in identify(UUIDS[0], "data"):
                sock.sendall(bytes([byte]))
                if stop.wait(0.4):
                    return

    worker = Worker(trickle)
    with takes(0.3), pytest.raises(LinkTimeout):
        listening.accept(0.3)
    stop.set()
    worker.finish()


def test_close_ends_accept(listening):
    worker = Worker(listening.accept, None)
    while not listening._accepting.locked():
        threading.Event().wait(0.001)
    listening.close()
    with pytest.raises(LinkClosed, match="the listener was closed"):
        worker.finish()
    with pytest.raises(LinkClosed):
        listening.accept(0)
    listening.close()


def test_links_outlive_their_listener():
    with listen("0@127.0.0.1") as made:
        worker = Worker(made.accept, PROMPT)
        link = connect(made.link_name, timeout=PROMPT)
        other = worker.finish()
    with link, other:
        link.put("still here")
        assert other.get(PROMPT) == "still here"


def test_threads_share_a_listener(listening):
    workers = [Worker(listening.accept, PROMPT) for _ in range(4)]
    links = [connect(listening.link_name, timeout=PROMPT) for _ in range(4)]
    for link in [*(worker.finish() for worker in workers), *links]:
        link.close(0)
