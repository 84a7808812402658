"""wstpserver-admin as a program, with a real server and light kernels."""

import contextlib
import json
import os
import re
import signal
import socket

import pytest

from tests.admin.helpers import DEADLINE, command, run, start
from tests.support.terminal import TerminalProgram
from tools.harness.fake_kernel.codec import Function
from tools.harness.kernels import make_kernel
from tools.harness.server import ServerProcess, free_ports, pool
from tools.harness.waiting import wait_for
from wstpserver.client import CommandError, Session, connect
from wstpserver.client.commands import server_information

ID = re.compile(r"[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}")


@pytest.fixture(scope="module")
def _server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    kernel = make_kernel(folder)
    pools = {
        "Main": pool(kernel, MinimumKernelNumber=1, MaximumKernelNumber=2),
        "Parallel": pool(kernel, ParallelKernels=True, MinimumKernelNumber=2),
    }
    with ServerProcess(folder, {"Pools": pools}) as running:
        running.address = f"{running.port}@127.0.0.1"
        yield running


@pytest.fixture
def server(_server):
    """A server with one free kernel in Main and two in Parallel, which nobody has used."""
    with Session(connect(_server.address, DEADLINE, without_kernel=True)) as observer:

        def used():
            listed = server_information(observer).kernels
            return [kernel for kernel in listed if kernel.state != "free" or kernel.evaluations or not kernel.pool]

        def is_as_new():
            pools = server_information(observer).pools.values()
            return not used() and [len(pool.kernels) for pool in pools] == [1, 2]

        wait_for(is_as_new, DEADLINE, lambda: f"new kernels only: {server_information(observer)}")
        yield _server
        for kernel in used():
            with contextlib.suppress(CommandError):  # it has gone meanwhile
                observer.command("CloseKernel", kernel.id)


@pytest.fixture
def client(server):
    with Session(server.address, DEADLINE, keep_kernel=True) as session:
        session.synchronize(DEADLINE)
        session.kernel = session.command("GetKernelID")
        yield session


def admin(server, *words):
    return run("--server", server.address, *words)


def information(server):
    return json.loads(admin(server, "status", "--json")[1])


def kernels(server, name="Main"):
    return {kernel["ID"]: kernel for kernel in information(server)["Pools"][name]["Kernels"]}


# status


def test_status(server, client):
    code, out, err = admin(server, "status")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == f"{server.address}: 2 pools, 3 kernels"
    assert re.fullmatch(r"wstpserver [\d.]+, process \d+, up \d+ (s|min), configuration /.*\.conf", lines[1])
    assert lines[4].split() == ["Main", "*", "1", "1-2", "0", "1", "0", "0", "0"]
    assert lines[5].split() == ["Parallel", "+", "2", "2-2", "2", "0", "0", "0", "0"]
    row = next(line for line in lines if line.startswith(client.kernel))
    times = r"( +\d+ (s|min)){2}"
    assert re.fullmatch(rf"{client.kernel}  Main +in use +no{times} +\d+ +\d+ MB +\d+  127\.0\.0\.1:\d+", row)


def test_status_changes_nothing(server):
    before = kernels(server)
    for _ in range(3):
        admin(server, "status")
    assert [kernel["State"] for kernel in kernels(server).values()] == ["free"]
    assert kernels(server).keys() == before.keys()


def test_watch_in_a_file(server):
    with start("-s", server.address, "status", "--watch", "-i", "0.05") as process:
        try:
            blocks = [process.stdout.readline() for _ in range(40)].count(f"{server.address}: 2 pools, 3 kernels\n")
            process.send_signal(signal.SIGINT)
            assert process.wait(DEADLINE) == 0
            assert process.stderr.read() == ""
        finally:
            process.kill()
    assert blocks >= 2


def test_watch_as_json_lines(server):
    with start("-s", server.address, "status", "-jwi.05") as process:
        try:
            for _ in range(3):
                assert set(json.loads(process.stdout.readline())["Pools"]) == {"Main", "Parallel"}
        finally:
            process.kill()


