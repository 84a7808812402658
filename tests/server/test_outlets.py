"""Where the frames of a kernel go."""
import pytest

from wstpserver.server.outlets import MissedOutput, Nowhere, ToClient, ToFunction
from wstpserver.server.stream import StreamClosed


def view(text):
    return memoryview(text)


def fill(outlet, *pieces):
    """Write pieces; those that end with "]" or "." complete a frame."""
    for piece in pieces:
        outlet.write(view(piece), piece.endswith((b"]", b".")))


def test_missed_output_keeps_whole_frames_without_their_ends():
    missed = MissedOutput(100)
    fill(missed, b"one]", b"two.", b"thr", b"e", b"e]")
    missed.tail()
    assert missed.drain() == ([b"one", b"two.", b"three"], 0)
    assert missed.drain() == ([], 0)


def test_the_oldest_are_dropped_and_counted():
    missed = MissedOutput(10)
    fill(missed, b"1111]", b"2222]", b"3333]", b"4444]")
    assert missed.size == 8
    assert missed.drain() == ([b"3333", b"4444"], 2)


@pytest.mark.parametrize("pieces", [(b"x" * 20 + b"]",), (b"x" * 20, b"]"), (b"x" * 5,) * 4 + (b"]",)])
def test_a_frame_larger_than_the_limit_is_dropped_as_a_whole(pieces):
    missed = MissedOutput(10)
    fill(missed, b"before]", *pieces, b"after]")
    frames, dropped = missed.drain()
    assert frames[-1] == b"after"
    assert dropped >= 1 and not any(b"x" in frame for frame in frames)
    fill(missed, b"again]")
    assert missed.drain() == ([b"again"], 0)


def test_memory_of_missed_output_is_bounded():
    missed = MissedOutput(1000)
    for _ in range(10_000):
        fill(missed, b"y" * 99 + b"]")
    assert missed.size <= 1000 and sum(map(len, missed.frames)) == missed.size
    assert missed.drain()[1] == 9990


def test_with_a_limit_of_nothing_nothing_is_kept():
    missed = MissedOutput(0)
    fill(missed, b"one]", b"tw", b"o]")
    assert missed.drain() == ([], 2)


def test_a_frame_that_its_kernel_does_not_finish_is_forgotten():
    missed = MissedOutput(100)
    fill(missed, b"one]", b"half")
    missed.lost(iter([b"]"]))
    fill(missed, b"two]")
    assert missed.drain() == ([b"one", b"two"], 0)


def test_each_frame_to_a_function():
    taken = []
    outlet = ToFunction(taken.append)
    fill(outlet, b"one]", b"t", b"wo.", b"half")
    outlet.lost(None)
    assert taken == [b"one", b"two."]


def test_nowhere_takes_everything():
    outlet = Nowhere()
    fill(outlet, b"one]", b"half")
    outlet.tail()
    outlet.lost(None)


class Writer:
    """Remembers what a FrameWriter is told; broken if it is to be."""

    def __init__(self, broken=False):
        self.calls = []
        self._broken = broken

    stream = None

    def write(self, source, data, at_boundary):
        if self._broken:
            raise StreamClosed
        self.calls.append((bytes(data), at_boundary))

    def tail(self, source):
        self.write(source, b"tail", True)

    def abandon(self, source, completion):
        self.calls.append(completion if completion is None else list(completion))


class Session:
    def __init__(self, writer, closing=False):
        self.writer = writer
        self.closing = closing


@pytest.mark.parametrize("closing", [False, True])
def test_only_a_link_that_goes_on_gets_frames_completed(closing):
    writer = Writer()
    outlet = ToClient(Session(writer, closing), object())
    fill(outlet, b"one]", b"half")
    outlet.lost(iter([b"]"]))
    assert writer.calls == [(b"one]", True), (b"half", False), None if closing else [b"]"]]


def test_a_client_that_is_gone_swallows_the_rest():
    outlet = ToClient(Session(Writer(broken=True)), object())
    fill(outlet, b"one]", b"half")
    outlet.tail()
