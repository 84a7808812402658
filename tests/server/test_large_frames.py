"""Frames of 60 MB and clients that do not read: the server passes them on and does not collect them."""
import threading

import pytest

from tests.server.transfers import LARGE, Peak, read_frame, stalled_writer
from tests.support.serving import MEBIBYTE, assert_serves, evaluate_length, join, long_text
from tools.harness.fake_kernel.codec import Function, Symbol, encode
from tools.harness.fake_kernel.framing import Framer
from tools.harness.waiting import wait_gone

#: What 60 MB on their way may cost: buffers of 256 KiB, sockets' buffers, what the allocator does not give back.
ALLOWANCE = 24 * MEBIBYTE


def test_60_megabytes_to_a_kernel(server):
    beginning, end = evaluate_length(LARGE)
    chunk = b"x" * 1_000_000
    with join(server) as link, join(server) as other, Peak(server) as peak:
        link.put_raw(beginning)
        for _ in range(LARGE // len(chunk)):
            link.put_raw(chunk)
        assert other.evaluate(1) == 1
        link.put_raw(end)
        assert link.get_packet() == ("ReturnPacket", LARGE)
    assert peak.growth < ALLOWANCE


def test_60_megabytes_to_a_client(server):
    with join(server) as link, join(server) as other, Peak(server) as peak:
        link.put("EvaluatePacket", Function("MakeString", LARGE))
        length, first, _ = read_frame(link)
        assert other.evaluate(1) == 1
        assert b"ReturnPacket" in first and length > LARGE
    assert peak.growth < ALLOWANCE


def test_both_directions_at_once(server):
    """Two clients send while two others receive, and a fifth is served between."""
    size = LARGE // 3
    beginning, end = evaluate_length(size)
    links = [join(server) for _ in range(4)]
    with Peak(server) as peak:
        for link in links[:2]:
            link.put("EvaluatePacket", Function("MakeString", size))
        senders = [
            threading.Thread(target=link.put_raw, args=(beginning + b"x" * size + end,)) for link in links[2:]
        ]
        for sender in senders:
            sender.start()
        assert_serves(server)
        for link in links[:2]:
            assert read_frame(link)[0] > size
        for sender, link in zip(senders, links[2:], strict=True):
            sender.join()
            assert link.get_packet() == ("ReturnPacket", size)
    for link in links:
        link.close()
    assert peak.growth < 2 * ALLOWANCE


def test_packed_numbers_pass_unchanged(server):
    with join(server) as link:
        reals = bytes(range(256)) * 4000  # 128000 doubles with every byte there is
        body = b"F128000 #GA~DList\nP128000 \xf6" + reals + b"\n"
        link.put_raw(b"FA#QA~NEvaluatePacket\nFA#GA~DEcho\n" + body + b"]")
        assert link.get_raw().endswith(body)


def test_a_client_that_does_not_read(server):
    with join(server) as link, Peak(server) as peak:
        kernel = stalled_writer(server, link)
        assert_serves(server)
        length, _, _ = read_frame(link)
        assert length > LARGE
    assert peak.growth < ALLOWANCE
    wait_gone(kernel)


def test_a_client_that_does_not_read_and_dies(server):
    with join(server) as link:
        kernel = stalled_writer(server, link)
        link.reset()
    wait_gone(kernel)


def test_a_client_that_sends_more_than_its_kernel_takes(server, gate):
    """Frames for the kernel that it does not read while it evaluates: the client is stopped, nothing is collected."""
    beginning, end = long_text("TextPacket", 1_000_000)
    frame = beginning + b"x" * 1_000_000 + end
    with join(server) as link, Peak(server) as peak:
        link.put("EvaluatePacket", gate.busy())
        gate.wait_until_reached()
        sender = threading.Thread(target=lambda: [link.put_raw(frame) for _ in range(60)])
        sender.start()
        assert_serves(server)
        gate.open()
        sender.join()
        assert link.get_packet()[0] == "ReturnPacket"
        assert link.evaluate(6) == 6
    assert peak.growth < ALLOWANCE


def test_evaluations_sent_ahead_are_queued_to_a_limit(server, gate):
    """60 MB of evaluations behind a long one: 16 MB wait in the server (EvaluationQueueLimit), the rest with the
    client, and all are answered in the end."""
    beginning, end = evaluate_length(1_000_000)
    frame = beginning + b"x" * 1_000_000 + end
    with join(server) as link, Peak(server) as peak:
        link.put("EvaluatePacket", gate.busy())
        gate.wait_until_reached()
        sender = threading.Thread(target=lambda: [link.put_raw(frame) for _ in range(60)])
        sender.start()
        assert_serves(server)
        gate.open()
        assert link.get_packet()[0] == "ReturnPacket"
        for _ in range(60):
            assert link.get_packet() == ("ReturnPacket", 1_000_000)
        sender.join()
    assert peak.growth < ALLOWANCE + 40 * MEBIBYTE


def test_a_thousand_evaluations_at_once(server):
    with join(server) as link:
        link.put_raw(b"".join(encode(Function("EvaluatePacket", Function("Plus", i, 0))) + b"]" for i in range(1000)))
        for number in range(1000):
            assert link.get_packet() == ("ReturnPacket", number)


@pytest.mark.parametrize("size", [65535, 65536, 65537, 262143, 262144, 262145, 524288])
def test_sizes_around_the_limits_of_buffers(server, size):
    """A frame is held up to 64 KiB, a buffer has 256 KiB: nothing happens at the seams."""
    beginning, end = evaluate_length(size)
    padding = size - len(beginning) - len(end)
    beginning, end = evaluate_length(padding)
    frame = beginning + b"x" * padding + end
    framer = Framer()
    framer.feed(frame)
    assert framer.next_frame() == frame
    with join(server) as link:
        link.put_raw(frame + frame)
        assert [link.get_packet() for _ in range(2)] == [("ReturnPacket", padding)] * 2
        text = Function("StringJoin", "y" * padding, Symbol("x"))
        assert link.evaluate(Function("Hold", text)).args[0].args[0] == "y" * padding