def test_watch_on_a_terminal(server, tmp_path):
    words = command("-s", server.address, "status", "--watch", "--interval", "0.1")
    with TerminalProgram(words, tmp_path, size=(12, 80)) as terminal:
        for _ in range(3):
            terminal.expect(f"{server.address}: 2 pools, 3 kernels", DEADLINE)
            terminal.expect(re.compile(r"\(\d+ more lines\)\n\d\d:\d\d:\d\d, every 0.1 s, Ctrl-C ends\n"))
        terminal.keys("\x03")
        assert terminal.wait(DEADLINE) == 0
    shown = terminal.raw.split("\x1b[H")[2]
    assert shown.endswith("\x1b[J"), "what is below is cleared"
    assert shown.count("\n") <= 11
    assert all(len(line) <= 80 for line in terminal.output.splitlines())


def test_watch_goes_on_when_the_server_has_gone(tmp_path):
    settings = pool(make_kernel(tmp_path), MinimumKernelNumber=0)
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(ServerProcess(tmp_path, {"Pools": {"Main": settings}}))
        process = stack.enter_context(start("-s", f"{server.port}@127.0.0.1", "status", "--watch", "-i", "0.05"))
        stack.callback(process.kill)
        process.stdout.readline()
        assert server.stop() == 0
        while "Trying again every 0.05 s" not in (line := process.stdout.readline()):
            assert line, "it has ended"


# close, start


def test_close(server, client):
    missing = "0000-0000-0000"
    free = next(iter(kernels(server, "Parallel")))
    code, out, err = admin(server, "close", missing, free, client.kernel)
    assert code == 1
    pattern = rf"closed {free}\nclosed {client.kernel}; Client \d+ \(127.0.0.1:\d+\) was connected to it\n"
    assert re.fullmatch(pattern, out)
    assert err == f"wstpserver-admin: there is no kernel {missing}; wstpserver-admin status shows those that are\n"
    wait_for(lambda: free not in kernels(server, "Parallel") and client.kernel not in kernels(server), interval=0.05)


def test_close_a_busy_kernel(server, tmp_path):
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    with server.connect() as link:
        assert link.get_packet()[0] == "InputNamePacket"
        link.put("EvaluatePacket", Function("BusyUntil", str(gate)))
        (identifier,) = wait_for(lambda: [key for key, each in kernels(server).items() if each["Busy"]], interval=0.05)
        code, out, err = admin(server, "close", identifier)
    assert (code, err) == (0, "")
    pattern = rf"closed {identifier}; it was busy with an evaluation, and Client \d+ \(.*\) was connected to it\n"
    assert re.fullmatch(pattern, out)


def test_start(server):
    code, out, err = admin(server, "start")
    assert (code, err) == (0, "")
    assert ID.fullmatch(out.strip())
    assert [kernel["ID"] for kernel in information(server)["KernelsOutsidePools"]] == [out.strip()]


def test_start_with_a_command_line(server, tmp_path):
    other = make_kernel(tmp_path, "other", register=str(tmp_path / "register"))
    code, out, err = admin(server, "start", "--command", f"{other} -x")
    assert (code, err) == (0, "")
    assert (tmp_path / "register").read_text().strip()
    assert admin(server, "close", out.strip())[:2] == (0, f"closed {out}")


def test_start_that_fails(server, tmp_path):
    other = make_kernel(tmp_path, "other", exit_at_once=True)
    why = "it ended with exit status 0 before it made a link"
    expected = (1, "", f"wstpserver-admin: the kernel did not start: {why}\n")
    assert admin(server, "start", "-c", other) == expected


# wait


def test_wait(server):
    assert admin(server, "wait") == (0, "", "")
    assert admin(server, "wait", "--pool", "Parallel", "--kernels", "2") == (0, "", "")
    assert admin(server, "wait", "-p", "Foo") == (
        1, "", f"wstpserver-admin: {server.address}: there is no pool Foo; the pools are: Main, Parallel\n",
    )  # fmt: skip
    assert admin(server, "wait", "-k", "3") == (
        1, "", "wstpserver-admin: pool Main can have at most 2 kernels, never 3 free ones\n",
    )  # fmt: skip


def test_wait_takes_kernels_in_use_for_ready(server, client):
    assert admin(server, "wait") == (0, "", "")
    code, out, err = admin(server, "wait", "--kernels", "1", "--timeout", "3")
    assert (code, out) == (75, "")
    assert err == "wstpserver-admin: not ready within 3 s: pool Main has 1 of at most 2 kernels (1 bridged)\n"


