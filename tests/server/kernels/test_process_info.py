"""What a server that was killed leaves, and how the next one looks after it."""
import os
import re
import signal
import stat
import subprocess
import sys

import pytest

from tests.support.serving import Gate, join, kernel_process, one_pool, ready_kernels
from tests.support.serving import serving as serving_with_keeper
from tools.harness import processes
from tools.harness.kernels import make_kernel
from tools.harness.waiting import wait_for, wait_gone
from wstpserver.server.kernels import process_info
from wstpserver.server.kernels.process_info import MARK, PidFile, PidRecord, make_private, open_pid_file, reap
from wstpserver.server.log import Log

SLEEPER = [sys.executable, "-S", "-E", "-c", "import time; time.sleep(1000)"]
#: A leader that is gone, and its child.
FAMILY = [sys.executable, "-S", "-E", "-c", "import os, time\nif os.fork() == 0: time.sleep(1000)"]


@pytest.fixture
def log(tmp_path):
    log = Log(path=os.fspath(tmp_path / "log"))
    yield log
    log.close()


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "lists"
    make_private(folder)
    return folder


@pytest.fixture
def start():
    """Start programs in sessions of their own that end with the test."""
    started = []

    def start(words, stdout=None, **environment):
        process = subprocess.Popen(
            words, start_new_session=True, stdout=stdout, env={**os.environ, **environment}
        )
        started.append(process)
        return process

    yield start
    for process in started:
        for pid in {process.pid, *process_info.group_members(process.pid)}:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        process.wait()


@pytest.fixture(autouse=True)
def unmarked(monkeypatch):
    monkeypatch.setenv(MARK, "")


def text_of(log, tmp_path):
    log.flush()
    return (tmp_path / "log").read_text()


def write_list(folder, *kernels, pid=99999999, began="1", boot=None, mark="the-mark"):
    written = PidRecord(pid, began, boot or process_info.boot(), mark, dict(kernels))
    path = folder / f"kernels-{pid}"
    path.write_text(str(written))
    return path


def test_a_list_is_read_as_it_was_written(folder, log):
    pid_file = PidFile(folder, log)
    for pid in (os.getpid(), os.getppid()):
        pid_file.add(pid)
    pid_file.remove(os.getppid())
    (path,) = folder.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    found = PidRecord.parse(path.read_text())
    assert (found.pid, list(found.kernels)) == (os.getpid(), [os.getpid()])
    assert found.mark == os.environ[MARK]
    assert not found.orphaned
    pid_file.close()
    assert list(folder.iterdir()) == [path]  # a process is left: the next server may be able to end it
    pid_file.remove(os.getpid())
    pid_file.close()
    assert not list(folder.iterdir())


def test_a_line_that_was_not_finished_does_not_count():
    whole = "server 1 2 3 m\nkernel 10 5\nkernel 11 6\ngone 10\n"
    assert PidRecord.parse(whole).kernels == {11: "6"}
    assert PidRecord.parse(whole + "gone 1").kernels == {11: "6"}
    assert PidRecord.parse(whole + "kernel 12").kernels == {11: "6"}
    assert PidRecord.parse("nothing of ours\nkernel 1 2\n") is None
    assert PidRecord.parse("") is None


def test_a_long_list_is_shortened(folder, log):
    pid_file = PidFile(folder, log)
    for _ in range(3000):
        pid_file.add(os.getpid())
        pid_file.remove(os.getpid())
    pid_file.add(os.getpid())
    (path,) = folder.iterdir()
    text = path.read_text()
    assert len(text.splitlines()) < 1100
    assert list(PidRecord.parse(text).kernels) == [os.getpid()]


def test_a_list_that_was_tidied_away_is_written_again(folder, log):
    pid_file = PidFile(folder, log)
    pid_file.add(os.getpid())
    next(folder.iterdir()).unlink()
    pid_file.add(os.getppid())
    (path,) = folder.iterdir()
    assert list(PidRecord.parse(path.read_text()).kernels) == [os.getpid(), os.getppid()]


def test_a_list_that_cannot_be_written_is_reported_once(folder, log, tmp_path):
    pid_file = PidFile(folder, log)
    (path,) = folder.iterdir()
    path.unlink()
    path.mkdir()
    for _ in range(3):
        pid_file.add(os.getpid())
    assert text_of(log, tmp_path).count("cannot be written") == 1


