"""What a process that the server starts gets from it, and what not."""
import os
import signal
import sys

import gevent
import pytest
from wstpserver._native import lib

from tools.harness import processes
from tools.harness.waiting import wait_gone
from wstpserver.server import GracePeriods
from wstpserver.server.kernels import spawn

OPEN = "import os; print(*sorted(os.listdir('/proc/self/fd'), key=int), flush=True)"


@pytest.fixture(params=["without fork", "forked", "forked, closed one by one"])
def way(request, monkeypatch):
    """How programs are started: on newer systems, on older ones and on those that are older still."""
    if request.param == "without fork" and not lib.wstpspawn_available():
        pytest.skip("this system cannot")
    if request.param == "forked" and not spawn.can_mark_descriptors:
        pytest.skip("this system cannot")
    monkeypatch.setattr(spawn, "without_fork", request.param == "without fork")
    monkeypatch.setattr(spawn, "can_mark_descriptors", request.param == "forked")
    return request.param


def ended(arguments, **options):
    """(lines, wait status) of a program that ends by itself."""
    lines = []
    child = spawn.spawn(arguments, lines.append, **options)
    with gevent.Timeout(20):
        child.stop(GracePeriods(link=20.0))
    return lines, child.exited.get()


def printed(*arguments, **options):
    lines, status = ended([sys.executable, "-S", "-E", *arguments], **options)
    assert status == 0
    return lines


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="no /proc")
def test_no_descriptor_but_the_three(way):
    """Also none that whoever started the server left open for it."""
    reading, writing = os.pipe()
    try:
        for descriptor in (reading, writing):
            os.set_inheritable(descriptor, True)
        (listing,) = printed("-c", OPEN)
        assert listing.split()[:3] == ["0", "1", "2"]
        assert len(listing.split()) == 4  # and the one for the listing
        assert os.get_inheritable(reading)  # they are the server's as before
    finally:
        os.close(reading)
        os.close(writing)


def test_descriptors_that_are_meant_for_it(way):
    reading, writing = os.pipe()
    try:
        script = f"import os; os.write({writing}, b'from the child')"
        assert printed("-c", script, pass_descriptors=[writing]) == []
        assert os.read(reading, 100) == b"from the child"
    finally:
        os.close(reading)
        os.close(writing)


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda path: None, FileNotFoundError),
        (lambda path: path.write_text("no program"), PermissionError),
        (lambda path: (path.write_bytes(b"\x7fELF but not really"), path.chmod(0o755)), OSError),
    ],
)
def test_a_program_that_cannot_be_started(way, tmp_path, make, error):
    path = tmp_path / "program"
    make(path)
    with pytest.raises(error) as raised:
        spawn.spawn([os.fspath(path)], print)
    assert raised.value.errno and raised.value.filename == os.fspath(path)


@pytest.mark.parametrize(
    ("first", "told"),
    [
        ("#!/no/such/interpreter -x", 'its interpreter "/no/such/interpreter", named in its first line, cannot be'),
        ("#! /bin/sh\r", 'its interpreter "/bin/sh", named in its first line, cannot be .* carriage return'),
    ],
)
def test_a_script_whose_interpreter_is_missing(way, tmp_path, first, told):
    path = tmp_path / "program"
    path.write_bytes(f"{first}\nexit 0\n".encode())
    path.chmod(0o755)
    on_path = spawn.Surroundings(variables=(f"PATH={tmp_path}",))
    for program, surroundings in ((os.fspath(path), spawn.INHERITED), ("program", on_path)):
        with pytest.raises(FileNotFoundError, match=told):
            spawn.spawn([program], print, surroundings)


def test_folder_and_environment(way, tmp_path, monkeypatch):
    monkeypatch.setenv("WSTP_TEST_KEPT", "kept")
    monkeypatch.setenv("WSTP_TEST_TAKEN", "taken away")
    given = spawn.Surroundings(os.fspath(tmp_path), ("WSTP_TEST_NEW=é=1", "WSTP_TEST_TAKEN"))
    script = "import os; print(os.getcwd()); print(sorted(i for i in os.environ.items() if 'WSTP_TEST' in i[0]))"
    folder, variables = printed("-c", script, surroundings=given)
    assert folder == os.fspath(tmp_path)
    assert variables == "[('WSTP_TEST_KEPT', 'kept'), ('WSTP_TEST_NEW', 'é=1')]"


