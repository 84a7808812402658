"""The pump of both directions, with every way in which its bytes may arrive."""
import random

import pytest
from wstpserver._native import ffi

from tests.support.testkernel.codec import Function, Symbol, encode
from wstpserver.server import buffers
from wstpserver.server.downstream import Downstream
from wstpserver.server.pump import HELD_FRAME_SIZE
from wstpserver.server.upstream import Upstream
from wstpserver.wire.errors import RemoteProtocolError
from wstpserver.wire.packets import PacketHead

HEADS = ["EvaluatePacket", "TextPacket", "WSCommandPacket", "ReturnPacket", "InputNamePacket", "BeginDialogPacket", "f"]


class Pieces:
    """A stream that delivers these pieces, one for each receive, and then ends."""

    def __init__(self, pieces, between=lambda: None):
        self._pieces = list(pieces)
        self._between = between
        self.handle = ffi.new("struct wstpend *", (-1, 0))

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


def random_frames(generator, count=60):
    sizes = [0, 1, 30, 62, 63, 64, 500, 5000, HELD_FRAME_SIZE - 60, HELD_FRAME_SIZE + 1000, 3 * buffers.BUFFER_SIZE]
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
    """Listener of an `Upstream`: puts together what it is handed."""

    def __init__(self):
        self.frames = []
        self.commands = []
        self._part = None

    def commanded(self, packet):
        self.commands.append(packet)

    def packet(self, data, head):
        assert self._part is None
        self.frames.append(bytes(data))

    def packet_part(self, data, head):
        self._part = (self._part or b"") + bytes(data)

    def packet_end(self, data, head):
        self.frames.append(self._part + bytes(data))
        assert len(self.frames[-1]) > HELD_FRAME_SIZE
        self._part = None

    def packet_tail(self):
        pass  # it may belong to a command

    def before_round(self):
        pass

    def in_frame(self):
        return False

    def round_ended(self):
        pass


def without_ends(frames):
    """Frames without their ends of packet, which may come late or not at all."""
    return [data.removesuffix(b"]") for data in frames]


def is_command(data):
    return b"WSCommandPacket" in data[:60]


@pytest.mark.parametrize("largest", [7, 100, 4096, 70_000, 10**7])
@pytest.mark.parametrize("seed", range(3))
def test_upstream(largest, seed):
    generator = random.Random(f"{largest} {seed}")
    frames = random_frames(generator, 60 if largest > 10 else 20)
    client = Client()
    Upstream(Pieces(random_pieces(generator, b"".join(frames), largest)), client, client.commanded).run()
    assert without_ends(client.frames) == without_ends(data for data in frames if not is_command(data))
    small = [data for data in frames if is_command(data) and len(data) <= HELD_FRAME_SIZE]
    assert without_ends(packet for packet in client.commands if packet is not None) == without_ends(small)
    assert len(client.commands) == sum(map(is_command, frames))


class Kernel:
    """Listener of a `Downstream`."""

    busy = False

    def __init__(self):
        self.heads, self.names, self.commands = [], [], []

    def written(self, head):
        self.heads.append(head)

    def named(self, packet):
        self.names.append(packet)

    def commanded(self, packet):
        self.commands.append(packet)

    def asked(self, packet):
        pass


class Outlet:
    """Collects whole frames, as a client does (several at once, or parts), or one by one."""

    def __init__(self, every_frame=False):
        self.every_frame = every_frame
        self.data = b""
        self.inside = False
        self.calls = 0

    stream = None

    def in_frame(self):
        return False

    def write(self, data, at_boundary):
        assert len(data)
        self.calls += 1
        self.data += bytes(data)
        self.inside = not at_boundary

    def tail(self):
        pass  # the end of packet may be left out, and belongs to nobody if the outlet has changed since

    def lost(self, completion):
        assert not self.inside


@pytest.mark.parametrize("largest", [7, 100, 4096, 70_000, 10**7])
@pytest.mark.parametrize("seed", range(3))
def test_downstream(largest, seed):
    """Whatever moment the outlet is changed in: every frame goes to one of them, whole."""
    generator = random.Random(f"{largest} {seed}")
    frames = random_frames(generator, 60 if largest > 10 else 20)
    outlets = [Outlet()]
    kernel = Kernel()

    def between():
        if generator.random() < 0.2:
            outlets.append(Outlet(generator.random() < 0.5))
            pump.switch(outlets[-1])

    pump = Downstream(Pieces(random_pieces(generator, b"".join(frames), largest), between), kernel)
    pump.switch(outlets[0])
    pump.run()
    passed = [data[:-1] for data in frames if not is_command(data)]
    for outlet in outlets:
        outlet.data = outlet.data.replace(b"]", b"")
    assert b"".join(outlet.data for outlet in outlets) == b"".join(passed)
    boundaries, end = {0}, 0
    for data in passed:
        end += len(data)
        boundaries.add(end)
    position = 0
    for outlet in outlets:
        position += len(outlet.data)
        assert position in boundaries and not outlet.inside
    assert len(kernel.commands) == sum(map(is_command, frames))
    names = [data[:-1] for data in frames if b"InputNamePacket" in data[:60]]
    held = [data for data in names if len(data) < HELD_FRAME_SIZE]
    assert [name.removesuffix(b"]") for name in kernel.names if len(name) < HELD_FRAME_SIZE] == held
    ended = sum(b"ReturnPacket" in data[:60] for data in frames)
    assert kernel.heads.count(PacketHead.ReturnPacket) == ended


def test_small_frames_of_no_interest_pass_together():
    """No Python call for each frame where none is needed."""
    outlet = Outlet()
    together = b"".join(frame("TextPacket", 50, number) for number in range(1000))
    pump = Downstream(Pieces([frame("TextPacket", 50, 0), together]), Kernel())
    pump.switch(outlet)
    pump.run()
    assert outlet.calls == 2


@pytest.mark.parametrize("cut", [1, 3, 1000])
def test_what_comes_before_the_first_wrong_byte(cut):
    good = frame("TextPacket", 50, 1) + frame("ReturnPacket", 50, 2) + frame("TextPacket", 50, 3)
    outlet = Outlet()
    data = good + b"F\xff"
    pump = Downstream(Pieces(data[at : at + cut] for at in range(0, len(data), cut)), Kernel())
    pump.switch(outlet)
    with pytest.raises(RemoteProtocolError) as caught:
        pump.run()
    assert outlet.data.replace(b"]", b"") == good.replace(b"]", b"") and not outlet.inside
    assert caught.value.offset == len(good) + 1


@pytest.mark.parametrize("cut", [1, 2, 5, 10**6])
def test_late_ends_of_packets(cut):
    frames = [encode(Function(head, Symbol("x"))) for head in ("TextPacket", "EvaluatePacket", "WSCommandPacket", "f")]
    data = b"]".join(frames) + b"]"
    client = Client()
    Upstream(Pieces(data[at : at + cut] for at in range(0, len(data), cut)), client, client.commanded).run()
    assert without_ends(client.frames) == [frames[0], frames[1], frames[3]]
    assert len(client.commands) == 1
