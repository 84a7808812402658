"""The end of the server: orderly, whatever it is doing."""
import os
import re
import signal
import socket
import threading

import pytest

from tests.server.transfers import read_frame, stalled_writer
from tests.support.serving import (
    Gate,
    join,
    kernel_id,
    kernel_process,
    one_pool,
    ready_kernels,
    serving,
)
from tools.harness import processes
from tools.harness.fake_kernel.codec import Function
from tools.harness.kernels import make_kernel
from tools.harness.waiting import wait_for, wait_gone

#: More for evaluations than a test waits for the end of a server.
ENDLESS = {"evaluations": 600.0}


def stop_soon(server, number=signal.SIGTERM):
    """Stop it; it does not wait for what may take long."""
    assert server.stop(number) == 0
    server.assert_no_process_left()
    server.wait_for_log("Information: \n    Stopped")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_idle(tmp_path, number):
    with serving(tmp_path, one_pool(make_kernel(tmp_path), 3), grace=ENDLESS) as server:
        ready_kernels(server, 3)
        with join(server) as link:
            assert link.evaluate(1) == 1
            stop_soon(server, number)
            assert link.at_end()
        server.wait_for_log(f"Stopping because of {number.name}")


def test_running_evaluations_finish(tmp_path):
    """Their answers arrive; what the clients sent ahead is not begun any more once they have them."""
    gate = Gate(tmp_path)
    configuration = one_pool(make_kernel(tmp_path), 2)
    with serving(tmp_path, configuration) as server, join(server) as busy, join(server) as idle:
        busy.put("EvaluatePacket", Function("CompoundExpression", gate.busy(), Function("MakeString", 3_000_000)))
        gate.wait_until_reached()
        os.kill(server.pid, signal.SIGTERM)
        server.wait_for_log("Evaluations under way: 1")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", server.port))
        gate.open()
        assert len(busy.get_packet()[1]) == 3_000_000
        assert busy.at_end() and idle.at_end()
        stop_soon(server)


def test_evaluations_that_do_not_finish_in_time(tmp_path):
    """They are not waited for, be it that the kernel does not come to an end or that the client does not read."""
    gate = Gate(tmp_path)
    configuration = one_pool(make_kernel(tmp_path), 2)
    with (
        serving(tmp_path, configuration, grace={"evaluations": 0.5, "link": 0.5}) as server,
        join(server) as busy,
        join(server) as stalled,
    ):
        writer = stalled_writer(server, stalled)
        busy.put("EvaluatePacket", gate.busy())
        gate.wait_until_reached()
        assert server.stop() == 0
        assert busy.at_end()
        wait_gone(writer)
    waits, *_, closes = re.findall("Evaluations under way: 2; they have 0.5 s to finish|Closing kernel", server.log)
    assert waits != "Closing kernel" == closes


def test_while_kernels_start(tmp_path):
    with serving(tmp_path, one_pool(make_kernel(tmp_path, hang=True), 4), grace=ENDLESS) as server:
        wait_for(lambda: len(processes.children(server.pid)) >= 2, 60.0, "kernels that start")
        with server.connect():
            stop_soon(server)


def test_while_kernels_are_initialised(tmp_path):
    configuration = one_pool(make_kernel(tmp_path), 2, InitializationCode="Sleep[100]")
    with serving(tmp_path, configuration, grace=ENDLESS) as server:
        wait_for(lambda: len(processes.children(server.pid)) == 2, 60.0, "kernels")
        stop_soon(server)


def test_during_a_pause_after_a_failure(tmp_path):
    with serving(tmp_path, one_pool(make_kernel(tmp_path, exit_at_once=True), 2), grace=ENDLESS) as server:
        server.wait_for_log("The next attempt follows")
        with server.connect() as link:
            stop_soon(server)
            assert link.at_end()


def test_kernels_that_resist_are_killed(tmp_path):
    """Their link is closed, then comes SIGTERM, and in the end SIGKILL, to their children as well."""
    kernel = make_kernel(tmp_path, ignore_term=True, grandchild=True)
    with serving(tmp_path, one_pool(kernel, 2), grace={"link": 0.2, "terminate": 0.2}) as server:
        ready_kernels(server, 2)
        with join(server) as link:
            link.put("EvaluatePacket", Function("Deaf", 1000))
            link.command("GetKernelID")
            link.close()
            assert server.stop() == 0
            server.assert_no_process_left()


