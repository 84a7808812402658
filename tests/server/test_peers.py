"""Whose connection is it?"""
import os
import socket
import subprocess
import sys
import threading

import pytest

from tools.harness.waiting import wait_for
from wstpserver.server import peers
from wstpserver.server.peers import belongs_to, diagnosed_owner, have_same_owner, listed_owner, peer_owner

CONNECT = """
import os, socket, sys
depth, port = int(sys.argv[1]), int(sys.argv[2])
for _ in range(depth):
    if os.fork():  # the child goes on, the parent waits for it
        os.wait()
        sys.exit()
connection = socket.create_connection((sys.argv[3], port))
connection.recv(1)
"""

FAMILIES = {"127.0.0.1": socket.AF_INET, "::1": socket.AF_INET6}


@pytest.fixture(params=FAMILIES)
def listener(request):
    family = FAMILIES[request.param]
    try:
        listener = socket.create_server((request.param, 0), family=family)
    except OSError:
        pytest.skip(f"there is no {request.param} here")
    with listener:
        listener.settimeout(60)
        yield listener


def no_sock_diag(*_):
    raise PermissionError("not here")


@pytest.fixture(params=["sock_diag", "/proc"])
def way(request, monkeypatch):
    """How the peer's socket is found."""
    if request.param == "/proc":
        monkeypatch.setattr(peers, "diagnosed_owner", no_sock_diag)
    else:
        monkeypatch.setattr(peers, "listed_owner", no_sock_diag)


def connecting(listener, depth):
    words = [sys.executable, "-S", "-E", "-c", CONNECT, str(depth), str(listener.getsockname()[1]),
             listener.getsockname()[0]]
    return subprocess.Popen(words)


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_a_process_and_its_descendants(listener, way, depth):
    process = connecting(listener, depth)
    other = connecting(listener, 0)
    connections = [listener.accept()[0] for _ in range(2)]
    try:
        pids = (process.pid, other.pid)
        owners = [tuple(belongs_to(connection, pid) for pid in pids) for connection in connections]
        assert sorted(owners) == [(False, True), (True, False)]
        assert all(belongs_to(connection, os.getpid()) for connection in connections)  # our grandchildren
    finally:
        for connection in connections:
            connection.close()
        process.wait(60)
        other.wait(60)


def test_a_connection_of_our_own_is_nobody_else_s(listener, way):
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with socket.create_connection(listener.getsockname()[:2]) as ours:
        accepted, _ = listener.accept()
        with accepted:
            assert belongs_to(accepted, os.getpid())
            assert not belongs_to(accepted, process.pid)
            ours.close()
            wait_for(lambda: not belongs_to(accepted, os.getpid()), 60.0, "the closed connection to be nobody's")
    process.communicate(b"\n")


def test_a_process_that_is_gone_owns_nothing(listener, way):
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    process.wait(60)
    with socket.create_connection(listener.getsockname()[:2]):
        accepted, _ = listener.accept()
        with accepted:
            assert not belongs_to(accepted, process.pid)


def test_a_thread_s_connection_belongs_to_its_process(listener):
    made = []
    thread = threading.Thread(target=lambda: made.append(socket.create_connection(listener.getsockname()[:2])))
    thread.start()
    accepted, _ = listener.accept()
    thread.join()
    with accepted, made[0]:
        assert belongs_to(accepted, os.getpid())


def test_among_many_connections(listener, way):
    others, accepted = [], []
    try:
        for _ in range(200):
            others.append(socket.create_connection(listener.getsockname()[:2]))
            accepted.append(listener.accept()[0])
        assert all(belongs_to(connection, os.getpid()) for connection in accepted[::20])
    finally:
        for connection in others + accepted:
            connection.close()


def both_ends(listener):
    client = socket.create_connection(listener.getsockname()[:2])
    return client, listener.accept()[0]


def inode_of(open_socket):
    return os.fstat(open_socket.fileno()).st_ino


def test_both_ways_find_the_socket_of_the_other_end(listener):
    client, accepted = both_ends(listener)
    with client, accepted:
        for here, there in [(client, accepted), (accepted, client)]:
            addresses = here.family, here.getpeername(), here.getsockname()
            owner = (inode_of(there), os.getuid())
            assert diagnosed_owner(*addresses) == listed_owner(*addresses) == peer_owner(here) == owner


def test_a_socket_that_is_closed_or_was_never_there(listener):
    client, accepted = both_ends(listener)
    with accepted:
        address = accepted.getpeername()
        client.close()
        for find in (diagnosed_owner, listed_owner):
            assert find(accepted.family, address, accepted.getsockname()) is None
            assert find(accepted.family, listener.getsockname(), accepted.getsockname()) is None
        assert peer_owner(accepted) is None


def test_a_system_that_knows_no_tcp_there(listener, monkeypatch):
    """It says of every socket that there is none."""
    client, accepted = both_ends(listener)
    with client, accepted:
        monkeypatch.setattr(peers, "diagnosed_owner", lambda *_: None)
        assert peer_owner(accepted).inode == inode_of(client)


def test_a_request_that_the_system_refuses():
    with pytest.raises(OSError):
        diagnosed_owner(socket.AF_UNIX, ("127.0.0.1", 1), ("127.0.0.1", 2))


def test_two_connections_of_one_process(listener, way):
    process = subprocess.Popen([sys.executable, "-S", "-E", "-c", CONNECT, "0", str(listener.getsockname()[1]),
                                listener.getsockname()[0]])  # fmt: skip
    stranger = listener.accept()[0]
    pairs = [both_ends(listener) for _ in range(2)]
    try:
        (_, first), (_, second) = pairs
        assert have_same_owner(first, second) and have_same_owner(second, first)
        assert not have_same_owner(first, stranger) and not have_same_owner(stranger, first)
        pairs[1][0].close()
        wait_for(lambda: not have_same_owner(first, second), 60.0, "the closed connection to be nobody's")
    finally:
        for each in (stranger, *(end for pair in pairs for end in pair)):
            each.close()
        process.wait(60)
