"""Channels between real connections: rounds in C, waiting together, and everything that must not happen there."""
import random
from types import SimpleNamespace

import gevent
import pytest
from gevent.event import Event

from tests.server.connections import tcp_pair
from tests.server.relay.test_channels import frame, is_command, random_frames, random_pieces
from tests.support.cases import for_all
from wstpserver.server.connection import Connection, ConnectionClosed
from wstpserver.server.relay import directions, epoll_loop
from wstpserver.server.relay.channel import HELD_FRAME_SIZE, ChannelEvent
from wstpserver.server.relay.directions import ClientChannel, KernelChannel
from wstpserver.server.relay.sinks import FrameWriter, PeerSink
from wstpserver.wire.errors import RemoteProtocolError
from wstpserver.wire.packets import PacketHead

pytestmark = pytest.mark.skipif(epoll_loop.current() is None, reason="this system has no epoll")
EVALUATION = frame("EvaluatePacket", 20, 1)
ANSWER = frame("ReturnPacket", 20, 1)


class Ends:
    """A connection of the server's and the other side of it; the other side reads whatever comes."""

    def __init__(self):
        ours, self.peer = tcp_pair()
        self.peer.settimeout(60)
        self.connection = Connection(ours)
        self.writer = FrameWriter(self.connection)
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
        self.connection.close()
        self.peer.close()


@pytest.fixture
def ends():
    both = Ends(), Ends()
    yield both
    for each in both:
        each.close()


class Kernel:
    """The callback of a kernel's channel; with *in_hub* it accounts for answers there."""

    def __init__(self, in_hub=True):
        self.in_hub = in_hub
        self.quick, self.slow, self.names, self.commands = [], [], [], []
        self.told = Event()

    def __call__(self, event, head, data):
        if event is ChannelEvent.ANSWERED:
            if self.in_hub:
                self.quick.append(head)
            return self.in_hub
        if event is ChannelEvent.WRITTEN:
            self.slow.append(head)
            if head == PacketHead.InputNamePacket:
                self.names.append(data)
            self.told.set()
        elif event is ChannelEvent.COMMAND:
            self.commands.append(data)
            self.told.set()
        return True


@pytest.fixture
def from_kernel(ends):
    """(kernel's ends, client's ends, listener, channel, greenlet) of a running channel."""
    kernel, client = ends
    listener = Kernel()
    channel = KernelChannel(kernel.connection, listener)
    channel.switch(PeerSink(client.writer, channel))
    running = gevent.spawn(channel.run)
    yield kernel, client, listener, channel, running
    running.kill()


def until_waiting(channel):
    gevent.idle()
    assert channel.state.waiting


def note_waking(channel):
    """A list that becomes longer each time the channel is woken."""
    woken, wake = [], channel.wake
    channel.wake = lambda: (woken.append(True), wake())
    return woken


def test_an_answer_wakes_nobody(from_kernel):
    kernel, client, listener, channel, _ = from_kernel
    until_waiting(channel)
    woken = note_waking(channel)
    for _ in range(3):
        kernel.peer.sendall(ANSWER)
        assert client.read(len(ANSWER)) == ANSWER
    gevent.idle()
    assert listener.quick == [PacketHead.ReturnPacket] * 3 and not listener.slow and not woken


def test_output_wakes_nobody(from_kernel):
    kernel, client, listener, channel, _ = from_kernel
    until_waiting(channel)
    woken = note_waking(channel)
    text = frame("TextPacket", 1000, 7)
    kernel.peer.sendall(text * 5)
    assert client.read(len(text) * 5) == text * 5
    assert not listener.quick and not listener.slow and not woken


def test_what_cannot_be_accounted_for_in_the_hub_wakes_the_channel(from_kernel):
    kernel, client, listener, _, _ = from_kernel
    listener.in_hub = False
    kernel.peer.sendall(ANSWER)
    assert client.read(len(ANSWER)) == ANSWER
    assert listener.told.wait(60) and listener.slow == [PacketHead.ReturnPacket]


