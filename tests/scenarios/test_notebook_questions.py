"""What a kernel asks a notebook: Input, InputString, dialogs, the interrupt menu."""

from __future__ import annotations

import json

import pytest

from tests.scenarios.frontend import call
from wstpserver.wire.values import Symbol

MENU = ("MenuPacket", 1, "Interrupt> ")


def prompt(number, prefix=""):
    return ("InputNamePacket", f"{prefix}In[{number}]:= ")


def output(number, text, prefix=""):
    return [("OutputNamePacket", f"{prefix}Out[{number}]= "), ("ReturnTextPacket", text)]


@pytest.mark.parametrize(
    "answer",
    [call("EnterTextPacket", "3 + 4"), call("EnterExpressionPacket", call("Plus", 3, 4)), call("TextPacket", "3 + 4")],
    ids=lambda answer: answer.head.name,
)
@pytest.mark.parametrize("head", ["EnterTextPacket", "EvaluatePacket"])
def test_input_is_answered_with_what_is_sent_at_a_prompt(notebook, head, answer):
    """Front ends send what the user typed for Input[] as they send a cell."""
    text = '2 Input["how many? "]'
    notebook.send(head, text if head == "EnterTextPacket" else call("ToExpression", text))
    assert notebook.packet() == ("InputPacket", "how many? ")
    notebook.put(answer)
    if head == "EvaluatePacket":
        assert notebook.packet() == ("ReturnPacket", 14)
        assert notebook.shown("1 + 1") == "2"
    else:
        assert notebook.until("InputNamePacket") == [*output(1, "14"), prompt(2)]
        assert notebook.evaluate(call("Plus", 1, 1)) == 2


def test_questions_one_after_the_other(notebook):
    notebook.send("EnterTextPacket", "{InputString[], Input[], InputString[]}")
    assert notebook.packet()[0] == "InputStringPacket"
    notebook.send("TextPacket", "a + b")
    assert notebook.packet()[0] == "InputPacket"
    notebook.send("EnterTextPacket", "1/2")
    assert notebook.packet()[0] == "InputStringPacket"
    notebook.send("TextPacket", "")
    assert notebook.until("InputNamePacket") == [*output(1, "{a + b, 1 / 2, }"), prompt(2)]


def test_a_cell_that_was_sent_ahead_is_the_answer(notebook):
    """As over a link to the kernel itself, which reads what comes next."""
    notebook.send("EnterTextPacket", "Pause[0.3]; Input[]")
    notebook.send("EnterTextPacket", "{1, 2}")
    assert notebook.packet() == ("InputPacket", "? ")
    notebook.send("EnterTextPacket", "third")
    assert notebook.until("InputNamePacket") == [*output(1, "{1, 2}"), prompt(2)]
    assert notebook.until("InputNamePacket") == [*output(2, "third"), prompt(3)]


def test_a_question_that_is_aborted(notebook):
    notebook.send("EnterTextPacket", "Input[]")
    assert notebook.packet()[0] == "InputPacket"
    notebook.abort()
    assert notebook.until("InputNamePacket") == [*output(1, "$Aborted"), prompt(2)]
    assert notebook.enter("1 + 1") == [*output(2, "2"), prompt(3)]


def test_a_question_follows_its_kernel(notebook, open_front_end, embedded_server):
    """The notebook is closed at the question; another one takes the kernel over and answers."""
    kernel = json.loads(notebook.command("GetKernelID"))["result"]
    notebook.enter("x = 5;")
    notebook.send("EnterTextPacket", "x + Input[]")
    assert notebook.packet()[0] == "InputPacket"
    notebook.close()
    second = open_front_end(embedded_server)
    assert second.connect(kernel) == "In[2]:= "
    assert second.packet() == ("InputPacket", "? ")
    second.send("EnterTextPacket", "37")
    assert second.until("InputNamePacket") == [*output(2, "42"), prompt(3)]


def test_dialog(notebook):
    """Lines of a dialog have numbers of their own, and the line that opened it is the last to be answered."""
    notebook.send("EnterTextPacket", "y = 3; Dialog[] + 100")
    assert notebook.until("InputNamePacket") == [("BeginDialogPacket", 1), prompt(2, "(Dialog) ")]
    assert notebook.enter("y + 1") == [*output(2, "4", "(Dialog) "), prompt(3, "(Dialog) ")]
    assert notebook.evaluate(call("Plus", 1, 1)) == 2
    assert notebook.enter("% * 2") == [*output(3, "8", "(Dialog) "), prompt(4, "(Dialog) ")]
    assert notebook.enter("Return[y]") == [("EndDialogPacket", 1), *output(1, "103"), prompt(5)]
    assert notebook.shown("{Out[1], Out[2]}") == "{103, 4}"


def test_a_dialog_follows_its_kernel(notebook, open_front_end, embedded_server):
    kernel = json.loads(notebook.command("GetKernelID"))["result"]
    notebook.send("EnterTextPacket", "Dialog[]")
    notebook.until("InputNamePacket")
    notebook.close()
    second = open_front_end(embedded_server)
    assert second.connect(kernel) == "(Dialog) In[2]:= "
    assert second.enter("1 + 1") == [*output(2, "2", "(Dialog) "), prompt(3, "(Dialog) ")]
    assert second.enter("Return[7]") == [("EndDialogPacket", 1), *output(1, "7"), prompt(4)]


@pytest.mark.parametrize(("answer", "value"), [("c", "5"), ("a", "$Aborted")])
def test_interrupt_evaluation(notebook, answer, value):
    notebook.send("EnterTextPacket", "Print[begun]; Pause[0.5]; 5")
    assert notebook.packet() == ("TextPacket", "begun\n")
    notebook.interrupt()
    assert notebook.packet() == MENU
    notebook.send("TextPacket", answer)
    assert notebook.until("InputNamePacket") == [*output(1, value), prompt(2)]


def test_interrupt_and_look_around(notebook):
    """Enter Subsession: a dialog inside the evaluation, which goes on with what was changed there."""
    notebook.send("EnterTextPacket", "z = 1; Print[begun]; While[z == 1, Pause[0.01]]; z")
    assert notebook.packet() == ("TextPacket", "begun\n")
    notebook.interrupt()
    assert notebook.packet() == MENU
    notebook.put("i")
    assert notebook.until("InputNamePacket") == [("BeginDialogPacket", 1), prompt(2, "(Dialog) ")]
    assert notebook.enter("z = 9")[1] == ("ReturnTextPacket", "9")
    assert notebook.enter("Return[]") == [("EndDialogPacket", 1), *output(1, "9"), prompt(4)]


def test_abort_evaluation_leaves_the_session_as_it_was(notebook):
    notebook.enter("kept = 11;")
    notebook.send("EnterTextPacket", "kept = 12; Print[begun]; While[True]")
    assert notebook.packet() == ("TextPacket", "begun\n")
    notebook.abort()
    assert notebook.until("InputNamePacket") == [*output(2, "$Aborted"), prompt(3)]
    assert notebook.shown("{kept, %}") == "{12, $Aborted}"


def test_an_abort_between_cells_does_nothing(notebook):
    notebook.abort()
    # On a connection of its own it has no order with what is sent next; it was here before this command is answered.
    notebook.command("GetKernelID")
    assert notebook.enter("1 + 1") == [*output(1, "2"), prompt(2)]
    notebook.interrupt()
    assert notebook.evaluate(Symbol("$Line")) == 2
