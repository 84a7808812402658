"""Nothing that the log is written to can stop the server; a log file can be rotated."""

import os
import re
import signal

from tests.service.helpers import NotifySocket, bare_server, entries, failing
from tests.support.serving import one_pool
from tools.harness import processes, rawlink
from tools.harness.fake_kernel.codec import Function as call
from tools.harness.kernels import make_kernel
from tools.harness.server import ServerProcess
from tools.harness.waiting import wait_for

LOOPBACK = ("--port", "0", "--interface", "127.0.0.1", "--log-level", "trace")


def one_kernel(folder):
    return one_pool(make_kernel(folder), MinimumKernelNumber=1, ReservePreviouslyConnectedKernels=False)


def assert_serves(port):
    with rawlink.connect(port) as link:
        assert link.get_packet()[0] == "InputNamePacket"
        for number in range(50):
            assert link.evaluate(call("Plus", number, 1)) == number + 1
        assert link.evaluate(call("StringLength", "x" * 200_000)) == 200_000


def test_a_full_disk(tmp_path):
    """stdout and the log file alike are /dev/full: every write fails."""
    with NotifySocket(tmp_path / "notify") as manager:
        environment = {"NOTIFY_SOCKET": manager.path}
        server = bare_server(
            tmp_path, one_kernel(tmp_path), *LOOPBACK, "--log-file", "/dev/full", environment=environment
        )
        server.launch()
        try:
            assert_serves(manager.wait_for_port())
            assert processes.alive(server.pid)
            assert server.stop() == 0
            server.assert_no_process_left()
            assert re.fullmatch(r"WSTPServer: Listening for new connections on port \d+ .*\n", server.log)
        finally:
            server.kill()


def test_a_closed_pipe(tmp_path):
    """Whoever read the log has gone."""
    with ServerProcess(tmp_path, one_kernel(tmp_path), "--log-level", "trace") as server:
        server.wait_for_log("Pool a is ready")
        reader = server.process.stdout.fileno()
        # the reading thread holds the pipe's only reading end: put something else in its place
        with open(os.devnull, "rb") as nothing:
            os.dup2(nothing.fileno(), reader)
        assert_serves(server.port)
        server.wait_for_end_of_log()
        assert_serves(server.port)


def test_a_pipe_that_nobody_reads(tmp_path):
    """The log fills the pipe and then waits in memory, up to a limit; clients do not notice."""
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        words = (*LOOPBACK, "--log-file", os.fspath(tmp_path / "pipe"))
        with bare_server(tmp_path, one_kernel(tmp_path), *words) as server:
            for _ in range(4):
                assert_serves(server.port)
            before = processes.resident_bytes(server.pid)
            for _ in range(4):
                assert_serves(server.port)
            assert processes.resident_bytes(server.pid) < before + 8 * 2**20
            assert b"Listening for new connections" in os.read(reader, 65536)
    finally:
        os.close(reader)


def test_rotation(tmp_path):
    """Renamed, then a hangup: entries go on in a new file under the old name, and none is lost or twice."""
    log = tmp_path / "server.log"
    words = (*LOOPBACK, "-f", os.fspath(log))
    with bare_server(tmp_path, one_kernel(tmp_path), *words) as server, server.connect() as link:
        link.get_packet()
        for number in range(1, 4):
            link.evaluate(call("StringReverse", f"before {number}"))
            log.rename(tmp_path / f"server.log.{number}")
            server.process.send_signal(signal.SIGHUP)
            wait_for(lambda: log.exists() and "was reloaded" in log.read_text(), 60, "the new file")
        link.evaluate(call("StringReverse", "before 4"))
    files = [*(tmp_path / f"server.log.{number}" for number in range(1, 4)), log]
    texts = [file.read_text() for file in files]
    for number, text in enumerate(texts, 1):
        assert entries(text)
        assert [digit for digit in "1234" if f"before {digit}" in text] == [str(number)]
    for file in files:
        assert file.stat().st_mode & 0o007 == 0  # what people compute is in it
    assert "Stopped" in texts[-1]


def test_a_rotation_that_fails(tmp_path):
    """The folder is gone: the old file stays in use, and the log says so."""
    folder = tmp_path / "logs"
    folder.mkdir()
    log = folder / "server.log"
    with bare_server(tmp_path, one_kernel(tmp_path), *LOOPBACK, "-f", os.fspath(log)) as server:
        folder.rename(tmp_path / "elsewhere")
        server.process.send_signal(signal.SIGHUP)
        moved = tmp_path / "elsewhere" / "server.log"
        wait_for(lambda: "was reloaded" in moved.read_text(), 60, "the reload")
        assert_serves(server.port)
    text = moved.read_text()
    assert f'The log file "{log}" cannot be opened again (No such file or directory)' in text
    assert "Stopped" in text


def test_with_a_log_file_stdout_has_one_line(tmp_path):
    """The line that supervisord and people see when the log is elsewhere."""
    log = tmp_path / "server.log"
    with bare_server(tmp_path, one_kernel(tmp_path), *LOOPBACK, "-f", os.fspath(log)) as server:
        assert_serves(server.port)
    line = f"WSTPServer: Listening for new connections on port {server.port} and interface 127.0.0.1\n"
    assert server.log == line
    assert f"Listening for new connections on port {server.port} and interface 127.0.0.1" in log.read_text()


def test_a_log_file_in_a_missing_folder(tmp_path):
    with failing(tmp_path, one_kernel(tmp_path), "-f", "missing/server.log") as server:
        assert server.wait_for_exit() == 78
        assert server.log == (
            "wstpserver: the log file 'missing/server.log' cannot be written: No such file or directory\n"
        )
