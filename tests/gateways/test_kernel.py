"""wstpserver-kernel: a kernel of a pool for programs that launch a kernel, over their links."""

import os
import signal
import socket
import subprocess
import sys

import pytest

from tests.interop.vendor import VendorError, VendorLibrary
from tools.harness import rawlink
from tools.harness.fake_kernel.codec import Function as call
from tools.harness.fake_kernel.codec import Symbol as symbol
from tools.harness.kernels import make_kernel
from tools.harness.server import ROOT, ServerProcess, pool
from tools.harness.vendor import library_path
from tools.harness.waiting import wait_for
from wstpserver.cli.kernel import KernelUsageError, main, parse
from wstpserver.client import Session, connect, listen
from wstpserver.client.commands import server_information
from wstpserver.client.deadline import Deadline
from wstpserver.wire.packets import evaluate_packet, packet, return_packet
from wstpserver.wire.values import Symbol

DEADLINE = 60


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    kernel = make_kernel(folder)
    pools = {
        "Main": pool(kernel, MaximumKernelNumber=20),
        "Other": pool(kernel, MinimumKernelNumber=0, MaximumKernelNumber=10, InitializationCode="x=4"),
        "Kept": pool(kernel, MinimumKernelNumber=0, MaximumKernelNumber=4, KeepAlive=True),
        "Full": pool(kernel, MinimumKernelNumber=0, MaximumKernelNumber=1),
    }
    with ServerProcess(folder, {"Pools": pools, "KernelWaitTimeout": 2}) as running:
        yield running


@pytest.fixture
def program(server, tmp_path):
    """The path of the program, for parents that take nothing else; it finds the server."""
    return write_program(tmp_path, server)


def write_program(folder, server, name="wstpserver-kernel", address=None, options=""):
    path = folder / name
    address = address or f"{server.port}@127.0.0.1"
    path.write_text(
        f"#!/bin/sh\nexport PYTHONPATH={ROOT} WSTPSERVER={address}\n"
        f'exec {sys.executable} -m wstpserver.cli.kernel {options} "$@"\n'
    )
    path.chmod(0o755)
    return str(path)


def kernels(server, pool_name="Main"):
    """State of the kernels of a pool by ID."""
    with Session(connect(f"{server.port}@127.0.0.1", 20.0, without_kernel=True)) as session:
        return {kernel.id: kernel.state for kernel in server_information(session).pools[pool_name].kernels}


def nothing_is_left(server, pool_name="Main"):
    wait_for(lambda: set(kernels(server, pool_name).values()) <= {"free", "starting"})


def test_an_access_token(tmp_path):
    """For a pool that asks for one the program says that of WSTPSERVER_TOKEN_FILE, and tells its parent without one."""
    tokens = tmp_path / "tokens"
    tokens.write_text("a-token-that-nobody-guesses\n")
    pools = {"Main": pool(make_kernel(tmp_path), MinimumKernelNumber=1)}
    with ServerProcess(tmp_path, {"Pools": pools, "AccessTokenFile": str(tokens)}) as server:
        program = write_program(tmp_path, server)
        environment = {**os.environ, "WSTPSERVER_TOKEN_FILE": str(tokens)}
        with rawlink.running_kernel(program, env=environment) as (link, _):
            assert link.get_packet() == ("InputNamePacket", "In[1]:= ")
            assert link.evaluate(call("Plus", 2, 2)) == 4
        with rawlink.running_kernel(program, stderr=subprocess.PIPE, text=True) as (link, process):
            assert "needs an access token" in process.communicate(timeout=DEADLINE)[1]
            assert process.returncode


# The link


@pytest.mark.parametrize("version", [4, 6])
def test_a_parent_gets_a_kernel(program, server, version):
    with rawlink.running_kernel(program, version=version) as (link, process):
        assert link.version == version
        assert link.get_packet() == ("InputNamePacket", "In[1]:= ")
        assert link.evaluate(call("Plus", 2**40, 2)) == 2**40 + 2
        assert link.evaluate(call("StringReverse", "λ😀" * 100)) == "😀λ" * 100
        link.put("EnterTextPacket", "1 + 1")
        assert [link.get_packet() for _ in range(3)] == [
            ("OutputNamePacket", "Out[1]= "), ("ReturnTextPacket", "2"), ("InputNamePacket", "In[2]:= ")
        ]  # fmt: skip
        link.close(politely=True)
        assert process.wait(DEADLINE) == 0
    nothing_is_left(server)