def test_wait_for_a_server_that_starts(tmp_path):
    """From before its port is open until its slow kernel is ready."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    (port,) = free_ports()
    settings = pool(make_kernel(tmp_path, start_gate=str(gate)), MinimumKernelNumber=1)
    address = ("--port", str(port), "--interface", "127.0.0.1")
    server = ServerProcess(tmp_path, {"Pools": {"Main": settings}}, *address, usual_address=False)
    with start("-s", f"{port}@127.0.0.1", "wait", "-t", str(DEADLINE)) as waiting:
        try:
            with server:
                code, _, err = run("-s", f"{port}@127.0.0.1", "wait", "-t", "2")
                assert code == 75
                assert "pool Main has 1 of at most 1 kernels (1 starting)" in err
                assert waiting.poll() is None
                with open(gate, "w"):
                    pass
                assert waiting.wait(DEADLINE) == 0
        finally:
            waiting.kill()


def test_wait_says_why_kernels_do_not_start(tmp_path):
    settings = pool(make_kernel(tmp_path, exit_at_once=True, last_output="No licence"), MinimumKernelNumber=1)
    with ServerProcess(tmp_path, {"Pools": {"Main": settings}}) as server:
        server.wait_for_log("did not start")
        code, _, err = run("-s", f"{server.port}@127.0.0.1", "wait", "-t", "2")
        assert code == 75
        assert "No licence" in err
        assert "No licence" in run("-s", f"{server.port}@127.0.0.1", "status")[1]


def test_wait_is_ended_by_ctrl_c(server):
    with start("-s", server.address, "wait", "-k", "2") as process:
        try:
            assert "2 are free only when clients leave some" in process.stderr.readline()
            process.send_signal(signal.SIGINT)
            assert process.wait(DEADLINE) == 130
        finally:
            process.kill()


# no server


@pytest.mark.parametrize("words", [["status"], ["status", "-w"], ["start"], ["close", "0000-0000-0000"]])
def test_no_server(words):
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        address = f"{bound.getsockname()[1]}@127.0.0.1"
        code, out, err = run("-s", address, *words)
    assert (code, out) == (69, "")
    assert err.startswith(f"wstpserver-admin: {address}: ")
    assert "wstpserver is running" in err


def test_nobody_reads(server):
    with start("-s", server.address, "status", "--watch", "-i", "0.05") as process:
        try:
            process.stdout.close()
            assert process.wait(DEADLINE) == 141
        finally:
            process.kill()


# connect


def test_connect(server, client, tmp_path):
    client.evaluate("Set[z, 4]", DEADLINE)
    client.keep_kernel = True
    client.close()
    kernel = client.kernel
    wait_for(lambda: kernels(server)[kernel]["State"] == "reserved", interval=0.05)
    with TerminalProgram(command("-s", server.address, "connect", kernel), tmp_path) as terminal:
        terminal.expect("]:= ", DEADLINE)
        terminal.enter("Get[z]", "= 4\n")
        terminal.expect("]:= ")
        assert kernels(server)[kernel]["State"] == "bridged"
        terminal.keys("\x04")
        assert terminal.wait(DEADLINE) == 0
    wait_for(lambda: kernels(server)[kernel]["State"] == "reserved", interval=0.05)


def test_connect_takes_over(server, client, tmp_path):
    with TerminalProgram(command("-s", server.address, "connect", client.kernel), tmp_path) as terminal:
        terminal.expect(f"wstpserver-admin: taking kernel {client.kernel} over from Client", DEADLINE)
        terminal.expect("]:= ", DEADLINE)
        terminal.keys("\x04")
        assert terminal.wait(DEADLINE) == 0


def test_connect_reads_a_file(server, client, tmp_path):
    """Standard input that is no terminal is a list of inputs, as for wstpscript."""
    client.keep_kernel = True
    client.close()
    inputs = tmp_path / "inputs"
    inputs.write_text("Set[z, 6]\nGet[z]\n")
    with inputs.open() as stream:
        code, out, err = run("--server", server.address, "connect", client.kernel, stdin=stream)
    assert code == 0, err
    assert out.split("]:=")[-2].split()[:2] == ["Out[2]=", "6"], out


def test_connect_to_nothing(server):
    code, out, err = admin(server, "connect", "0000-0000-0000")
    assert (code, out) == (1, "")
    assert "there is no kernel 0000-0000-0000" in err