def test_a_command_among_others(from_kernel):
    kernel, client, listener, _, _ = from_kernel
    command, name = frame("WSCommandPacket", 0, 1), frame("InputNamePacket", 5, 2)
    kernel.peer.sendall(ANSWER + command + name + ANSWER)
    assert client.read(len(ANSWER + name + ANSWER)) == ANSWER + name + ANSWER
    assert listener.told.wait(60)
    gevent.idle()
    assert listener.commands == [command] and listener.names == [name]
    assert len(listener.slow) + len(listener.quick) == 3


def test_a_client_that_reads_nothing_stops_its_kernel_only(from_kernel):
    kernel, client, listener, _, _ = from_kernel
    flood = frame("TextPacket", 10_000, 3) * 2000
    sender = gevent.get_hub().threadpool.spawn(kernel.peer.sendall, flood + ANSWER)
    gevent.sleep(0.1)  # the hub goes on meanwhile, or this would not come back
    assert not listener.slow and not listener.quick
    assert client.read(len(flood) + len(ANSWER)) == flood + ANSWER
    sender.get()


@pytest.mark.parametrize("head", ["TextPacket", "ReturnPacket"])
def test_long_blocks_pass(from_kernel, head):
    """Whole frames around them, as their bytes must not be mixed up with those that go through a buffer."""
    kernel, client, listener, channel, _ = from_kernel
    until_waiting(channel)
    large = frame(head, 20_000_000, 1)[: -20_000_002] + random.Random(1).randbytes(20_000_000) + b"\n]"
    together = ANSWER + large + ANSWER + large + ANSWER
    sender = gevent.get_hub().threadpool.spawn(kernel.peer.sendall, together)
    assert client.read(len(together)) == together
    sender.get()
    gevent.idle()
    assert len(listener.slow) + len(listener.quick) == (5 if head == "ReturnPacket" else 3)


def test_a_frame_of_the_servers_own_comes_between(from_kernel):
    kernel, client, _, channel, _ = from_kernel
    until_waiting(channel)
    client.writer.write("server", b"half a ", at_boundary=False)
    kernel.peer.sendall(ANSWER)
    gevent.sleep(0.05)
    client.writer.write("server", b"frame]", at_boundary=True)
    assert client.read(13 + len(ANSWER)) == b"half a frame]" + ANSWER


def test_the_end_of_the_stream(from_kernel):
    kernel, client, _, channel, running = from_kernel
    until_waiting(channel)
    kernel.peer.sendall(ANSWER)
    kernel.peer.close()
    assert client.read(len(ANSWER)) == ANSWER
    running.get(timeout=60)


def test_what_is_no_expression(from_kernel):
    kernel, client, _, channel, running = from_kernel
    until_waiting(channel)
    kernel.peer.sendall(ANSWER + b"?")
    assert client.read(len(ANSWER)) == ANSWER
    with pytest.raises(RemoteProtocolError):
        running.get(timeout=60)


@pytest.mark.parametrize("how", ["end", "close"])
def test_the_stream_is_ended_here(from_kernel, how):
    kernel, _, _, channel, running = from_kernel
    until_waiting(channel)
    getattr(kernel.connection, how)()
    if how == "close":
        with pytest.raises(ConnectionClosed):
            running.get(timeout=60)
    else:
        running.get(timeout=60)
    assert not channel.state.watched


def test_a_channel_that_is_killed_is_forgotten(from_kernel):
    kernel, _, _, channel, running = from_kernel
    until_waiting(channel)
    running.kill()
    kernel.peer.sendall(ANSWER)
    gevent.idle()
    assert not channel.state.watched and not channel.state.waiting


OPEN = {
    "accepting": True, "plain": True, "queue_empty": True, "closing": False, "deferred": False, "rewrites": False,
}  # fmt: skip


