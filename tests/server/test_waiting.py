"""Clients that wait for a kernel: in order, not for ever, and with a reason."""
import contextlib
import os
import re
import select
import time

import pytest

from tests.support.serving import Since, assert_serves, join, kernel_process, message_of, one_pool, prompt, serving
from tools.harness.fake_kernel.codec import Function
from tools.harness.kernels import make_kernel
from tools.harness.waiting import wait_for

CLIENTS = 8


@pytest.fixture
def one_at_a_time(tmp_path):
    """A server with one kernel for one client, replaced after it."""
    keys = {"KeepAlive": False, "MaximumKernelNumber": 1}
    with serving(tmp_path, one_pool(make_kernel(tmp_path), 1, **keys)) as server:
        yield server


def queue_up(server, number, stack):
    """Clients that wait, each of them behind the one before."""
    links = []
    for _ in range(number):
        since = Since(server)
        links.append(stack.enter_context(server.connect()))
        since.wait_for(r"waits up to 60 s for a kernel of pool a: 1 of 1 kernels \(")
    return links


def skip_notice(link):
    """The client has been told within a second why it waits."""
    head, text = link.get_packet()
    assert head == "TextPacket"
    assert text.startswith("WSTPServer: waiting up to 59 s for a kernel of pool a: 1 of 1 kernels ("), text
    assert "MaximumKernelNumber of pool a allows for 1" in text


def served(links):
    """Those whose prompt has come."""
    return select.select([link.data for link in links], [], [], 60.0)[0]


def test_first_come_first_served(one_at_a_time):
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(join(one_at_a_time))
        links = queue_up(one_at_a_time, CLIENTS, stack)
        for link in links:
            skip_notice(link)
        first.close()
        kernels = set()
        while links:
            assert served(links) == [links[0].data]
            link = links.pop(0)
            assert link.get_packet() == ("InputNamePacket", "In[1]:= ")
            kernels.add(kernel_process(link))
            link.close()
        assert len(kernels) == CLIENTS


def test_who_leaves_the_queue_is_passed_over(one_at_a_time):
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(join(one_at_a_time))
        links = queue_up(one_at_a_time, 6, stack)
        for link in links:
            skip_notice(link)
        since = Since(one_at_a_time)
        links[0].close()
        links[2].reset()
        links[3].close(politely=True)
        wait_for(lambda: since.log.count("disconnected: ") == 3, 60.0, "three clients to be gone")
        first.close()
        left = [links[1], links[4], links[5]]
        while left:
            assert served(left) == [left[0].data]
            left.pop(0).close()


def test_commands_work_while_waiting_and_evaluations_are_kept(one_at_a_time):
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(join(one_at_a_time))
        (link,) = queue_up(one_at_a_time, 1, stack)
        skip_notice(link)
        assert link.command("GetKernelID") == '{"status":"ExecutionError"}'
        link.put("EvaluatePacket", Function("Plus", 3, 4))
        assert link.command("GetPoolName") == '{"status":"ExecutionError"}'
        link.put("EvaluatePacket", Function("Plus", 3, 5))
        first.close()
        assert [link.get_packet() for _ in range(3)] == [
            ("InputNamePacket", "In[1]:= "),
            ("ReturnPacket", 7),
            ("ReturnPacket", 8),
        ]


@pytest.mark.parametrize("seconds", [0, 0.3])
def test_the_wait_is_over(tmp_path, seconds):
    """The client can read why, and then its link ends; the others have not been disturbed."""
    configuration = one_pool(make_kernel(tmp_path), 1, {"KernelWaitTimeout": seconds}, MaximumKernelNumber=1)
    with serving(tmp_path, configuration) as server, join_when_ready(server) as first:
        began = time.monotonic()
        with server.connect() as link:  # which does not wait for ever
            link.put("EvaluatePacket", 1)
            text = message_of(link.get_packet())
            assert text == (
                f"WSTPServer: no kernel of pool a became available within {seconds:g} seconds:"
                " 1 of 1 kernels (1 bridged)\n"
            )
            assert link.at_end()
        assert seconds <= time.monotonic() - began
        server.wait_for_log(r"Warning: \n    Client \d+ \(127.0.0.1:\d+\) was given up on: no kernel of pool a")
        assert first.evaluate(1) == 1
        first.close()
        reserved = "1 of 1 kernels \\(1 reserved\\)"
        wait_for(lambda: "unbridged" in server.log, 60.0)
        with server.connect() as link:
            message_of(link.get_packet())
        server.wait_for_log(reserved)


def join_when_ready(server):
    """The first client, once there is a kernel for it."""
    server.wait_for_log("Pool a is ready")
    return join(server)


def test_a_pool_with_room_starts_a_kernel_for_who_waits(tmp_path):
    configuration = one_pool(make_kernel(tmp_path), 0, MaximumKernelNumber=3, KeepAlive=False)
    with serving(tmp_path, configuration) as server, contextlib.ExitStack() as stack:
        links = [stack.enter_context(join(server)) for _ in range(3)]
        queue = stack.enter_context(server.connect())
        server.wait_for_log(r"waits up to 60 s for a kernel of pool a: 3 of 3 kernels \(3 bridged\)")
        links[1].close()
        assert prompt(queue)[0] == "InputNamePacket"


def test_a_start_that_fails_is_told_to_who_waits(tmp_path):
    gate, program = tmp_path / "gate", tmp_path / "kernel"
    os.mkfifo(gate)
    program.write_text(f'#!/bin/sh\nread word < "{gate}"\necho "no licence today" >&2\nexit 3\n')
    program.chmod(0o755)
    with serving(tmp_path, one_pool(os.fspath(program), 0, MaximumKernelNumber=1)) as server, server.connect() as link:
        assert not select.select([link.data], [], [], 1.0)[0], "a kernel is being started, which takes its time"
        gate.write_text("go on\n")
        text = message_of(link.get_packet())
        waits, reason, *_ = text.splitlines()
        assert re.fullmatch(r"WSTPServer: waiting up to 5\d s for a kernel of pool a: 0 of 1 kernels.*", waits), text
        assert reason.startswith("The last kernel that was started for it failed: "), text
        assert "exit status 3" in text and "no licence today" in text, text


def test_many_clients_come_and_go_while_others_wait(one_at_a_time):
    """A hundred of them give up at once: whoever is left is served, and nothing of them is."""
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(join(one_at_a_time))
        crowd = [stack.enter_context(one_at_a_time.connect()) for _ in range(100)]
        for link in crowd:
            link.close()
        first.close()
        assert_serves(one_at_a_time)
