"""A client's messages are waited for without a greenlet, until there are some."""
import gc

import gevent
import pytest

from tests.server.connections import tcp_pair
from tools.harness.processes import own_descriptors
from wstpserver.server.connection import Connection, MessageWatch


class Watched:
    """A message connection, and what the watch says of it."""

    def __init__(self, leftover=b""):
        ours, self.peer = tcp_pair()
        self.stream = Connection(ours)
        self.received, self.ends = [], 0
        self.changed = gevent.event.Event()
        self.watch = MessageWatch(self.stream, leftover, self.run, self.ended)

    def run(self, data):
        while data:
            self.received.append(data)
            self.changed.set()
            data = self.stream.receive_bytes()

    def ended(self):
        self.ends += 1
        self.changed.set()

    def wait(self):
        assert self.changed.wait(60)
        self.changed.clear()

    def close(self):
        self.stream.end()
        self.watch.stop()
        self.stream.close()
        self.peer.close()


@pytest.fixture
def watched():
    gc.collect()  # what earlier tests have left to the collector is not closed in the middle of this one
    before = own_descriptors()
    opened = []

    def make(*arguments):
        opened.append(Watched(*arguments))
        return opened[-1]

    yield make
    for each in opened:
        each.close()
    gevent.sleep(0)
    assert own_descriptors().keys() <= before.keys()


def test_the_end_before_any_message(watched):
    link = watched()
    link.peer.close()
    link.wait()
    assert (link.received, link.ends, link.watch.reading) == ([], 1, False)


def test_messages_are_read_in_a_greenlet(watched):
    link = watched()
    for message in (b"first", b"second"):
        link.peer.sendall(message)
        link.wait()
    assert link.watch.reading
    link.peer.close()
    link.watch.stop()
    assert (link.received, link.ends) == ([b"first", b"second"], 0)  # who reads sees the end


def test_what_came_with_the_greeting(watched):
    link = watched(b"left over")
    link.wait()
    link.peer.sendall(b"more")
    link.wait()
    assert link.received == [b"left over", b"more"]


def test_nothing_is_called_after_it_was_stopped(watched):
    link = watched()
    link.watch.stop()
    link.peer.sendall(b"too late")
    gevent.sleep(0.01)
    assert (link.received, link.ends) == ([], 0)


def test_who_joins_waits_until_all_has_been_read(watched):
    """Also for what has not been looked at yet; and not longer than is said."""
    silent, ending, talking = watched(), watched(), watched()
    silent.watch.join(0.01)
    assert not silent.watch.reading
    ending.peer.close()
    with gevent.Timeout(20):
        ending.watch.join(100)
    assert ending.ends == 1
    talking.peer.sendall(b"first")
    talking.wait()
    talking.watch.join(0.01)  # it may say more
    assert talking.watch.reading
    talking.peer.close()
    with gevent.Timeout(20):
        talking.watch.join(100)
        talking.watch.join(100)
    assert talking.ends == 0