def test_a_folder_that_others_can_use_is_not_used(tmp_path, log, monkeypatch):
    runtime = tmp_path / "runtime"
    runtime.mkdir()
    (runtime / "wstpserver").mkdir(mode=0o755)
    (runtime / "wstpserver").chmod(0o777)
    assert open_pid_file({"XDG_RUNTIME_DIR": os.fspath(runtime)}, log) is None
    assert "not a folder that this user alone can use" in text_of(log, tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    (other / "wstpserver").symlink_to(tmp_path)
    assert open_pid_file({"XDG_RUNTIME_DIR": os.fspath(other)}, log) is None
    monkeypatch.setattr(process_info.tempfile, "gettempdir", lambda: os.fspath(tmp_path))
    assert process_info.runtime_folder({}) == tmp_path / f"wstpserver-{os.getuid()}"
    assert process_info.runtime_folder({"XDG_RUNTIME_DIR": "/not/there"}) == tmp_path / f"wstpserver-{os.getuid()}"
    assert process_info.runtime_folder({"XDG_RUNTIME_DIR": os.fspath(other)}) == other / "wstpserver"


def test_a_kernel_of_a_killed_server_is_killed_with_its_group(folder, log, start, tmp_path):
    kernel = start([sys.executable, "-S", "-E", "-c", "import os, time; os.fork(); time.sleep(1000)"])
    wait_for(lambda: len(process_info.group_members(kernel.pid)) == 2, 60.0, "its child")
    path = write_list(folder, (kernel.pid, process_info.started(kernel.pid)))
    reap(folder, log)
    assert kernel.wait(60) == -signal.SIGKILL
    wait_for(lambda: not process_info.group_members(kernel.pid), 60.0, "its child to be gone")
    assert not path.exists()
    assert f"Ended what was left of the kernels of a killed server (process 99999999): {kernel.pid}" in text_of(
        log, tmp_path
    )


def test_a_child_that_outlived_its_kernel_is_killed_if_it_carries_the_mark(folder, log, start):
    kernel = start(FAMILY, **{MARK: "the-mark"})
    began = process_info.started(kernel.pid)
    assert kernel.wait(60) == 0
    (child,) = process_info.group_members(kernel.pid)
    write_list(folder, (kernel.pid, began))
    reap(folder, log)
    wait_gone(child)


def test_a_child_that_has_left_the_group_is_killed_as_well(folder, log, start, tmp_path):
    """It proves by its environment whose it is, also when its kernel had ended before."""
    script = "import os, time\nif os.fork() == 0: os.setsid(); print(os.getpid(), flush=True); time.sleep(1000)"
    kernel = start([sys.executable, "-S", "-E", "-c", script], stdout=subprocess.PIPE, **{MARK: "the-mark"})
    child = int(kernel.stdout.readline())
    assert kernel.wait(60) == 0
    write_list(folder)
    try:
        reap(folder, log)
        wait_gone(child)
    finally:
        kernel.stdout.close()
    assert f"(process 99999999): {child}\n" in text_of(log, tmp_path)


def test_somebody_else_s_group_is_left_alone(folder, log, start):
    """A number that is used again names another process; a mark that is missing, another's child."""
    reused, unmarked_family = start(SLEEPER), start(FAMILY, **{MARK: "another-mark"})
    unmarked_family.wait(60)
    (child,) = process_info.group_members(unmarked_family.pid)
    paths = [
        write_list(folder, (reused.pid, "1"), (unmarked_family.pid, "1")),
        write_list(folder, (reused.pid, process_info.started(reused.pid)), pid=99999998, boot="an-earlier-boot"),
    ]
    reap(folder, log)
    assert processes.alive(reused.pid) and processes.alive(child)
    assert not any(path.exists() for path in paths)


def test_the_list_of_a_living_server_is_left_alone(folder, log, start):
    kernel, server = start(SLEEPER), start(SLEEPER)
    began = process_info.started(server.pid)
    path = write_list(folder, (kernel.pid, process_info.started(kernel.pid)), pid=server.pid, began=began)
    reap(folder, log)
    assert processes.alive(kernel.pid) and path.exists()


def test_what_is_no_list_is_removed(folder, log):
    (folder / "kernels-1").write_bytes(b"\xff\xfe\0")
    (folder / "something else").write_text("of another program")
    reap(folder, log)
    assert [path.name for path in folder.iterdir()] == ["something else"]


# The server itself, without a keeper

WITHOUT_KEEPER = {"WSTPSERVER_DISABLE_KEEPER": "1"}


def serving(folder, configuration):
    return serving_with_keeper(folder, configuration, environment=WITHOUT_KEEPER)


@pytest.mark.parametrize("busy", [False, True])
def test_no_kernel_survives_a_server_that_is_killed(tmp_path, busy):
    gate = Gate(tmp_path)
    with serving(tmp_path, one_pool(make_kernel(tmp_path, ignore_term=True), 3)) as server:
        server.expect_exit(-signal.SIGKILL)
        ready_kernels(server, 3)
        kernels = server.processes()
        with join(server) as link:
            if busy:
                link.put("EvaluatePacket", gate.busy())
                gate.wait_until_reached()
            server.stop(signal.SIGKILL)
            for kernel in kernels:
                wait_gone(kernel, 60.0)
            assert link.at_end()


def test_the_next_server_ends_the_children_of_the_kernels(tmp_path):
    kernel = make_kernel(tmp_path, grandchild=True)
    configuration = one_pool(kernel)
    with serving(tmp_path, configuration) as killed:
        killed.expect_exit(-signal.SIGKILL)
        with join(killed) as link:
            leader = kernel_process(link)
            (grandchild,) = processes.children(leader)
        killed.stop(signal.SIGKILL)
        wait_gone(leader)
        assert processes.alive(grandchild)
        with serving(tmp_path, configuration) as following:
            wait_gone(grandchild)
            following.wait_for_log(rf"kernels of a killed server \(process {killed.pid}\): {grandchild}\n")


def test_an_orderly_end_leaves_no_list_and_ends_the_children(tmp_path):
    with serving(tmp_path, one_pool(make_kernel(tmp_path, grandchild=True))) as server:
        ready_kernels(server, 1)
        folder = tmp_path / "wstpserver"
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (path,) = folder.iterdir()
        assert re.fullmatch(r"server \d+ \d+ \S+ \w+\n(kernel \d+ \d+\n)", path.read_text())
        (grandchild,) = [pid for pid in server.processes() if pid not in processes.children(server.pid)]
    assert not list(folder.iterdir())
    wait_gone(grandchild)


def test_a_server_without_a_place_for_its_list_runs_all_the_same(tmp_path):
    (tmp_path / "wstpserver").write_text("in the way")
    with serving(tmp_path, one_pool(make_kernel(tmp_path))) as server:
        server.wait_for_log("Warning: \n    No pid file is kept")
        with join(server) as link:
            assert link.evaluate(1) == 1


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="others cannot tell who is behind a wrapper")
def test_a_kernel_behind_a_wrapper_ends_with_a_killed_server(tmp_path):
    """The parent-death signal ends the wrapper only, and this kernel does not look at its link."""
    real = make_kernel(tmp_path, "real", ignore_term=True)
    wrapper = tmp_path / "wrapper"
    wrapper.write_text(f'#!/bin/sh\n{real} "$@"\nexit $?\n')
    wrapper.chmod(0o755)
    gate = Gate(tmp_path)
    with serving(tmp_path, one_pool(wrapper)) as server:
        server.expect_exit(-signal.SIGKILL)
        with join(server) as link:
            kernel = kernel_process(link)
            assert kernel not in processes.children(server.pid)
            link.put("EvaluatePacket", gate.busy())
            gate.wait_until_reached()
            server.stop(signal.SIGKILL)
            wait_gone(kernel)


def test_the_guard_ends_with_the_server(tmp_path):
    wrapper = tmp_path / "wrapper"
    wrapper.write_text(f'#!/bin/sh\n{make_kernel(tmp_path)} "$@"\nexit $?\n')
    wrapper.chmod(0o755)
    with serving(tmp_path, one_pool(wrapper)) as server:
        ready_kernels(server, 1)
        wait_for(lambda: len(processes.children(server.pid)) == 2, 60.0, "the wrapper and the guard")
        assert server.stop() == 0
        server.assert_no_process_left()


def test_whether_a_process_has_ended_is_known_without_proc(monkeypatch):
    """There psutil knows no process at all."""

    def unknown(pid):
        raise process_info.psutil.NoSuchProcess(pid)

    monkeypatch.setattr(process_info.psutil, "Process", unknown)
    with subprocess.Popen(SLEEPER) as sleeper:
        try:
            assert not process_info.has_ended(sleeper.pid)
        finally:
            sleeper.kill()
    assert process_info.has_ended(sleeper.pid)
