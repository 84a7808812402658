"""Frames of a client in every shape: split, late, endless, broken."""
import contextlib
import socket

import pytest

from tests.support import processes
from tests.support.serving import ABORTED, evaluate_length, join, kernel_process, long_text
from tests.support.testkernel import joining
from tests.support.testkernel.codec import Function, encode
from tests.support.waiting import wait_gone


def plus(number):
    return encode(Function("EvaluatePacket", Function("Plus", number, 1)))


def test_frames_byte_by_byte(server):
    with join(server) as link:
        data = plus(1) + b"]" + plus(2) + b"]" + encode(Function("EnterTextPacket", "1 + 2")) + b"]"
        for byte in data:
            link.put_raw(bytes([byte]))
        assert [link.get_packet() for _ in range(5)] == [
            ("ReturnPacket", 2),
            ("ReturnPacket", 3),
            ("OutputNamePacket", "Out[1]= "),
            ("ReturnTextPacket", "3"),
            ("InputNamePacket", "In[2]:= "),
        ]


def test_a_frame_is_complete_without_its_end_of_packet(server):
    with join(server) as link:
        link.put_raw(plus(1))
        assert link.get_packet() == ("ReturnPacket", 2)
        link.put_raw(b"]")  # it belongs to the one before
        link.put_raw(plus(2) + b"]")
        assert link.get_packet() == ("ReturnPacket", 3)


def test_ends_of_packets_alone_mean_nothing(server):
    with join(server) as link:
        link.put_raw(b"]" * 5)
        link.put_raw(b"]]]" + plus(1) + b"]]]]" + plus(2))
        assert [link.get_packet() for _ in range(2)] == [("ReturnPacket", 2), ("ReturnPacket", 3)]


def test_a_late_end_of_packet_around_a_command(server):
    """The evaluation goes to the kernel, the command does not: their ends of packet must not be mixed up."""
    command = encode(Function("WSCommandPacket", Function("GetKernelBusyStatus")))
    with join(server) as link:
        for data in (plus(1), b"]", command, b"]", plus(2), b"]" + command + b"]" + plus(3), b"]"):
            link.put_raw(data)
        answers = [link.get_packet() for _ in range(5)]
        assert [value for _, value in answers if isinstance(value, int)] == [2, 3, 4]
        assert sum(isinstance(value, str) and value.startswith('{"result":"') for _, value in answers) == 2


def test_many_frames_in_one_write(server):
    with join(server) as link:
        link.put_raw(b"".join(plus(number) + b"]" for number in range(200)))
        assert [link.get_packet() for _ in range(200)] == [("ReturnPacket", number + 1) for number in range(200)]


GARBAGE = {
    "no token": b"\x00\x01\x02 no expression",
    "an HTTP request": b"POST / HTTP/1.1\r\n\r\n",
    "no line feed": b"FA#PA~NEvaluatePacket!",
    "a size without end": b'"' + b"9" * 40,
    "an end inside": b"FA#QA~NEvaluatePacket\n]",
    "a block alone": b"PE\xf6" + bytes(40) + b"\n",
}


@pytest.mark.parametrize("case", GARBAGE)
def test_what_is_no_expression_ends_the_link(server, case):
    with join(server) as link:
        link.put_raw(plus(1) + b"]")
        assert link.get_packet() == ("ReturnPacket", 2)
        kernel = kernel_process(link)
        with contextlib.suppress(ConnectionError):
            link.put_raw(GARBAGE[case])
        assert link.at_end()
    server.wait_for_log("disconnected: it left the protocol: ")
    wait_gone(kernel)  # as KeepAlive is false here


def test_garbage_behind_a_whole_frame_does_not_hurt_that_frame(server, gate):
    """The evaluation before it is begun, and the kernel is closed with its link."""
    with join(server) as link:
        kernel = kernel_process(link)
        link.put_raw(encode(Function("EvaluatePacket", gate.busy())) + b"]\x00")
        assert link.at_end()
    wait_gone(kernel)


def test_garbage_on_the_message_connection_goes_nowhere(server):
    """Records of eight bytes are passed on whatever they mean; a kernel knows what to make of them."""
    with join(server) as link:
        link.message.sendall(bytes(range(200, 248)) * 100)
        assert link.evaluate(3) == 3


@pytest.mark.parametrize("size", [2**32, 2**40])
def test_claims_of_gigabytes_cost_nothing(server, size):
    before = processes.resident_bytes(server.pid)
    with join(server) as link:
        beginning, _ = evaluate_length(size)
        link.put_raw(beginning + b"x" * 1000)
        link.close()
    with join(server) as link:
        link.put_raw(b"FA#QA~NEvaluatePacket\nF%d #GA~DList\nP%d \xf6" % (size, size) + bytes(1000))
    assert processes.resident_bytes(server.pid) < before + (50 << 20)


def test_a_client_that_stalls_in_the_middle_of_a_frame(server):
    """Small or large, it holds up nobody but itself, and goes on when it wants."""
    for size in (100, 300_000):
        beginning, end = evaluate_length(size)
        with join(server) as stalled, join(server) as other:
            stalled.put_raw(beginning + b"x" * (size // 2))
            assert other.evaluate(Function("Plus", 1, 2)) == 3
            stalled.put_raw(b"x" * (size - size // 2) + end)
            assert stalled.get_packet() == ("ReturnPacket", size)


def test_a_stalled_frame_can_be_followed_by_messages(server, gate):
    """An abort does not wait for the rest of a frame."""
    beginning, end = long_text("TextPacket", 300_000)
    with join(server) as link:
        link.put("EvaluatePacket", gate.busy())
        gate.wait_until_reached()
        link.put_raw(beginning + b"x" * 100)
        link.send_message(3)
        assert link.get_packet() == ("ReturnPacket", ABORTED)
        link.put_raw(b"x" * 299_900 + end)
        assert link.evaluate(5) == 5


def test_a_half_close_of_the_data_connection_is_the_end(server):
    """What was sent before is still begun; nobody waits for an answer that nobody may read."""
    with join(server) as link:
        link.data.shutdown(socket.SHUT_WR)
        with contextlib.suppress(joining.LinkClosed):
            while True:
                link.get_raw()
    server.wait_for_log("disconnected: it closed its link")
