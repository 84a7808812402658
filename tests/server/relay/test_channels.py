"""The channels of both directions, with every way in which their bytes may arrive."""
import random

import pytest
from wstpserver._native import ffi

from tests.support.cases import for_all
from tools.harness.fake_kernel.codec import Function, Symbol, decode, encode
from wstpserver.pools.evaluation import PLAIN_OUTPUT
from wstpserver.server.relay import epoll_loop
from wstpserver.server.relay.channel import (
    FRAME_TRANSITIONS,
    HELD_FRAME_SIZE,
    ChannelEvent,
    FrameState,
    FrameStep,
)
from wstpserver.server.relay.directions import ClientChannel, KernelChannel
from wstpserver.server.relay.sinks import Sink
from wstpserver.wire.errors import RemoteProtocolError
from wstpserver.wire.packets import PacketHead

HEADS = ["EvaluatePacket", "TextPacket", "WSCommandPacket", "ReturnPacket", "InputNamePacket", "BeginDialogPacket", "f"]


class Pieces:
    """A connection that delivers these pieces, one for each receive, and then ends."""

    def __init__(self, pieces, between=lambda: None):
        self._pieces = list(pieces)
        self._between = between
        self.handle = ffi.new("struct wstpcopy_end *", (-1, 0))

    def try_receive(self, view):
        self._between()
        if not self._pieces:
            return 0
        piece, self._pieces[:1] = self._pieces[0][: len(view)], [self._pieces[0][len(view) :]]
        if not self._pieces[0]:
            del self._pieces[0]
        view[: len(piece)] = piece
        return len(piece)

    on_close = None

    def acknowledge(self):
        pass

    def wait_readable(self):
        raise AssertionError("there is always something")


def frame(head, size, number):
    return encode(Function(head, number, "x" * size)) + b"]"


EVALUATION = frame("EvaluatePacket", 20, 1)


def random_frames(generator, largest):
    """Frames to be sent in pieces of at most *largest* bytes: few pieces each, also of the large ones."""
    count = 60 if largest > 10 else 20
    huge = 3 * epoll_loop.BUFFER_SIZE if largest > 1000 else 2 * HELD_FRAME_SIZE
    sizes = [0, 1, 30, 62, 63, 64, 500, 5000, HELD_FRAME_SIZE - 60, HELD_FRAME_SIZE + 1000, huge]
    weights = [10] * 8 + [1, 1, 1]
    return [
        frame(generator.choice(HEADS), generator.choices(sizes, weights)[0], number) for number in range(count)
    ]


def random_pieces(generator, data, largest):
    position = 0
    while position < len(data):
        size = generator.randint(1, largest)
        yield data[position : position + size]
        position += size


class Client:
    """The callback of a `ClientChannel`: large frames are held, as while a kernel is busy, or go to its sink."""

    def __init__(self, pieces, streams=False):
        self.frames, self.commands = [], []
        self.sink = Collector()
        self._streams = streams
        self.channel = ClientChannel(Pieces(pieces), self, self.passed)
        self.channel.attach(self.sink)
        self.channel.run()

    def passed(self, head, begun, answered):
        raise AssertionError("nothing was permitted")

    def __call__(self, event, head, data):
        if event is ChannelEvent.FRAME:
            assert self.channel.frame is FrameState.BOUNDARY
            self.frames.append(bytes(data))
        elif event is ChannelEvent.COMMAND:
            self.commands.append(data)
        elif event is ChannelEvent.MAY_STREAM:
            assert self.channel.frame is FrameState.HELD
            return self._streams
        elif event is ChannelEvent.HOLD:
            assert self.channel.held_bytes > 0
        return True


def without_ends(frames):
    """Frames without their ends of packet, which may come late or not at all."""
    return [data.removesuffix(b"]") for data in frames]


def is_command(data):
    return b"WSCommandPacket" in data[:60]