def test_with_a_client_that_reads_slowly(tmp_path):
    """What its kernel had answered before the end arrives whole."""
    with serving(tmp_path, one_pool(make_kernel(tmp_path))) as server, join(server) as link:
        link.put("EvaluatePacket", Function("MakeString", 20_000_000))
        first = link.data.recv(1000)
        os.kill(server.pid, signal.SIGTERM)
        server.wait_for_log("Stopping")
        length, _, _ = read_frame(link, part=100_000)
        assert length + len(first) > 20_000_000
        assert link.at_end()


def test_with_connections_that_are_no_link(tmp_path):
    with serving(tmp_path, one_pool(make_kernel(tmp_path)), grace=ENDLESS) as server:
        ready_kernels(server, 1)
        with socket.create_connection(("127.0.0.1", server.port), 60.0) as idler:
            idler.sendall(b"id=23E744F7")
            stop_soon(server)


def test_a_second_signal_stops_at_once(tmp_path):
    """Evaluations are not waited for any more, nor kernels that resist."""
    gate = Gate(tmp_path)
    kernel = make_kernel(tmp_path, ignore_term=True, grandchild=True)
    grace = {"evaluations": 600.0, "link": 600.0, "terminate": 600.0}
    with serving(tmp_path, one_pool(kernel, 2), grace=grace) as server, join(server) as link:
        link.put("EvaluatePacket", gate.busy())
        gate.wait_until_reached()
        os.kill(server.pid, signal.SIGTERM)
        server.wait_for_log("Evaluations under way: 1")
        stop_soon(server)
        server.wait_for_log("Stopping at once because of SIGTERM")
        assert link.at_end()


def test_kernels_that_are_stopped(tmp_path):
    """A process that does not run cannot be asked to end; it is killed, by a command and at the server's end."""
    with serving(tmp_path, one_pool(make_kernel(tmp_path), 2), grace={"link": 0.2, "terminate": 0.2}) as server:
        ready_kernels(server, 2)
        with join(server) as link, join(server) as other:
            kernel = kernel_process(link)
            for pid in processes.children(server.pid):
                os.kill(pid, signal.SIGSTOP)
            assert "ExecutionSuccess" in other.command("CloseKernel", kernel_id(link))
            wait_gone(kernel)
        assert server.stop() == 0
        server.assert_no_process_left()


def test_clients_that_go_on_sending(tmp_path):
    """Neither pipelined evaluations nor commands keep the server, and nobody gets half a frame."""
    with serving(tmp_path, one_pool(make_kernel(tmp_path), 2)) as server, join(server) as link, join(server) as other:
        stopped = threading.Event()

        def chatter(connection, head, argument):
            try:
                while not stopped.is_set():
                    connection.put(head, argument)
            except OSError:
                pass

        talkers = [
            threading.Thread(target=chatter, args=(link, "EvaluatePacket", Function("Plus", 1, 1))),
            threading.Thread(target=chatter, args=(other, "WSCommandPacket", Function("GetKernelID"))),
        ]
        for talker in talkers:
            talker.start()
        for _ in range(20):
            assert link.get_packet() == ("ReturnPacket", 2)
            assert other.get_packet()[0] == "ReturnPacket"
        os.kill(server.pid, signal.SIGTERM)
        for connection in (link, other):
            try:
                while not connection.at_end():
                    pass
            except ConnectionResetError:
                pass
        stopped.set()
        stop_soon(server)
        for talker in talkers:
            talker.join()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_client_of_a_server_that_ends_is_told(tmp_path, number):
    with serving(tmp_path, one_pool(make_kernel(tmp_path))) as server, join(server) as link:
        kernel = kernel_process(link)
        server.expect_exit(-number if number == signal.SIGKILL else 0)
        os.kill(server.pid, number)
        assert link.at_end()
        wait_gone(kernel)
