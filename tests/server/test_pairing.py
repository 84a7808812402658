"""Two connections become one link, whichever comes first and whoever gives up."""
import gevent
import pytest

from tests.server.connections import tcp_pair
from tests.support.leaks import own_descriptors
from wstpserver.server.greeter import Pairing, Rejected
from wstpserver.server.stream import Stream

UUID, OTHER = "23E744F7-9AE5-481E-B5EA-9AE4CBF1C047", "33E744F7-9AE5-481E-B5EA-9AE4CBF1C047"


class Message:
    """Stands for a message connection."""

    def __init__(self):
        self.closed = False

    def close(self):
        self.closed = True


@pytest.fixture
def pairing():
    pairing = Pairing()
    yield pairing
    assert not pairing._waiting and not pairing._present


def started(function, *arguments):
    greenlet = gevent.spawn(function, *arguments)
    gevent.sleep(0)
    return greenlet


def test_data_first(pairing):
    stream = Message()
    data = started(pairing.wait_for_messages, UUID)
    message = started(pairing.offer_messages, UUID, stream, b"left over")
    assert data.get(timeout=5) == (stream, b"left over")
    message.get(timeout=5)
    assert not stream.closed


def test_messages_first(pairing):
    stream = Message()
    message = started(pairing.offer_messages, UUID, stream, b"")
    assert not message.ready()
    data = started(pairing.wait_for_messages, UUID)
    assert data.get(timeout=5) == (stream, b"")
    message.get(timeout=5)


def test_different_links_do_not_mix(pairing):
    streams = {uuid: Message() for uuid in (UUID, OTHER)}
    data = {uuid: started(pairing.wait_for_messages, uuid) for uuid in (UUID, OTHER)}
    for uuid in (OTHER, UUID):
        started(pairing.offer_messages, uuid, streams[uuid], b"").get(timeout=5)
    for uuid in (UUID, OTHER):
        assert data[uuid].get(timeout=5)[0] is streams[uuid]


def rejected(greenlet):
    with pytest.raises(Rejected):
        greenlet.get(timeout=5)


def test_a_second_connection_of_either_kind(pairing):
    data = started(pairing.wait_for_messages, UUID)
    rejected(started(pairing.wait_for_messages, UUID))
    message = started(pairing.offer_messages, UUID, Message(), b"")
    late = started(pairing.offer_messages, OTHER, Message(), b"")
    rejected(started(pairing.offer_messages, OTHER, Message(), b""))
    for greenlet in (data, message):
        greenlet.get(timeout=5)
    late.kill()


@pytest.mark.parametrize("kind", ["wait_for_messages", "offer_messages"])
def test_who_gives_up_makes_room_for_another_attempt(pairing, kind):
    arguments = (UUID,) if kind == "wait_for_messages" else (UUID, Message(), b"")
    greenlet = started(getattr(pairing, kind), *arguments)
    greenlet.kill()
    data = started(pairing.wait_for_messages, UUID)
    stream = Message()
    started(pairing.offer_messages, UUID, stream, b"").get(timeout=5)
    assert data.get(timeout=5)[0] is stream


def test_giving_up_in_the_moment_of_the_arrival_closes_what_arrived(pairing):
    stream = Message()
    data = started(pairing.wait_for_messages, UUID)
    offering = gevent.spawn(pairing.offer_messages, UUID, stream, b"")
    offering.join()  # the arrival is set now, and the data connection's greenlet has not run yet, or just has
    data.kill()
    taken = data.value if data.successful() and isinstance(data.value, tuple) else None
    assert stream.closed == (taken is None)


def test_no_descriptor_is_left():
    before = own_descriptors()
    for _ in range(10):
        pairing = Pairing()
        ours, theirs = tcp_pair()
        stream = Stream(ours)
        offering = started(pairing.offer_messages, UUID, stream, b"")
        offering.kill()
        stream.close()
        theirs.close()
    assert own_descriptors().keys() == before.keys()
