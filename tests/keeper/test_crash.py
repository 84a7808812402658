"""A server that is killed, and the next one with its port; a keeper that is killed; both."""
import contextlib
import json
import os
import re
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.interop.conftest import compiled, vendor_kernel, vendor_library  # noqa: F401 - fixtures
from tests.support.serving import (
    SUCCESS,
    TRUE,
    Gate,
    assert_no_internal_error,
    busy,
    evaluate_length,
    join,
    kernel_id,
    kernel_process,
    kernels,
    long_text,
    message_of,
    one_pool,
    ready_kernels,
    reconnect,
    serving,
    wait_until_busy,
)
from tests.support.terminal import TerminalProgram
from tests.support.terminal import script as script_words
from tools.harness import forking, processes
from tools.harness.crashing import run
from tools.harness.engines import interpreter
from tools.harness.fake_kernel.codec import Function, Symbol
from tools.harness.kernels import make_kernel
from tools.harness.processes import KEEPER
from tools.harness.server import ROOT, ServerProcess
from tools.harness.waiting import wait_for, wait_gone
from wstpserver.client import Session

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the keeper is for Linux")


def lasting(kernel, minimum, root=None, **keys):
    """A configuration with one pool, whose kernels outlive the server for a minute."""
    return one_pool(kernel, minimum, {"KernelsOutliveServer": 60, **(root or {})}, **keys)


@pytest.fixture
def kernel(tmp_path):
    return make_kernel(tmp_path)


@pytest.fixture
def killed(tmp_path):
    """killed(configuration) is a context manager: a server that is killed at the end of the block, or in it. What it
    leaves must be gone at the end of the test.
    """
    servers = []

    @contextlib.contextmanager
    def killed(configuration):
        server = ServerProcess(tmp_path, configuration, "--log-level", "debug")
        servers.append(server)
        server.start()
        yield server
        server.stop(signal.SIGKILL)

    yield killed
    try:
        for server in servers:
            server.assert_no_process_left()
            assert_no_internal_error(server.log)
    finally:
        for server in servers:
            server.kill()


def following(folder, configuration, server):
    """The next server with the same port."""
    return serving(folder, configuration, "--port", str(server.port), "--interface", "127.0.0.1", usual_address=False)


def keepers(server):
    return [pid for pid in server.everything() if processes.command_line(pid).endswith(KEEPER)]


def missed(link):
    """(how many frames were dropped, the packets that the kernel wrote while it had no client)."""
    dropped, packets = link.command("GetMissedOutput").args
    return dropped, [(packet.head.short, *packet.args) for packet in packets.args]


def settled(link):
    """Wait until the kernel of a link is idle."""
    wait_for(lambda: link.command("GetKernelBusyStatus") == '{"result":"False"}', 60.0, "the kernel to be idle")


def test_sessions_are_found_again_and_again(tmp_path, kernel):
    """Some compute, some are idle, some are reserved, some of each have kernels elsewhere, and the moment is random."""
    elsewhere = {"KernelLauncher": "env", "KernelAgent": interpreter()}
    report = run(tmp_path, kernel, sessions=9, kills=2, threads=2, rest=0.2, seed=os.getpid(), elsewhere=elsewhere)
    assert len(report.lost) <= report.in_frame, f"{report}: {report.lost}"
    assert report.in_frame or report.found == 18, str(report)


def test_what_a_kernel_wrote_meanwhile_and_before_is_there(tmp_path, kernel, killed):
    """The value, what was missed before, the computation that went on, and what it wrote without a server."""
    first, gate = Gate(tmp_path, "first"), Gate(tmp_path)
    configuration = lasting(kernel, 1, MaximumKernelNumber=3)
    with killed(configuration) as server:
        with join(server) as link:
            identifier, process = kernel_id(link), kernel_process(link)
            link.evaluate(Function("Set", Symbol("x"), 23))
            assert link.command("SetKeepAlive", TRUE) == link.command("SetReserveKernel", TRUE) == SUCCESS
            prints = [Function("Print", word) for word in ("one", "two")]
            steps = (first.busy(), prints[0], gate.busy(), prints[1], 5)
            link.put("EvaluatePacket", Function("CompoundExpression", *steps))
            first.wait_until_reached()
        server.wait_for_log(f"is unbridged from kernel {identifier}")
        first.open()
        gate.wait_until_reached()
    gate.open()
    with following(tmp_path, configuration, server) as second, join(second) as link:
        reconnect(link, identifier)
        settled(link)
        output = [("TextPacket", "one\n"), ("TextPacket", "two\n"), ("ReturnPacket", 5)]
        assert missed(link) == (0, output)
        assert (link.evaluate(Symbol("x")), kernel_process(link)) == (23, process)
        assert missed(link) == (0, [])


