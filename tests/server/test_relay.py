"""Pumps between real connections: rounds in C, waiting together, and everything that must not happen there."""
import os
import random

import gevent
import pytest
from gevent.event import Event

from tests.server.connections import tcp_pair
from tests.server.test_pump import frame, is_command, random_frames, random_pieces
from wstpserver.server import relay
from wstpserver.server.downstream import Downstream
from wstpserver.server.frame_writer import FrameWriter
from wstpserver.server.outlets import ToClient
from wstpserver.server.stream import Stream, StreamClosed
from wstpserver.server.upstream import Upstream
from wstpserver.wire.errors import RemoteProtocolError
from wstpserver.wire.packets import PacketHead

pytestmark = pytest.mark.skipif(relay.get() is None, reason="this system has no epoll")
EVALUATION = frame("EvaluatePacket", 20, 1)
ANSWER = frame("ReturnPacket", 20, 1)


class Ends:
    """A stream of the server's and the other side of it; the other side reads whatever comes."""

    def __init__(self):
        ours, self.peer = tcp_pair()
        self.peer.settimeout(20)
        self.stream = Stream(ours)
        self.writer = FrameWriter(self.stream)
        self.closing = False

    def read(self, size):
        data = b""
        while len(data) < size:
            data += gevent.get_hub().threadpool.apply(self.peer.recv, (size - len(data),)) or self.gone(data)
        return data

    @staticmethod
    def gone(data):
        raise AssertionError(f"the connection ended after {data!r}")

    def close(self):
        self.stream.close()
        self.peer.close()


@pytest.fixture
def ends():
    both = Ends(), Ends()
    yield both
    for each in both:
        each.close()


class Kernel:
    """What a kernel's pump tells."""

    def __init__(self, quickly=True):
        self.busy, self.quickly = False, quickly
        self.quick, self.slow, self.names, self.commands = [], [], [], []
        self.told = Event()

    def answered_quickly(self, head):
        if self.quickly:
            self.quick.append(head)
        return self.quickly

    def written(self, head):
        self.slow.append(head)
        self.told.set()

    def named(self, packet):
        self.names.append(packet)

    def asked(self, packet):
        pass

    def commanded(self, packet):
        self.commands.append(packet)
        self.told.set()


@pytest.fixture
def downstream(ends):
    """(kernel's ends, client's ends, listener, pump, greenlet) of a running pump."""
    kernel, client = ends
    listener = Kernel()
    pump = Downstream(kernel.stream, listener)
    pump.switch(ToClient(client, pump))
    running = gevent.spawn(pump.run)
    yield kernel, client, listener, pump, running
    running.kill()


def until_parked(pump):
    gevent.idle()
    assert pump.state.parked


def note_waking(pump):
    """A list that becomes longer each time the pump is woken."""
    woken, wake = [], pump.wake
    pump.wake = lambda: (woken.append(True), wake())
    return woken


def test_an_answer_wakes_nobody(downstream):
    kernel, client, listener, pump, _ = downstream
    until_parked(pump)
    woken = note_waking(pump)
    for _ in range(3):
        kernel.peer.sendall(ANSWER)
        assert client.read(len(ANSWER)) == ANSWER
    gevent.idle()
    assert listener.quick == [PacketHead.ReturnPacket] * 3 and not listener.slow and not woken


def test_output_wakes_nobody(downstream):
    kernel, client, listener, pump, _ = downstream
    until_parked(pump)
    woken = note_waking(pump)
    text = frame("TextPacket", 1000, 7)
    kernel.peer.sendall(text * 5)
    assert client.read(len(text) * 5) == text * 5
    assert not listener.quick and not listener.slow and not woken


def test_what_cannot_be_accounted_for_in_the_hub_wakes_the_pump(downstream):
    kernel, client, listener, _, _ = downstream
    listener.quickly = False
    kernel.peer.sendall(ANSWER)
    assert client.read(len(ANSWER)) == ANSWER
    assert listener.told.wait(20) and listener.slow == [PacketHead.ReturnPacket]


def test_a_command_among_others(downstream):
    kernel, client, listener, _, _ = downstream
    command, name = frame("WSCommandPacket", 0, 1), frame("InputNamePacket", 5, 2)
    kernel.peer.sendall(ANSWER + command + name + ANSWER)
    assert client.read(len(ANSWER + name + ANSWER)) == ANSWER + name + ANSWER
    assert listener.told.wait(20)
    gevent.idle()
    assert listener.commands == [command] and listener.names == [name]
    assert len(listener.slow) + len(listener.quick) == 3


