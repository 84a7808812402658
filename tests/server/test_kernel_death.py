"""Kernels that die: their client hears everything they wrote, then why there is no more."""
import os
import re
import signal
import threading

import pytest

from tests.server.transfers import LARGE, stalled_writer
from tests.support.serving import (
    Since,
    evaluate_length,
    join,
    kernel_id,
    kernel_process,
    one_pool,
    ready_kernels,
    serving,
)
from tools.harness import processes
from tools.harness.fake_kernel.codec import Function, Symbol
from tools.harness.kernels import make_kernel
from tools.harness.waiting import wait_for, wait_gone

#: What a client is told.
REPLACED = "WSTPServer: the kernel died; a new one takes its place, without its definitions\n"

DEATHS = {
    "by an exit": (Function("Die", 3), "exit status 3"),
    "by a signal": (Function("DieBySignal", 9), "signal 9 (SIGKILL)"),
    "by a fault": (Function("DieBySignal", 11), "signal 11 (SIGSEGV)"),
    "by closing its link": (Function("CloseLink"), "it closed its link but has not ended"),
}


def is_death(packet):
    """Whether a packet tells that the kernel has died, and how."""
    head, text = packet
    return head == "TextPacket" and text.startswith("WSTPServer: the kernel died: ")


def assert_died(link, reason=""):
    packet = link.get_packet()
    assert is_death(packet) and reason in packet[1], packet


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_idle(server, number):
    since = Since(server)
    with join(server) as link:
        kernel = kernel_process(link)
        os.kill(kernel, number)
        assert_died(link)
        assert link.at_end()
        identifier = since.wait_for(rf"Warning: \n    Kernel (\S+) \(process {kernel}\) died: signal {number:d} ")[1]
    since.wait_for(f"unbridged from kernel {identifier}: the kernel died")


@pytest.mark.parametrize("how", DEATHS)
def test_in_the_middle_of_an_evaluation(server, how):
    expression, reason = DEATHS[how]
    since = Since(server)
    with join(server) as link:
        kernel = kernel_process(link)
        link.put("EvaluatePacket", expression)
        assert_died(link, reason)
        assert link.at_end()
    since.wait_for(re.escape(f"(process {kernel}) died: {reason}"))
    wait_gone(kernel)


def test_last_words_are_in_the_log(server):
    since = Since(server)
    words = Function("WriteOutput", "No more memory available.")
    with join(server) as link:
        link.put("EvaluatePacket", Function("CompoundExpression", words, Function("Die", 1)))
        assert_died(link, "the kernel died: exit status 1; its last output lines:\nNo more memory available.\n")
    since.wait_for("died: exit status 1; its last output lines:\n    No more memory available.\n")


def test_everything_it_wrote_arrives(server):
    """Two thousand packets, most of them still on their way when it dies."""
    with join(server) as link:
        flood = Function("Flood", 2000, 1000)
        link.put("EvaluatePacket", Function("CompoundExpression", flood, Function("Die")))
        for number in range(2000):
            head, text = link.get_packet()
            assert head == "TextPacket" and text.startswith(f"{number} .")
        assert_died(link)
        assert link.at_end()


@pytest.mark.parametrize("then", ["die", "close"])
@pytest.mark.parametrize("size", [50_000, 1_000_000])
def test_in_the_middle_of_a_frame(server, then, size):
    """Nothing is made up: the link ends where the kernel has, as a link to the kernel itself would."""
    with join(server) as link:
        link.put("EvaluatePacket", Function("HalfFrame", then, size))
        assert link.at_end()
        assert link.framer.pending.endswith(b"yyy") and len(link.framer.pending) > size / 2


@pytest.mark.parametrize("head", ["SA~PInputNamePacket", "MA~JTextPacket"])
def test_in_the_middle_of_a_small_frame(server, head):
    """A frame of which nothing has gone out yet is dropped, and the client can be told."""
    with join(server) as link:
        half = f"FA#{head}\n" + '"JA~'
        link.put("EvaluatePacket", Function("CompoundExpression", Function("PutBytes", half), Function("Die")))
        assert_died(link)
        assert link.at_end()


