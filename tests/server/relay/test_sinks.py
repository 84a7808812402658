"""Where the frames of a channel go."""
import gc
import tracemalloc

from tests.support.cases import for_all
from wstpserver.server.connection import ConnectionClosed
from wstpserver.server.relay.sinks import FRAME_OVERHEAD, FunctionSink, NullSink, OutputBacklog, PeerSink


def view(text):
    return memoryview(text)


def fill(sink, *pieces):
    """Write pieces; those that end with "]" or "." complete a frame."""
    for piece in pieces:
        sink.write(view(piece), at_boundary=piece.endswith((b"]", b".")))


def drained(missed):
    frames, dropped = missed.drain()
    return list(frames), dropped


def test_missed_output_keeps_whole_frames_without_their_ends():
    missed = OutputBacklog(1000)
    fill(missed, b"one]", b"two.", b"thr", b"e", b"e]")
    missed.tail()
    assert drained(missed) == ([b"one", b"two.", b"three"], 0)
    assert drained(missed) == ([], 0)


def test_the_oldest_are_dropped_and_counted():
    missed = OutputBacklog(10 + 2 * FRAME_OVERHEAD)
    fill(missed, b"1111]", b"2222]", b"3333]", b"4444]")
    assert missed.size == 8 + 2 * FRAME_OVERHEAD
    assert drained(missed) == ([b"3333", b"4444"], 2)


@for_all("pieces", [(b"x" * 20 + b"]",), (b"x" * 20, b"]"), (b"x" * 5,) * 4 + (b"]",)])
def test_a_frame_larger_than_the_limit_is_dropped_as_a_whole(pieces):
    missed = OutputBacklog(10 + FRAME_OVERHEAD)
    fill(missed, b"before]", *pieces, b"after]")
    frames, dropped = missed.drain()
    assert frames[-1] == b"after"
    assert dropped >= 1 and not any(b"x" in frame for frame in frames)
    fill(missed, b"again]")
    assert drained(missed) == ([b"again"], 0)


def test_the_limit_counts_what_a_frame_costs_beside_its_bytes():
    missed = OutputBacklog(1 << 20)
    gc.collect()
    tracemalloc.start()
    try:
        for _ in range(20_000):
            fill(missed, b"y" * 20 + b"]")
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert missed.size <= 1 << 20 and held < 1.3 * (1 << 20)
    frames, dropped = missed.drain()
    assert len(frames) + dropped == 20_000 and len(frames) == (1 << 20) // (20 + FRAME_OVERHEAD)


def test_with_a_limit_of_nothing_nothing_is_kept():
    missed = OutputBacklog(0)
    fill(missed, b"one]", b"tw", b"o]")
    assert drained(missed) == ([], 2)


def test_a_frame_that_its_kernel_does_not_finish_is_forgotten():
    missed = OutputBacklog(1000)
    fill(missed, b"one]", b"half")
    missed.lost(iter([b"]"]))
    fill(missed, b"two]")
    assert drained(missed) == ([b"one", b"two"], 0)


def test_each_frame_to_a_function():
    taken = []
    sink = FunctionSink(taken.append)
    fill(sink, b"one]", b"t", b"wo.", b"half")
    sink.lost(None)
    assert taken == [b"one", b"two."]


def test_the_null_sink_takes_everything():
    sink = NullSink()
    fill(sink, b"one]", b"half")
    sink.tail()
    sink.lost(None)


class Writer:
    """Remembers what a FrameWriter is told; broken if it is to be."""

    def __init__(self, broken=False):
        self.calls = []
        self._broken = broken

    connection = None

    def write(self, source, data, *, at_boundary):
        if self._broken:
            raise ConnectionClosed
        self.calls.append((bytes(data), at_boundary))

    def tail(self, source):
        self.write(source, b"tail", at_boundary=True)

    def abandon(self, source, completion):
        self.calls.append(completion if completion is None else list(completion))


@for_all("closing", [False, True])
def test_only_a_link_that_goes_on_gets_frames_completed(closing):
    writer = Writer()
    sink = PeerSink(writer, object(), lambda: closing)
    fill(sink, b"one]", b"half")
    sink.lost(iter([b"]"]))
    assert writer.calls == [(b"one]", True), (b"half", False), None if closing else [b"]"]]


def test_a_link_that_is_gone_takes_the_rest():
    sink = PeerSink(Writer(broken=True), object())
    fill(sink, b"one]", b"half")
    sink.tail()