def test_a_client_that_reads_nothing_stops_its_kernel_only(downstream):
    kernel, client, listener, _, _ = downstream
    flood = frame("TextPacket", 10_000, 3) * 2000
    sender = gevent.get_hub().threadpool.spawn(kernel.peer.sendall, flood + ANSWER)
    gevent.sleep(0.1)  # the hub goes on meanwhile, or this would not come back
    assert not listener.slow and not listener.quick
    assert client.read(len(flood) + len(ANSWER)) == flood + ANSWER
    sender.get()


@pytest.mark.parametrize("head", ["TextPacket", "ReturnPacket"])
def test_long_blocks_pass(downstream, head):
    """Whole frames around them, as their bytes must not be mixed up with those that go through a buffer."""
    kernel, client, listener, pump, _ = downstream
    until_parked(pump)
    large = frame(head, 20_000_000, 1)[: -20_000_002] + random.Random(1).randbytes(20_000_000) + b"\n]"
    together = ANSWER + large + ANSWER + large + ANSWER
    sender = gevent.get_hub().threadpool.spawn(kernel.peer.sendall, together)
    assert client.read(len(together)) == together
    sender.get()
    gevent.idle()
    assert len(listener.slow) + len(listener.quick) == (5 if head == "ReturnPacket" else 3)


def test_a_frame_of_the_servers_own_comes_between(downstream):
    kernel, client, _, pump, _ = downstream
    until_parked(pump)
    client.writer.write("server", b"half a ", False)
    kernel.peer.sendall(ANSWER)
    gevent.sleep(0.05)
    client.writer.write("server", b"frame]", True)
    assert client.read(13 + len(ANSWER)) == b"half a frame]" + ANSWER


def test_the_end_of_the_stream(downstream):
    kernel, client, _, pump, running = downstream
    until_parked(pump)
    kernel.peer.sendall(ANSWER)
    kernel.peer.close()
    assert client.read(len(ANSWER)) == ANSWER
    running.get(timeout=20)


def test_what_is_no_expression(downstream):
    kernel, client, _, pump, running = downstream
    until_parked(pump)
    kernel.peer.sendall(ANSWER + b"?")
    assert client.read(len(ANSWER)) == ANSWER
    with pytest.raises(RemoteProtocolError):
        running.get(timeout=20)


@pytest.mark.parametrize("how", ["end", "close"])
def test_the_stream_is_ended_here(downstream, how):
    kernel, _, _, pump, running = downstream
    until_parked(pump)
    getattr(kernel.stream, how)()
    if how == "close":
        with pytest.raises(StreamClosed):
            running.get(timeout=20)
    else:
        running.get(timeout=20)
    assert not pump.state.watched


def test_a_pump_that_is_killed_is_forgotten(downstream):
    kernel, _, _, pump, running = downstream
    until_parked(pump)
    running.kill()
    kernel.peer.sendall(ANSWER)
    gevent.idle()
    assert not pump.state.watched and not pump.state.parked


class Packets:
    """What a client's pump hands over."""

    def __init__(self, allow, writer=None):
        self.pump = None
        self._allow, self._writer = allow, writer
        self.sent, self.frames, self.commands = [], [], []
        #: What was told of evaluations that passed in C, and how much of that is under way.
        self.passed, self.busy = [], 0

    def before_round(self):
        self.pump.allow(self._allow())

    def evaluation_sent(self, head):
        self.sent.append(head)

    def evaluations_passed(self, head, begun, answered):
        self.passed.append((begun, answered))
        self.sent += [head] * begun
        was_busy, self.busy = self.busy, self.busy + begun - answered
        return was_busy and answered > begun

    def part_sent(self):
        self._writer.begun(self)

    def went_out(self, unsent, open_tail):
        raise AssertionError("everything fits, and has its end")

    def packet(self, data, head):
        self._take(data, head, True)

    def packet_part(self, data, head):
        self._take(data, head, False)

    packet_end = packet

    def _take(self, data, head, at_boundary):
        if self._writer is None:
            self.frames.append(bytes(data))
            return
        if not self._writer.in_frame(self):
            self.sent.append(head)
        self._writer.write(self, data, at_boundary)

    def in_frame(self):
        return self._writer is not None and self._writer.in_frame(self)

    def part_went_out(self, unsent):
        if unsent:
            self._writer.write(self, unsent, False)

    def packet_tail(self):
        pass

    def round_ended(self):
        pass

    def commanded(self, packet):
        self.commands.append(packet)


