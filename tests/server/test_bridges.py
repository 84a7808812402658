"""Clients bridged with kernels: what the pumps do in C and what the server knows of it go together."""

import gevent
import pytest
from wstpserver._native import ffi, lib

from tests.server.whole import Server, packet
from wstpserver.server import relay
from wstpserver.wire.packets import PacketHead

EVALUATION, ANSWER = packet("EvaluatePacket", "1"), packet("ReturnPacket", "1")


def settle():
    """Whatever must not pass has had the time to."""
    gevent.sleep(0.03)


def until(condition):
    with gevent.Timeout(20):
        while not condition():
            gevent.sleep(0.001)


def got(peer):
    """The next packet that comes to this peer."""
    return gevent.get_hub().threadpool.apply(peer.get)


@pytest.fixture
def bridge():
    """(server, kernel, its peer, session, its peer)"""
    server = Server()
    kernel, kernel_peer = server.kernel()
    session, client_peer, _ = server.client(kernel)
    until(lambda: not session.held and session._pump.state.parked and kernel.pump.state.parked)
    yield server, kernel, kernel_peer, session, client_peer
    server.close()


def exchange(kernel, kernel_peer, client_peer):
    client_peer.put(EVALUATION)
    assert got(kernel_peer) == ("EvaluatePacket", "1")
    kernel_peer.put(ANSWER)
    assert got(client_peer) == ("ReturnPacket", "1")
    until(lambda: kernel.pump.state.parked and not kernel.busy)


def test_evaluations_in_a_dialog_take_turns(bridge):
    _, kernel, kernel_peer, _, client_peer = bridge
    client_peer.put(EVALUATION)
    assert got(kernel_peer)[0] == "EvaluatePacket"
    kernel_peer.put(packet("BeginDialogPacket", 1))
    assert got(client_peer)[0] == "BeginDialogPacket"
    until(lambda: kernel.activity.awaiting)
    client_peer.put(EVALUATION)  # this one goes at once
    assert got(kernel_peer) == ("EvaluatePacket", "1")
    until(lambda: not kernel.activity.accepting)
    client_peer.put(EVALUATION)
    settle()
    assert not kernel_peer.pending()
    kernel_peer.put(ANSWER)
    assert got(kernel_peer) == ("EvaluatePacket", "1")
    kernel_peer.put(ANSWER + packet("EndDialogPacket", 1) + ANSWER)
    until(lambda: not kernel.busy)
    assert kernel.activity.evaluations == kernel.record.evaluations == 3


def test_a_frame_in_pieces_ends_the_bridge_where_it_ends(bridge):
    """What a kernel writes behind it is for its next client, however the frame was cut when the bridge ended."""
    server, kernel, kernel_peer, session, client_peer = bridge
    evaluate(kernel, client_peer)
    text = packet("TextPacket", "one")
    kernel_peer.put(text[:-4])
    until(lambda: not kernel.pump.scanner.at_boundary)
    server.disconnect(session)
    kernel_peer.put(text[-4:])
    assert got(client_peer) == ("TextPacket", "one")
    kernel_peer.put(packet("TextPacket", "two") + ANSWER)
    until(lambda: not kernel.busy)
    assert kernel.missed.drain() == ([packet("TextPacket", "two")[:-1], ANSWER[:-1]], 0)
    assert not client_peer.pending()


def raw(peer, size):
    """So many of the next bytes that come to this peer."""
    return gevent.get_hub().threadpool.apply(peer.connection.recv, (size,))


def test_the_late_end_of_an_evaluation_that_waits(bridge):
    """The kernel gets each evaluation with one `]`, whenever that came."""
    _, kernel, kernel_peer, session, client_peer = bridge
    client_peer.put(EVALUATION)
    assert raw(kernel_peer, len(EVALUATION)) == EVALUATION
    client_peer.put(EVALUATION[:-1])
    until(lambda: session.waits_for_kernel)
    client_peer.put(b"]" + EVALUATION[:-1])
    for _ in range(2):
        kernel_peer.put(ANSWER)
        assert raw(kernel_peer, len(EVALUATION)) == EVALUATION
    client_peer.put(b"]")
    kernel_peer.put(ANSWER)
    until(lambda: not kernel.busy)
    assert session._delivery._queued_bytes == 0
    client_peer.put(EVALUATION)
    assert raw(kernel_peer, len(EVALUATION)) == EVALUATION


