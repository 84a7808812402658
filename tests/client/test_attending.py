"""What a kernel needs of a link: messages with the time they came, data without a look at the connection."""
import select
import socket
import threading

import pytest

from wstpserver.client import LinkTimeout, connect, listen
from wstpserver.client.deadline import Deadline
from wstpserver.client.messages import MessageChannel
from wstpserver.client.transport import Connection, prepare
from wstpserver.wire.encode import encode
from wstpserver.wire.packets import MessageCode, encode_message

DEADLINE = 60.0


@pytest.fixture
def pair():
    """Both ends of a link."""
    with listen("0@127.0.0.1") as listener:
        ends = []
        thread = threading.Thread(target=lambda: ends.append(listener.accept(DEADLINE)))
        thread.start()
        near = connect(listener.link_name, DEADLINE)
        thread.join()
    (far,) = ends
    yield near, far
    near.close()
    far.close()


def test_arrival_is_told_before_the_message_is_read(pair):
    near, far = pair
    told = []
    far.send_message(3)
    assert near.next_message(DEADLINE, on_arrival=lambda: told.append("came")) == (3, 0)
    assert told == ["came"]


def test_no_more_is_read_than_was_asked_for(pair):
    near, far = pair
    looks = []

    def one_message():
        looks.append(len(looks))
        return 8

    for argument in range(3):
        far.send_message(5, argument)
    assert [near.next_message(DEADLINE, one_message) for _ in range(3)] == [(5, 0), (5, 1), (5, 2)]
    assert looks == [0, 1, 2]


def test_silence_is_no_arrival(pair):
    near, _ = pair
    told = []
    with pytest.raises(LinkTimeout):
        near.next_message(0.05, on_arrival=lambda: told.append("came"))
    assert told == []


class LateConnection(Connection):
    """A connection on which a message comes in the moment after the first wait has ended in vain."""

    def __init__(self, sock, peer):
        super().__init__(sock, "late")
        self._peer = peer

    def wait_readable(self, deadline):
        readable = super().wait_readable(deadline)
        if not readable and self._peer is not None:
            self._peer.sendall(encode_message(MessageCode.ABORT, 0))
            self._peer = None
            select.select([self.fileno()], [], [])
        return readable


def test_a_message_that_comes_as_a_wait_ends_is_told_as_well():
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
    prepare(near)
    with near, far:
        channel = MessageChannel(LateConnection(near, far), "late")
        told = []
        with pytest.raises(LinkTimeout):
            channel.next(Deadline(0), on_arrival=lambda: told.append("came"))
        assert told == []
        assert channel.next(Deadline(DEADLINE), on_arrival=lambda: told.append("came")) == (MessageCode.ABORT, 0)
        assert told == ["came"]


def test_attended_messages_are_left_alone_while_data_is_waited_for(pair):
    near, far = pair
    with pytest.raises(LinkTimeout):
        near.next_message(0, on_arrival=lambda: None)
    told = []
    far.send_message(3)
    far.put("data")
    assert near.get(DEADLINE) == "data"
    assert near.next_message(DEADLINE, on_arrival=lambda: told.append("came")) == (3, 0)
    assert told == ["came"]


def test_what_came_together_is_held(pair):
    near, far = pair
    assert not near.holds_one()
    far.put_raw(encode("first") + encode("second"))
    assert not near.holds_one()  # it has not looked yet
    assert near.get(DEADLINE) == "first"
    assert near.holds_one()
    assert near.get(DEADLINE) == "second"
    assert not near.holds_one()