def test_messages_overtake(program):
    with rawlink.running_kernel(program) as (link, _):
        link.get_packet()
        link.put("EvaluatePacket", call("Flood", 1 << 30))
        assert link.get_packet()[0] == "TextPacket"
        link.send_message(3)
        while (answer := link.get_packet())[0] == "TextPacket":
            pass
        assert answer == ("ReturnPacket", symbol("$Aborted"))


def test_large_expressions_pass_in_both_directions(program):
    text = "x" * (8 << 20)
    with rawlink.running_kernel(program, timeout=DEADLINE) as (link, _):
        link.get_packet()
        assert link.evaluate(call("StringReverse", text)) == text


def test_the_kernel_ends(program):
    with rawlink.running_kernel(program) as (link, process):
        link.get_packet()
        link.put("EvaluatePacket", call("Print", "last words"))
        link.put("EvaluatePacket", call("Quit"))
        assert link.get_packet() == ("TextPacket", "last words\n")
        assert link.get_packet()[0] == "ReturnPacket"
        assert link.at_end()
        link.close()
        assert process.wait(DEADLINE) == 0


def test_the_kernel_is_killed_in_the_middle_of_its_output(program, server):
    with rawlink.running_kernel(program) as (link, process):
        link.get_packet()
        assert (number := link.evaluate(call("KernelProcess")))
        link.put("EvaluatePacket", call("Flood", 1 << 30))
        assert link.get_packet()[0] == "TextPacket"
        os.kill(number, signal.SIGKILL)
        while not link.at_end():
            pass
        link.close()
        assert process.wait(DEADLINE) == 0
    nothing_is_left(server)


def test_a_parent_that_is_killed_leaves_nothing(program, server):
    with rawlink.running_kernel(program) as (link, process):
        link.get_packet()
        link.put("EvaluatePacket", call("Flood", 1 << 30))
        assert link.get_packet()[0] == "TextPacket"
        link.reset()
        assert process.wait(DEADLINE) == 0
    nothing_is_left(server)


def test_a_program_that_is_killed_leaves_nothing(program, server):
    with rawlink.running_kernel(program) as (link, process):
        link.get_packet()
        process.kill()
        assert link.at_end()
    nothing_is_left(server)


@pytest.mark.parametrize("garbage", [b"\0" * 100, b"GET / HTTP/1.0\r\n\r\n", bytes(range(256)) * 4096])
def test_garbage_from_the_parent(program, server, garbage):
    with rawlink.running_kernel(program) as (link, process):
        link.get_packet()
        link.put_raw(garbage)
        link.data.shutdown(socket.SHUT_WR)
        assert process.wait(DEADLINE) == 0
    nothing_is_left(server)


def test_our_own_library_launches_it(program):
    """A listening link, and a process that connects to it; in both modes."""
    for classic in (True, False):
        with listen("0@127.0.0.1", classic=classic) as listener:
            words = ["-linkmode", "connect", "-linkprotocol", "TCPIP", "-linkname", listener.link_name]
            words += [] if classic else ["-linkoptions", "4"]
            with subprocess.Popen([program, "-wstp", "-noprompt", *words]) as process:
                with Session(listener.accept(DEADLINE)) as session:
                    assert session.evaluate("1 + 1", DEADLINE) == 2
                assert process.wait(DEADLINE) == 0


def test_a_pool(server, tmp_path, monkeypatch):
    named = write_program(tmp_path, server, options="--pool Other")
    with rawlink.running_kernel(named) as (link, _):
        assert link.get_packet() == ("InputNamePacket", "In[1]:= ")
        assert link.evaluate(symbol("x")) == 4
    address = write_program(tmp_path, server, "address", f"wstp://127.0.0.1:{server.port}/Other")
    monkeypatch.setenv("WSTPSERVER_POOL", "Kept")
    with rawlink.running_kernel(address) as (link, _):
        link.get_packet()
        assert link.evaluate(symbol("x")) == 4, "the address says which"
    with rawlink.running_kernel(write_program(tmp_path, server, "variable")) as (link, _):
        link.get_packet()
        assert "bridged" in kernels(server, "Kept").values()
    nothing_is_left(server, "Other")
    wait_for(lambda: not kernels(server, "Kept"))


