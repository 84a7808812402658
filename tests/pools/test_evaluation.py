"""Which evaluations are open in a kernel, and when it can take another one."""

from __future__ import annotations

from tests.support.cases import for_all
from wstpserver.pools.evaluation import (
    ANSWERED_BY,
    PLAIN_OUTPUT,
    REPORTED_HEADS,
    EvaluationChange,
    EvaluationStack,
    EvaluationState,
)
from wstpserver.wire.packets import PacketHead
from wstpserver.wire.packets import PacketHead as Head

ENTERS = (Head.EnterTextPacket, Head.EnterExpressionPacket)
REQUESTS = (Head.CallPacket, Head.EvaluatePacket, Head.EnterExpressionPacket, Head.ExpressionPacket, Head.OTHER)
QUESTIONS = (Head.InputPacket, Head.InputStringPacket, Head.MenuPacket)


def played(script):
    """An evaluation after "C Evaluate, K BeginDialog ..."; what a client sends must be allowed to go."""
    evaluation = EvaluationStack()
    for step in filter(None, script.split(", ")):
        side, name = step.split(" ")
        head = Head.OTHER if name == "Other" else Head[f"{name}Packet"]
        if side == "C":
            assert evaluation.may_go(head), f"{step} is held back"
            evaluation.sent(head)
        elif head not in PLAIN_OUTPUT:
            evaluation.written(head)
    return evaluation


def test_every_head_is_plain_output_or_reported():
    assert PLAIN_OUTPUT | REPORTED_HEADS | {Head.WSCommandPacket} == frozenset(PacketHead)


@for_all("head", ANSWERED_BY)
@for_all("output", sorted(PLAIN_OUTPUT))
def test_a_further_evaluation_waits_while_the_kernel_computes(head, output):
    evaluation = EvaluationStack()
    evaluation.sent(head)
    assert evaluation.busy and not any(evaluation.may_go(further) for further in ANSWERED_BY)
    assert evaluation.may_go(Head.OTHER) and evaluation.may_go(Head.ReturnPacket)
    assert output not in REPORTED_HEADS, "so it changes nothing"
    assert evaluation.written(ANSWERED_BY[head])
    assert not evaluation.busy and evaluation.accepting


def test_a_further_evaluation_waits_between_the_result_of_an_input_and_the_prompt():
    """The kernel reads nothing there, and what is sent then may be meant for a dialog of the next evaluation."""
    evaluation = played("C EnterText, K OutputName, K ReturnText")
    assert not any(evaluation.may_go(further) for further in ANSWERED_BY)
    assert evaluation.written(Head.InputNamePacket) and not evaluation.busy
    assert played("C Evaluate, K ReturnText").accepting, "nothing that is open is answered so"


def test_a_further_evaluation_waits_behind_a_dialog():
    """The kernel goes on with what the dialog interrupted, and may begin another dialog, for which it is meant."""
    evaluation = played("C Evaluate, K BeginDialog, K InputName, C EnterText, K EndDialog")
    assert not any(evaluation.may_go(further) for further in ANSWERED_BY)
    assert evaluation.written(Head.BeginDialogPacket)


@for_all("request_", REQUESTS + QUESTIONS)
def test_an_evaluation_passes_after_a_request_of_the_kernel(request_):
    evaluation = EvaluationStack()
    evaluation.sent(Head.EvaluatePacket)
    assert evaluation.written(request_)
    evaluation.sent(Head.EvaluatePacket)
    assert not evaluation.accepting, "the kernel has heard from its client and computes"
    assert evaluation.written(Head.ReturnPacket), "the inner evaluation is answered"
    assert evaluation.busy
    evaluation.sent(Head.ReturnPacket)
    assert not evaluation.accepting
    assert evaluation.written(Head.ReturnPacket)
    assert not evaluation.busy