def test_a_frame_of_the_kernel_that_was_under_way(tmp_path, kernel, killed):
    """Its rest is passed over, and what follows is found."""
    configuration = lasting(kernel, 2, MaximumKernelNumber=6)
    sizes = (1000, 200_000, 3_000_000)
    gates = [Gate(tmp_path, f"gate {size}") for size in sizes]
    with killed(configuration) as server, contextlib.ExitStack() as stack:
        found = []
        for size, gate in zip(sizes, gates, strict=True):
            link = stack.enter_context(join(server))
            found.append(kernel_id(link))
            link.put("EvaluatePacket", Function("HalfFrame", gate.path, size))
            gate.wait_until_reached()
            if size > 100_000:  # its beginning has been passed on
                assert link.data.recv(1000)
        server.stop(signal.SIGKILL)
    for gate in gates:
        gate.open()
    with following(tmp_path, configuration, server) as second, join(second) as link:
        for identifier, size in zip(found, sizes, strict=True):
            reconnect(link, identifier)
            settled(link)
            whole = [("TextPacket", "y" * size)] if size == 1000 else []
            assert missed(link) == (int(not whole), [*whole, ("ReturnPacket", size)])
            assert link.evaluate(Function("Plus", 20, 3)) == 23


def test_a_question_is_asked_again(tmp_path, kernel, killed):
    """Whether it is short or as long as one that is held until it is whole."""
    configuration = lasting(kernel, 2, MaximumKernelNumber=3)
    questions = ["name? ", "é" * 30_000 + "? "]
    with killed(configuration) as server, join(server) as first, join(server) as second:
        found = [kernel_id(link) for link in (first, second)]
        for link, question in zip((first, second), questions, strict=True):
            link.put("EvaluatePacket", Function("AskString", question))
            assert link.get_packet() == ("InputStringPacket", question)
        with server.connect(without_kernel=True) as other:
            assert all(busy(other, identifier) for identifier in found), "and the loop has come round meanwhile"
        server.stop(signal.SIGKILL)
    with following(tmp_path, configuration, server) as server, join(server) as link:
        for identifier, question in zip(found, questions, strict=True):
            reconnect(link, identifier)
            assert link.get_packet() == ("InputStringPacket", question)
            link.put("TextPacket", "somebody")
            assert link.get_packet() == ("ReturnPacket", "somebody")


def test_a_reload_lets_the_kernels_that_follow_outlive_the_server(tmp_path, kernel, killed):
    """KernelsOutliveServer was 0; the kernel that was there before ends, and the new one is found again."""
    configuration = lasting(kernel, 1, {"KernelsOutliveServer": 0}, MaximumKernelNumber=3)
    with killed(configuration) as server, join(server) as old:
        before = kernel_process(old)
        configuration["KernelsOutliveServer"] = 60
        (tmp_path / f"{server.mark}.conf").write_text(json.dumps(configuration), encoding="utf-8")
        assert old.command("ReloadConfiguration") == SUCCESS
        with join(server) as link:
            identifier, process = kernel_id(link), kernel_process(link)
            link.evaluate(Function("Set", Symbol("x"), 23))
            server.stop(signal.SIGKILL)
    wait_gone(before)
    with following(tmp_path, configuration, server) as second, join(second) as link:
        reconnect(link, identifier)
        assert (link.evaluate(Symbol("x")), kernel_process(link)) == (23, process)


def test_a_kernel_in_the_middle_of_a_frame_of_its_client_is_closed(tmp_path, kernel, killed):
    """The reason is in the log; the pool is filled up again."""
    configuration = lasting(kernel, 1, MaximumKernelNumber=3)
    with killed(configuration) as server, join(server) as link:
        identifier, process = kernel_id(link), kernel_process(link)
        beginning, _ = long_text("EvaluatePacket", 200_000)
        link.put_raw(beginning + b"x" * 100_000)
        with join(server) as other:
            wait_for(lambda: busy(other, identifier), 60.0, "the beginning of the packet to be passed on")
        server.stop(signal.SIGKILL)
    with following(tmp_path, configuration, server) as second:
        second.wait_for_log(
            f"Kernel {identifier} of the server before this one is closed: its client was in the middle of a packet"
        )
        wait_gone(process)
        with join(second) as link:
            assert "ExecutionError" in link.command("ConnectKernel", identifier)


