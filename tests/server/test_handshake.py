"""Connections that do not become links, as the acceptor sees them."""
from types import SimpleNamespace

import gevent
import pytest
from gevent.event import AsyncResult

from tests.server.connections import tcp_pair
from wstpserver.server.handshake import ClientAcceptor
from wstpserver.wire.messages import encode_message


class Lines:
    """A log that keeps what it is told."""

    def __init__(self):
        self.warnings, self.others = [], []
        self.warning, self.debug = self.warnings.append, self.others.append


def settings(timeout=20.0, most=8):
    return SimpleNamespace(greeting_timeout=timeout, maximum_unpaired_connections=most)


@pytest.fixture
def log():
    return Lines()


@pytest.fixture
def accept(log):
    """accept(acceptor, data) -> the client's end of a new connection on which that data has been sent."""
    clients = []

    def accept(acceptor, data=b""):
        ours, theirs = tcp_pair()
        theirs.sendall(data)
        theirs.settimeout(20)
        clients.append(theirs)
        acceptor.handle(ours, theirs.getsockname())
        return theirs

    yield accept
    for client in clients:
        client.close()


def ended(client):
    """Whether the server ends the connection, after what it answers."""
    with gevent.Timeout(20):
        while True:
            gevent.sleep(0)
            client.setblocking(False)
            try:
                if not client.recv(4096):
                    return True
            except BlockingIOError:
                continue
            except ConnectionError:
                return True


def never(_link):
    raise AssertionError("no link was made")


def test_a_shorter_time_counts_for_those_who_wait_already(log, accept):
    acceptor = ClientAcceptor(settings(), log, never)
    client = accept(acceptor)
    acceptor.reconfigure(settings(timeout=0.0))
    assert ended(client)
    assert [line.partition(": ")[2] for line in log.warnings] == ["its greeting did not come in time"]
    assert not len(acceptor)


def test_a_longer_time_too(log, accept):
    acceptor = ClientAcceptor(settings(timeout=0.05), log, never)
    accept(acceptor)
    acceptor.reconfigure(settings())
    gevent.sleep(0.1)
    assert len(acceptor) == 1 and log.warnings == []


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("sent", [b"", b"id=23E744F7", b"need_msg_portY"])
def test_the_oldest_has_to_go_however_far_it_has_come(log, accept, sent, turns):
    """Classic mode has a greenlet of its own, which has not begun yet, has begun, or waits."""
    acceptor = ClientAcceptor(settings(most=1), log, never)
    first = accept(acceptor, sent)
    for _ in range(turns):
        gevent.sleep(0)
    accept(acceptor)
    assert ended(first)
    assert len(log.warnings) == 1 and "its place is needed" in log.warnings[0]
    assert len(acceptor) == 1


def test_a_defect_closes_the_connection(log, accept, monkeypatch):
    """The exception goes where all of the hub's go."""
    told = []
    monkeypatch.setattr(gevent.get_hub(), "print_exception", lambda *what: told.append(what[1]), raising=False)
    acceptor = ClientAcceptor(settings(), log, never)
    monkeypatch.setattr("wstpserver.wire.pairing.Pairing.receive", lambda *_: 1 / 0)
    assert ended(accept(acceptor, b"id=23E744F7"))
    assert told == [ZeroDivisionError]
    assert not len(acceptor)


@pytest.mark.parametrize(("offered", "agreed"), [(3, 3), (4, 4), (5, 4), (6, 6), (7, 6)])
def test_a_link_knows_the_version_that_was_agreed_on(log, accept, offered, agreed):
    opened = AsyncResult()
    acceptor = ClientAcceptor(settings(), log, opened.set)
    identity = b"id=23E744F7-9AE5-481E-B5EA-9AE4CBF1C047 connection="
    accept(acceptor, identity + b"mesg" + encode_message(2))
    lines = [b"Math Link %d" % offered, b"-libraryid '!&*' -decoders 0", b"-numericsid boxer -formats 1,2,3,4,5,6,7"]
    lines += [b"-envid ''"] if agreed >= 4 else []
    lines += [b"-symboldicts 1 -stringdicts 1", b"Support6digitAsciiUnicode"] if agreed >= 6 else []
    data = accept(acceptor, identity + b"data" + b"\3" + bytes(15) + b"\n".join(lines) + b"\nleft over")
    link = opened.get(timeout=20)
    try:
        assert link.greeting_version == agreed
        assert (link.leftover, link.messages_leftover) == (b"left over", encode_message(2))
        assert link.address.endswith(f":{data.getsockname()[1]}") and not link.without_kernel
        link.data.send(link.unsent)
        greeting = b""
        while greeting.count(b"\n") < len(lines):
            greeting += data.recv(4096)
        assert greeting.startswith(b"\3" + bytes(15) + b"Math Link %d\n" % min(agreed, 6) if agreed > 3 else b"\3")
    finally:
        link.close()
    assert not len(acceptor) and not log.warnings
