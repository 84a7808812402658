"""Connections that do not become links, as the acceptor sees them."""

import contextlib
import socket
from types import SimpleNamespace

import gevent
import pytest
from gevent.event import AsyncResult

from tests.server.connections import tcp_pair
from tests.support.settings import make_settings
from wstpserver.server.access import ConnectionRules
from wstpserver.server.handshake import ClientAcceptor
from wstpserver.wire.packets import encode_message


class Lines:
    """A log that keeps what it is told."""

    def __init__(self):
        self.warnings, self.others = [], []
        self.warning, self.debug = self.warnings.append, self.others.append


def settings(timeout=20.0, most=8):
    return SimpleNamespace(greeting_timeout=timeout, maximum_unpaired_connections=most)


def acceptor_of(settings, log, serve, **rules):
    pools = [{"name": "P", "KernelPath": "/bin/kernel"}]
    return ClientAcceptor(settings, log, serve, ConnectionRules(make_settings(pools=pools, **rules), log))


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
        theirs.settimeout(60)
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


def ended_at_once(client):
    """Whether the server has ended the connection by the time that it has done what there is to do."""
    for _ in range(5):
        gevent.sleep(0)
    client.setblocking(False)
    try:
        return not client.recv(4096)
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def never(_link):
    raise AssertionError("no link was made")


def test_a_shorter_time_counts_for_those_who_wait_already(log, accept):
    acceptor = acceptor_of(settings(), log, never)
    client = accept(acceptor)
    acceptor.reconfigure(settings(timeout=0.0))
    assert ended(client)
    assert [line.partition(": ")[2] for line in log.warnings] == ["its greeting did not come in time"]
    assert not len(acceptor)


def test_a_longer_time_too(log, accept):
    acceptor = acceptor_of(settings(timeout=0.05), log, never)
    accept(acceptor)
    acceptor.reconfigure(settings())
    gevent.sleep(0.1)
    assert len(acceptor) == 1 and log.warnings == []


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("sent", [b"", b"id=23E744F7", b"need_msg_portY"])
def test_the_oldest_has_to_go_however_far_it_has_come(log, accept, sent, turns):
    """Classic mode has a greenlet of its own, which has not begun yet, has begun, or waits."""
    acceptor = acceptor_of(settings(most=1), log, never)
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
    acceptor = acceptor_of(settings(), log, never)
    monkeypatch.setattr("wstpserver.wire.pairing.Pairing.receive", lambda *_: 1 / 0)
    assert ended(accept(acceptor, b"id=23E744F7"))
    assert told == [ZeroDivisionError]
    assert not len(acceptor)


@pytest.mark.parametrize(("offered", "agreed"), [(3, 3), (4, 4), (5, 4), (6, 6), (7, 6)])
def test_a_link_knows_the_version_that_was_agreed_on(log, accept, offered, agreed):
    opened = AsyncResult()
    acceptor = acceptor_of(settings(), log, opened.set)
    identity = b"id=23E744F7-9AE5-481E-B5EA-9AE4CBF1C047 connection="
    accept(acceptor, identity + b"mesg" + encode_message(2))
    lines = [b"Math Link %d" % offered, b"-libraryid '!&*' -decoders 0", b"-numericsid boxer -formats 1,2,3,4,5,6,7"]
    lines += [b"-envid ''"] if agreed >= 4 else []
    lines += [b"-symboldicts 1 -stringdicts 1", b"Support6digitAsciiUnicode"] if agreed >= 6 else []
    data = accept(acceptor, identity + b"data" + b"\3" + bytes(15) + b"\n".join(lines) + b"\nleft over")
    link = opened.get(timeout=60)
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


# Behind a proxy


IDENTITY = b"id=23E744F7-9AE5-481E-B5EA-9AE4CBF1C047 connection="
GREETING = b"\3" + bytes(15) + b"Math Link 4\n-libraryid '!&*' -decoders 0\n-numericsid boxer -formats 1\n-envid ''\n"
PROXIED = b"PROXY TCP4 192.0.2.7 198.51.100.1 50000 31415\r\n"
PROXIED_2 = b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + bytes([192, 0, 2, 7, 198, 51, 100, 1, 195, 80, 122, 183])