def test_the_pool_keeps_a_kernel(server, tmp_path):
    path = write_program(tmp_path, server, options="--pool Kept --keep")
    with rawlink.running_kernel(path) as (link, process):
        link.get_packet()
        link.put("EvaluatePacket", call("Set", symbol("y"), 7))
        assert link.get_packet() == ("ReturnPacket", 7)
        (kernel,) = kernels(server, "Kept")
        link.close(politely=True)
        process.wait(DEADLINE)
    wait_for(lambda: kernels(server, "Kept") == {kernel: "reserved"})  # by the pool's settings


def test_a_pool_of_a_pool(program, server, tmp_path):
    """Our own server launches it like any kernel: initialisation, evaluation, abort, end."""
    (tmp_path / "outer").mkdir()
    settings = pool(program, MinimumKernelNumber=1, MaximumKernelNumber=2, InitializationCode="z=5")
    with ServerProcess(tmp_path / "outer", {"Pools": {"Outer": settings}}) as outer:
        outer.wait_for_log("Pool Outer is ready", DEADLINE)
        with Session(f"{outer.port}@127.0.0.1", DEADLINE) as session:
            assert session.evaluate("z + 1", DEADLINE) == 6
            assert session.evaluate_text("1 + 1", DEADLINE).text == "2"
            session.command("CloseKernel", session.command("GetKernelID"))
    nothing_is_left(server)


# No kernel


def run(path, *words, **options):
    """(exit status, stderr) of the program for a parent that listens, and whether it has ended the parent's link."""
    with listen("0@127.0.0.1", classic=True) as listener:
        command = [path, "-wstp", "-linkprotocol", "TCPIP", "-linkconnect", "-linkname", listener.link_name, *words]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **options) as process:
            link = listener.accept(DEADLINE)
            with link:
                assert link.ready(DEADLINE)
                ended = link.ended
            return process.wait(DEADLINE), process.stderr.read(), ended


def test_no_server(tmp_path):
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        status, said, ended = run(write_program(tmp_path, None, address=f"{port}@127.0.0.1"))
    assert (status, ended) == (69, True)
    assert said.startswith("wstpserver-kernel: no kernel: ") and "refused" in said and said.count("\n") == 1


def test_a_pool_that_is_not_there(server, tmp_path):
    status, said, ended = run(write_program(tmp_path, server, options="--pool Nowhere"))
    assert (status, ended) == (69, True)
    assert said == (
        "wstpserver-kernel: no kernel: the server has no pool Nowhere; its pools are: Main, Other, Kept, Full\n"
    )


def test_a_pool_that_is_full(server, tmp_path):
    path = write_program(tmp_path, server, options="--pool Full")
    with rawlink.running_kernel(path) as (link, _):
        link.get_packet()
        status, said, ended = run(path)
        assert (status, ended) == (69, True)
        assert "no kernel: the server gives no kernel of pool Full" in said


@pytest.mark.parametrize("size", [0, 400_000])
def test_a_parent_that_goes_while_a_kernel_is_waited_for(server, tmp_path, size):
    """Also one that has not waited for the prompt, and has said something."""
    path = write_program(tmp_path, server, options="--pool Full")
    with rawlink.running_kernel(path) as (link, _):
        link.get_packet()
        with listen("0@127.0.0.1", classic=True) as listener:
            command = [path, "-wstp", "-linkconnect", "-linkname", listener.link_name]
            with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
                ends = listener.accept(DEADLINE).detach()
                ends.data.send(b"x" * size, Deadline(DEADLINE))
                ends.data.close()
                ends.messages.close()
                assert process.wait(DEADLINE) == 0
                assert "has ended its link" in process.stderr.read()
    nothing_is_left(server, "Full")


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["-linkprotocol", "SharedMemory", "-linkmode", "connect", "-linkname", "abc_shm"], 69, "-linkprotocol TCPIP"),
        (["-linkmode", "connect", "-linkname", "1@127.0.0.1,2@127.0.0.1"], 69, "no link with the program"),
        (["-linkmode", "parent", "-linkname", "1@h"], 64, "'parent'"),
        (["-wstp"], 64, "only half of a link"),
        (["-linklaunch", "-linkname", "math"], 64, "-linklaunch is not supported"),
        (["-pool"], 64, "-pool needs a value"),
    ],
)
def test_links_that_cannot_be(capfd, words, status, says):
    former = signal.getsignal(signal.SIGINT)
    try:
        assert main(words) == status
    finally:
        signal.signal(signal.SIGINT, former)
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("wstpserver-kernel: ") and says in err and "Traceback" not in err


