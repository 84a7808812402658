"""The program as a process: what it says when it is no kernel, and a cold start."""
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from tests.embedded.harness import (
    DEADLINE,
    LOADING_DEADLINE,
    PROGRAM,
    Kernel,
    call,
    kernel_environment,
    libraries,
    link_options,
)
from wstpserver.client import listen
from wstpserver.version import VERSION


def run(*arguments, program=PROGRAM, **options):
    return subprocess.run([*program, *arguments], capture_output=True, text=True, timeout=DEADLINE, **options)


def test_tells_its_version():
    result = run("--version")
    assert result.returncode == 0
    assert result.stdout.startswith(f"wstpkernel {VERSION} (Mathics3 ")


def test_help_shows_how_it_is_started():
    result = run("--help")
    assert result.returncode == 0
    assert "-linkconnect" in result.stdout and "--warm-parent" in result.stdout


def test_without_a_link_says_what_it_is_for():
    result = run("-noprompt")
    assert result.returncode == 64
    assert "A WSTPServer or another WSTP client starts this program" in result.stderr
    assert result.stdout == ""


def test_shared_memory_is_refused_at_once():
    """What a program asks for that launches a kernel without naming a protocol."""
    result = run("-wstp", "-linkprotocol", "SharedMemory", "-linkconnect", "-linkname", "327en_shm")
    assert result.returncode == 69
    assert "-linkprotocol TCPIP" in result.stderr


@pytest.fixture
def region():
    """A file of shared memory like that of a program that has launched a kernel."""
    path = Path(f"/dev/shm/test{os.getpid()}_shm")
    if not path.parent.is_dir():
        pytest.skip("no shared memory in files here")
    size = 200_120
    path.write_bytes(struct.pack("=7I", 4, 28, 36, size, 100_000, 28, 0).ljust(size, b"\0"))
    yield path
    path.unlink()


def test_the_link_in_shared_memory_is_ended(region):
    """The launching side waits for this word, and does not notice that its child has ended."""
    before = region.read_bytes()
    run("-wstp", "-linkprotocol", "SharedMemory", "-linkconnect", "-linkname", region.name)
    after = region.read_bytes()
    assert [(place, after[place]) for place in range(len(after)) if after[place] != before[place]] == [(32, 1)]


@pytest.mark.parametrize("content", [b"", b"\0" * 200_120, b"\4\0\0\0" * 10])
def test_another_file_is_left_alone(region, content):
    region.write_bytes(content)
    result = run("-wstp", "-linkprotocol", "SharedMemory", "-linkconnect", "-linkname", region.name)
    assert result.returncode == 69 and "Traceback" not in result.stderr
    assert region.read_bytes() == content


@pytest.fixture
def without_mathics():
    """The program in a Python that cannot import Mathics."""
    code = "import sys; sys.modules['mathics'] = None; from wstpserver.embedded.main import main; sys.exit(main())"
    return [sys.executable, "-c", code]


def test_names_the_missing_package(without_mathics):
    result = run("-wstp", "-linkconnect", "-linkname", "1@h", program=without_mathics)
    assert result.returncode == 69
    assert "needs mathics, which is not installed" in result.stderr
    assert "pip install 'wstpserver[mathics]'" in result.stderr


def test_ends_the_link_of_the_side_that_waits_for_it(without_mathics):
    """The vendor's library does not notice otherwise that a kernel it has launched cannot serve."""
    with socket.create_server(("127.0.0.1", 0)) as data, socket.create_server(("127.0.0.1", 0)) as messages:
        ports = ",".join(f"{server.getsockname()[1]}@127.0.0.1" for server in (data, messages))
        run("-wstp", "-linkprotocol", "TCPIP", "-linkconnect", "-linkname", ports, program=without_mathics)
        for server in (data, messages):
            server.settimeout(DEADLINE)
            connection, _ = server.accept()
            with connection:
                assert connection.recv(1) == b""


def test_still_tells_its_version_without_mathics(without_mathics):
    assert run("--version", program=without_mathics).returncode == 0


def test_warm_parent_tells_the_server_of_the_missing_package(without_mathics):
    ours, inherited = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, inherited:
        result = run("--warm-parent", str(inherited.fileno()), program=without_mathics, pass_fds=[inherited.fileno()])
        ours.settimeout(DEADLINE)
        event = ours.recv(65536)
    assert result.returncode == 69
    assert b'"event": "failed"' in event and b"needs mathics" in event


def test_warm_parent_needs_a_socket(needs_mathics):
    reader, writer = os.pipe()
    try:
        result = run("--warm-parent", str(reader), pass_fds=[reader])
    finally:
        os.close(reader)
        os.close(writer)
    assert result.returncode == 64
    assert "is no socket of a server" in result.stderr


def test_link_that_cannot_be_opened(needs_mathics):
    with listen("0@127.0.0.1", classic=True) as listener:
        options = link_options(listener)
    result = run("-wstp", *options)  # nobody listens any more
    assert result.returncode == 69
    assert result.stderr.startswith("wstpkernel: ")


def test_cold_start(needs_mathics, tmp_path):
    with listen("0@127.0.0.1", classic=True) as listener:
        command = [*PROGRAM, "-mathlink", "-noprompt", "-unknown", "x", *link_options(listener)]
        process = subprocess.Popen(command, env=kernel_environment(tmp_path), stdout=subprocess.PIPE, text=True)
        try:
            kernel = Kernel(listener.accept(DEADLINE), process.pid)
            prompt = kernel.link.get_packet(LOADING_DEADLINE)
            assert (prompt.name, *prompt.arguments) == ("InputNamePacket", "In[1]:= ")
            assert kernel.evaluate(call("Plus", 2, 2)) == 4
            assert "-noprompt" in kernel.evaluate("$CommandLine").args
            before = libraries(kernel.pid)
            assert kernel.evaluate("Round[x /. FindRoot[Cos[x] == x, {x, 1}], 0.001]") == 0.739
            assert kernel.evaluate('NIntegrate[x, {x, 0, 1}, Method -> "Quadrature"]') == pytest.approx(0.5)
            # 45 MB that a cold kernel loads when it needs them, and not before
            assert {"optimize", "integrate"} <= {Path(new).parent.name for new in libraries(kernel.pid) - before}
            kernel.close()
            assert process.wait(DEADLINE) == 0
        finally:
            process.kill()
            rest, _ = process.communicate(timeout=DEADLINE)
    assert rest == ""  # what Mathics prints while it loads does not get lost in the output of the parent
    assert list(tmp_path.iterdir()) == []  # and it writes nothing into the home directory