def test_one_evaluation_and_no_more(ends):
    client, kernel = ends
    packets = Packets(lambda: True)
    pump = packets.pump = Upstream(client.stream, packets, packets.commanded)
    pump.direct_to(kernel.stream)
    running = gevent.spawn(pump.run)
    gevent.idle()
    client.peer.sendall(EVALUATION * 3)
    assert kernel.read(len(EVALUATION)) == EVALUATION
    gevent.idle()
    assert packets.sent == [PacketHead.EvaluatePacket] and packets.frames == [EVALUATION] * 2
    pump.allow(False)
    client.peer.sendall(EVALUATION)
    client.peer.close()
    running.get(timeout=20)
    assert len(packets.sent) == 1 and packets.frames == [EVALUATION] * 3


@pytest.fixture
def bridge(ends):
    """(client's ends, kernel's ends, what the client's pump tells, what the kernel's does) of a running bridge."""
    client, kernel = ends
    packets, listener = Packets(lambda: True, kernel.writer), Kernel()
    up = packets.pump = Upstream(client.stream, packets, packets.commanded)
    up.direct_to(kernel.stream)
    down = Downstream(kernel.stream, listener)
    down.switch(ToClient(client, down))
    running = [gevent.spawn(pump.run) for pump in (up, down)]
    until_parked(up)
    up.allow(True)
    up.pair_with(down)
    assert up.state.twin == down.state and down.state.twin == up.state
    yield client, kernel, packets, listener, down
    gevent.killall(running)


def exchange(client, kernel, evaluation=EVALUATION, answer=ANSWER):
    client.peer.sendall(evaluation)
    assert kernel.read(len(evaluation)) == evaluation
    kernel.peer.sendall(answer)
    assert client.read(len(answer)) == answer


def test_evaluations_and_answers_are_counted(bridge):
    client, kernel, packets, listener, down = bridge
    woken = note_waking(packets.pump) + note_waking(down)
    for _ in range(200):
        exchange(client, kernel)
    gevent.idle()
    assert [sum(numbers) for numbers in zip(*packets.passed, strict=True)] == [200, 200]
    assert packets.busy == 0 and packets.pump.state.allowed and not packets.frames and not woken
    assert len(listener.quick) == sum(1 for begun, answered in packets.passed if answered > begun)


def test_a_separated_pump_tells_each_evaluation(bridge):
    client, kernel, packets, listener, _ = bridge
    packets.pump.separate()
    for number in range(1, 4):
        exchange(client, kernel)
        gevent.idle()
        assert packets.passed == [(1, 0)] * number and listener.quick == [PacketHead.ReturnPacket] * number
        packets.pump.allow(True)
    packets.pump.direct_to(None)
    assert not packets.pump.state.allowed


def test_another_kind_of_evaluation_separates(bridge):
    client, kernel, packets, _, down = bridge
    entered = frame("EnterTextPacket", 20, 1)
    client.peer.sendall(entered)
    assert kernel.read(len(entered)) == entered
    gevent.idle()
    assert packets.passed == [(1, 0)] and packets.sent == [PacketHead.EnterTextPacket]
    assert not packets.pump.state.twin and not down.state.twin and not packets.pump.state.allowed


def test_large_evaluations_and_answers(bridge):
    """Whether one passes in one call into C or in several is up to the scheduler: no byte, no evaluation is lost."""
    client, kernel, packets, _, _ = bridge

    def kernel_side():
        for _ in range(20):
            got = b""
            while len(got) < len(evaluation):
                got += kernel.peer.recv(1 << 20)
            assert got == evaluation
            kernel.peer.sendall(answer)

    evaluation, answer = frame("EvaluatePacket", 600_000, 3), frame("ReturnPacket", 700_000, 4)
    kernel.peer.setblocking(True)
    serving = gevent.get_hub().threadpool.spawn(kernel_side)
    for _ in range(20):
        gevent.get_hub().threadpool.apply(client.peer.sendall, (evaluation,))
        assert client.read(len(answer)) == answer
    serving.get()
    gevent.idle()
    assert len(packets.sent) == 20


