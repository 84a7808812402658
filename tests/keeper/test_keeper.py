"""The keeper by itself: what it starts, what it holds, and what is left when it ends."""
import os
import signal
import socket
import stat
import sys

import gevent
import pytest

from tools.harness import processes
from tools.harness.processes import own_descriptors
from tools.harness.waiting import wait_for, wait_gone
from wstpserver.keeper import protocol
from wstpserver.keeper.protocol import BadMessage
from wstpserver.server.kernels.keeper_client import find_keepers, start_keeper
from wstpserver.server.kernels.spawn import spawn

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the keeper is for Linux")

SLEEPER = [sys.executable, "-S", "-E", "-c", "import time; time.sleep(1000)"]
#: Prints the process ID of a child that has left the group, and waits.
FAMILY = [
    sys.executable, "-S", "-E", "-c",
    "import os, sys, time\n"
    "if os.fork() == 0: os.setsid(); os.execv(sys.executable, [sys.executable, '-S', '-c',"
    " 'import os, time; print(os.getpid(), flush=True); time.sleep(1000)'])\n"
    "time.sleep(1000)",
]  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    """A private folder with a name that is too long for the address of a socket."""
    folder = tmp_path / ("long" * 30)
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def begin(folder):
    """begin(outlive) -> a new keeper; all are ended with the test."""
    begun = []

    def begin(outlive=0.0):
        keeper = start_keeper(folder, 31415, pytest.fail)
        begun.append(keeper)
        return welcome(keeper, outlive)

    yield begin
    with gevent.Timeout(30):
        for keeper in begun:
            if processes.alive(keeper.pid):
                os.kill(keeper.pid, signal.SIGKILL)
            wait_for(lambda keeper=keeper: not processes.alive(keeper.pid), 60.0, "the keeper to end")


def welcome(keeper, outlive=0.0):
    keeper.say_hello(os.environ, outlive)
    with gevent.Timeout(20):
        keeper.welcomed.wait()
    assert keeper.usable and not keeper.refused
    return keeper


def start(keeper, words, lines=None):
    with gevent.Timeout(20):
        return spawn(words, [].append if lines is None else lines.append, keeper=keeper)


def next_server(folder):
    """What the next server finds."""
    (found,) = find_keepers(folder, 31415, pytest.fail)
    return welcome(found, 60.0)


def wait_until(condition):
    with gevent.Timeout(20):
        while not condition():
            gevent.sleep(0.01)


def test_it_is_small_and_private(begin, folder):
    keeper = begin()
    (path,) = folder.iterdir()
    assert stat.S_ISSOCK(path.lstat().st_mode)
    assert processes.threads(keeper.pid) == 1
    assert processes.resident_bytes(keeper.pid) < 16 << 20
    assert not [target for target in processes.open_descriptors(keeper.pid).values() if "/dev/null" not in target
                and not target.startswith(("socket:", "pipe:"))]  # fmt: skip
    keeper.goodbye()
    assert not list(folder.iterdir())
    wait_gone(keeper.pid)


def test_it_says_how_processes_end(begin):
    keeper = begin()
    lines = []
    child = start(keeper, ["/bin/sh", "-c", "echo words; exit 3"], lines)
    with gevent.Timeout(20):
        assert child.exited.get() == 3 << 8
        assert child.last_output() == "words"
        child.stop()
    assert child.pid not in keeper.processes


def test_a_child_that_has_left_the_group_ends_with_its_kernel(begin):
    keeper = begin()
    lines, others = [], []
    kernel, other = start(keeper, FAMILY, lines), start(keeper, FAMILY, others)
    wait_until(lambda: lines and others)
    os.kill(kernel.pid, signal.SIGKILL)
    wait_gone(int(lines[0]))
    assert processes.alive(int(others[0])) and processes.alive(other.pid)


def test_a_child_of_what_was_started_elsewhere_ends_with_it(begin):
    """As a kernel that a prefork parent has forked: the keeper knows its mark only."""
    keeper = begin()
    mark = keeper.new_mark()
    keeper.know(mark)
    lines = []
    script = (
        "import os, sys\nif os.fork() == 0: os.setsid(); os.execve(sys.executable, [sys.executable, '-S', '-c',"
        f" 'import os, time; print(os.getpid(), flush=True); time.sleep(1000)'], {{'{protocol.MARK}': '{mark}'}})"
    )
    leader = start(keeper, [sys.executable, "-S", "-E", "-c", script], lines)
    with gevent.Timeout(20):
        leader.exited.get()
    wait_until(lambda: lines)
    assert processes.alive(int(lines[0]))
    keeper.forget(mark)
    wait_gone(int(lines[0]))


