"""Kernels that do not start, or in an unusual way."""
import contextlib
import os
import re
import signal
import socket
import time
from pathlib import Path

import pytest

from tests.support.serving import (
    Since,
    assert_serves,
    join,
    join_pool,
    kernel_process,
    message_of,
    one_pool,
    prompt,
    ready_kernels,
    reset,
    serving,
)
from tools.harness import processes
from tools.harness.fake_kernel.codec import Function
from tools.harness.kernels import make_kernel
from tools.harness.server import pool
from tools.harness.waiting import wait_for, wait_gone

#: Seconds that a kernel has to start where the test waits for this to be over: enough for it to come to the place where
#: it fails, also where other tests run beside.
SHORT = {"KernelStartTimeout": 2, "KernelWaitTimeout": 0.2}

BAD = {
    "it exits at once": (
        {"exit_at_once": True, "exit_code": 87, "last_output": "No valid password found."},
        "it ended with exit status 87 before it made a link; its last output lines:\nNo valid password found.",
    ),
    "it hangs": ({"hang": True, "last_output": "Looking for a licence."},
                 "it made no link within 2 seconds; its last output lines:\nLooking for a licence."),
    "it never greets": ({"never_greet": True}, "it made no link within 2 seconds"),
    "it speaks something else": ({"garbage": True}, "it does not speak WSTP: instead of a greeting"),
    "it goes astray after the greeting": ({"garbage_after_greeting": True}, "it left the protocol: "),
    "it never prompts": ({"silent": True}, "its first prompt did not come within 2 seconds"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_the_reason_is_told(tmp_path, case):
    """In the log, and to a client that waits for such a kernel; the process is gone."""
    behaviour, reason = BAD[case]
    kernel = make_kernel(tmp_path, **behaviour)
    with serving(tmp_path, one_pool(kernel, root=SHORT)) as server:
        in_log = re.escape(f"A kernel of pool a did not start: {reason}".replace("\n", "\n    "))
        server.wait_for_log(r"Error: \n    " + in_log)
        with server.connect() as link:
            text = message_of(link.get_packet())
            assert "no kernel of pool a became available within 0.2 seconds" in text
            assert reason in text
            assert link.at_end()
        server.wait_for_log("was given up on: no kernel of pool a became available")


def test_initialisation_that_dies(tmp_path):
    configuration = one_pool(make_kernel(tmp_path), root=SHORT, InitializationCode='Print["so far"]; Die[5]')
    with serving(tmp_path, configuration) as server:
        server.wait_for_log("it ended with exit status 5 before it was ready")
        server.wait_for_log("during InitializationCode wrote: so far")


def test_initialisation_that_does_not_end(tmp_path):
    with serving(tmp_path, one_pool(make_kernel(tmp_path), root=SHORT, InitializationCode="Sleep[100]")) as server:
        kernel, *_ = wait_for(lambda: processes.children(server.pid), 60.0, "the kernel")
        server.wait_for_log("InitializationCode did not finish within 2 seconds")
        wait_gone(kernel)


@pytest.mark.parametrize("what", ["missing", "not executable", "no program"])
def test_a_program_that_cannot_be_started_any_more(tmp_path, what):
    """Its file is removed or spoiled while the server runs. (At the start the configuration is refused.)"""
    path = Path(make_kernel(tmp_path))
    with serving(tmp_path, one_pool(path, root=SHORT)) as server:
        ready_kernels(server, 1)
        (kernel,) = processes.children(server.pid)
        path.unlink()
        if what != "missing":
            path.write_bytes(b"\x7fELF but not really")
        if what == "no program":
            path.chmod(0o755)
        os.kill(kernel, signal.SIGKILL)
        server.wait_for_log(re.escape(f'did not start: "{path}" could not be started: '))
        with server.connect() as link:
            assert "could not be started" in message_of(link.get_packet())


def test_other_pools_do_not_suffer(tmp_path):
    good, bad = make_kernel(tmp_path), make_kernel(tmp_path, "bad", hang=True)
    pools = {"bad": pool(bad, MinimumKernelNumber=4), "good": pool(good, MinimumKernelNumber=1, Default=True)}
    with serving(tmp_path, {"Pools": pools, "KernelStartTimeout": 2}) as server:
        assert_serves(server)
        server.wait_for_log("A kernel of pool bad did not start")


def test_the_pauses_double_and_the_server_rests(tmp_path):
    """Three kernels that fail together make one pause, not three."""
    register = tmp_path / "started"
    kernel = make_kernel(tmp_path, exit_at_once=True, exit_code=1, register=register)
    with serving(tmp_path, one_pool(kernel, 3)) as server:
        server.wait_for_log("The next attempt follows in 1 seconds")
        began, used = time.monotonic(), processes.processor_seconds(server.pid)
        for pause in (2, 4):
            server.wait_for_log(f"The next attempt follows in {pause} seconds")
        passed, used = time.monotonic() - began, processes.processor_seconds(server.pid) - used
        assert passed > 2.5 and used < passed / 2
        wait_for(lambda: server.log.count("did not start") == 9, 60.0, "three failures of three kernels")
    text = server.log.partition("The next attempt follows in 4 seconds")[0]
    assert text.count("The next attempt follows") == 2
    assert len(register.read_text().split()) >= 9


def test_kernels_that_die_as_soon_as_they_are_ready_are_failures_as_well(tmp_path):
    configuration = one_pool(make_kernel(tmp_path), InitializationCode="DieIn[0.3]")
    with serving(tmp_path, configuration) as server:
        server.wait_for_log("did not start: it died as soon as it was ready: signal 14")
        server.wait_for_log("The next attempt follows in 2 seconds")


def test_a_pool_recovers_when_its_kernel_is_mended(tmp_path):
    """Who waits meanwhile gets the first kernel that starts."""
    path = Path(make_kernel(tmp_path, exit_at_once=True, exit_code=1))
    with serving(tmp_path, one_pool(path, 2)) as server:
        server.wait_for_log("did not start")
        with server.connect() as link:
            path.unlink()
            make_kernel(tmp_path)
            assert prompt(link) == ("InputNamePacket", "In[1]:= ")
            assert link.evaluate(1) == 1
        ready_kernels(server, 2)


def test_a_kernel_that_does_not_want_to_end(tmp_path):
    """It ignores SIGTERM and has a child that does; both are gone soon after its time is over."""
    kernel = make_kernel(tmp_path, hang=True, ignore_term=True, grandchild=True)
    with serving(tmp_path, one_pool(kernel, root={"KernelStartTimeout": 2.0})) as server:
        wait_for(lambda: len(server.processes()) >= 2, 60.0, "the kernel and its child")
        family = server.processes()
        server.wait_for_log("it made no link within 2 seconds")
        wait_for(lambda: not any(map(processes.alive, family)), 60.0, "both to be killed")


@pytest.mark.parametrize("behaviour", ["flood_before", "flood_after"])
def test_a_kernel_that_prints_more_than_fits_into_a_pipe(tmp_path, behaviour):
    """No kernel waits for somebody to read what it prints."""
    kernel = make_kernel(tmp_path, **{behaviour: 300_000})
    with serving(tmp_path, one_pool(kernel)) as server:
        assert_serves(server)
        server.wait_for_log("printed: xxx")


UNUSUAL = {"child": {"connect_from_child": True}, "slow": {"write_size": 1}, "5": {"version": 5}, "3": {"version": 3}}


def test_unusual_kernels_that_are_all_right(tmp_path):
    pools = {name: pool(make_kernel(tmp_path, f"kernel-{name}", **behaviour)) for name, behaviour in UNUSUAL.items()}
    with serving(tmp_path, {"Pools": pools, "EnableAutomaticKernelConnection": False}) as server:
        ready_kernels(server, len(UNUSUAL))
        started = processes.children(server.pid)
        for name in UNUSUAL:
            with join_pool(server, name) as link:
                assert link.evaluate("λ") == "λ", name
                is_child = kernel_process(link) not in started
                assert is_child == (name == "child"), name
        server.stop()
        server.assert_no_process_left()


def kernel_ports(server):
    """The ports that the one kernel of a server has been told."""
    (kernel,) = wait_for(lambda: processes.children(server.pid), 60.0, "a kernel")
    words = wait_for(lambda: re.search(r"-linkname (\d+)@127.0.0.1,(\d+)@127", processes.command_line(kernel)), 60.0)
    return int(words[1]), int(words[2])


def test_strangers_at_the_ports_of_a_kernel(tmp_path):
    """Only the kernel that was started is let in, whoever is first; those who go at once do no harm either."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    with serving(tmp_path, one_pool(make_kernel(tmp_path, start_gate=gate))) as server:
        ports = kernel_ports(server)
        since = Since(server)
        with contextlib.ExitStack() as stack:
            for port in ports:
                reset(socket.create_connection(("127.0.0.1", port)))
                stranger = stack.enter_context(socket.create_connection(("127.0.0.1", port), 60.0))
                stranger.sendall(b"need_msg_portN")
            since.wait_for("Turned away a connection from .* to the port of kernel process")
            open(gate, "wb").close()
            ready_kernels(server, 1)
        assert_serves(server)
        for port in ports:  # nobody listens there any more
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port))


def test_as_many_start_at_the_same_time_as_are_allowed(tmp_path):
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    register = tmp_path / "started"
    kernel = make_kernel(tmp_path, start_gate=gate, register=register)
    with serving(tmp_path, one_pool(kernel, 5, {"KernelStartConcurrency": 2})) as server:
        wait_for(lambda: register.exists() and len(register.read_text().split()) == 2, 60.0, "two kernels")
        assert len(processes.children(server.pid)) == 2

        def open_gate_until_all_are_ready():
            with contextlib.suppress(OSError):  # nobody waits just now
                os.close(os.open(gate, os.O_WRONLY | os.O_NONBLOCK))
            return server.log.count(" is ready: process ") == 5

        wait_for(open_gate_until_all_are_ready, 60.0, "five kernels")


def test_the_server_stops_while_kernels_wait_for_their_turn(tmp_path):
    """None of them is started any more."""
    register = tmp_path / "started"
    kernel = make_kernel(tmp_path, hang=True, register=register)
    with serving(tmp_path, one_pool(kernel, 5, {"KernelStartConcurrency": 1})) as server:
        wait_for(lambda: register.exists() and register.read_text().split(), 60.0, "the first kernel")
        server.stop()
        assert len(register.read_text().split()) == 1


def test_start_kernel_that_fails_tells_the_client_and_leaves_nothing(server, tmp_path):
    with join(server) as link:
        assert link.command("StartKernel", os.fspath(tmp_path / "nothing")) == '{"status":"ExecutionError"}'
        bad = make_kernel(tmp_path, exit_at_once=True)
        assert link.command("StartKernel", bad) == '{"status":"ExecutionError"}'
        assert link.command("StartKernel", "'unbalanced") == '{"status":"ExecutionError"}'
        assert link.evaluate(Function("Plus", 1, 1)) == 2