class Client:
    """The owner of a client's channel, bridged with a kernel that takes evaluations whenever it is idle."""

    def __init__(self, ends, writer):
        self.channel = ClientChannel(ends.connection, self, self.passed)
        self.sink = PeerSink(writer, self)
        self.channel.attach(self.sink)
        self.sent, self.frames, self.commands = [], [], []
        #: What was reported of evaluations that passed in C, and how much of that is under way.
        self.counts, self.busy = [], 0

    def permit(self, kernel=None, **situation):
        allowed = directions.permissions(directions.BridgeState.OPEN, **{**OPEN, **situation})
        directions.apply(self.channel, kernel, allowed)

    def passed(self, head, begun, answered):
        self.counts.append((begun, answered))
        self.sent += [head] * begun
        was_busy, self.busy = self.busy, self.busy + begun - answered
        return bool(was_busy and answered > begun)

    def __call__(self, event, head, data):
        if event is ChannelEvent.FRAME and len(data) > HELD_FRAME_SIZE:  # large, but received all at once
            self.sent.append(head)
            self.sink.write(data, at_boundary=True)
        elif event is ChannelEvent.FRAME:
            self.frames.append(bytes(data))
        elif event is ChannelEvent.COMMAND:
            self.commands.append(data)
        elif event is ChannelEvent.MAY_STREAM:
            self.sent.append(head)
        return True


def test_one_evaluation_and_no_more(ends):
    client, kernel = ends
    owner = Client(client, kernel.writer)
    owner.permit()
    running = gevent.spawn(owner.channel.run)
    gevent.idle()
    client.peer.sendall(EVALUATION * 3)
    assert kernel.read(len(EVALUATION)) == EVALUATION
    gevent.idle()
    assert owner.sent == [PacketHead.EvaluatePacket] and owner.frames == [EVALUATION] * 2
    client.peer.sendall(EVALUATION)
    client.peer.close()
    running.get(timeout=60)
    assert len(owner.sent) == 1 and owner.frames == [EVALUATION] * 3


@pytest.fixture
def bridge(ends):
    """(client's ends, kernel's ends, the client's owner, the kernel's callback, its channel) of a running bridge."""
    client, kernel = ends
    owner, listener = Client(client, kernel.writer), Kernel()
    down = KernelChannel(kernel.connection, listener)
    down.switch(PeerSink(client.writer, down))
    running = [gevent.spawn(channel.run) for channel in (owner.channel, down)]
    until_waiting(owner.channel)
    owner.permit(down)
    yield client, kernel, owner, listener, down
    gevent.killall(running)


def exchange(client, kernel, evaluation=EVALUATION, answer=ANSWER):
    client.peer.sendall(evaluation)
    assert kernel.read(len(evaluation)) == evaluation
    kernel.peer.sendall(answer)
    assert client.read(len(answer)) == answer


def test_evaluations_and_answers_are_counted(bridge):
    client, kernel, owner, listener, down = bridge
    woken = note_waking(owner.channel) + note_waking(down)
    for _ in range(200):
        exchange(client, kernel)
    gevent.idle()
    assert [sum(numbers) for numbers in zip(*owner.counts, strict=True)] == [200, 200]
    assert owner.busy == 0 and not owner.frames and not woken
    assert len(listener.quick) == sum(1 for begun, answered in owner.counts if answered > begun)


def test_evaluations_that_are_not_counted_are_reported_one_by_one(bridge):
    client, kernel, owner, listener, down = bridge
    owner.permit(down, plain=False)
    for number in range(1, 4):
        exchange(client, kernel)
        gevent.idle()
        assert owner.counts == [(1, 0)] * number and listener.quick == [PacketHead.ReturnPacket] * number
        owner.permit(down, plain=False)


def test_nothing_passes_that_is_not_permitted(bridge):
    client, kernel, owner, _, down = bridge
    owner.permit(down, accepting=False, plain=False)
    client.peer.sendall(EVALUATION)
    gevent.idle()
    assert owner.frames == [EVALUATION] and not owner.counts


def test_another_kind_of_evaluation_is_not_counted(bridge):
    client, kernel, owner, listener, _ = bridge
    entered = frame("EnterTextPacket", 20, 1)
    client.peer.sendall(entered)
    assert kernel.read(len(entered)) == entered
    gevent.idle()
    assert owner.counts == [(1, 0)] and owner.sent == [PacketHead.EnterTextPacket]
    client.peer.sendall(EVALUATION)  # nor is one that follows permitted by itself
    kernel.peer.sendall(ANSWER)
    assert client.read(len(ANSWER)) == ANSWER
    gevent.idle()
    assert owner.frames == [EVALUATION] and listener.quick == [PacketHead.ReturnPacket]


