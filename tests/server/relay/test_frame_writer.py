"""Frames of several sources on one connection."""
import gc

import gevent
import pytest
from gevent.event import Event
from wstpserver._native import ffi

from tests.server.connections import tcp_pair
from tools.harness.objects import living_greenlets
from wstpserver.server.connection import Connection, ConnectionClosed
from wstpserver.server.relay.sinks import FrameWriter

BIG = b"x" * 30_000_000
A, B = "source a", "source b"


class Stuck:
    """A connection that keeps what it is sent, each time only once `release` is called."""

    unsent = None

    def __init__(self):
        self.handle = ffi.new("struct wstpcopy_end *", (-1, 0))
        self.sent = []
        self._allowed = 0
        self._changed = Event()

    def send(self, data):
        number = len(self.sent)
        self.sent.append(None)
        while self._allowed <= number:
            self._changed.clear()
            self._changed.wait()
        self.sent[number] = bytes(data)

    def release(self, times=1):
        self._allowed += times
        self._changed.set()
        gevent.sleep(0)

    @property
    def text(self):
        return b"".join(piece for piece in self.sent if piece is not None)


@pytest.fixture
def stream():
    return Stuck()


@pytest.fixture
def free(stream):
    """A connection that takes everything at once."""
    stream.release(1000)
    return stream


def test_frames_of_several_sources_do_not_mix(stream):
    writer = FrameWriter(stream)
    writers = [
        gevent.spawn(writer.write, f"source {n}", b"<%d>]" % n, at_boundary=True) for n in range(5)
    ]
    gevent.sleep(0)
    assert len(stream.sent) == 1  # one at a time
    stream.release(5)
    gevent.joinall(writers, raise_error=True)
    assert stream.text == b"<0>]<1>]<2>]<3>]<4>]"


def test_a_frame_in_parts_is_not_interrupted(free):
    writer = FrameWriter(free)
    writer.write(A, b"one ", at_boundary=False)
    assert writer.in_frame(A) and not writer.in_frame(B)
    other = gevent.spawn(writer.write, B, b"other]", at_boundary=True)
    gevent.sleep(0)
    writer.write(A, b"two ", at_boundary=False)
    gevent.sleep(0)
    writer.write(A, b"three]", at_boundary=True)
    other.get()
    assert free.text == b"one two three]other]"
    assert not writer.in_frame(A) and not writer.in_frame(B)


def test_those_who_wait_come_in_their_order(free):
    writer = FrameWriter(free)
    writer.write(A, b"begun ", at_boundary=False)
    waiting = [gevent.spawn(writer.write, object(), b"%d]" % number, at_boundary=True) for number in range(9)]
    gevent.sleep(0)
    writer.write(A, b"]", at_boundary=True)
    gevent.joinall(waiting, raise_error=True)
    assert free.text == b"begun ]0]1]2]3]4]5]6]7]8]"


def test_others_may_write_past_it_between_frames_only(free):
    handle = free.handle
    writer = FrameWriter(free)
    assert handle.free
    writer.write(A, b"one ", at_boundary=False)
    assert not handle.free
    writer.write(A, b"two", at_boundary=True)
    assert not handle.free  # a "]" may come, or have to be made up
    writer.tail(A)
    assert handle.free
    writer.went_out(B, memoryview(b""), open_tail=True)
    assert not handle.free
    writer.write(A, b"three]", at_boundary=True)
    assert handle.free
    writer.went_out(B, memoryview(b"rest]"), open_tail=False)
    assert handle.free and free.text == b"one two]]three]rest]"
    writer.write(A, b"half", at_boundary=False)
    writer.abandon(A, None)
    assert not handle.free


def test_nobody_writes_past_it_while_a_frame_does_not_get_on(stream):
    writer = FrameWriter(stream)
    stuck = gevent.spawn(writer.write, A, b"whole]", at_boundary=True)
    gevent.sleep(0)
    assert not stream.handle.free
    stream.release()
    stuck.get()
    assert stream.handle.free