# The command line


@pytest.mark.parametrize(
    ("words", "meaning"),
    [
        ([], {}),
        (["-NoPrompt", "-rawterm", "-noinit", "-noicon"], {"prompts": False, "edits": False}),
        (["-run", "a", "-run", "b", "-initfile", "f"], {"run": ("a", "b"), "initfiles": ("f",)}),
        (["-script", "f", "-run", "-x"], {"script": ("f", "-run", "-x")}),
        (["-pwfile", "-run", "-lmverbose", "-subkernel"], {}),
        (["--pool", "P", "--server=1@h", "-keep"], {"pool": "P", "address": "1@h", "keep": True}),
        (["-mathlink", "-LinkName", "1@h", "x"], {"link": ("-mathlink", "-LinkName", "1@h")}),
        (["--help"], {"action": "help"}),
    ],
)
def test_words(words, meaning):
    assert parse(words) == parse([])._replace(**meaning)


def test_given_twice():
    with pytest.raises(KernelUsageError, match="-pool is given twice"):
        parse(["-pool", "a", "--pool", "b"])


# The vendor's library as the parent


@pytest.mark.skipif(library_path() is None, reason="WSTP_LIBRARY names no library")
def test_the_words_of_libraries(program, server):
    """Those by which MathLink.jl and wstp-node launch a kernel, and those of our page for the former."""
    library = VendorLibrary(library_path())
    for words in (
        ("-linkname", f'"{program}" -mathlink', "-linkmode", "launch"),
        ("wstp", "-linkname", f'"{program}" -wstp', "-linkmode", "launch"),
    ):
        link = library.open_words(*words)
        try:
            with pytest.raises(VendorError, match="connection was lost"):
                link.activate(DEADLINE)
        finally:
            link.close()
    name = f"{server.port}@localhost"
    words = ("-linkmode", "connect", "-linkprotocol", "TCPIP", "-linkname", name, "-linkoptions", "4")
    link = library.open_words(*words)
    try:
        link.activate(DEADLINE)
        assert link.get(DEADLINE) == packet("InputNamePacket", "In[1]:= ")
        link.put(packet("WSCommandPacket", packet("SetKeepAlive", Symbol("False"))))
        assert link.get(DEADLINE).head == Symbol("ReturnPacket")
        link.put(evaluate_packet(packet("Plus", 1, 2)))
        assert link.get(DEADLINE) == return_packet(3)
    finally:
        link.close()
    nothing_is_left(server)


@pytest.mark.skipif(library_path() is None, reason="WSTP_LIBRARY names no library")
def test_the_library_launches_it(program, server):
    library = VendorLibrary(library_path())
    link = library.open_string(f"-linklaunch -linkprotocol TCPIP -linkname '{program} -wstp'")
    try:
        link.activate(DEADLINE)
        assert link.get(DEADLINE) == packet("InputNamePacket", "In[1]:= ")
        link.put(evaluate_packet(packet("Plus", 2, 40)))
        assert link.get(DEADLINE) == return_packet(42)
        link.put(evaluate_packet(packet("StringReverse", "λ😀 " * 50)))
        assert link.get(DEADLINE) == return_packet(" 😀λ" * 50)
        link.put(evaluate_packet(packet("Flood", 1 << 30)))
        link.get(DEADLINE)
        link.send_message(3)
        while (answer := link.get(DEADLINE)).head != Symbol("ReturnPacket"):
            pass
        assert answer == return_packet(Symbol("$Aborted"))
    finally:
        link.close()
    nothing_is_left(server)
