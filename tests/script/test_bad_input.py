"""What wstpscript says when something is wrong: one line that names it, an exit status, and never a traceback."""

from __future__ import annotations

import contextlib
import http.server
import os
import re
import signal
import socket
import threading

import pytest

from tests.client.helpers import PROMPT, Worker, takes
from tests.scenarios.conftest import embedded_server  # noqa: F401 - a fixture
from tests.script.helpers import ScriptKernel, process
from tests.support.kernels import make_kernel
from tests.support.server import ServerProcess, pool
from tests.support.serving import information
from tests.support.terminal import TerminalProgram
from tests.support.terminal import script as script_words
from tests.support.waiting import wait_for
from wstpserver.cli import script
from wstpserver.client import LinkClosed, listen


@pytest.fixture
def complains(capfd):
    """complains(word, ...) -> (exit status, the line on stderr); nothing but that line is shown."""

    def run(*words):
        status = script.main(words)
        out, err = capfd.readouterr()
        assert out == ""
        assert "Traceback" not in err
        lines = err.removesuffix("Try wstpscript -help.\n").splitlines()
        assert len(lines) == 1, err
        assert lines[0].startswith("wstpscript: ")
        return status, lines[0]

    return run


# Servers that are none


@contextlib.contextmanager
def listener(behaviour):
    """A port whose connections are handed to `behaviour`; they are closed at the end. Gives the address."""
    with socket.create_server(("127.0.0.1", 0)) as server, contextlib.ExitStack() as stack:

        def serve():
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                stack.callback(connection.close)
                behaviour(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"{server.getsockname()[1]}@127.0.0.1"
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join(PROMPT)


def test_a_web_server(complains):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            status, line = complains("-wstpserver", f"{server.server_port}@127.0.0.1", "-code", "1")
        finally:
            server.shutdown()
    assert status == 69
    assert "HTML page" in line and "Check the port" in line


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "an HTTP response"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "an SSH banner"),
        (b"220 mail.example ESMTP\r\n", "the banner of a mail or FTP server"),
        (bytes(64), "bytes that are no WSTP greeting"),
    ],
)
def test_another_server(complains, data, says):
    with listener(lambda connection: connection.sendall(data)) as address:
        status, line = complains("-wstpserver", address, "-code", "1")
    assert status == 69
    assert address in line and says in line


def test_silence(complains):
    with listener(lambda connection: None) as address, takes(0.3):
        status, line = complains("-wstpserver", address, "-timeout", "0.3", "-code", "1")
    assert status == 69
    assert "connected, but not greeted within 0.3 s" in line


def test_it_hangs_up_at_once(complains):
    with listener(lambda connection: connection.close()) as address:
        status, line = complains("-wstpserver", address, "-code", "1")
    assert status == 69
    assert address in line


@pytest.mark.parametrize(
    ("address", "status", "says"),
    [
        ("31415@no-such-host.invalid", 69, "'no-such-host.invalid' does not resolve"),
        ("x@localhost", 2, "'x' is no port"),
        ("99999@localhost", 2, "'99999' is no port"),
        ("http://localhost:31415", 2, "Write PORT@HOST, PORT, or wstp://HOST:PORT/POOL"),
    ],
)
def test_a_wrong_address(complains, address, status, says):
    outcome, line = complains("-wstpserver", address, "-code", "1")
    assert outcome == status
    assert says in line


# Connections that break


class Cut:
    """A relay to a link server that breaks off once it has passed on so many bytes to the client."""

    def __init__(self, address, limit):
        port, _, host = address.partition("@")
        self._target = host, int(port)
        self._left = limit
        self._lock = threading.Lock()
        self._sockets = []
        self._threads = []
        #: Bytes passed on to the client.
        self.passed = 0

    def __enter__(self):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._start(self._accept)
        return self

    @property
    def address(self):
        return f"{self._listener.getsockname()[1]}@127.0.0.1"

    def _start(self, *call):
        thread = threading.Thread(target=call[0], args=call[1:])
        self._threads.append(thread)
        thread.start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                self._sockets += [client, server]
                self._start(self._pass_on, client, server, False)
                self._start(self._pass_on, server, client, True)

    def _pass_on(self, source, sink, counts):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if counts:
                    with self._lock:
                        data = data[: self._left]
                        self._left -= len(data)
                        self.passed += len(data)
                sink.sendall(data)
                if not self._left:
                    break
        self._break_off()

    def _break_off(self):
        for one in list(self._sockets):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def __exit__(self, *_):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._break_off()
        for thread in self._threads:
            thread.join(PROMPT)
        for one in [self._listener, *self._sockets]:
            one.close()