def test_an_answer_behind_one_that_was_thrown_away(tmp_path, kernel, killed):
    """The client before has left in the middle of a packet, and the server is killed soon after that: what the next
    client is answered is kept.
    """
    gate = Gate(tmp_path)
    configuration = lasting(kernel, 1, MaximumKernelNumber=2, ReservePreviouslyConnectedKernels=False)
    with killed(configuration) as server:
        with join(server) as link:
            identifier = kernel_id(link)
            link.put_raw(evaluate_length(1_000_000)[0] + b"x" * 200_000)
            wait_until_busy(server, identifier)
        with join(server) as link:
            link.command("ConnectKernel", identifier, 20)
            link.put("EvaluatePacket", Function("CompoundExpression", gate.busy(), "mine"))
            gate.wait_until_reached()
            server.stop(signal.SIGKILL)
    gate.open()
    with following(tmp_path, configuration, server) as second, join(second) as link:
        reconnect(link, identifier)
        settled(link)
        assert missed(link) == (0, [("ReturnPacket", "mine")])


def test_an_evaluation_is_not_older_than_it_is(tmp_path, kernel, killed):
    """What was noted in the middle of another one says nothing of it."""
    first, gate = Gate(tmp_path, "first"), Gate(tmp_path)
    configuration = lasting(kernel, 1, MaximumKernelNumber=3)
    with killed(configuration) as server, join(server) as link:
        identifier = kernel_id(link)
        link.put("EvaluatePacket", first.busy())
        first.wait_until_reached()
        assert link.command("SetReserveKernel", TRUE) == SUCCESS
        first.open()
        link.get_packet()
        began = time.monotonic()
        link.put("EvaluatePacket", gate.busy())
        gate.wait_until_reached()
        server.stop(signal.SIGKILL)
    with following(tmp_path, configuration, server) as second, join(second) as link:
        assert 0 <= kernels(link, "a")[identifier]["SecondsBusy"] < time.monotonic() - began
        gate.open()


def test_a_kernel_waits_for_its_client(tmp_path, kernel, killed):
    """No other client of the pool gets it; when its client has not come, what KeepAlive says is done."""
    configuration = lasting(kernel, 1, MaximumKernelNumber=4, KeepAlive=False)
    with killed(configuration) as server, join(server) as link:
        identifier, process = kernel_id(link), kernel_process(link)
        server.stop(signal.SIGKILL)
    with following(tmp_path, configuration | {"KernelsOutliveServer": 2}, server) as second:
        second.wait_for_log("Took over the kernels of the server before this one: 1")
        with second.connect(without_kernel=True) as link:
            awaited = kernels(link, "a").get(identifier)  # None if that took 2 seconds
        with join(second) as link:
            assert kernel_id(link) != identifier
        assert awaited is None or awaited["State"] == "reserved"
        second.wait_for_log(f"Closing kernel {identifier}: its client has not come back and KeepAlive is false")
        wait_gone(process)


def test_a_session_comes_back_with_its_answer(tmp_path, kernel, killed):
    """Of an evaluation that went on without a server, and of one that begins after the crash."""
    gate, back = Gate(tmp_path), []
    configuration = lasting(kernel, 1, MaximumKernelNumber=3)
    with killed(configuration) as server, Session(f"{server.port}@127.0.0.1", reconnect=True) as session:
        session.on_reconnected = lambda: back.append(session.kernel_id)
        session.evaluate('x = "kept"')
        identifier = session.kernel_id
        with ThreadPoolExecutor(1) as executor:
            answer = executor.submit(session.evaluate, f'BusyUntil["{gate.path}"]', 60)
            gate.wait_until_reached()
            server.stop(signal.SIGKILL)
            gate.open()
            with following(tmp_path, configuration, server):
                assert answer.result(60) == gate.path
                assert session.evaluate("x", 30) == "kept"
                assert back == [identifier]
                session.close()


def test_a_kernel_on_the_vendors_library_goes_on(tmp_path, vendor_kernel, killed):  # noqa: F811 - the fixture
    configuration = lasting(vendor_kernel, 1, MaximumKernelNumber=3)
    with killed(configuration) as server, join(server) as link:
        identifier = kernel_id(link)
        assert entered(link) == "In[2]:= "
        link.put("EvaluatePacket", Function("Spin", 1))
        assert link.get_packet() == ("TextPacket", "spinning")
        server.stop(signal.SIGKILL)
    with following(tmp_path, configuration, server) as second, join(second) as link:
        reconnect(link, identifier)
        settled(link)
        assert [packet[0] for packet in missed(link)[1]] == ["ReturnPacket"]
        assert entered(link) == "In[3]:= "