@pytest.mark.parametrize("garbage", ["\x00", 'FA#MA~JTextPacket\n"DA~Ax\n]' + "\xff\xfe\xfd", "F" + "9" * 40])
def test_a_kernel_that_leaves_the_protocol(server, garbage):
    since = Since(server)
    with join(server) as link:
        kernel = kernel_process(link)
        link.put("EvaluatePacket", Function("PutBytes", garbage))
        packet = link.get_packet()
        if "TextPacket" in garbage:
            assert packet == ("TextPacket", "x")  # what came before is passed on
            packet = link.get_packet()
        assert is_death(packet)
        assert link.at_end()
    since.wait_for(rf"\(process {kernel}\) died: it left the protocol: ")
    wait_gone(kernel)


def test_a_kernel_that_leaves_the_protocol_in_the_middle_of_a_frame(server, gate):
    """The link ends there, though the kernel might have been replaced: half a frame cannot be taken back."""
    half = 'FA#MA~JTextPacket\n"40003 A~40000 ' + "y" * 20_000
    wrong = Function("CompoundExpression", gate.busy(), Function("PutBytes", "y" * 19_994 + "!"))
    with join(server) as link:
        assert link.command("SetAllowSilentKernelReplacement", Symbol("True")) == '{"status":"ExecutionSuccess"}'
        link.put("EvaluatePacket", Function("CompoundExpression", Function("PutBytes", half), wrong))
        received = link.data.recv(1000)
        gate.open()
        while more := link.data.recv(1000):  # how much of the rest was passed on is not promised
            received += more
    assert half.encode().startswith(received[: len(half)])
    assert b"ReturnPacket" not in received  # which begins with the first wrong byte


