"""What passes without a handler, in C or in the agent, keeps to the rules of the stream in whatever pieces it comes."""
import contextlib
import os
import random
import select
import socket
import struct
import threading

import pytest

from wstpserver.keeper import stream as protocol
from wstpserver.keeper.passing import PassingChannel, PassingLoop
from wstpserver.keeper.relay import RelayChannel, RelayLoop, RelayStream

DATA, MESSAGES = protocol.DATA_CHANNEL, protocol.MESSAGE_CHANNEL


def connected_pair():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        first = socket.create_connection(listener.getsockname(), 60.0)
        second, _ = listener.accept()
    second.settimeout(60)
    return first, second


def frame(kind, channel=0, payload=b""):
    return struct.pack(">IBB", len(payload), kind, channel) + payload + b"\n"


SIDES = {
    "connector": (RelayLoop, RelayStream, RelayChannel),
    "agent": (PassingLoop, protocol.Stream, PassingChannel),
}


@pytest.fixture(params=SIDES)
def side(request):
    """What passes bytes: the loop, the stream and the channels."""
    return SIDES[request.param]


class Carrier:
    """The loop of one side in a thread. The test is the other side, and has the other ends of both connections."""

    def __init__(self, side):
        make_loop, make_stream, make_channel = side
        incoming, self._to_stream = os.pipe()
        self._from_stream, outgoing = os.pipe()
        stopping, self._stop = os.pipe()
        self._descriptors = [incoming, self._to_stream, self._from_stream, outgoing, stopping, self._stop]
        self._loop = make_loop()
        self.taken, self.ended = [], []
        stream = make_stream(self._loop, incoming, outgoing, lambda *words: self.taken.append(words), self._lost)
        self.ends = {}
        for number in (DATA, MESSAGES):
            ours, self.ends[number] = connected_pair()
            stream.add(make_channel(stream, number)).open(ours)
        self._loop.serve(stream)
        self._loop.watch(stopping, select.POLLIN, self._finish)
        self._thread = threading.Thread(target=self._loop.run)
        self._writing = threading.Lock()

    def _finish(self, _events):
        self._loop.finished = True

    def _lost(self, why):
        self.ended.append(why)
        self._loop.finished = True

    def say(self, data):
        """Write to the stream."""
        with self._writing:
            while data:
                data = data[os.write(self._to_stream, data) :]

    def hang_up(self):
        """End the stream."""
        os.close(self._to_stream)
        self._descriptors.remove(self._to_stream)

    def hear(self):
        """The next frame of the stream: kind, channel, payload."""
        length, kind, channel = struct.unpack(">IBB", self._read(6))
        payload = self._read(length)
        assert self._read(1) == b"\n"
        return kind, channel, payload

    def _read(self, size):
        data = b""
        while len(data) < size:
            data += os.read(self._from_stream, size - len(data))
        return data

    def join(self):
        self._thread.join(60.0)
        assert not self._thread.is_alive()

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            os.write(self._stop, b"x")
        self.join()
        for descriptor in self._descriptors:
            os.close(descriptor)
        for end in self.ends.values():
            end.close()


def in_pieces(data, rng):
    """The bytes in pieces of all sizes."""
    while data:
        size = rng.choice((1, 3, 7, 40, 1000, 70_000))
        yield data[:size]
        data = data[size:]


@pytest.mark.parametrize("seed", range(3))
def test_bytes_pass_in_both_directions(side, seed):
    """Four million bytes each way, which need credit, with control frames in between."""
    rng = random.Random(seed)
    there = [rng.randbytes(rng.choice((1, 30, 500, 20_000, 120_000))) for _ in range(120)]
    back = {number: rng.randbytes(2_000_000 if number == DATA else 50_000) for number in (DATA, MESSAGES)}
    expected, got = b"".join(there), {DATA: bytearray(), MESSAGES: bytearray()}
    with Carrier(side) as carrier:

        def speak():
            text = bytearray()
            for payload in there:
                text += frame(protocol.DATA, DATA, payload)
                if rng.random() < 0.2:
                    text += frame(protocol.MEMORY, 0, b"12345678")
            for piece in in_pieces(bytes(text), rng):
                carrier.say(piece)

        def send():
            for number, data in back.items():
                carrier.ends[number].sendall(data)

        def listen():
            while any(len(got[number]) < len(data) for number, data in back.items()):
                kind, number, payload = carrier.hear()
                if kind == protocol.DATA:
                    got[number] += payload
                    carrier.say(frame(protocol.CREDIT, number, struct.pack(">I", len(payload))))
                else:
                    assert kind == protocol.CREDIT

        # no credit is given in the middle of a frame that is written in pieces: first there, then back
        speaker = threading.Thread(target=speak)
        speaker.start()
        received = bytearray()
        while len(received) < len(expected):
            received += carrier.ends[DATA].recv(1 << 16)
        speaker.join()
        sender = threading.Thread(target=send)
        sender.start()
        listen()
        sender.join()
    assert received == expected
    assert got == back
    assert carrier.ended == [] and {kind for kind, _, _ in carrier.taken} == {protocol.MEMORY}


def test_a_peer_that_does_not_read_holds_up_its_own_channel_alone(side):
    with Carrier(side) as carrier:
        carrier.ends[DATA].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        for _ in range(protocol.WINDOW // 100_000):
            carrier.say(frame(protocol.DATA, DATA, bytes(100_000)))
        carrier.say(frame(protocol.DATA, MESSAGES, b"abort"))
        assert carrier.ends[MESSAGES].recv(100) == b"abort"
        carrier.ends[MESSAGES].sendall(b"done")
        while (heard := carrier.hear())[0] == protocol.CREDIT:
            pass
        assert heard == (protocol.DATA, MESSAGES, b"done")


VIOLATIONS = {
    "no line feed": b"\0\0\0\1\0\1xy" * 3,
    "more than credit": struct.pack(">IBB", protocol.WINDOW + 1, protocol.DATA, DATA) + bytes(100),
    "a channel that is not there": frame(protocol.DATA, 9, b"x"),
    "4 GB": b"\xff\xff\xff\xff\0\1" + bytes(100),
    "credit for nothing": frame(protocol.CREDIT, DATA, b"\0\0\0\1"),
    "a kind that is not there": frame(77),
}


@pytest.mark.parametrize("way", VIOLATIONS)
def test_who_leaves_the_protocol_is_given_up(side, way):
    with Carrier(side) as carrier:
        carrier.say(frame(protocol.DATA, DATA, b"before"))
        assert carrier.ends[DATA].recv(100) == b"before"
        carrier.say(VIOLATIONS[way])
        carrier.join()
    assert len(carrier.ended) == 1


def test_the_end_of_the_stream_is_noticed(side):
    with Carrier(side) as carrier:
        carrier.say(frame(protocol.DATA, DATA, b"last"))
        assert carrier.ends[DATA].recv(100) == b"last"
        carrier.ends[DATA].close()
        while (heard := carrier.hear())[0] != protocol.END:
            pass
        assert heard == (protocol.END, DATA, b"")


def test_the_end_of_the_other_side_is_noticed(side):
    with Carrier(side) as carrier:
        carrier.say(frame(protocol.DATA, DATA, b"last"))
        assert carrier.ends[DATA].recv(100) == b"last"
        carrier.hang_up()
        carrier.join()
    assert carrier.ended == ["it has ended"]
