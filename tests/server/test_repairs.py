"""Pools whose kernels do not start, until somebody mends them."""

import json
import os
import signal
import time
from collections import deque
from pathlib import Path

import gevent

from tests.support.serving import Since, join, kernel_process, kernels, one_pool, prompt, ready_kernels, serving
from tools.harness.fake_kernel.codec import Function
from tools.harness.kernels import make_kernel
from tools.harness.server import pool
from tools.harness.waiting import wait_for, wait_gone
from wstpserver.pools.commands import BYTES_IN_A_PART, FRAMES_IN_A_PART, missed_output
from wstpserver.server.commands.executor import PACKING_TURN, put_together
from wstpserver.server.connection import yield_to_loop


def reload(server, configuration):
    since = Since(server)
    (server.folder / f"{server.mark}.conf").write_text(json.dumps(configuration))
    server.process.send_signal(signal.SIGHUP)
    since.wait_for("The configuration was reloaded")


def started(register):
    """A condition: the line that a kernel appends to the file, once it is whole."""
    return lambda: register.exists() and register.read_text().endswith("\n") and register.read_text()


def test_a_reload_that_mends_a_pool_does_not_wait_for_what_it_replaces(tmp_path):
    """A kernel that hangs would keep its place for the whole start time-out; it is dropped, and its client served."""
    hanging = make_kernel(tmp_path, "hanging", hang=True, register=str(tmp_path / "started"))
    with serving(tmp_path, one_pool(hanging, 1, MaximumKernelNumber=1)) as server:
        process = int(wait_for(started(tmp_path / "started"), 60.0, "the kernel to hang"))
        with server.connect() as link:
            reload(server, one_pool(make_kernel(tmp_path), 1, MaximumKernelNumber=1))
            assert prompt(link) == ("InputNamePacket", "In[1]:= ")
        wait_gone(process)


def test_a_reload_ends_pauses(tmp_path):
    broken = make_kernel(tmp_path, "broken", exit_at_once=True, exit_code=1)
    """The first thing after it is the start of a kernel."""
    with serving(tmp_path, one_pool(broken, 1)) as server, server.connect(without_kernel=True) as link:
        server.wait_for_log("The next attempt follows in 4 seconds")
        assert kernels(link, "a") == {}
        reload(server, one_pool(make_kernel(tmp_path), 1))
        assert len(kernels(link, "a")) == 1
        ready_kernels(server, 1)


def test_a_pool_that_is_gone_is_no_default_any_more(tmp_path):
    kernel = make_kernel(tmp_path)
    with serving(tmp_path, one_pool(kernel)) as server, join(server) as link:
        reload(server, {"Pools": {"b": pool(kernel, MinimumKernelNumber=1)}})
        found = json.loads(link.command("GetServerInformation"))["result"]["Pools"]
        assert {name: one["EntryPool"] for name, one in found.items()} == {"a": False, "b": True}
        with join(server) as other:
            assert json.loads(other.command("GetPoolName")) == {"result": "b"}


def test_pauses_are_short_again_after_a_start_that_succeeded(tmp_path):
    path = Path(make_kernel(tmp_path, exit_at_once=True, exit_code=1))
    with serving(tmp_path, one_pool(path, 1)) as server:
        server.wait_for_log("The next attempt follows in 2 seconds")
        path.unlink()
        make_kernel(tmp_path)
        ready_kernels(server, 1)
        with join(server) as link:
            process = kernel_process(link)
            since = Since(server)
            path.unlink()
            make_kernel(tmp_path, exit_at_once=True, exit_code=1)
            os.kill(process, signal.SIGKILL)
        since.wait_for("The next attempt follows in 1 second")


def test_much_missed_output_arrives_whole(tmp_path):
    with serving(tmp_path, one_pool(make_kernel(tmp_path), 2)) as server:
        ready_kernels(server, 2)
        with join(server) as other:
            with join(server) as link:
                identifier = json.loads(link.command("GetKernelID"))["result"]
                since = Since(server)
                link.put("EvaluatePacket", Function("Flood", 4_000, 1))
            since.wait_for("unbridged")
            assert other.command("ConnectKernel", identifier, 30) == '{"status":"ExecutionSuccess"}'
            assert other.get_packet()[0] == "InputNamePacket"
            other.put("WSCommandPacket", Function("GetMissedOutput"))
            head, value = other.get_packet()
            assert head == "ReturnPacket" and 0 < len(value.args[1].args) <= 4_001


def test_missed_output_is_put_together_in_parts():
    """So that others have their turn between them."""
    frame = b'"DD~Ax\n'
    parts = list(missed_output(deque([frame] * 10_000), 3))
    assert max(map(len, parts)) <= FRAMES_IN_A_PART * len(frame)
    large = list(missed_output(deque([frame * 2000, frame * 50_000, frame] * 10), 3))
    assert max(map(len, large)) <= BYTES_IN_A_PART
    assert b"".join(large).endswith((frame * 52_001) * 10 + b"]")
    whole = b"".join(parts)
    assert whole.startswith(b"FA#OD~LReturnPacket\nFB#GD~DList\n\xe4\3\0\0\0\nF10000 #GD~DList\n" + frame)
    assert whole.endswith(frame + b"]") and whole.count(frame) == 10_000


def test_others_have_their_turn_while_missed_output_is_put_together():
    turns = []

    def take_turns():
        while True:
            yield_to_loop()
            turns.append(time.monotonic())

    def parts():
        for number in range(10):
            began = time.monotonic()
            while time.monotonic() < began + PACKING_TURN:
                pass
            yield b"%d" % number

    other = gevent.spawn(take_turns)
    gevent.sleep(0)
    try:
        assert put_together(parts()) == b"0123456789"
        assert len(turns) >= 5
    finally:
        other.kill()