@pytest.mark.parametrize("how", ["by a signal", "by an exit"])
def test_while_its_client_sends_60_megabytes(server, how):
    beginning, end = evaluate_length(LARGE)
    with join(server) as link:
        kernel = kernel_process(link)
        link.put_raw(beginning)
        failed = []

        def send():
            try:
                for _ in range(LARGE // 1_000_000):
                    link.put_raw(b"x" * 1_000_000)
                link.put_raw(end)
            except OSError as error:
                failed.append(error)

        link.put_raw(b"x" * 1_000_000)
        sender = threading.Thread(target=send)
        sender.start()
        os.kill(kernel, signal.SIGKILL if how == "by a signal" else signal.SIGTERM)
        assert_died(link)
        assert link.at_end()
        sender.join()


def test_while_its_client_does_not_read(server):
    """What the kernel wrote is there when the client reads, and then the link ends."""
    with join(server) as link:
        kernel = stalled_writer(server, link)
        os.kill(kernel, signal.SIGKILL)
        wait_gone(kernel)
        received = 0
        while data := link.data.recv(1 << 20):
            received += len(data)
        assert 100_000 < received < LARGE  # all that the kernel had written, and no more


def test_a_child_of_the_kernel_does_not_keep_the_link_open(tmp_path):
    """The process that was started is gone, its child has the link: the child goes too, and the client is told."""
    kernel = make_kernel(tmp_path, connect_from_child=True)
    with serving(tmp_path, one_pool(kernel)) as server:
        with join(server) as link:
            child = kernel_process(link)
            started = next(pid for pid in processes.children(server.pid) if child in processes.children(pid))
            os.kill(started, signal.SIGKILL)
            assert_died(link)
            assert link.at_end()
        wait_gone(child)
        ready_kernels(server, 2)


@pytest.mark.parametrize("quit_", [Function("Quit"), Function("Exit", 4), Function("Die", 0)])
def test_quit_closes_the_link_without_a_fuss(server, quit_):
    """The end that the client asked for is no death, also where a kernel that dies is replaced."""
    since = Since(server)
    with join(server) as link:
        assert link.command("SetAllowSilentKernelReplacement", Symbol("True")) == '{"status":"ExecutionSuccess"}'
        identifier = kernel_id(link)
        link.put("EvaluatePacket", quit_)
        assert link.at_end()
    since.wait_for(rf"Debug: \n    Kernel {identifier} ended: ")
    assert "died" not in since.log


@pytest.mark.parametrize("how", DEATHS)
def test_silent_replacement(server, how):
    """The client keeps its link: it is told, gets a prompt, and what had not been sent is evaluated by the new one."""
    expression, _ = DEATHS[how]
    with join(server) as link:
        assert link.command("SetAllowSilentKernelReplacement", Symbol("True")) == '{"status":"ExecutionSuccess"}'
        old = kernel_id(link)
        link.put("EvaluatePacket", expression)
        link.put("EvaluatePacket", Function("Plus", 40, 2))
        assert link.get_packet() == ("ReturnPacket", Symbol("$Aborted")), "the evaluation has ended for the client"
        assert link.get_packet() == ("TextPacket", REPLACED)
        assert link.get_packet() == ("InputNamePacket", "In[1]:= ")
        assert link.get_packet() == ("ReturnPacket", 42)
        assert link.evaluate(Function("Evaluations")) == 2
        assert kernel_id(link) != old


def test_silent_replacement_in_the_middle_of_a_line_of_text(server):
    with join(server) as link:
        link.command("SetAllowSilentKernelReplacement", Symbol("True"))
        link.put("EnterTextPacket", "Die[]")
        assert [link.get_packet() for _ in range(4)] == [
            ("OutputNamePacket", "Out[1]= "), ("ReturnTextPacket", "$Aborted"), ("TextPacket", REPLACED),
            ("InputNamePacket", "In[1]:= "),
        ]  # fmt: skip


@pytest.mark.parametrize("comes", [True, False])
def test_silent_replacement_of_a_client_that_waits_for_another_kernel(server, gate, comes):
    """It is told what has become of its evaluation, whether it gets the kernel that it asked for or not."""
    since = Since(server)
    with join(server) as other:
        wanted = kernel_id(other)
        other.command("SetKeepAlive", Symbol("True"))
        other.put("EvaluatePacket", gate.busy())
        gate.wait_until_reached()
    since.wait_for(f"unbridged from kernel {wanted}")
    with join(server) as link:
        link.command("SetAllowSilentKernelReplacement", Symbol("True"))
        kernel = kernel_process(link)
        link.put("EvaluatePacket", Function("Pause", 60))
        link.put("WSCommandPacket", Function("ConnectKernel", wanted, 20 if comes else 0.5))
        since.wait_for(f"waits up to .* for kernel {wanted}")
        os.kill(kernel, signal.SIGKILL)
        since.wait_for(rf"\(process {kernel}\) died")
        if comes:
            gate.open()
        success, failure = '{"status":"ExecutionSuccess"}', '{"status":"ExecutionError"}'
        assert link.get_packet() == ("ReturnPacket", success if comes else failure)
        assert link.get_packet() == ("ReturnPacket", Symbol("$Aborted"))
        assert "a new one takes its place" in link.get_packet()[1]
        assert link.get_packet()[0] == "InputNamePacket"
        assert (kernel_id(link) == wanted) is comes
        assert link.evaluate(Function("Plus", 40, 2)) == 42
    if not comes:
        gate.open()


def test_silent_replacement_in_the_middle_of_an_answer(server):
    """The link goes on, so the frame is filled up; the notice behind it says what to think of it."""
    with join(server) as link:
        link.command("SetAllowSilentKernelReplacement", Symbol("True"))
        link.put("EvaluatePacket", Function("HalfFrame", "die", 1_000_000))
        head, text = link.get_packet()
        assert (head, len(text)) == ("TextPacket", 1_000_000)
        assert link.get_packet() == ("ReturnPacket", Symbol("$Aborted"))
        assert "a new one takes its place" in link.get_packet()[1]
        assert link.get_packet() == ("InputNamePacket", "In[1]:= ")
        assert link.evaluate("new") == "new"


def test_silent_replacement_in_the_middle_of_a_question(server):
    """What the client still sends of a frame is thrown away, as half of it went to the dead kernel."""
    beginning, end = evaluate_length(30_000_000)
    with join(server) as link:
        link.command("SetAllowSilentKernelReplacement", Symbol("True"))
        kernel = kernel_process(link)
        link.put_raw(beginning + b"x" * 20_000_000)  # more than fits into all the sockets' buffers
        os.kill(kernel, signal.SIGKILL)
        assert link.get_packet() == ("ReturnPacket", Symbol("$Aborted"))
        assert link.get_packet()[0] == "TextPacket"
        assert link.get_packet() == ("InputNamePacket", "In[1]:= ")
        link.put_raw(b"x" * 10_000_000 + end)
        assert link.evaluate("new") == "new"
        assert link.evaluate(Function("Evaluations")) == 2


def test_a_pool_is_filled_up_again(tmp_path):
    """Whoever dies, used or not, has a successor."""
    with serving(tmp_path, one_pool(make_kernel(tmp_path), 3)) as server:
        ready_kernels(server, 3)
        for number in (6, 9):
            for kernel in processes.children(server.pid):
                os.kill(kernel, signal.SIGKILL)
            ready_kernels(server, number)
            wait_for(lambda: len(processes.children(server.pid)) == 3, 60.0, "three kernels")
        with join(server) as link:
            assert link.evaluate(1) == 1