@for_all("streams", [False, True])
@for_all("largest", [7, 100, 4096, 70_000, 10**7])
@for_all("seed", range(3))
def test_frames_of_a_client(largest, seed, streams):
    generator = random.Random(f"{largest} {seed}")
    frames = random_frames(generator, largest)
    client = Client(random_pieces(generator, b"".join(frames), largest), streams)
    passed = without_ends(data for data in frames if not is_command(data))
    if streams:
        streamed = [data for data in passed if data not in set(without_ends(client.frames))]
        assert client.sink.data.replace(b"]", b"") == b"".join(streamed) and not client.sink.inside
        assert all(len(data) > HELD_FRAME_SIZE - 1 for data in streamed)
    else:
        assert without_ends(client.frames) == passed
    small = [data for data in frames if is_command(data) and len(data) <= HELD_FRAME_SIZE]
    assert without_ends(packet for packet in client.commands if packet is not None) == without_ends(small)
    assert len(client.commands) == sum(map(is_command, frames))


def test_a_frame_that_streams_is_broken_off_with_its_bridge():
    data = frame("EvaluatePacket", 3 * HELD_FRAME_SIZE, 1)
    completions = []

    class Leaving(Client):
        def __call__(self, event, head, data):
            if event is ChannelEvent.ROUND_ENDED and self.channel.frame is FrameState.STREAMING:
                assert self.channel.detach()
                completions.append(b"".join(self.channel.completion(10**6)))
            return super().__call__(event, head, data)

    client = Leaving([data[:100_000], data[100_000:] + EVALUATION], streams=True)
    whole = client.sink.data + completions[0]
    assert data.startswith(bytes(client.sink.data))
    assert decode(bytes(whole).removesuffix(b"]")).head.short == "EvaluatePacket"
    assert client.frames == [EVALUATION] and len(completions) == 1


def test_a_bridge_that_ends_while_a_part_is_written():
    """The kernel does not read, so a part of a frame waits for it; meanwhile the client's other connection ends."""
    data = frame("EvaluatePacket", 3 * HELD_FRAME_SIZE, 1)

    class Unread(Collector):
        def write(self, data, *, at_boundary):
            super().write(data, at_boundary=at_boundary)
            assert client.channel.detach()

    client = Client([], streams=True)
    client.channel = ClientChannel(Pieces([data[:100_000], data[100_000:] + EVALUATION]), client, client.passed)
    client.channel.attach(Unread())
    client.channel.run()
    assert client.channel.state.passing == 0 and client.channel.frame is FrameState.BOUNDARY
    assert without_ends(client.frames) == without_ends([EVALUATION])


def test_what_is_held_can_be_dropped():
    data = frame("EvaluatePacket", 3 * HELD_FRAME_SIZE, 1)
    dropped = []

    class Dropping(Client):
        def __call__(self, event, head, data):
            if event is ChannelEvent.ROUND_ENDED and self.channel.frame is FrameState.HELD:
                dropped.append(self.channel.drop_held())
            return super().__call__(event, head, data)

    client = Dropping([data[:100_000], data[100_000:] + EVALUATION])
    assert client.frames == [EVALUATION] and dropped == [True] and not client.channel.drop_held()


class Kernel:
    """The callback of a `KernelChannel`."""

    def __init__(self):
        self.heads, self.names, self.commands = [], [], []

    def __call__(self, event, head, data):
        if event is ChannelEvent.WRITTEN:
            self.heads.append(head)
            if head == PacketHead.InputNamePacket and data is not None:
                self.names.append(data)
        elif event is ChannelEvent.COMMAND:
            self.commands.append(data)
        return True


class Collector(Sink):
    """Collects whole frames, as a client does (several at once, or parts), or one by one."""

    def __init__(self, every_frame=False):
        self.every_frame = every_frame
        self.data = bytearray()
        self.inside = False
        self.calls = 0

    def write(self, data, *, at_boundary):
        assert len(data)
        self.calls += 1
        self.data += data
        self.inside = not at_boundary

    def lost(self, completion):
        assert not self.inside


