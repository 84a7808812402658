"""The helper that runs the real server: it reports, it notices, it leaves nothing behind."""
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys

import psutil
import pytest

from tests.support.serving import Gate
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
from tools.harness import forking
if sys.argv[3] == "forked":
    forking.enable()
from tools.harness.server import ServerProcess, pool
server = ServerProcess(sys.argv[1], {"Pools": {"One": pool(sys.argv[2])}, "KernelsOutliveServer": 60}).start()
server.wait_for_log("is ready")
print(server.mark, server.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("way", ["executed", "forked"])
def test_a_test_that_is_killed_leaves_no_server(tmp_path, way):
    """As the workers of a run that is interrupted."""
    words = [sys.executable, "-c", KILLED, tmp_path, make_kernel(tmp_path), way]
    done = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == -signal.SIGKILL
    mark, pid = done.stdout.split()
    wait_gone(int(pid))
    wait_for(lambda: not processes.marked(mark), what="the server and its kernels to be gone")


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


def test_a_signal_to_a_forked_program_that_ends_at_that_moment(tmp_path, monkeypatch):
    gate = Gate(tmp_path)
    process = forking.fork_server(["-c", f"open({gate.path!r}).read()"], {"PATH": os.environ["PATH"]}, tmp_path)
    poll = process.poll

    def poll_and_let_it_end():
        found = poll()
        gate.open()
        wait_for(lambda: not psutil.pid_exists(process.pid), 60.0, "its end")
        return found

    with process:
        monkeypatch.setattr(process, "poll", poll_and_let_it_end)
        process.send_signal(signal.SIGTERM)
    assert process.returncode == 0


def test_what_cannot_be_forked():
    environment = {key: os.environ[key] for key in forking.INHERITED if key in os.environ}
    assert forking.can_fork({**environment, "WSTPSERVER_PORT": "0"})
    assert forking.can_fork({**environment, "PYTHONPATH": str(ROOT)})
    assert not forking.can_fork({**environment, "PYTHONPATH": "x"})
    assert not forking.can_fork({**environment, "PYTHONWARNINGS": "error"})
    assert not forking.can_fork({**environment, "LC_ALL": "de_DE.ISO-8859-1"})


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


# -- programs ------------------------------------------------------------------------------------------------------

PROGRAMS = {"wstpserver": "wstpserver", "wstpscript": "wstpserver.cli.script.main",
            "wstpserver-admin": "wstpserver.cli.admin.main", "wstpserver-kernel": "wstpserver.cli.kernel"}  # fmt: skip


def command(name, *words):
    return [sys.executable, "-m", PROGRAMS[name], *words]


@contextlib.contextmanager
def both(words, **options):
    """The program as a fork and executed, each with its own process; both are ended."""
    with contextlib.ExitStack() as stack:
        programs = []
        for start in (forking.popen, subprocess.Popen):
            programs.append(stack.enter_context(start(words, **options)))
            stack.callback(programs[-1].kill)
        assert isinstance(programs[0], forking.ForkedProcess)
        yield programs


@pytest.fixture
def one_server(tmp_path):
    with ServerProcess(tmp_path, one_kernel(tmp_path)) as server:
        server.wait_for_log("Pool One is ready")
        yield f"{server.port}@127.0.0.1"


@pytest.mark.parametrize(
    ("name", "words", "code"),
    [
        ("wstpserver", ["--help"], 0),
        ("wstpserver", ["--port", "é"], 64),
        ("wstpserver", ["--check", "-c", "nothing"], 78),
        ("wstpscript", ["-help"], 0),
        ("wstpscript", ["-wstpserver", "1@127.0.0.1", "-code", "1"], 69),
        ("wstpscript", ["-nothing"], 64),
        ("wstpserver-admin", ["--help"], 0),
        ("wstpserver-admin", ["-s", "1@127.0.0.1", "status"], 69),
        ("wstpserver-kernel", ["-help"], 0),
    ],
)
def test_a_forked_program_gives_what_an_executed_one_gives(tmp_path, name, words, code):
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
    with both(command(name, *words), cwd=tmp_path, env=environment, text=True, **streams) as programs:
        forked, executed = (program.communicate(timeout=60) for program in programs)
        assert forked == executed
        assert [program.returncode for program in programs] == [code, code]


def test_a_forked_program_reads_its_input(tmp_path, one_server):
    words = command("wstpserver-kernel")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "WSTPSERVER": one_server}
    options = {"input": "1 + 2\n", "cwd": tmp_path, "env": environment, "capture_output": True, "text": True}
    forked, executed = (run(words, **options, timeout=60) for run in (forking.run, subprocess.run))
    assert "3" in forked.stdout and forked.stdout.partition("\n")[2] == executed.stdout.partition("\n")[2]
    assert (forked.returncode, forked.stderr) == (executed.returncode, executed.stderr) == (0, "")


def test_ctrl_c_ends_a_forked_program_as_an_executed_one(tmp_path):
    """A program that waits for a server, once it has said so."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        words = command("wstpscript", "-wstpserver", f"{silent.getsockname()[1]}@127.0.0.1", "-code", "1")
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        for start in (forking.popen, forking_executed):
            with start(words, heeds_interrupts=True, env=environment, text=True, **streams) as program:
                try:
                    assert "wstpscript: " in program.stderr.readline()
                    program.send_signal(signal.SIGINT)
                    assert program.wait(60) == 130
                finally:
                    program.kill()


def forking_executed(words, **options):
    """`forking.popen` with an option that a fork does not heed."""
    program = forking.popen(words, **options, start_new_session=True)
    assert isinstance(program, subprocess.Popen)
    return program


def test_a_forked_program_that_takes_too_long(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        words = command("wstpserver-admin", "-s", f"{silent.getsockname()[1]}@127.0.0.1", "wait")
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
        with pytest.raises(subprocess.TimeoutExpired):
            forking.run(words, env=environment, capture_output=True, timeout=0.1)


#: Says at which moments it does what a program does at its end.
ENDS = """
import atexit, os, sys, threading
atexit.register(print, "last")
def work():
    threading.main_thread().join()
    print("thread")
threading.Thread(target=work).start()
print("first")
sys.exit(3)
"""


def test_a_forked_program_ends_with_its_threads_and_what_waits_for_its_end(tmp_path):
    environment = {"PATH": os.environ["PATH"]}
    forked = forking.fork_server(["-c", ENDS], environment, tmp_path)
    with forked.stdout as stream:
        output = stream.read()
    executed = subprocess.run([sys.executable, "-c", ENDS], env=environment, capture_output=True, text=True, timeout=60)
    assert (forked.wait(20.0), output) == (executed.returncode, executed.stdout) == (3, "first\nthread\nlast\n")
