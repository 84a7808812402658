"""What a person who operates the server reads in its log: one entry for each event, at the documented level."""

import re
import socket

import pytest

from tests.service.helpers import endpoint, entries, messages
from tests.support.serving import Gate, one_pool
from tools.harness.fake_kernel.codec import Function as call
from tools.harness.kernels import make_kernel
from tools.harness.server import ServerProcess, pool

ID = r"[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}"


def prompted(server):
    """A new client that has its kernel."""
    link = server.connect()
    assert link.get_packet()[0] == "InputNamePacket"
    return link


def test_the_life_of_a_client(tmp_path):
    with ServerProcess(tmp_path, one_pool(make_kernel(tmp_path), MinimumKernelNumber=1), "-l", "debug") as server:
        with prompted(server) as link:
            kernel = re.search(ID, link.command("GetKernelID"))[0]
            client = f"Client 1 ({endpoint(link)})"
        server.wait_for_log("is unbridged from")
    debug = messages(server.log, "Debug")
    expected = [
        f"{client} connected",
        f"{client} is bridged to kernel {kernel}",
        f"{client} disconnected: it closed its link",
        f"{client} is unbridged from kernel {kernel}: the client's link ended",
    ]
    assert [message for message in debug if message in expected] == expected


def test_the_life_of_a_kernel_and_its_pool(tmp_path):
    path = make_kernel(tmp_path)
    with ServerProcess(tmp_path, one_pool(path, MinimumKernelNumber=2), "-l", "2") as server:
        server.wait_for_log("Pool a is ready")
    ready = [match for message in messages(server.log, "Debug") if (match := re.fullmatch(
        rf"Kernel ({ID}) of pool a is ready: process \d+, link after \d\.\d{{3}} s, initialised after \d\.\d{{3}} s",
        message))]  # fmt: skip
    kernels = {match[1] for match in ready}
    assert len(kernels) == 2
    (pool_ready,) = [message for message in messages(server.log, "Information") if message.startswith("Pool")]
    assert re.fullmatch(r"Pool a is ready with 2 kernels after \d+\.\d{3} s", pool_ready)
    closed = {match[1] for match in re.finditer(rf"Closing kernel ({ID}): the server stops", server.log)}
    assert closed == kernels


def test_the_first_level_shows_start_and_end_only(tmp_path):
    configuration = one_pool(make_kernel(tmp_path), MinimumKernelNumber=1)
    with ServerProcess(tmp_path, configuration) as server:
        server.wait_for_log("Pool a is ready")
        with prompted(server) as link:
            assert link.evaluate(call("Plus", 1, 1)) == 2
    found = [re.sub(r"[\d.]+ s$", "T s", message) for message in messages(server.log, "Information")]
    assert found == [
        f'Using the configuration file "{tmp_path}/{server.mark}.conf"',
        f"Listening for new connections on port {server.port} and interface 127.0.0.1",
        "Only programs on this computer can connect, and they have to name the host:"
        f" -linkname {server.port}@localhost."
        " Without a host the WSTP library connects to the address of the computer in its network, where the server does"
        " not listen",
        "Pool a is ready with 1 kernel after T s",
        "Stopping because of SIGTERM",
        "Stopped",
    ]
    assert len(entries(server.log)) == len(found)


def test_the_kernel_that_was_discovered(tmp_path):
    """The documented first entry."""
    folder = tmp_path / "bin"
    folder.mkdir()
    kernel = make_kernel(folder, "WolframKernel")
    environment = {"PATH": f"{folder}:/bin:/usr/bin"}
    with ServerProcess(tmp_path, {"Pools": {"a": {}}}, environment=environment) as server:
        server.wait_for_log("Pool a is ready")
    assert f'Using "{kernel}" as a default kernel path' in messages(server.log, "Information")


