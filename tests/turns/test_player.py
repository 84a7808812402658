"""The player itself: what it sees, and that random scripts become small."""
from __future__ import annotations

import socket

import pytest
from hypothesis import find, settings

from tests.support.cases import for_all
from tests.turns.conversations import evaluate, request
from tests.turns.player import (
    CLOSED,
    NOTHING,
    assert_same,
    c,
    c_ahead,
    c_message,
    c_reads,
    direct_link,
    k,
    k_reads,
    play,
    play_directly,
    play_through,
    shown,
)
from tests.turns.test_random import Kind, conversations


def test_both_sides_read_what_was_sent():
    script = c("EvaluatePacket", 1) + c_message(3, 5) + k("ReturnPacket", "x" * 300_000)
    assert play_directly(script) == [
        (2, ("EvaluatePacket", 1)), (4, (3, 5)), (6, ("ReturnPacket", "x" * 300_000)),
    ]  # fmt: skip


@for_all("script", [k_reads(), c_ahead("Foo"), c("Foo") + k_reads()])
def test_a_script_that_is_no_conversation(script):
    with pytest.raises(AssertionError, match=r"no such conversation|something is left"):
        play_directly(script, timeout=0.1)


def test_what_does_not_come():
    (client, far_kernel), (far_client, kernel) = direct_link(), direct_link()
    with client, far_kernel, far_client, kernel:
        assert play(c("Foo") + k("Bar"), client, kernel, timeout=0.1) == [(2, NOTHING)]


def test_the_end_of_the_link():
    client, kernel = direct_link()
    with client, kernel:
        client.data.shutdown(socket.SHUT_WR)
        assert play(k_reads(), client, kernel, timeout=5.0) == [(1, CLOSED)]


def test_a_script_and_what_was_read_as_text():
    script = evaluate(1)
    assert shown(script, [(2, ("EvaluatePacket", 1))]).splitlines()[:2] == [
        "  1 C sends EvaluatePacket[Function(Symbol('f'), [1])]", "  2 K reads: ('EvaluatePacket', 1)",
    ]  # fmt: skip


def test_a_kernel_that_is_not_done_is_given_up(scripted):
    server, kernel = scripted
    assert play_through(c_ahead("EvaluatePacket", 1) + c_reads(), server, kernel, timeout=0.1) == ([(2, NOTHING)], None)
    assert_same(evaluate(1), server, kernel)


def test_random_scripts_become_small():
    """What a failure would show, for a fault that needs an evaluation in a call."""

    def has_nested(script):
        heads = [step.packet[0] for step in script if step.action == "sends"]
        return any(
            step.side == "K" and step.packet[:1] == ("CallPacket",) and "EvaluatePacket" in
            [later.packet[0] for later in script[number + 1 : number + 4] if later.action == "sends"]
            for number, step in enumerate(script)
        ) and len(heads) > 3  # fmt: skip

    enough = settings(max_examples=500, database=None, derandomize=True)
    found = find(conversations(Kind(nested=True), ahead=True), has_nested, settings=enough)
    assert len(found) <= len(evaluate(1, request("CallPacket", evaluate(2)))) + 4