SCRIPTS = {
    "": "idle",
    "C Evaluate": "evaluating",
    "C Evaluate, K Return": "idle",
    "C Evaluate, K InputName": "idle",
    "C EnterText, K OutputName, K ReturnText, K InputName": "idle",
    "C EnterText, K InputName": "idle",
    "C EnterText, K Return": "evaluating",
    "C EnterText, K Other, K ReturnText, C EnterText, K InputName": "evaluating",
    "C EnterText, K Other, K ReturnText, C EnterText, K InputName, K ReturnText, K InputName": "idle",
    "C EnterText, K Other, K ReturnText, C Evaluate, K InputName": "evaluating",
    "C EnterText, K Other, K ReturnText, C Evaluate, K InputName, K Return": "idle",
    # nested as the documentation of EvaluatePacket allows it
    "C Evaluate, K Evaluate, C Evaluate, K Evaluate, C Return, K Return, C Return": "evaluating",
    "C Evaluate, K Evaluate, C Evaluate, K Evaluate, C Return, K Return, C Return, K Return": "idle",
    "C Evaluate, K Call, C Evaluate, K Return, C Evaluate, K Return, C Return, K Return": "idle",
    # questions
    "C Evaluate, K Input": "asking",
    "C Evaluate, K Input, C EnterText": "evaluating",
    "C Evaluate, K Menu, C EnterText, K Return": "idle",
    "C Evaluate, K InputString, C Text, K Return": "idle",
    "C Evaluate, K Input, C Evaluate, K Return": "asking",
    "C Evaluate, K Input, C Evaluate, K Return, C EnterText, K Return": "idle",
    # the input was no answer, but an evaluation inside the question
    "C Evaluate, K Input, C EnterText, K ReturnText, K InputName": "asking",
    "C Evaluate, K Input, C EnterText, K InputName, C Text": "evaluating",
    "C Evaluate, K Input, C EnterText, K ReturnText, K InputName, C EnterText, K Return": "idle",
    "C EnterText, K Input, C EnterText, K ReturnText, K InputName": "idle",
    "K Input, C EnterText, K InputName": "idle",
    # dialogs
    "C Evaluate, K BeginDialog": "in a dialog",
    "C Evaluate, K BeginDialog, K InputName": "in a dialog",
    "C EnterText, K BeginDialog, K InputName, C EnterText": "evaluating",
    "C EnterText, K BeginDialog, K InputName, C EnterText, K ReturnText, K InputName": "in a dialog",
    "C EnterText, K BeginDialog, K InputName, C EnterText, K EndDialog, K InputName": "idle",
    "C Evaluate, K BeginDialog, C Evaluate, K Return, C Evaluate, K EndDialog, K Return": "idle",
    # the dialog has consumed the evaluation outside, as a scheduled Dialog[] does
    "C Evaluate, K BeginDialog, K InputName, K Return, C EnterText, K EndDialog": "idle",
    "C Evaluate, K BeginDialog, K InputName, K Return, C EnterText, K EndDialog, C Evaluate": "evaluating",
    "C Evaluate, K BeginDialog, K BeginDialog, K EndDialog, K EndDialog, K Return": "idle",
    # what nobody asked for
    "K Return, K InputName, K EndDialog, K Other": "idle",
}


@for_all("script", SCRIPTS)
def test_what_the_kernel_does_after(script):
    evaluation = played(script)
    assert evaluation.state is EvaluationState(SCRIPTS[script])
    assert evaluation.busy is (SCRIPTS[script] != "idle" and bool(evaluation.open_heads))
    assert evaluation.awaiting is (evaluation.state in (EvaluationState.ASKING, EvaluationState.DIALOG))


def test_only_an_evaluation_by_itself_is_counted():
    counted = ("", "C Evaluate", "C Evaluate, K Return", "C Evaluate, K Call, C Return")
    others = ("C EnterText", "C Evaluate, K Call", "C Evaluate, K Input", "C Evaluate, K BeginDialog", "K BeginDialog",
              "C Evaluate, K Call, C Evaluate")  # fmt: skip
    assert [played(script).counted for script in (*counted, *others)] == [True] * len(counted) + [False] * len(others)


def test_input_that_was_asked_for_is_an_answer_and_begins_nothing():
    for question in QUESTIONS:
        evaluation = played("C Evaluate")
        evaluation.written(question)
        assert all(evaluation.is_answer(answer) for answer in (*ENTERS, Head.TextPacket, Head.OTHER))
        assert not evaluation.is_answer(Head.EvaluatePacket)
        evaluation.sent(Head.TextPacket)
        assert not any(evaluation.is_answer(answer) for answer in ENTERS)


def test_what_is_open_when_a_kernel_dies():
    evaluation = played("C EnterText, K BeginDialog, K InputName, C Evaluate")
    assert evaluation.open_heads == (Head.EvaluatePacket, Head.EnterTextPacket)


def test_subscribers_hear_of_each_change_once():
    evaluation, heard = EvaluationStack(), []
    evaluation.subscribe(lambda change, number: heard.append((change.name, number)))
    evaluation.sent(Head.EvaluatePacket)
    evaluation.written(Head.InputPacket)
    evaluation.sent(Head.TextPacket)
    evaluation.written(Head.ReturnPacket)
    assert heard == [("BEGUN", 1), ("AWAITING", 0), ("AWAITING", 0), ("IDLE", 0)]


def test_evaluations_that_are_counted_in_pairs():
    evaluation, heard = EvaluationStack(), []
    evaluation.subscribe(lambda *change: heard.append(change))
    assert not evaluation.passed(Head.EvaluatePacket, 3, 3)
    assert heard == [(EvaluationChange.PASSED, 3)] and not evaluation.busy
    assert not evaluation.passed(Head.EvaluatePacket, 3, 2)
    assert heard[1:] == [(EvaluationChange.PASSED, 2), (EvaluationChange.BEGUN, 1)] and evaluation.busy
    assert not evaluation.passed(Head.EvaluatePacket, 2, 2) and evaluation.busy
    assert evaluation.passed(Head.EvaluatePacket, 0, 1), "the answer that is still to be noted"
    evaluation.written(Head.ReturnPacket)
    assert not evaluation.busy