@contextlib.contextmanager
def many_served(rules):
    """As `served`, for one client after the other, also those that never get as far as a link. Gives the address."""
    with listen("0@127.0.0.1") as listening:

        def serve():
            while True:
                try:
                    link = listening.accept()
                except LinkClosed:
                    return
                with link:
                    ScriptKernel(rules)(link)

        serving = Worker(serve)
        yield listening.link_name
    serving.finish()


def run_cut(capfd, address, limit):
    """wstpscript through a relay: (exit status, stdout, stderr, bytes that came to the client)."""
    with Cut(address, limit) as relay:
        status = script.main(["-wstpserver", relay.address, "-code", "go"])
        passed = relay.passed
    return status, *capfd.readouterr(), passed


@pytest.mark.timeout(180)
def test_the_connection_breaks_at_every_step(capfd):
    """In the greeting, before and in the prompt, in the answers to commands, in the middle of the result."""
    with many_served({"go": "x" * 300}) as address:
        status, out, err, total = run_cut(capfd, address, 1 << 20)
        assert (status, out, err) == (0, "x" * 300 + "\n", "")
        for limit in [*range(0, total - 1, 29), total - 3]:
            with takes(0, 10.0):
                status, out, err, _ = run_cut(capfd, address, limit)
            assert (status in (1, 69), out) == (True, ""), (limit, status, out, err)
            assert len(err.splitlines()) == 1 and err.startswith("wstpscript: "), (limit, err)
            assert relay_is_named(err), (limit, err)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("option", ["-startprofile", "-continueprofile"])
def test_the_connection_breaks_at_every_step_to_a_profile(capfd, tmp_path, option):
    """The profile is as before, or names the kernel: never half of it."""
    result, success = '{"result":"a806-2645-9651"}', '{"status":"ExecutionSuccess"}'
    rules = {"go": "7", "GetKernelID": result, "GetPoolName": '{"result":"Main"}'}
    rules |= dict.fromkeys(("SetKeepAlive", "SetReserveKernel", "ConnectKernel"), success)
    rules |= {"GetKernelBusyStatus": '{"result":"False"}', "GetMissedOutput": '{"status":"PacketMalformed"}'}
    before = "KERNELID=a806-2645-9651\n" if option == "-continueprofile" else "POOL=\n"
    profile = tmp_path / "p"

    def run(limit):
        profile.write_text(before)
        with Cut(address, limit) as relay:
            words = ["-wstpserver", relay.address, option, str(profile), "-timeout", "20", "-code", "go"]
            status = script.main(words)
            passed = relay.passed
        return status, *capfd.readouterr(), passed

    with many_served(rules) as address:
        status, out, err, total = run(1 << 20)
        assert (status, out, err) == (0, "7\n", "")
        assert "KERNELID=a806-2645-9651\n" in profile.read_text()
        for limit in [*range(0, total - 1, 41), total - 3]:
            with takes(0, 10.0):
                status, out, err, _ = run(limit)
            assert (status in (1, 69), out) == (True, ""), (limit, status, out, err)
            assert len(err.splitlines()) == 1 and relay_is_named(err), (limit, err)
            text = profile.read_text()
            assert text == before or ("KERNELID=a806-2645-9651\n" in text and "SERVER=" in text), (limit, text)


def test_the_server_is_killed_in_a_session(tmp_path):
    with ServerProcess(tmp_path, {"Pools": {"Main": pool(make_kernel(tmp_path))}}) as server:
        with TerminalProgram(script_words("-wstpserver", f"{server.port}@127.0.0.1"), tmp_path) as terminal:
            terminal.expect("In[1]:= ", PROMPT)
            terminal.enter("x = 1", "In[2]:= ", PROMPT)
            server.expect_exit(-signal.SIGKILL)
            server.stop(signal.SIGKILL)
            terminal.type("x")
            assert terminal.wait(PROMPT) == 1
        last = terminal.output.splitlines()[-1]
        assert last.startswith("wstpscript: ") and relay_is_named(last)


def relay_is_named(line):
    """Whether the line says which link it is about, and what became of it."""
    return "@127.0.0.1: " in line and any(word in line for word in ("closed", "connection", "has gone"))


