"""Whose connection is it?"""
import os
import socket
import subprocess
import sys
import threading

import pytest

from tests.support.waiting import wait_for
from wstpserver.server.ownership import belongs_to

CONNECT = """
import os, socket, sys
depth, port = int(sys.argv[1]), int(sys.argv[2])
for _ in range(depth):
    if os.fork():  # the child goes on, the parent waits for it
        os.wait()
        sys.exit()
connection = socket.create_connection(("127.0.0.1", port))
connection.recv(1)
"""


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        yield listener


def connecting(listener, depth):
    words = [sys.executable, "-S", "-E", "-c", CONNECT, str(depth), str(listener.getsockname()[1])]
    return subprocess.Popen(words)


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_a_process_and_its_descendants(listener, depth):
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
        process.wait(10)
        other.wait(10)


def test_a_connection_of_our_own_is_nobody_else_s(listener):
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with socket.create_connection(listener.getsockname()) as ours:
        accepted, _ = listener.accept()
        with accepted:
            assert belongs_to(accepted, os.getpid())
            assert not belongs_to(accepted, process.pid)
            ours.close()
            wait_for(lambda: not belongs_to(accepted, os.getpid()), 10.0, "the closed connection to be nobody's")
    process.communicate(b"\n")


def test_a_process_that_is_gone_owns_nothing(listener):
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    process.wait(10)
    with socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert not belongs_to(accepted, process.pid)


def test_a_thread_s_connection_belongs_to_its_process(listener):
    made = []
    thread = threading.Thread(target=lambda: made.append(socket.create_connection(listener.getsockname())))
    thread.start()
    accepted, _ = listener.accept()
    thread.join()
    with accepted, made[0]:
        assert belongs_to(accepted, os.getpid())


def test_among_many_connections(listener):
    others, accepted = [], []
    try:
        for _ in range(200):
            others.append(socket.create_connection(listener.getsockname()))
            accepted.append(listener.accept()[0])
        assert all(belongs_to(connection, os.getpid()) for connection in accepted[::20])
    finally:
        for connection in others + accepted:
            connection.close()
