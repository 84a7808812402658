"""When a kernel is busy."""

from __future__ import annotations

from wstpserver.model.activity import Activity
from wstpserver.wire.packets import PacketHead as Head


def test_evaluate_packet_is_answered_by_return_packet_only():
    activity = Activity()
    activity.begin(Head.EvaluatePacket)
    assert activity.busy and not activity.accepting
    assert not activity.written(Head.InputNamePacket)
    assert activity.written(Head.ReturnPacket)
    assert not activity.busy and activity.accepting and activity.evaluations == 1


def test_enter_packets_are_answered_by_the_next_input_name():
    for head in (Head.EnterTextPacket, Head.EnterExpressionPacket):
        activity = Activity()
        activity.begin(head)
        assert not activity.written(Head.ReturnPacket)
        assert activity.written(Head.InputNamePacket)
        assert not activity.busy


def test_a_dialog_accepts_an_evaluation_while_the_outer_one_goes_on():
    activity = Activity()
    activity.begin(Head.EnterTextPacket)
    assert activity.written(Head.BeginDialogPacket)
    assert activity.accepting and activity.busy and activity.in_dialog
    activity.begin(Head.EvaluatePacket)
    assert not activity.accepting
    assert activity.written(Head.ReturnPacket)
    assert not activity.written(Head.EndDialogPacket)
    assert activity.busy and not activity.accepting and not activity.in_dialog
    assert activity.written(Head.InputNamePacket)
    assert not activity.busy


def test_dialogs_nest():
    activity = Activity()
    for _ in range(3):
        activity.begin(Head.EvaluatePacket)
        activity.written(Head.BeginDialogPacket)
    for _ in range(3):
        activity.written(Head.EndDialogPacket)
        assert activity.written(Head.ReturnPacket)
    assert not activity.busy and activity.evaluations == 3


def test_what_nobody_asked_for_changes_nothing():
    activity = Activity()
    for head in (Head.ReturnPacket, Head.InputNamePacket, Head.EndDialogPacket, Head.OTHER):
        assert not activity.written(head)
    assert activity.accepting and not activity.busy


def test_a_question_is_waited_for_until_something_goes_to_the_kernel():
    for head in (Head.InputPacket, Head.InputStringPacket, Head.MenuPacket):
        activity = Activity()
        activity.begin(Head.EvaluatePacket)
        assert not activity.awaiting
        assert not activity.written(head)
        assert activity.awaiting and activity.busy and not activity.accepting
        activity.answered()
        assert not activity.awaiting and activity.busy


def test_input_that_was_asked_for_is_an_answer_and_begins_nothing():
    activity = Activity()
    activity.begin(Head.EvaluatePacket)
    inputs = (Head.EnterTextPacket, Head.EnterExpressionPacket)
    for head in (Head.InputPacket, Head.InputStringPacket):
        activity.written(head)
        assert all(activity.is_answer(answer) for answer in (*inputs, Head.TextPacket, Head.OTHER))
        assert not activity.is_answer(Head.EvaluatePacket), "it needs its own answer, which the question would delay"
        activity.answered()
        assert not any(activity.is_answer(answer) for answer in inputs)
    activity.written(Head.MenuPacket)
    assert not any(activity.is_answer(answer) for answer in inputs)
    assert activity.is_answer(Head.TextPacket)


def test_a_dialog_is_waited_for_while_it_has_nothing_to_evaluate():
    activity = Activity()
    activity.begin(Head.EnterTextPacket)
    activity.written(Head.BeginDialogPacket)
    assert activity.awaiting
    activity.begin(Head.EvaluatePacket)
    assert not activity.awaiting
    activity.written(Head.ReturnPacket)
    assert activity.awaiting
    activity.written(Head.EndDialogPacket)
    assert not activity.awaiting
