"""Out-of-band messages: they overtake data, and concern one bridge only."""
import contextlib
import threading

import pytest

from tests.server.transfers import stalled_writer
from tests.support.serving import (
    ABORTED,
    Gate,
    busy,
    join,
    kernel_id,
    kernel_process,
    long_text,
    one_pool,
    prompt,
    reconnect,
    serving,
)
from tools.harness.fake_kernel.codec import Function, Symbol
from tools.harness.waiting import wait_for, wait_gone

TERMINATE, INTERRUPT, ABORT = 1, 2, 3


def test_abort_during_an_evaluation_keeps_the_session(server, tmp_path):
    with join(server) as link:
        link.evaluate(Function("Set", Symbol("x"), 5))
        for number in range(3):
            with contextlib.closing(Gate(tmp_path, f"gate {number}")) as gate:
                link.put("EvaluatePacket", gate.busy())
                gate.wait_until_reached()  # an abort that comes before the evaluation has begun is one of nothing
                link.send_message(ABORT)
                assert link.get_packet() == ("ReturnPacket", ABORTED)
        assert link.evaluate(Function("Get", Symbol("x"))) == 5


def test_interrupt_opens_the_menu(server, gate):
    with join(server) as link:
        link.put("EvaluatePacket", Function("CompoundExpression", gate.busy(), 1))
        gate.wait_until_reached()
        link.send_message(INTERRUPT)
        assert link.get_packet() == ("MenuPacket", 1, "Interrupt> ")
        link.put("TextPacket", "a")
        assert link.get_packet() == ("ReturnPacket", ABORTED)


def test_an_abort_overtakes_20_megabytes_to_the_kernel(server, gate):
    """The kernel is busy and reads nothing; the data are stuck on three sockets, the abort is not."""
    beginning, end = long_text("TextPacket", 20_000_000)
    with join(server) as link:
        link.put("EvaluatePacket", gate.busy())
        gate.wait_until_reached()
        sender = threading.Thread(target=link.put_raw, args=(beginning + b"x" * 20_000_000 + end,))
        sender.start()
        link.send_message(ABORT)
        assert link.get_packet() == ("ReturnPacket", ABORTED)
        sender.join()
        assert link.evaluate(1) == 1


def test_an_abort_overtakes_50_megabytes_to_the_client(server):
    """The client has not read yet what its kernel wrote, and the kernel stops writing more."""
    with join(server) as link:
        stalled_writer(server, link, Function("Flood", 50_000, 1000))
        link.send_message(ABORT)
        count = 0
        while (packet := link.get_packet())[0] == "TextPacket":
            count += 1
        assert packet == ("ReturnPacket", ABORTED)
        assert 100 < count < 40_000


@pytest.mark.parametrize("code", [4, 5, 6, 7, 8, 10, 128, 255])
def test_messages_pass_in_both_directions(server, code):
    with join(server) as link:
        assert link.evaluate(Function("SendMessage", code, 4711)) == Symbol("Null")
        assert link.get_message() == (code, 4711)
        link.send_message(code, 1)
        assert link.evaluate(1) == 1


def test_messages_between_frames_keep_their_order(server):
    with join(server) as link:
        sends = [Function("SendMessage", 128, number) for number in range(500)]
        link.put("EvaluatePacket", Function("CompoundExpression", *sends))
        assert [link.get_message() for _ in range(500)] == [(128, number) for number in range(500)]
        assert link.get_packet()[0] == "ReturnPacket"


def test_terminate_ends_the_kernel_as_the_client_wishes(server):
    with join(server) as link:
        kernel = kernel_process(link)
        link.send_message(TERMINATE)
        link.put("EvaluatePacket", 1)  # the test kernel looks at messages when it waits
        wait_gone(kernel)
        while not link.at_end():
            pass


def test_the_notice_that_a_link_closes_concerns_this_link_only(server):
    """The kernel of a client that closes politely lives on."""
    with join(server) as link, join(server) as other:
        kernel, identifier = kernel_process(link), kernel_id(link)
        link.command("SetKeepAlive", Symbol("True"))
        link.close(politely=True)
        reconnect(other, identifier)
        assert kernel_process(other) == kernel
        other.command("SetKeepAlive", Symbol("False"))


def test_messages_of_a_kernel_that_nobody_is_bridged_to_go_nowhere(tmp_path, kernel, gate):
    """The two connections of a link have no common order: the log tells when the server has read the message."""
    with serving(tmp_path, one_pool(kernel), level="trace") as server, join(server) as link:
        identifier = kernel_id(link)
        sends = Function("SendMessage", 128, 1)
        after = Gate(tmp_path, "after")
        link.put("EvaluatePacket", Function("CompoundExpression", gate.busy(), sends, after.busy()))
        gate.wait_until_reached()
        assert link.command("DisconnectKernel") == '{"status":"ExecutionSuccess"}'
        gate.open()
        server.wait_for_log(r"Kernel \S+ sent message 128")
        after.open()
        reconnect(link, identifier)
        assert link.evaluate(Function("SendMessage", 128, 3)) == Symbol("Null")
        assert link.get_message() == (128, 3)  # and not the one before it


def test_a_flood_of_messages(server, gate):
    """A hundred thousand of them to a kernel that looks at none: the others do not notice, and they can be lost."""
    with join(server) as link, join(server) as other:
        link.put("EvaluatePacket", Function("Deaf", 1))
        flood = bytes([0, 0, 0, 128, 0, 0, 0, 1]) * 100_000
        sender = threading.Thread(target=link.message.sendall, args=(flood,))
        sender.start()
        for number in range(10):
            assert other.evaluate(number) == number
        sender.join()
        assert link.get_packet()[0] == "ReturnPacket"
        assert link.evaluate(1) == 1


def test_a_client_that_does_not_read_its_messages(server):
    """The kernel sends as many as it wants and works on."""
    with join(server) as link:
        for _ in range(5):
            assert link.evaluate(Function("SendMessages", 128, 20_000)) == Symbol("Null")
        assert link.evaluate(1) == 1


def test_an_abort_just_before_the_end_of_a_link_reaches_the_kernel(tmp_path, kernel):
    """Whichever of the two connections the server looks at first."""
    gates = [Gate(tmp_path, f"gate {number}") for number in range(8)]
    with serving(tmp_path, one_pool(kernel, 2)) as server, join(server) as watcher:
        for gate in gates:
            with server.connect() as link:
                prompt(link)
                identifier = kernel_id(link)
                link.command("SetReserveKernel", Symbol("False"))
                link.put("EvaluatePacket", gate.busy())
                gate.wait_until_reached()
                link.send_message(ABORT)
            wait_for(lambda name=identifier: not busy(watcher, name), 60.0, "the evaluation to be aborted")
            gate.close()