def test_a_folder_that_is_not_there_or_cannot_be_entered(way, tmp_path):
    for folder, told in (("nothing", "is not a folder"), ("file", "is not a folder")):
        (tmp_path / "file").write_text("")
        with pytest.raises(OSError, match=f'KernelDirectory ".*{folder}" {told}'):
            spawn.spawn(["true"], print, spawn.Surroundings(os.fspath(tmp_path / folder)))


def test_a_program_that_is_not_there_has_no_interpreter(way, tmp_path):
    with pytest.raises(FileNotFoundError, match="No such file or directory: '/not/there'"):
        spawn.spawn(["/not/there"], print)


def test_a_text_that_no_program_can_be_given(way):
    with pytest.raises(OSError, match="embedded null"):
        spawn.spawn([sys.executable, "-c", "one\0two"], print)


def test_output_input_and_environment(way, monkeypatch):
    script = "import os, sys; print(sys.stdin.read(), *os.environ, flush=True); print('wrong', file=sys.stderr)"
    environment = {"COLOUR": "grün", "NOTIFY_SOCKET": "/run/notify", "WATCHDOG_PID": "1", "LC_ALL": "C.UTF-8"}
    monkeypatch.setattr(os, "environ", environment)
    assert printed("-c", script) == [" COLOUR LC_ALL", "wrong"]


def test_a_name_is_looked_for_along_the_path(way, tmp_path):
    (tmp_path / "one").mkdir()
    for folder in ("two", "three"):
        program = tmp_path / folder / "program"
        program.parent.mkdir()
        program.write_text(f"#!/bin/sh\necho {folder}\n")
        program.chmod(0o755)
    path = ":".join(os.fspath(tmp_path / folder) for folder in ("none", "one", "two", "three"))
    assert ended(["program"], surroundings=spawn.Surroundings(variables=(f"PATH={path}",))) == (["two"], 0)


@pytest.mark.parametrize(
    ("script", "status"), [("exit 3", 3 << 8), ("kill -TERM $$", int(signal.SIGTERM)), ("exit 0", 0)]
)
def test_how_it_ended(way, script, status):
    assert ended(["/bin/sh", "-c", script]) == ([], status)


def test_a_session_of_its_own(way):
    (ids,) = printed("-c", "import os; print(os.getpid(), os.getsid(0), os.getpgid(0))")
    assert len(set(ids.split())) == 1


def test_what_comes_next_is_its_own_business(way):
    """Of many that end at the same time each one's end is heard, and none is left as a zombie."""
    children = [spawn.spawn(["/bin/sh", "-c", f"exit {number}"], print) for number in range(40)]
    with gevent.Timeout(20):
        assert [child.exited.get() >> 8 for child in children] == list(range(40))
    for child in children:
        child.stop()
        wait_gone(child.pid)


SERVER = """
import sys
from wstpserver.server.kernels import spawn
spawn.without_fork = sys.argv[1] == "without fork"
print(spawn.spawn(["sleep", "1000"], print).pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells the children of a dead process")
def test_it_dies_with_the_server(way):
    from subprocess import PIPE, Popen

    with Popen([sys.executable, "-c", SERVER, way], stdin=PIPE, stdout=PIPE, text=True) as server:
        try:
            pid = int(server.stdout.readline())
            assert processes.alive(pid)
        finally:
            server.kill()
    wait_gone(pid)


def test_a_system_that_refuses(monkeypatch):
    """It is asked once; then the server is forked."""
    calls = []

    class Refusing:
        def wstpspawn_start(self, start):
            calls.append(start)
            return 0

    monkeypatch.setattr(spawn, "lib", Refusing())
    monkeypatch.setattr(spawn, "without_fork", True)
    for _ in range(2):
        assert printed("-c", "print('all the same')") == ["all the same"]
    assert len(calls) == 1
