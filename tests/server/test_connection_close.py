"""Closing a connection on which somebody waits."""

from __future__ import annotations

import gevent
import pytest

from tests.server.connections import tcp_pair
from wstpserver.server.connection import Connection, ConnectionClosed
from wstpserver.server.relay.sinks import FrameWriter


def test_who_still_sends_when_the_connection_is_closed_is_told():
    ours, theirs = tcp_pair()
    stream = Connection(ours)
    with theirs:
        sender = gevent.spawn(stream.send, b"x" * 50_000_000)  # the other side does not read
        gevent.sleep(0)
        assert not sender.ready()
        stream.end()
        stream.close()  # before the hub has looked at the connection again
        with pytest.raises(ConnectionClosed):
            sender.get(timeout=60)
    assert ours.fileno() == -1


def test_closing_with_nobody_waiting_gives_the_descriptor_back_at_once():
    ours, theirs = tcp_pair()
    with theirs:
        Connection(ours).close()
        assert ours.fileno() == -1


def test_who_waits_for_a_frame_that_never_ends_is_told():
    ours, theirs = tcp_pair()
    writer = FrameWriter(Connection(ours))
    with theirs:
        first, second = object(), object()
        writer.write(first, b"F@", at_boundary=False)
        waiting = gevent.spawn(writer.write, second, b"#DA~Ax\n]", at_boundary=True)
        gevent.sleep(0)
        assert not waiting.ready()
        writer.give_up()
        writer.connection.close()
        for greenlet in (waiting, gevent.spawn(writer.write, first, b"#DA~Ax\n]", at_boundary=True)):
            with pytest.raises(ConnectionClosed):
                greenlet.get(timeout=60)