@pytest.mark.parametrize("source", [A, B])
def test_a_late_end_of_packet(free, source):
    """It is put where it belongs if another source has written meanwhile, and is not doubled then."""
    writer = FrameWriter(free)
    writer.write(A, b"one", at_boundary=True)
    writer.write(source, b"two", at_boundary=True)
    writer.tail(A)
    writer.tail(A)
    writer.tail(source)
    assert free.text == (b"onetwo]" if source == A else b"one]two]")


def test_an_end_of_packet_that_was_there_is_not_doubled(free):
    writer = FrameWriter(free)
    writer.write(A, b"one]", at_boundary=True)
    writer.tail(A)
    writer.write(B, b"two]", at_boundary=True)
    assert free.text == b"one]two]"


def test_an_abandoned_frame_is_completed_before_others_write(free):
    writer = FrameWriter(free)
    writer.write(A, b"half", at_boundary=False)
    other = gevent.spawn(writer.write, B, b"other]", at_boundary=True)
    gevent.sleep(0)
    writer.abandon(A, iter([b" and ", b"half]"]))
    other.get()
    assert free.text == b"half and half]other]"


def test_a_frame_can_be_abandoned_while_its_source_writes(stream):
    """The source may be stuck in a connection that takes nothing; the completion follows when that moves again."""
    writer = FrameWriter(stream)
    stuck = gevent.spawn(writer.write, A, b"half", at_boundary=False)
    other = gevent.spawn(writer.write, B, b"other]", at_boundary=True)
    gevent.sleep(0)
    began = gevent.get_hub()
    writer.abandon(A, iter([b" and ", b"half]"]))  # comes back at once
    assert began is gevent.get_hub() and stream.text == b""
    stream.release(10)
    gevent.joinall([stuck, other], raise_error=True)
    assert stream.text == b"half and half]other]"


def test_abandoning_what_was_not_begun_does_nothing(free):
    writer = FrameWriter(free)
    writer.abandon(A, iter([b"no"]))
    writer.write(A, b"whole]", at_boundary=True)
    writer.abandon(A, iter([b"no"]))
    writer.write(B, b"next]", at_boundary=True)
    assert free.text == b"whole]next]"


@pytest.mark.parametrize("writing", [False, True])
def test_what_cannot_be_completed_ends_the_conversation(stream, writing):
    writer = FrameWriter(stream)
    if writing:
        source = gevent.spawn(writer.write, A, b"half", at_boundary=False)
        gevent.sleep(0)
    else:
        stream.release(10)
        writer.write(A, b"half", at_boundary=False)
    other = gevent.spawn(writer.write, B, b"other]", at_boundary=True)
    gevent.sleep(0)
    writer.abandon(A, None)
    stream.release(10)
    with pytest.raises(ConnectionClosed):
        other.get()
    if writing:
        source.get()
    with pytest.raises(ConnectionClosed):
        writer.write(A, b"more", at_boundary=True)
    assert stream.text == b"half" and writer.broken


def test_a_connection_that_breaks_releases_those_who_wait():
    ours, theirs = tcp_pair()
    with theirs:
        stream = Connection(ours)
        writer = FrameWriter(stream)
        writers = [gevent.spawn(writer.write, object(), BIG, at_boundary=True) for _ in range(3)]
        gevent.sleep(0)
        stream.end()
        gevent.joinall(writers, timeout=60)
        assert all(isinstance(greenlet.exception, ConnectionClosed) for greenlet in writers)
        stream.close()


def test_finish_comes_after_the_frame_that_has_begun():
    ours, theirs = tcp_pair()
    with theirs:
        stream = Connection(ours)
        writer = FrameWriter(stream)
        writer.write(A, b"half", at_boundary=False)
        finishing = gevent.spawn(writer.finish)
        gevent.sleep(0)
        assert not finishing.ready()
        writer.write(A, b" and half]", at_boundary=True)
        finishing.get()
        assert theirs.recv(100) == b"half and half]" and theirs.recv(100) == b""
        stream.close()


def test_no_greenlet_is_left(free):
    gc.collect()
    before = len(living_greenlets())
    writer = FrameWriter(free)
    for _ in range(20):
        writer.write(A, b"half", at_boundary=False)
        writer.abandon(A, iter([b"]"]))
        gevent.sleep(0)
    gc.collect()
    assert len(living_greenlets()) <= before