class Told:
    """A pump that notes what it is told, in place of one that passes anything."""

    def __init__(self, told, name, answering=None, quickly=True):
        self.told, self.name, self.answering, self.quickly = told, name, answering, quickly
        self.asks = answering is not None
        self.state = type("State", (), {"paired": PacketHead.ReturnPacket, "head": PacketHead.TextPacket})()
        self.arrival = self.late_answer = None

    def asked(self, head, begun, answered):
        self.told.append((self.name, "asked", head, begun, answered))
        return self.answering if answered > begun else None

    def account_for(self, head):
        self.told.append((self.name, "answered", head))
        return self.quickly

    def frame_begun(self):
        self.told.append((self.name, "begun"))

    def wake(self):
        self.told.append((self.name, "woken", self.late_answer, self.arrival and self.arrival[1]))


def tell(monkeypatch, pumps, events):
    """What a relay with these pumps makes of these events of one call."""
    descriptor = relay.lib.wstprelay_open()
    own = relay.Relay(descriptor)
    own._pumps = dict(enumerate(pumps, 1))

    def run(state, alone):
        for event, values in zip(own._events, events, strict=False):
            for name, value in {"asleep": 1, "begun": 0, "answered": 0, "large": 0, **values}.items():
                setattr(event, name, value)
        return len(events)

    with monkeypatch.context() as patch:
        patch.setattr(relay, "lib", type("Lib", (), {"wstprelay_run": staticmethod(run)}))
        own._run_once(True)
    for each in (descriptor, *own._state.pipe):
        os.close(each)


EVALUATES, RETURNS = PacketHead.EvaluatePacket, PacketHead.ReturnPacket
ENTERS, ENDS = PacketHead.EnterTextPacket, relay.lib.WSTPPUMP_CLOSED


@pytest.mark.parametrize("quickly", [True, False])
def test_the_order_of_what_has_passed(monkeypatch, quickly):
    """An answer is accounted for as what it was, after the questions of others, before the next one of its own."""
    told = []
    down = Told(told, "down", quickly=quickly)
    pumps = [Told(told, "up", down), down, Told(told, "other up", Told(told, "other down"))]
    answer = {"number": 1, "head": EVALUATES, "answered": 1}
    large = {"number": 2, "head": PacketHead.TextPacket, "large": 1}
    other = {"number": 3, "head": EVALUATES, "begun": 1}
    end = {"number": 2, "head": PacketHead.TextPacket, "asleep": 0, "verdict": ENDS}
    tell(monkeypatch, pumps, [answer, large, {"number": 0}, other, end])
    late = None if quickly else RETURNS
    assert told == [
        ("up", "asked", EVALUATES, 0, 1),
        ("down", "begun"),
        ("other up", "asked", EVALUATES, 1, 0),
        ("down", "answered", RETURNS),
        ("down", "woken", late, ENDS),
    ]
    told.clear()
    tell(monkeypatch, pumps, [answer, {"number": 1, "head": ENTERS, "begun": 1}])
    assert told[:3] == [
        ("up", "asked", EVALUATES, 0, 1),
        ("down", "answered", RETURNS),
        ("up", "asked", ENTERS, 1, 0),
    ]


@pytest.mark.parametrize("largest", [7, 100, 4096, 70_000, 10**7])
@pytest.mark.parametrize("seed", range(2))
def test_random_frames_in_random_pieces(downstream, largest, seed):
    kernel, client, listener, _, running = downstream
    generator = random.Random(f"{largest} {seed}")
    listener.quickly = generator.random() < 0.5
    frames = random_frames(generator, 60 if largest > 10 else 20)
    passed = b"".join(data for data in frames if not is_command(data))

    def send():
        for piece in random_pieces(generator, b"".join(frames), largest):
            kernel.peer.sendall(piece)
        kernel.peer.close()

    sender = gevent.get_hub().threadpool.spawn(send)
    received = client.read(len(passed) - passed.count(b"]"))
    sender.get()
    running.get(timeout=20)
    client.stream.end()
    while more := client.peer.recv(1 << 20):
        received += more
    assert received.replace(b"]", b"") == passed.replace(b"]", b"")
    assert len(listener.commands) == sum(map(is_command, frames))
    heads = listener.slow + listener.quick
    assert heads.count(PacketHead.ReturnPacket) == sum(b"ReturnPacket" in data[:60] for data in frames)
