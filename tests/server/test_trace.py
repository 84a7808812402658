"""Tracers by themselves: whatever the pieces are in which the bytes come, each frame is one entry."""

import random
import re

import pytest

from tests.server.connections import tcp_pair
from wstpserver.server.connection import Connection
from wstpserver.server.handshake import OpenLink
from wstpserver.server.log import Log, LogLevel
from wstpserver.server.trace import FrameTracer, MessageTracer, trace_link
from wstpserver.wire.encode import encode
from wstpserver.wire.packets import CLOSING, encode_message
from wstpserver.wire.values import Function, Symbol

#: What of a Connection moves bytes: all of it must go through try_receive and send, which a TracedStream overrides.
MOVING = {"try_receive", "receive", "receive_bytes", "send", "try_send"}
NOT_MOVING = {
    "seconds_since_received",
    "is_waited_for", "keep_unsent", "stop_keeping", "take_unsent", "unsent",
    "acknowledge", "close", "detach", "end", "ended", "finish_sending", "handle", "on_close", "socket", "wait_readable",
}  # fmt: skip


class Entries(Log):
    """A log that keeps its trace entries."""

    def __init__(self):
        super().__init__(LogLevel.TRACE)
        self.found = []

    def trace(self, message):
        self.found.append(message)


@pytest.fixture
def log():
    log = Entries()
    yield log
    log.close()


def packet(name, *arguments):
    return encode(Function(Symbol(name), arguments))


FRAMES = [packet("InputNamePacket", "In[1]:= "), encode(5), packet("TextPacket", "x" * 5000), packet("Own`head")]
SHOWN = [
    'InputNamePacket (38 bytes): InputNamePacket["In[1]:= "]',
    "an expression (7 bytes): 5",
    f'TextPacket ({len(FRAMES[2])} bytes): TextPacket["{"x" * 185}...',
    f"Own`head ({len(FRAMES[3])} bytes): Own`head[]",
]


@pytest.mark.parametrize("size", [1, 7, 100, 10**6])
def test_frames_in_pieces(log, size):
    tracer = FrameTracer(log, "A sent")
    stream = b"".join(FRAMES)
    for start in range(0, len(stream), size):
        tracer.take(memoryview(stream)[start : start + size])
    tracer.end()
    exact = [f"A sent {text}" for text in SHOWN]
    if size > len(stream):
        assert log.found == exact
    # a "]" that comes by itself belongs to a frame that has been told of already: the length may lack it
    length = re.compile(r"\(\d+ bytes\)")
    assert [length.sub("", entry) for entry in log.found] == [length.sub("", entry) for entry in exact]


def test_frames_in_random_pieces(log):
    chance = random.Random(1)
    stream = b"".join(FRAMES) * 20
    cuts = sorted(chance.randrange(len(stream)) for _ in range(60))
    tracer = FrameTracer(log, "A sent")
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        tracer.take(stream[start:end])
    assert [entry.split(" ")[2] for entry in log.found] == [text.split(" ")[0] for text in SHOWN] * 20


def test_an_entry_is_never_long(log):
    tracer = FrameTracer(log, "A sent")
    tracer.take(packet("x" * 300, *["\n\x1b[31m" * 50] * 10))
    (entry,) = log.found
    head, content = entry.removeprefix("A sent ").split("): ")
    assert len(content) == 200 and len(head) < 100
    assert content.isprintable()


def test_a_frame_that_breaks_off(log):
    tracer = FrameTracer(log, "A sent")
    tracer.take(FRAMES[0] + FRAMES[2][:3000])
    tracer.end()
    tracer.end()
    assert log.found[1:] == [f'A sent TextPacket (broken off after 3000 bytes): TextPacket["{"x" * 185}...']


def test_what_is_no_expression_is_told_once(log):
    tracer = FrameTracer(log, "A sent")
    for _ in range(3):
        tracer.take(b"GET / HTTP/1.1\r\n")
    tracer.end()
    (entry,) = log.found
    assert re.fullmatch(r"A sent bytes that are not an expression \(.+\): G.*", entry)


def test_messages(log):
    tracer = MessageTracer(log, "A sent")
    stream = encode_message(3, 0) + encode_message(200, 7) + CLOSING
    for byte in stream:
        tracer.take(bytes([byte]))
    tracer.end()
    assert log.found == [
        "A sent message 3 (ABORT), argument 0",
        "A sent message 200, argument 7",
        "A sent message 9 (LINK_CLOSING), argument 0",
    ]


def test_nothing_moves_bytes_past_the_tracers():
    """A new method of Connection belongs into one of the two sets, and if it moves bytes into TracedStream."""
    assert {name for name in dir(Connection) if not name.startswith("_")} == MOVING | NOT_MOVING


def test_a_traced_stream_moves_what_it_shows(log):
    (ours, theirs), (our_messages, their_messages) = tcp_pair(), tcp_pair()
    with theirs, their_messages:
        link = OpenLink(Connection(ours), Connection(our_messages), FRAMES[0])
        assert link.data.handle.descriptor >= 0
        plain = link.data
        trace_link(log, link, "K")
        assert link.data is not plain and type(plain) is Connection and link.data.handle.descriptor == -1
        theirs.sendall(FRAMES[1])
        assert link.data.receive_bytes() == FRAMES[1]
        link.data.send(FRAMES[3])
        assert theirs.recv(1000) == FRAMES[3]
        assert link.messages.try_send(encode_message(2)) == 8
        their_messages.sendall(encode_message(3))
        assert link.messages.receive_bytes() == encode_message(3)
        theirs.sendall(FRAMES[2][:10])
        assert len(link.data.receive_bytes()) == 10
        link.data.close()
        link.messages.close()
    assert log.found == [
        f"K sent {SHOWN[0]}",
        f"K sent {SHOWN[1]}",
        f"K received {SHOWN[3]}",
        "K received message 2 (INTERRUPT), argument 0",
        "K sent message 3 (ABORT), argument 0",
        "K sent an expression (broken off after 10 bytes): Tex...",
    ]
