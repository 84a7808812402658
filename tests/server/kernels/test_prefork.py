"""The prefork parent of embedded kernels as the server sees it. Its program is a small one here, without an engine."""
import os
import shlex
import signal
import sys

import gevent
import pytest

from tests.support.serving import join, kernel_id, kernel_process, one_pool, ready_kernels, serving
from tools.harness import processes
from tools.harness.kernels import make_kernel
from tools.harness.waiting import wait_for, wait_gone
from wstpserver.server import GracePeriods
from wstpserver.server.kernels import prefork
from wstpserver.server.kernels.prefork import PreforkFailed, PreforkParent

PARENT = """
import array, ctypes, json, os, signal, socket, sys
kernel, arguments = sys.argv[1], sys.argv[2:]
if "--warm-parent" not in arguments:
    os.execv(kernel, [kernel, *arguments])
server = socket.socket(fileno=int(arguments[arguments.index("--warm-parent") + 1]))
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGCHLD, lambda *_: None)
wake, woken = os.pipe()
os.set_blocking(woken, False)
signal.set_wakeup_fd(woken)
import select

def send(**event):
    server.send(json.dumps(event).encode())

send(event="ready")
while True:
    readable, _, _ = select.select([server, wake], [], [])
    if wake in readable:
        os.read(wake, 100)
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if not pid:
                break
            send(event="exited", pid=pid, status=status)
    if server in readable:
        data, ancillary, *_ = server.recvmsg(1 << 18, 1000)
        if not data:
            break
        request, (output,) = json.loads(data), array.array("i", ancillary[0][2])
        pid = os.fork()
        if pid == 0:
            ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
            os.setsid()
            os.dup2(output, 1)
            os.dup2(output, 2)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.execv(kernel, [kernel, *request["arguments"]])
        os.close(output)
        send(event="launched", launch=request["launch"], pid=pid)
"""

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the small parent is for Linux")


@pytest.fixture
def program(tmp_path):
    """A "wstpkernel" whose kernels are test kernels."""
    kernel = make_kernel(tmp_path)
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    path = tmp_path / "wstpkernel"
    path.write_text(f'#!/bin/sh\nexec {shlex.join([sys.executable, "-S", "-E", str(script), kernel])} "$@"\n')
    path.chmod(0o755)
    return os.fspath(path)


def test_a_parent_ends_by_itself_when_its_server_stops(tmp_path, program):
    """It hears of the end although the keeper holds the same socket: it is not killed after a time."""
    with (tmp_path / "parent.py").open("a") as script:
        script.write(f"\nopen({os.fspath(tmp_path / 'ended')!r}, 'w').close()\n")
    with serving(tmp_path, one_pool(program, 1)) as server:
        ready_kernels(server, 1)
        assert len(parents(server)) == 1
        assert server.stop() == 0
    assert (tmp_path / "ended").exists()


def parents(server):
    return [pid for pid in processes.children(server.pid) if "--warm-parent" in processes.command_line(pid)]


@pytest.fixture
def stopped(tmp_path, program):
    """(server, its prefork parent), which is stopped when a kernel is ready."""
    with serving(tmp_path, one_pool(program, 1, MaximumKernelNumber=4)) as server:
        ready_kernels(server, 1)
        (parent,) = parents(server)
        os.kill(parent, signal.SIGSTOP)
        yield server, parent


def test_a_parent_that_does_not_answer_is_replaced(stopped):
    """The kernels that it has forked go on, new ones are started without it and then by another one."""
    server, parent = stopped
    with join(server) as first, join(server) as second, join(server) as third:
        server.wait_for_log(rf"the prefork parent \(process {parent}\) has not answered for 2 seconds")
        assert first.evaluate("x") == second.evaluate("x") == third.evaluate("x") == "x"
        wait_for(lambda: len(parents(server)) == 2, 60.0, "another parent")


def test_the_keeper_forgets_a_parent_that_was_replaced(tmp_path, program):
    with serving(tmp_path, one_pool(program, 1, {"KernelsOutliveServer": 60})) as server:
        ready_kernels(server, 1)
        keeper = max(processes.keepers(server.mark))  # its guard was there before it
        held = len(processes.open_descriptors(keeper))
        (parent,) = parents(server)
        os.kill(parent, signal.SIGKILL)  # its kernel ends with it
        server.wait_for_log(r"(?s)is ready: process.*is ready: process")
        with join(server) as link:  # which was perhaps started without a parent
            assert "ExecutionSuccess" in link.command("CloseKernel", kernel_id(link))
        wait_for(lambda: parents(server) not in ([parent], []), 60.0, "another parent")
        server.wait_for_log(r"(?s)(is ready: process.*){3}")
        wait_for(lambda: len(processes.open_descriptors(keeper)) == held, 60.0, "what is held of one parent only")


def test_a_kernel_of_a_stopped_parent_can_be_closed(stopped):
    """Nobody reports its end; the parent is ended with the last of its kernels."""
    server, parent = stopped
    with join(server) as link, join(server) as other:  # the second has a kernel whose start notices it
        kernel = kernel_process(link)
        server.wait_for_log("has not answered")
        assert "ExecutionSuccess" in other.command("CloseKernel", kernel_id(link))
        wait_gone(kernel)
        wait_gone(parent)


def test_a_server_with_a_stopped_parent_can_be_stopped(stopped):
    server, parent = stopped
    assert server.stop() == 0
    assert "given up" not in server.log
    assert not server.processes()


def test_a_parent_that_goes_on_late_leaves_no_kernel_that_nobody_wants(program, monkeypatch):
    lines = []
    parent = PreforkParent(program, lines.append)
    try:
        with gevent.Timeout(30):
            first = parent.launch(["-wstp"], lines.append, 20.0)
            monkeypatch.setattr(prefork, "ANSWER_TIMEOUT", 0.2)
            os.kill(parent.process.pid, signal.SIGSTOP)
            with pytest.raises(PreforkFailed, match="has not answered for 0.2 seconds"):
                parent.launch(["-wstp"], lines.append, 20.0)
            assert not parent.usable
            os.kill(parent.process.pid, signal.SIGCONT)
            first.stop(GracePeriods(link=0.0))
            assert parent.process.exited.get() == signal.SIGKILL
    finally:
        parent.stop()
