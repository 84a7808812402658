"""The helper that runs the real server: it reports, it notices, it leaves nothing behind."""
import json
import os
import signal
import subprocess
import sys

import pytest

from tools.harness import forking, processes
from tools.harness.fake_kernel.codec import Function as call
from tools.harness.kernels import make_kernel
from tools.harness.server import ROOT, ServerProcess, pool
from tools.harness.waiting import wait_for, wait_gone


def one_kernel(tmp_path, **behaviour):
    return {"Pools": {"One": pool(make_kernel(tmp_path, **behaviour), MinimumKernelNumber=1)}}


def test_serves_clients_and_stops(tmp_path):
    with ServerProcess(tmp_path, one_kernel(tmp_path)) as server:
        with server.connect() as link:
            assert link.get_packet() == ("InputNamePacket", "In[1]:= ")
            kernel = link.evaluate(call("KernelProcess"))
        assert server.processes() == [kernel]
        assert f"port {server.port}" in server.log
    assert not processes.alive(kernel)


def test_finds_orphans_too(tmp_path):
    """A grandchild whose parents are gone still carries the mark."""
    with ServerProcess(tmp_path, one_kernel(tmp_path, grandchild=True)) as server:
        wait_for(lambda: len(server.processes()) == 2, what="the kernel and its child")


def test_a_killed_server_leaves_no_kernel(tmp_path):
    with ServerProcess(tmp_path, one_kernel(tmp_path)) as server:
        with server.connect() as link:
            link.get_packet()
            kernel = link.evaluate(call("KernelProcess"))
        server.expect_exit(-signal.SIGKILL)
        server.stop(signal.SIGKILL)
        wait_gone(kernel, 60.0)
        server.assert_no_process_left()


KILLED = """
import os, signal, sys, time
from tools.harness.server import ServerProcess, pool
server = ServerProcess(sys.argv[1], {"Pools": {"One": pool(sys.argv[2])}, "KernelsOutliveServer": 60}).start()
server.wait_for_log("is ready")
print(server.mark, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_test_that_is_killed_leaves_no_server(tmp_path):
    """As the workers of a run that is interrupted."""
    words = [sys.executable, "-c", KILLED, tmp_path, make_kernel(tmp_path)]
    done = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == -signal.SIGKILL
    wait_for(lambda: not processes.marked(done.stdout.strip()), 60.0, "the server and its kernels to be gone")


def test_a_failing_start_shows_the_log(tmp_path):
    with (
        pytest.raises(AssertionError, match="NoSuchKey"),
        ServerProcess(tmp_path, {"NoSuchKey": 1, "Pools": {"One": {}}}),
    ):
        pass


def test_a_process_that_is_left_is_noticed_and_ended(tmp_path):
    """Something with the server's mark that the server does not know of."""
    left = []
    with (
        pytest.raises(AssertionError, match="processes left"),
        ServerProcess(tmp_path, one_kernel(tmp_path), leave_deadline=0.5) as server,
    ):
        environment = {server.mark: "1", "PATH": os.environ["PATH"]}
        left.append(os.spawnvpe(os.P_NOWAIT, "sleep", ["sleep", "1000"], environment))
        wait_for(lambda: left[0] in server.processes())
    os.waitpid(left[0], 0)
    assert not processes.alive(left[0])


#: Says how Python was started, and waits until it is told to end.
LOOK = """
import json, os, signal, sys
facts = {"words": [sys.argv, sys.orig_argv], "environment": dict(os.environ), "folder": os.getcwd(),
         "leads a session": os.getsid(0) == os.getpid(), "files": sorted(os.listdir("/proc/self/fd")),
         "handlers": [repr(signal.getsignal(number)) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGPIPE)]}
print(json.dumps(facts), flush=True)
signal.pause()
"""


def looked(process):
    return json.loads(process.stdout.readline())


def test_a_forked_program_is_as_if_it_was_executed(tmp_path):
    """Forked later than others, and beside one that still runs, with what this process makes of Ctrl-C now."""
    words, environment = ["-c", LOOK, "a", "--b=c"], {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "A": "é"}
    environment["PYTHONCOERCECLOCALE"] = "0"  # nothing is added to it
    first, second = (forking.fork_server(words, environment, tmp_path) for _ in range(2))
    executed = subprocess.Popen(
        [sys.executable, *words], cwd=tmp_path, env=environment, start_new_session=True, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    with executed:
        try:
            facts, found, later = map(looked, (executed, first, second))
            assert later == found
            assert set(facts.pop("files")) <= set(found.pop("files"))  # a loaded module may have opened some
            assert found == facts
        finally:
            for process in (first, second, executed):
                process.send_signal(signal.SIGKILL)
    for forked in (first, second):
        assert forked.wait(20.0) == forked.returncode == forked.poll() == -signal.SIGKILL
        forked.stdout.close()


@pytest.mark.parametrize(
    ("program", "code", "output"),
    [
        ("print('é')", 0, "é\n"),
        ("import sys; print('x'); sys.exit(7)", 7, "x\n"),
        ("import sys; sys.exit('why')", 1, "why\n"),
        ("1 / 0", 1, "ZeroDivisionError"),
        ("import os; os._exit(3)", 3, ""),
    ],
)
def test_a_forked_program_ends_as_if_it_was_executed(tmp_path, program, code, output):
    process = forking.fork_server(["-c", program], {"PATH": os.environ["PATH"]}, tmp_path)
    with process.stdout as stream:
        assert output in stream.read()
    assert process.wait(60.0) == code


def test_what_cannot_be_forked():
    assert forking.can_fork({"WSTPSERVER_PORT": "0"})
    assert not forking.can_fork({"PYTHONPATH": "x"})


def test_waiting_for_a_forked_program_may_be_in_vain(tmp_path):
    process = forking.fork_server(["-c", "input()"], {}, tmp_path)
    process.wait(60.0)  # its input is empty
    process.stdout.close()
    process = forking.fork_server(["-c", "import signal; signal.pause()"], {}, tmp_path)
    with process.stdout:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.01)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60.0) == -signal.SIGTERM
        process.send_signal(signal.SIGTERM)  # nobody is told