def test_nothing_is_left_when_the_keeper_is_killed(begin):
    keeper = begin(outlive=60.0)
    lines = []
    kernel = start(keeper, FAMILY, lines)
    keeper.hold("kernel", {"processes": [kernel.pid]}, [])
    wait_until(lambda: lines)
    os.kill(keeper.pid, signal.SIGKILL)
    with gevent.Timeout(20):
        keeper.lost.wait()
        assert kernel.exited.get() == signal.SIGKILL
    for pid in (kernel.pid, int(lines[0])):  # the connection ends a moment before they do
        wait_gone(pid)
    with pytest.raises(OSError, match="the keeper has ended"):
        start(keeper, SLEEPER)


def test_what_is_held_outlives_the_server(begin, folder):
    """The next server finds the records, the descriptors, what was printed meanwhile, and how processes have ended."""
    first = begin(outlive=60.0)
    lines = []
    kernel = start(first, FAMILY, lines)
    dying = start(first, ["/bin/sh", "-c", "sleep 0.1; kill -TERM $$"])
    unknown = start(first, SLEEPER)
    record = {"processes": [kernel.pid, dying.pid], "text": "é" * 100_000}
    reading, writing = os.pipe()
    first.hold("kernel", record, [reading])
    first.hold("board", {}, [])
    first.release("board")
    wait_until(lambda: lines)
    first.abandon()
    os.write(writing, b"meanwhile")
    wait_gone(unknown.pid)
    wait_gone(dying.pid)
    second = next_server(folder)
    assert list(second.kept) == ["kernel"]
    kept, (held,) = second.kept["kernel"]
    assert kept == record and os.read(held, 100) == b"meanwhile"
    for descriptor in (reading, writing, held):
        os.close(descriptor)
    wait_until(lambda: dying.pid not in second.processes)
    assert set(second.processes) == {kernel.pid}
    with gevent.Timeout(20):
        second.goodbye()
    for pid in (kernel.pid, int(lines[0])):
        wait_gone(pid)


@pytest.mark.parametrize("outlive", [0.0, 0.3])
def test_it_ends_when_nobody_comes(begin, folder, outlive):
    keeper = begin(outlive)
    lines = []
    kernel = start(keeper, FAMILY, lines)
    keeper.hold("kernel", {"processes": [kernel.pid]}, [])
    wait_until(lambda: lines)
    keeper.abandon()
    for pid in (kernel.pid, int(lines[0]), keeper.pid):
        wait_gone(pid)
    assert not list(folder.iterdir())


def test_a_keeper_has_one_server(begin, folder):
    keeper = begin(60.0)
    (second,) = find_keepers(folder, 31415, pytest.fail)
    second.say_hello(os.environ, 60.0)
    with gevent.Timeout(20):
        second.welcomed.wait()
    assert second.refused == f"it is the keeper of another server (process {os.getpid()})"
    second.abandon()
    assert start(keeper, ["/bin/true"])
    assert not find_keepers(folder, 31416, pytest.fail)


def test_the_socket_of_a_keeper_that_was_killed_is_removed(begin, folder):
    keeper = begin()
    os.kill(keeper.pid, signal.SIGKILL)
    with gevent.Timeout(20):
        keeper.lost.wait()
    assert len(list(folder.iterdir())) == 1
    assert find_keepers(folder, 31415, pytest.fail) == []
    assert not list(folder.iterdir())


def test_messages_that_are_none():
    """They are refused, and what came with them is closed."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    null = os.open(os.devnull, os.O_RDONLY)
    try:
        before = set(own_descriptors())
        for data in (b"nothing", b"[1]", b"{", b"\xff"):
            socket.send_fds(ours, [data], [null, null])
            with pytest.raises(BadMessage):
                protocol.receive(theirs)
        assert set(own_descriptors()) == before
        protocol.send(ours, {"long": "x" * 1_000_000}, [null])
        message, descriptors = protocol.receive(theirs)
        assert len(message["long"]) == 1_000_000 and len(descriptors) == 1
        assert not os.get_inheritable(descriptors[0])
        protocol.close(descriptors)
        assert protocol.peer(ours) == (os.getpid(), os.getuid())
    finally:
        os.close(null)
        for one in (ours, theirs):
            one.close()