def test_large_evaluations_and_answers(bridge):
    """Whether one passes in one call into C or in several is up to the scheduler: no byte, no evaluation is lost."""
    client, kernel, owner, _, _ = bridge

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
    assert len(owner.sent) == 20


class Told:
    """A channel that notes what it is told, in place of one that passes anything."""

    def __init__(self, told, name, answering=None, in_hub=True):
        self.told, self.name, self.answering, self.in_hub = told, name, answering, in_hub
        self.asks = answering is not None
        self.state = SimpleNamespace(paired=PacketHead.ReturnPacket, head=PacketHead.TextPacket)
        self.late_answer = None

    def passed(self, head, begun, answered):
        self.told.append((self.name, "passed", head, begun, answered))
        return self.answering if answered > begun else None

    def account_for(self, head):
        self.told.append((self.name, "answered", head))
        return self.in_hub

    def frame_begun(self):
        self.told.append((self.name, "begun"))

    def wake(self):
        self.told.append((self.name, "woken", self.late_answer))


def event(number, **members):
    return SimpleNamespace(**{"number": number, "still_waiting": 1, "begun": 0, "answered": 0, "large": 0, **members})


EVALUATES, RETURNS, ENTERS = PacketHead.EvaluatePacket, PacketHead.ReturnPacket, PacketHead.EnterTextPacket


@for_all("in_hub", [True, False])
def test_the_order_of_what_has_passed(in_hub):
    """An answer is accounted for after the evaluations of others, before the next one of its own client."""
    told, verdicts = [], []
    down = Told(told, "down", in_hub=in_hub)
    channels = {1: Told(told, "up", down), 2: down, 3: Told(told, "other up", Told(told, "other down"))}
    answer = event(1, head=EVALUATES, answered=1)
    large = event(2, head=PacketHead.TextPacket, large=1)
    other = event(3, head=EVALUATES, begun=1)
    end = event(2, head=PacketHead.TextPacket, still_waiting=0, verdict="the end")
    events = [answer, large, event(0), other, end]
    assert epoll_loop.account_for(events, channels, lambda channel, verdict: verdicts.append((channel, verdict)))
    assert told == [
        ("up", "passed", EVALUATES, 0, 1),
        ("down", "begun"),
        ("other up", "passed", EVALUATES, 1, 0),
        ("down", "answered", RETURNS),
        ("down", "woken", None if in_hub else RETURNS),
    ]
    assert verdicts == [(down, "the end")]
    told.clear()
    epoll_loop.account_for([answer, event(1, head=ENTERS, begun=1)], channels, lambda *_: None)
    assert told[:3] == [
        ("up", "passed", EVALUATES, 0, 1),
        ("down", "answered", RETURNS),
        ("up", "passed", ENTERS, 1, 0),
    ]


@pytest.mark.parametrize("largest", [7, 100, 4096, 70_000, 10**7])
@pytest.mark.parametrize("seed", range(2))
def test_random_frames_in_random_pieces(from_kernel, largest, seed):
    kernel, client, listener, _, running = from_kernel
    generator = random.Random(f"{largest} {seed}")
    listener.in_hub = generator.random() < 0.5
    frames = random_frames(generator, largest)
    passed = b"".join(data for data in frames if not is_command(data))

    def send():
        for piece in random_pieces(generator, b"".join(frames), largest):
            kernel.peer.sendall(piece)
        kernel.peer.close()

    sender = gevent.get_hub().threadpool.spawn(send)
    received = client.read(len(passed) - passed.count(b"]"))
    sender.get()
    running.get(timeout=60)
    client.connection.end()
    while more := client.peer.recv(1 << 20):
        received += more
    assert received.replace(b"]", b"") == passed.replace(b"]", b"")
    assert len(listener.commands) == sum(map(is_command, frames))
    heads = listener.slow + listener.quick
    assert heads.count(PacketHead.ReturnPacket) == sum(b"ReturnPacket" in data[:60] for data in frames)