# Kernels that die


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    with ServerProcess(folder, {"Pools": {"Main": pool(make_kernel(folder), MaximumKernelNumber=20)}}) as running:
        yield running


def number_of_kernels(server):
    with server.connect() as link:
        assert link.get_packet()[0] == "InputNamePacket"
        return len(information(link)["Pools"]["Main"]["Kernels"])


@pytest.mark.parametrize(
    "code", ['HalfFrame["die", 100000]', "Die[5]", 'PutBytes["FA#"]; Die[1]', "DieBySignal[9]", 'HalfFrame["close"]']
)
def test_a_kernel_that_dies_in_the_middle_of_a_result(server, tmp_path, code):
    with TerminalProgram(script_words("-wstpserver", f"{server.port}@127.0.0.1"), tmp_path) as terminal:
        terminal.expect("In[1]:= ", PROMPT)
        terminal.type(code)
        assert terminal.wait(PROMPT) == 1
    assert terminal.output.splitlines()[-1].startswith("wstpscript: ")
    # a frame that has begun cannot be taken back to make room for the server's words
    assert "the server says: the kernel died" in terminal.output or "in the middle of an expression" in terminal.output
    assert "Traceback" not in terminal.output


def test_a_kernel_that_is_killed(embedded_server):  # noqa: F811
    words = ("-wstpserver", f"{embedded_server.port}@127.0.0.1", "-code", "Print[$ProcessID]; Pause[60]")
    with process(*words) as started:
        os.kill(int(started.stdout.readline()), signal.SIGKILL)
        out, err = started.communicate(timeout=PROMPT)
    assert (started.returncode, out) == (1, b"")
    assert err.startswith(b"wstpscript: ") and b"the server says: the kernel died" in err
    assert err.count(b"\n") == 1


@pytest.mark.parametrize("code", ["1 +* 2", "f[", "{1, 2)", '"abc', ")"])
def test_code_that_is_none(capfd, embedded_server, code):  # noqa: F811
    """The kernel's message says what is wrong with it."""
    assert script.main(["-wstpserver", f"{embedded_server.port}@127.0.0.1", "-code", code]) == 1
    out, err = capfd.readouterr()
    assert out == "$Failed\n"
    assert err.startswith("Syntax::")


# Scripts that are none, profiles that cannot be


def test_a_binary_file(complains, tmp_path):
    path = tmp_path / "script.wl"
    path.write_bytes(b"Print[1]\n\x7fELF\x02\x01\x01\0\0")
    assert complains("-file", str(path)) == (
        2, f"wstpscript: cannot read {path}: it is no text (a zero byte in line 2)",
    )  # fmt: skip


def test_invalid_utf8(complains, tmp_path):
    path = tmp_path / "script.wl"
    path.write_bytes("(* größer *)\r\nPrint[1]\r\n".encode() + "Print[größer]".encode("latin-1"))
    status, line = complains("-file", str(path))
    assert status == 2
    assert line.startswith(f"wstpscript: cannot read {path}: line 3 is not UTF-8 (invalid ")


def unwritable(tmp_path):
    """Profiles in places that take no files; the administrator may write where the mode says no."""
    (tmp_path / "file").write_text("")
    yield str(tmp_path / "file" / "p")
    yield "/proc/p"
    if os.geteuid() != 0:
        folder = tmp_path / "folder"
        folder.mkdir(mode=0o500)
        yield str(folder / "p")


def test_a_profile_in_a_folder_that_cannot_be_written(complains, server, tmp_path):
    for path in unwritable(tmp_path):
        status, line = complains("-wstpserver", f"{server.port}@127.0.0.1", "-startprofile", path, "-code", "1")
        assert status == 1
        assert re.match(rf"wstpscript: cannot (read|write) the profile {re.escape(path)}: \w+", line)
    wait_for(lambda: number_of_kernels(server) <= 4, PROMPT, "the kernels to be given back")


def test_a_profile_that_is_none(complains, tmp_path):
    (tmp_path / "p").write_bytes(b"\xff\xfeK\0")
    assert complains("-continueprofile", str(tmp_path / "p"), "-code", "1") == (
        1, f"wstpscript: {tmp_path / 'p'} is no profile: it is not UTF-8 text",
    )  # fmt: skip
    status, line = complains("-continueprofile", str(tmp_path), "-code", "1")
    assert (status, line) == (1, f"wstpscript: cannot read the profile {tmp_path}: Is a directory")
