"""A kernel that waits in its interrupt menu goes on with whoever takes it over by its ID: the menu is shown again."""

from __future__ import annotations

import json

import pytest

from tests.scenarios.frontend import ERROR, SUCCESS, call
from wstpserver.wire.values import Symbol

MENU = ("MenuPacket", 1, "Interrupt> ")
ENDLESS = call("List", call("Print", "begun"), call("Pause", 3600))
ABORTED = ("ReturnPacket", Symbol("$Aborted"))


def short(seconds):
    """Something to interrupt that ends by itself; its value is {Null, 7} or {7}, as the kernel has it."""
    return call("CompoundExpression", call("Print", "begun"), call("Pause", seconds), 7)


def identifier(front_end):
    return json.loads(front_end.command("GetKernelID"))["result"]


def interrupted(front_end, expression):
    """Evaluate, interrupt, wait for the menu."""
    front_end.send("EvaluatePacket", expression)
    assert front_end.packet() == ("TextPacket", "begun\n")
    front_end.interrupt()
    assert front_end.packet() == MENU


def closes_its_link(front_end):
    front_end.close()


def sends_a_command(front_end):
    assert front_end.command("DisconnectKernel") == SUCCESS


def stays(front_end):
    """The kernel is taken from it (AllowStealingKernels)."""


@pytest.fixture
def taken_over(open_front_end, server):
    """taken_over(expression) -> a second front end at the menu of the kernel of a first one, which has left."""

    def start(expression, leave=closes_its_link):
        first, second = open_front_end(server), open_front_end(server)
        kernel = identifier(first)
        interrupted(first, expression)
        leave(first)
        assert second.connect(kernel) == "In[1]:= "
        assert second.packet() == MENU
        assert identifier(second) == kernel
        return second

    return start


@pytest.mark.parametrize("leave", [closes_its_link, sends_a_command, stays])
def test_abort_reaches_the_evaluation(taken_over, leave):
    second = taken_over(ENDLESS, leave)
    second.send("TextPacket", "a")
    assert second.packet() == ABORTED
    assert second.evaluate(call("Plus", 2, 2)) == 4


@pytest.mark.parametrize("answer", ["c", call("TextPacket", "c")], ids=["string", "TextPacket"])
def test_continue_brings_the_result(taken_over, answer):
    second = taken_over(short(0.2))
    second.put(answer)
    assert second.packet() == ("ReturnPacket", 7)
    assert second.evaluate(call("Plus", 2, 2)) == 4


def test_the_menu_can_come_again(taken_over):
    """Continue, interrupt once more, and abort: all of it in the second front end."""
    second = taken_over(ENDLESS)
    second.put("c")
    second.interrupt()
    assert second.packet() == MENU
    second.put("a")
    assert second.packet() == ABORTED


def test_an_abort_message_instead_of_an_answer(taken_over):
    second = taken_over(ENDLESS)
    second.abort()
    assert second.packet() == ABORTED
    assert second.evaluate(call("Plus", 2, 2)) == 4


def test_a_third_front_end(taken_over, open_front_end, server):
    second = taken_over(ENDLESS)
    kernel = identifier(second)
    second.close()
    third = open_front_end(server)
    third.connect(kernel)
    assert third.packet() == MENU
    third.put("a")
    assert third.packet() == ABORTED


def test_a_question_that_was_answered_is_not_asked_again(taken_over, open_front_end, server):
    second = taken_over(ENDLESS)
    kernel = identifier(second)
    second.put("c")
    assert identifier(second) == kernel  # the answer has been read by now, which a closing message could prevent
    second.close()
    third = open_front_end(server)
    # it is at work now: nobody gets it before it has finished, and nobody is asked
    assert third.command("ConnectKernel", kernel, 0) == ERROR
    assert third.command("CloseKernel", kernel) == SUCCESS