@pytest.mark.parametrize(
    ("death", "status"),
    [(call("Die", 3), "exit status 3"), (call("DieBySignal", 9), r"signal 9 \(SIGKILL\)")],
    ids=["status", "signal"],
)
def test_a_kernel_that_dies(tmp_path, death, status):
    with ServerProcess(tmp_path, one_pool(make_kernel(tmp_path), MinimumKernelNumber=1), "-l", "debug") as server:
        with prompted(server) as link:
            kernel = re.search(ID, link.command("GetKernelID"))[0]
            process = link.evaluate(call("KernelProcess"))
            link.evaluate(call("WriteOutput", "no licence seat is free"))
            link.put("EvaluatePacket", death)
            server.wait_for_log(
                rf"Warning: \n    Kernel {kernel} \(process {process}\) died: {status}; its last output lines:\n"
                r"    no licence seat is free\n"
            )
        server.wait_for_log(rf"is unbridged from kernel {kernel}: the kernel died\n")
        assert f"Kernel {kernel} printed: no licence seat is free" in server.log


def test_a_kernel_that_quits_is_no_reason_to_worry(tmp_path):
    configuration = one_pool(make_kernel(tmp_path), MinimumKernelNumber=1)
    with ServerProcess(tmp_path, configuration, "-l", "debug") as server, prompted(server) as link:
        link.put("EvaluatePacket", call("Quit"))
        server.wait_for_log(rf"Debug: \n    Kernel {ID} ended: exit status 0\n")
    assert messages(server.log, "Warning") == messages(server.log, "Error") == []


def test_who_waits_and_why(tmp_path):
    pools = {"a": pool(make_kernel(tmp_path), MinimumKernelNumber=1)}
    configuration = {"KernelWaitTimeout": 0.2, "Pools": pools}
    with ServerProcess(tmp_path, configuration, "-l", "debug") as server:
        server.wait_for_log("Pool a is ready")
        with prompted(server), server.connect() as waiting:
            name, reason = waiting.get_packet()
            assert name == "TextPacket"
            assert waiting.at_end()
            client = re.escape(f"Client 2 ({endpoint(waiting)})")
        occupied = r"1 of 1 kernels \(1 bridged\)"
        server.wait_for_log(rf"Information: \n    {client} waits up to 0\.2 s for a kernel of pool a: {occupied}; .*\n")
        given_up = rf"no kernel of pool a became available within 0\.2 seconds: {occupied}\n"
        server.wait_for_log(rf"Warning: \n    {client} was given up on: {given_up}")
        assert re.fullmatch(f"WSTPServer: {given_up}", reason)


def test_who_waits_for_a_busy_kernel(tmp_path):
    gate = Gate(tmp_path)
    with ServerProcess(tmp_path, one_pool(make_kernel(tmp_path), MinimumKernelNumber=1), "-l", "debug") as server:
        with prompted(server) as first:
            kernel = re.search(ID, first.command("GetKernelID"))[0]
            first.put("EvaluatePacket", gate.busy())
        server.wait_for_log("is unbridged from")
        with server.connect() as second:
            second.put("WSCommandPacket", call("ConnectKernel", kernel, 20))
            server.wait_for_log(rf"waits up to 20 s for kernel {kernel}, which is busy\n")
            gate.open()
            assert second.answer() == ("ReturnPacket", '{"status":"ExecutionSuccess"}')


def test_a_kernel_that_does_not_start(tmp_path):
    kernel = make_kernel(tmp_path, last_output="the licence has expired", exit_at_once=True, exit_code=7)
    with ServerProcess(tmp_path, one_pool(kernel, MinimumKernelNumber=1)) as server:
        server.wait_for_log(
            r"Error: \n    A kernel of pool a did not start: .*exit status 7.*\n"
            r"(    .*\n)*?    the licence has expired\n"
            r"    The next attempt follows in 1 seconds\n"
        )


def test_a_stranger_is_turned_away_with_a_reason(tmp_path):
    with ServerProcess(tmp_path, one_pool(make_kernel(tmp_path), MinimumKernelNumber=1)) as server:
        with socket.create_connection(("127.0.0.1", server.port), 20) as web:
            web.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            host, port = web.getsockname()
            assert web.recv(100) == b""
        server.wait_for_log(rf"Warning: \n    Closed a connection from {host}:{port}: .*HTTP")