def entered(link):
    """The prompt after a line of input."""
    link.put("EnterTextPacket", "1+2")
    while (packet := link.get_packet())[0] != "InputNamePacket":
        pass
    return packet[1]


def test_a_program_at_its_prompt_says_that_it_is_back(tmp_path, kernel, killed):
    """In one line."""
    configuration = lasting(kernel, 1, MaximumKernelNumber=3)
    with killed(configuration) as server:
        words = script_words("-wstpserver", f"{server.port}@127.0.0.1", "-startprofile", tmp_path / "profile")
        with TerminalProgram(words, tmp_path) as terminal:
            terminal.expect("In[1]:= ")
            terminal.enter('x = "kept"', "In[2]:= ")
            server.stop(signal.SIGKILL)
            with following(tmp_path, configuration, server):
                terminal.enter("x", re.compile(r"Out\[2\]= kept\n\nIn\[3\]:= "))
                assert re.findall(".*reconnected.*\n", terminal.output) == ["wstpscript: reconnected\n"]
                terminal.keys("\x04")
                assert terminal.wait() == 0


def test_a_server_that_stops_and_keeps_its_kernels(tmp_path, kernel, killed):
    configuration = lasting(kernel, 1, MaximumKernelNumber=3)
    with killed(configuration) as server:
        with join(server) as link:
            identifier, process = kernel_id(link), kernel_process(link)
            link.evaluate(Function("Set", Symbol("x"), 23))
        command = [sys.executable, "-m", "wstpserver.cli.admin.main", "-s", f"{server.port}@127.0.0.1"]
        words = [*command, "stop", "--keep-kernels", "30"]
        done = forking.run(words, capture_output=True, text=True, timeout=60, cwd=ROOT)
        assert done.returncode == 0, done
        assert server.wait_for_exit() == 0
    with following(tmp_path, configuration, server) as second, join(second) as link:
        reconnect(link, identifier)
        assert (link.evaluate(Symbol("x")), kernel_process(link)) == (23, process)


@pytest.mark.parametrize("outlive", [0, 0.5])
def test_nobody_comes(tmp_path, outlive):
    """All end, also what a kernel has started in a session of its own."""
    kernel = make_kernel(tmp_path, grandchild=True)
    with serving(tmp_path, lasting(kernel, 2, {"KernelsOutliveServer": outlive})) as server:
        server.expect_exit(-signal.SIGKILL)
        ready_kernels(server, 2)
        assert len(server.processes()) == 4
        server.stop(signal.SIGKILL)
        server.assert_no_process_left()


def test_a_keeper_that_is_killed(tmp_path):
    """Its kernels are gone at once, with what they have started; clients are told; there is another keeper."""
    kernel = make_kernel(tmp_path, grandchild=True)
    with serving(tmp_path, lasting(kernel, 2)) as server:
        ready_kernels(server, 2)
        with join(server) as link:
            before = server.processes()
            first = max(keepers(server))  # its guard was there before it
            os.kill(first, signal.SIGKILL)
            assert "the kernel died: signal 9 (SIGKILL)" in message_of(link.get_packet())
            assert link.at_end()
        for pid in (first, *before):
            wait_gone(pid)
        server.wait_for_log("The keeper has ended, and all kernels with it; another one is started")
        ready_kernels(server, 4)
        with join(server) as link:
            assert link.evaluate(1) == 1


def test_server_and_keeper_are_killed(tmp_path):
    kernel = make_kernel(tmp_path, grandchild=True)
    with serving(tmp_path, lasting(kernel, 2)) as server:
        server.expect_exit(-signal.SIGKILL)
        ready_kernels(server, 2)
        for pid in (max(keepers(server)), server.pid):
            os.kill(pid, signal.SIGKILL)
        server.assert_no_process_left()


def test_a_kernel_that_ends_while_there_is_no_server(tmp_path, kernel, killed):
    """The next server is told, and its place in the pool is filled."""
    configuration = lasting(kernel, 2)
    with killed(configuration) as server:
        ready_kernels(server, 2)
        first, second = server.processes()
    os.kill(first, signal.SIGKILL)
    wait_gone(first)
    with following(tmp_path, configuration, server) as next_one:
        ready_kernels(next_one, 1)
        wait_for(lambda: len(next_one.processes()) == 1, 60.0, "one kernel of the next server")
        assert processes.alive(second)
        with join(next_one) as link:
            assert link.evaluate(1) == 1