def test_a_large_input_that_was_asked_for(bridge):
    """It goes to the kernel as it comes, and does not wait for the end of the evaluation that asks."""
    _, kernel, kernel_peer, session, client_peer = bridge
    evaluate(kernel, client_peer)
    assert got(kernel_peer)[0] == "EvaluatePacket"
    kernel_peer.put(packet("InputPacket", "? "))
    assert got(client_peer) == ("InputPacket", "? ")
    until(lambda: kernel.activity.asking)
    text = "x" * 300_000
    answer = packet("EnterTextPacket", text)
    client_peer.put(answer[:200_000])
    until(session._delivery.in_frame)
    assert not kernel.activity.asking and session._delivery._spool is None
    client_peer.put(answer[200_000:])
    assert got(kernel_peer) == ("EnterTextPacket", text)
    kernel_peer.put(ANSWER)
    until(lambda: not kernel.busy)
    assert kernel.activity.evaluations == 1


class Call:
    """In place of a call into C: it tells of these events, each with the members of its structure, and of no other."""

    def __init__(self, monkeypatch, *events):
        self._events = [{"asleep": 1, "verdict": lib.WSTPPUMP_ALL_SENT, **event} for event in events]
        with monkeypatch.context() as patch:
            patch.setattr(relay, "lib", self)
            relay.get()._run_once(False)

    def wstprelay_run(self, state, _alone):
        for index, event in enumerate(self._events):
            state.events[index] = {"begun": 0, "answered": 0, "large": 0, "head": 0, **event}
        return len(self._events)


needs_relay = pytest.mark.skipif(relay.get() is None, reason="this system has no epoll")


def evaluate(kernel, client_peer):
    client_peer.put(EVALUATION)
    until(lambda: kernel.busy)


@needs_relay
def test_an_input_behind_an_answer_in_one_call(bridge, monkeypatch):
    """The answer allows an evaluation; that has come already, is of another kind, and does not allow the next one."""
    _, kernel, kernel_peer, session, client_peer = bridge
    exchange(kernel, kernel_peer, client_peer)
    evaluate(kernel, client_peer)
    up, down = session._pump.state, kernel.pump.state
    assert up.twin == down
    up.twin = down.twin = ffi.NULL  # as the call does it
    answer = {"number": up.number, "head": PacketHead.EvaluatePacket, "answered": 1}
    Call(monkeypatch, answer, {"number": up.number, "head": PacketHead.EnterTextPacket, "begun": 1})
    assert not kernel.activity.accepting and not kernel.activity.written(PacketHead.ReturnPacket)
    assert not up.allowed and not up.twin and not down.twin
    assert kernel.activity.evaluations == kernel.record.evaluations == 3


@needs_relay
def test_something_else_behind_an_answer_in_one_call(bridge, monkeypatch):
    """The answer counts as one, whatever the kernel has written behind it."""
    _, kernel, kernel_peer, session, client_peer = bridge
    exchange(kernel, kernel_peer, client_peer)
    evaluate(kernel, client_peer)
    up, down = session._pump.state, kernel.pump.state
    down.head = PacketHead.TextPacket
    Call(monkeypatch, {"number": up.number, "head": PacketHead.EvaluatePacket, "answered": 1})
    assert not kernel.busy and kernel.idle.is_set()


@needs_relay
def test_bytes_behind_an_answer_that_the_pump_has_to_account_for(bridge, monkeypatch):
    """They are not lost, and come after it."""
    _, kernel, kernel_peer, session, client_peer = bridge
    exchange(kernel, kernel_peer, client_peer)
    evaluate(kernel, client_peer)
    up, down = session._pump.state, kernel.pump.state
    text = packet("TextPacket", "behind")
    relay.get()._buffer.view[: len(text)] = text
    pump, behind = kernel.pump, []
    monkeypatch.setattr(kernel, "answered_quickly", lambda _head: False)
    monkeypatch.setattr(pump, "forward", lambda data: behind.append((bytes(data), kernel.busy)))
    down.start = 0
    down.position = down.end = len(text)
    answer = {"number": up.number, "head": PacketHead.EvaluatePacket, "answered": 1}
    arrived = {"number": down.number, "asleep": 0, "verdict": lib.WSTPSCAN_MORE}
    gevent.get_hub().loop.run_callback(Call, monkeypatch, answer, arrived)
    until(lambda: behind)
    assert behind == [(text, False)]