@pytest.mark.parametrize("header", [PROXIED, PROXIED_2], ids=["version 1", "version 2"])
@pytest.mark.parametrize("size", [1, 7, 60, 1000])
def test_both_connections_of_a_link_come_from_a_proxy(log, accept, header, size):
    """Whatever pieces the header and what follows it come in."""
    opened = AsyncResult()
    acceptor = acceptor_of(settings(), log, opened.set, AcceptProxyProtocolFrom=["127.0.0.1"])
    for data in (header + IDENTITY + b"mesg", header + IDENTITY + b"data" + GREETING + b"left over"):
        client = accept(acceptor, data[:size])
        for start in range(size, len(data), size):
            gevent.sleep(0)
            client.sendall(data[start : start + size])
    link = opened.get(timeout=60)
    with contextlib.closing(link):
        assert link.address == f"192.0.2.7:50000 via 127.0.0.1:{client.getsockname()[1]}"
        assert link.header.client == ("192.0.2.7", 50000)
        assert link.leftover == b"left over"
    assert not log.warnings


def test_a_client_that_is_not_admitted_behind_a_proxy(log, accept):
    rules = {"AcceptProxyProtocolFrom": ["127.0.0.1"], "AllowedAddresses": ["192.0.2.0/29"]}
    acceptor = acceptor_of(settings(), log, never, **rules)
    assert not ended_at_once(accept(acceptor, PROXIED + IDENTITY + b"data"))
    other = PROXIED.replace(b"192.0.2.7", b"192.0.2.8")
    assert ended(accept(acceptor, other + IDENTITY + b"data"))
    (line,) = log.warnings
    assert line.startswith("Refused a connection from 192.0.2.8:50000 via 127.0.0.1:")
    assert line.endswith(": its address is not in AllowedAddresses")
    assert ended(accept(acceptor, IDENTITY + b"data"))  # the proxy itself, or somebody else on that computer


@pytest.mark.parametrize("header", [b"", b"PROXY UNKNOWN\r\n", PROXIED_2[:12] + b"\x20\0\0\0"])
def test_a_proxy_that_connects_for_itself(log, accept, header):
    opened = AsyncResult()
    acceptor = acceptor_of(settings(), log, opened.set, AcceptProxyProtocolFrom=["127.0.0.0/8"])
    accept(acceptor, header + IDENTITY + b"mesg")
    data = accept(acceptor, header + IDENTITY + b"data" + GREETING)
    with contextlib.closing(opened.get(timeout=60)) as link:
        assert link.address == f"127.0.0.1:{data.getsockname()[1]}"


@pytest.mark.parametrize(
    ("data", "why"), [(b"PROXY TCP4 nonsense\r\n", "is no PROXY header"), (b"PROXX", "opened the connection with")]
)
def test_no_header_and_no_link(log, accept, data, why):
    acceptor = acceptor_of(settings(), log, never, AcceptProxyProtocolFrom=["127.0.0.1"])
    assert ended(accept(acceptor, data))
    assert why in log.warnings[0]


def test_a_proxy_that_leaves_in_the_middle_of_its_header(log, accept):
    acceptor = acceptor_of(settings(), log, never, AcceptProxyProtocolFrom=["127.0.0.1"])
    client = accept(acceptor, PROXIED[:9])
    gevent.sleep(0)
    client.shutdown(socket.SHUT_WR)
    assert ended(client)
    assert not log.warnings and "ended during its greeting" in log.others[0]


def test_nobody_else_says_who_he_is(log, accept):
    acceptor = acceptor_of(settings(), log, never, AcceptProxyProtocolFrom=["127.0.0.2"])
    assert ended(accept(acceptor, PROXIED + IDENTITY + b"data"))
    assert "a PROXY protocol header" in log.warnings[0]
