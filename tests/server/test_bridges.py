"""Clients bridged with kernels: what the channels do in C and what the server knows of it go together."""

import os
import socket

import gevent
import pytest

from tests.server.whole import Server, packet
from wstpserver.pools.evaluation import EvaluationChange
from wstpserver.pools.states import KernelState
from wstpserver.server.kernels.notes import NotesFile
from wstpserver.server.relay.channel import FrameState

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
    until(lambda: session.peer.is_open and session.channel.state.waiting and kernel.channel.state.waiting)
    yield server, kernel, kernel_peer, session, client_peer
    server.close()


def evaluate(kernel, client_peer):
    client_peer.put(EVALUATION)
    until(lambda: kernel.busy)


def exchange(kernel, kernel_peer, client_peer):
    client_peer.put(EVALUATION)
    assert got(kernel_peer) == ("EvaluatePacket", "1")
    kernel_peer.put(ANSWER)
    assert got(client_peer) == ("ReturnPacket", "1")
    until(lambda: kernel.channel.state.waiting and not kernel.busy)


def test_evaluations_in_a_dialog_take_turns(bridge):
    _, kernel, kernel_peer, _, client_peer = bridge
    client_peer.put(EVALUATION)
    assert got(kernel_peer)[0] == "EvaluatePacket"
    kernel_peer.put(packet("BeginDialogPacket", 1))
    assert got(client_peer)[0] == "BeginDialogPacket"
    until(lambda: kernel.evaluation.awaiting)
    client_peer.put(EVALUATION)  # this one goes at once
    assert got(kernel_peer) == ("EvaluatePacket", "1")
    until(lambda: not kernel.evaluation.accepting)
    client_peer.put(EVALUATION)
    settle()
    assert not kernel_peer.pending()
    kernel_peer.put(ANSWER)
    assert got(kernel_peer) == ("EvaluatePacket", "1")
    kernel_peer.put(ANSWER + packet("EndDialogPacket", 1) + ANSWER)
    until(lambda: not kernel.busy)
    assert kernel.record.evaluations == 3


def test_a_frame_in_pieces_ends_the_bridge_where_it_ends(bridge):
    """What a kernel writes behind it is for its next client, however the frame was cut when the bridge ended."""
    server, kernel, kernel_peer, session, client_peer = bridge
    evaluate(kernel, client_peer)
    text = packet("TextPacket", "one")
    kernel_peer.put(text[:-4])
    until(lambda: not kernel.channel.scanner.at_boundary)
    server.disconnect(session)
    kernel_peer.put(text[-4:])
    assert got(client_peer) == ("TextPacket", "one")
    kernel_peer.put(packet("TextPacket", "two") + ANSWER)
    until(lambda: not kernel.busy)
    frames, dropped = kernel.backlog.drain()
    assert list(frames) == [packet("TextPacket", "two")[:-1], ANSWER[:-1]] and dropped == 0
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
    until(lambda: session.queue.waits)
    client_peer.put(b"]" + EVALUATION[:-1])
    for _ in range(2):
        kernel_peer.put(ANSWER)
        assert raw(kernel_peer, len(EVALUATION)) == EVALUATION
    client_peer.put(b"]")
    kernel_peer.put(ANSWER)
    until(lambda: not kernel.busy)
    assert not session.queue.waits
    client_peer.put(EVALUATION)
    assert raw(kernel_peer, len(EVALUATION)) == EVALUATION


@pytest.fixture
def notes_file():
    file = NotesFile()
    yield file
    os.close(file.descriptor)


class _NoJournal:
    def dropped(self, *_):
        """Nothing is dropped here."""

    append = clear = dropped


@pytest.mark.parametrize(
    ("head", "answer"), [("EvaluatePacket", ANSWER), ("EnterTextPacket", packet("InputNamePacket", "In[2]:= "))]
)
def test_an_answer_is_noted_before_the_next_evaluation_goes_out(notes_file, bridge, head, answer):
    """After a crash just then the next server must not take the answer to the first for one to the second."""
    _, kernel, kernel_peer, session, client_peer = bridge
    notes, noted = notes_file.begin(), []
    assert notes.measure(kernel.link.data.socket.fileno(), 0)
    kernel.take_notes(notes, _NoJournal(), lambda _soon: None)

    def begun(change, _number):
        if change is EvaluationChange.BEGUN:
            done = notes.state.ins[notes.state.valid_in]
            noted.append((done.boundary, done.idle))

    kernel.evaluation.subscribe(begun)
    client_peer.put(3 * packet(head, "1"))
    until(lambda: session.queue.size == 2)
    for number in range(3):
        assert got(kernel_peer) == (head, "1")
        kernel_peer.put(answer)
        until(lambda expected=2 - number: session.queue.size <= max(expected - 1, 0))
    until(lambda: not kernel.busy)
    assert noted[1:] == [(len(answer), 1), (2 * len(answer), 2)]


def test_a_large_input_that_was_asked_for(bridge):
    """It goes to the kernel as it comes, and does not wait for the end of the evaluation that asks."""
    _, kernel, kernel_peer, session, client_peer = bridge
    evaluate(kernel, client_peer)
    assert got(kernel_peer)[0] == "EvaluatePacket"
    kernel_peer.put(packet("InputPacket", "? "))
    assert got(client_peer) == ("InputPacket", "? ")
    until(lambda: kernel.evaluation.asking)
    text = "x" * 300_000
    answer = packet("EnterTextPacket", text)
    client_peer.put(answer[:200_000])
    until(lambda: session.channel.frame is FrameState.STREAMING)
    assert not kernel.evaluation.asking
    client_peer.put(answer[200_000:])
    assert got(kernel_peer) == ("EnterTextPacket", text)
    kernel_peer.put(ANSWER)
    until(lambda: not kernel.busy)
    assert kernel.record.evaluations == 1


def test_an_answer_that_comes_after_its_client_has_left(bridge):
    """C counts answers together with the client's channel, which is gone when this one comes."""
    server, kernel, kernel_peer, session, client_peer = bridge
    exchange(kernel, kernel_peer, client_peer)  # from now on they are counted in pairs
    evaluate(kernel, client_peer)
    assert got(kernel_peer)[0] == "EvaluatePacket"
    client_peer.connection.shutdown(socket.SHUT_WR)
    kernel_peer.put(ANSWER)  # both are there before the loop looks at either
    until(lambda: not kernel.busy and session.record not in server.dispatcher.sessions)
    assert kernel.record.state is KernelState.FREE and kernel.record.evaluations == 2