@for_all("largest", [7, 100, 4096, 70_000, 10**7])
@for_all("seed", range(3))
def test_frames_of_a_kernel(largest, seed):
    """Whatever moment the sink is switched in: every frame goes to one of them, whole."""
    generator = random.Random(f"{largest} {seed}")
    frames = random_frames(generator, largest)
    sinks = [Collector()]
    kernel = Kernel()

    def between():
        if generator.random() < 0.2:
            sinks.append(Collector(generator.random() < 0.5))
            channel.switch(sinks[-1])

    channel = KernelChannel(Pieces(random_pieces(generator, b"".join(frames), largest), between), kernel)
    channel.switch(sinks[0])
    channel.run()
    passed = [data[:-1] for data in frames if not is_command(data)]
    for sink in sinks:
        sink.data = sink.data.replace(b"]", b"")
    assert b"".join(sink.data for sink in sinks) == b"".join(passed)
    boundaries, end = {0}, 0
    for data in passed:
        end += len(data)
        boundaries.add(end)
    position = 0
    for sink in sinks:
        position += len(sink.data)
        assert position in boundaries and not sink.inside
    assert len(kernel.commands) == sum(map(is_command, frames))
    names = [data[:-1] for data in frames if b"InputNamePacket" in data[:60]]
    held = [data for data in names if len(data) < HELD_FRAME_SIZE]
    assert [name.removesuffix(b"]") for name in kernel.names if len(name) < HELD_FRAME_SIZE] == held
    ended = sum(b"ReturnPacket" in data[:60] for data in frames)
    assert kernel.heads.count(PacketHead.ReturnPacket) == ended


def test_plain_output_passes_together():
    """No Python call for each frame where none is needed."""
    sink = Collector()
    together = b"".join(frame("TextPacket", 50, number) for number in range(1000))
    channel = KernelChannel(Pieces([frame("TextPacket", 50, 0), together]), Kernel())
    channel.switch(sink)
    channel.run()
    assert sink.calls == 2


@for_all("cut", [1, 3, 1000])
def test_what_comes_before_the_first_wrong_byte(cut):
    good = frame("TextPacket", 50, 1) + frame("ReturnPacket", 50, 2) + frame("TextPacket", 50, 3)
    sink = Collector()
    data = good + b"F\xff"
    channel = KernelChannel(Pieces(data[at : at + cut] for at in range(0, len(data), cut)), Kernel())
    channel.switch(sink)
    with pytest.raises(RemoteProtocolError) as caught:
        channel.run()
    assert sink.data.replace(b"]", b"") == good.replace(b"]", b"") and not sink.inside
    assert caught.value.offset == len(good) + 1


@for_all("cut", [1, 2, 5, 10**6])
def test_late_ends_of_packets(cut):
    frames = [encode(Function(head, Symbol("x"))) for head in ("TextPacket", "EvaluatePacket", "WSCommandPacket", "f")]
    data = b"]".join(frames) + b"]"
    client = Client(data[at : at + cut] for at in range(0, len(data), cut))
    assert without_ends(client.frames) == [frames[0], frames[1], frames[3]]
    assert len(client.commands) == 1


#: What becomes of the place in a frame: the next state for HOLD, STREAM, BREAK_OFF and END, "" where that cannot be.
PLACES = {
    "BOUNDARY": ("HELD", "STREAMING", "", "BOUNDARY"),
    "HELD": ("HELD", "STREAMING", "SKIPPING", "BOUNDARY"),
    "STREAMING": ("", "STREAMING", "SKIPPING", "BOUNDARY"),
    "SKIPPING": ("", "", "", "BOUNDARY"),
}


def test_every_step_in_every_state_of_a_frame():
    found = {
        state.name: tuple(
            following.name if (following := FRAME_TRANSITIONS[state].get(step)) else "" for step in FrameStep
        )
        for state in FrameState
    }
    assert found == PLACES


@for_all("head", list(PacketHead)[2:])
def test_everything_but_plain_output_is_reported(head):
    kernel = Kernel()
    channel = KernelChannel(Pieces([frame(head.name, 5, 1)]), kernel)
    channel.switch(Collector())
    channel.run()
    assert kernel.heads == ([] if head in PLAIN_OUTPUT else [head])


def test_what_was_received_is_counted_for_each_side():
    pieces = [EVALUATION, EVALUATION[:5], EVALUATION[5:]]
    before = (ClientChannel.bytes_received[0], KernelChannel.bytes_received[0])
    Client(pieces)
    KernelChannel(Pieces(pieces[:1]), Kernel()).run()
    added = (ClientChannel.bytes_received[0] - before[0], KernelChannel.bytes_received[0] - before[1])
    assert added == (2 * len(EVALUATION), len(EVALUATION))
