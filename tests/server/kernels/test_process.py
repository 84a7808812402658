"""What is heard of a kernel's process while it runs, and at its end."""
import os
import signal
import sys

import gevent
import pytest

from tools.harness.processes import own_descriptors
from wstpserver.server import GracePeriods
from wstpserver.server.kernels import process
from wstpserver.server.kernels.process import LAST_LINES, TURN_SIZE, KernelOutput
from wstpserver.server.kernels.spawn import spawn


def start(script, lines):
    return spawn([sys.executable, "-S", "-E", "-u", "-c", script], lines.append)


def pipes():
    """The open pipes of this process."""
    return {number for number, target in own_descriptors().items() if target.startswith("pipe:")}


def stop(child, grace=20.0):
    with gevent.Timeout(30):
        child.stop(GracePeriods(link=grace))


@pytest.fixture
def pipe():
    """The two ends; the reading one is the test's to give away."""
    reading, writing = os.pipe()
    yield reading, writing
    try:
        os.close(writing)
    except OSError:
        pass


def test_every_line_and_what_has_no_end(pipe):
    reading, writing = pipe
    lines = []
    output = KernelOutput(reading, lines.append)
    with gevent.Timeout(20):
        for number, piece in enumerate((b"one\ntw", b"o\n\n  \r\nthr\xc3", b"\xa9e \xff\nlast"), 1):
            os.write(writing, piece)
            while len(lines) < number:
                gevent.sleep(0)
    assert lines == ["one", "two", "thrée \ufffd"]
    os.close(writing)
    output.wait(60)
    assert lines[-1] == "last"
    assert output.last_lines == tuple(lines)


def test_the_descriptor_is_given_back_when_the_kernel_has_closed_its_own():
    """While the kernel goes on: it counts towards what the server can hold."""
    lines = []
    before = pipes()
    child = start("import os, time; print('words'); os.close(1); os.close(2); time.sleep(1000)", lines)
    try:
        with gevent.Timeout(20):
            while pipes() - before:
                gevent.sleep(0.01)
        assert not child.exited.ready()
        assert (lines, child.last_output()) == (["words"], "words")
    finally:
        stop(child, 0)


def test_who_prints_without_a_pause_lets_others_run(pipe):
    """One read for each look at everybody's sockets, however much there is."""
    reading, writing = pipe
    os.set_blocking(writing, False)
    line = b"x" * 63 + b"\n"
    lines = []
    output = KernelOutput(reading, lines.append)
    other, its_end = os.pipe()
    os.write(its_end, b".")
    counts = []
    watcher = gevent.get_hub().loop.io(other, 1)
    watcher.start(lambda: counts.append(len(lines)))
    try:
        for _ in range(20):
            try:
                os.write(writing, line * 1024)
            except BlockingIOError:
                pass
            gevent.sleep(0)
        with gevent.Timeout(20):
            while len(counts) < 20:
                gevent.sleep(0.001)
    finally:
        watcher.stop()
        watcher.close()
        os.close(other)
        os.close(its_end)
        output.close()
    steps = [after - before for before, after in zip(counts, counts[1:], strict=False)]
    assert max(steps) <= TURN_SIZE // len(line) + 1
    assert len(lines) > 100


def test_last_words_are_the_last_ones():
    lines = []
    child = start(f"for number in range({2 * LAST_LINES}): print(number)", lines)
    with gevent.Timeout(20):
        child.exited.wait()
        assert child.last_output().split() == [str(number) for number in range(LAST_LINES, 2 * LAST_LINES)]
    stop(child)


def test_a_child_that_holds_the_pipe_is_not_waited_for():
    """What a kernel has started in a session of its own may go on; the descriptor is given back all the same."""
    lines = []
    before = pipes()
    child = start("import os, time\nif os.fork() == 0:\n  os.setsid(); print(os.getpid()); time.sleep(1000)", lines)
    try:
        with gevent.Timeout(20):
            child.exited.wait()
            while not lines:
                gevent.sleep(0.01)
        stop(child, 60.0)  # longer than `stop` takes at most
        assert child.last_output() == lines[0]
        assert pipes() == before
    finally:
        os.kill(int(lines[0]), signal.SIGKILL)


@pytest.mark.parametrize(("status", "words"), [(3 << 8, "exit status 3"), (9, "signal 9 (SIGKILL)"), (99, "signal 99")])
def test_a_status_in_words(status, words):
    assert process.describe_status(status) == words


class Unkillable(process.KernelProcess):
    """What a process in state D is for those who wait for its end: no signal reaches it."""

    __slots__ = ()

    def kill_group(self, number):
        """Nothing happens."""


def test_a_process_that_cannot_be_killed_is_given_up():
    child = start("import time; time.sleep(1000)", [])
    try:
        unkillable = Unkillable(child.pid)
        with gevent.Timeout(20):
            unkillable.stop(GracePeriods(link=0.05, terminate=0.05, kill=0.05))
        assert unkillable.stopped.get() is False
        assert not unkillable.exited.ready()
    finally:
        stop(child, 0)
    assert child.stopped.get() is True


def test_a_process_whose_parent_reports_nothing_is_looked_at():
    """As the kernel of a prefork parent that is stopped: a zombie, or gone."""
    script = "import os, time\npid = os.fork()\nif pid: print(pid)\ntime.sleep(1000)"
    lines = []
    child = start(f"{script}", lines)
    try:
        with gevent.Timeout(20):
            while not lines:
                gevent.sleep(0.01)
            os.kill(child.pid, signal.SIGSTOP)
            grandchild = process.KernelProcess(int(lines[0]), reports_exit=False)
            os.kill(grandchild.pid, signal.SIGKILL)
            grandchild.stop(GracePeriods(link=20.0))
        assert grandchild.stopped.get() is True
    finally:
        stop(child, 0)


def test_what_only_a_terminal_understands_is_left_out(pipe):
    reading, writing = pipe
    lines = []
    output = KernelOutput(reading, lines.append)
    os.write(writing, b"\x1b[1;31mNo licence\x1b[0m\x07\n\x1b]0;title\x07\x1b(Bplain\n10%\r50%\r100%\n")
    os.close(writing)
    with gevent.Timeout(20):
        output.wait(60)
    assert lines == ["No licence", "plain", "100%"]


def test_a_last_line_without_an_end_is_among_the_last_ones(pipe):
    """A kernel that asks for a password and waits has not ended its line."""
    reading, writing = pipe
    output = KernelOutput(reading, [].append)
    os.write(writing, b"one\n\x1b[1mPassword: ")
    with gevent.Timeout(20):
        while len(output.last_lines) < 2:
            gevent.sleep(0)
    assert output.last_lines == ("one", "Password:")
    output.close()
    assert output.last_lines == ("one", "Password:")
