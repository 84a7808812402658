"""A kernel that is taken over by its ID in the middle of an evaluation; results of lines as they come; dialogs."""

from __future__ import annotations

import contextlib

import pytest

from tests.support.cases import for_all
from tests.support.packets import input_name_packet, input_packet, return_text_packet
from wstpserver.client import Callbacks, EvaluationError, LinkTimeout, Session, resync
from wstpserver.client.deadline import Deadline
from wstpserver.client.evaluation import Evaluation
from wstpserver.client.resync import RequestStream
from wstpserver.wire.packets import MessageCode, packet, return_packet, text_packet
from wstpserver.wire.values import Symbol

from .helpers import PROMPT, Kernel, peer, two_ends

SUCCESS = '{"status":"ExecutionSuccess"}'
KERNEL = "a806-2645-9651"


def result(line, text):
    return [packet("OutputNamePacket", f"Out[{line}]= "), return_text_packet(text)]


class Bridged(Kernel):
    """A kernel behind a server that answers ConnectKernel, and then goes on with what it is in the middle of.

    `question` is asked after the connection; `after` are the packets that follow its answer. Evaluations wait for it.
    """

    def __init__(self, question=None, after=(), **options):
        super().__init__(**options)
        self.rules["ConnectKernel"] = SUCCESS
        self._question, self._after = question, after
        self.answers = []

    def _take(self, received):
        super()._take(received)
        if received.name == "WSCommandPacket" and received.arguments[0].head == Symbol("ConnectKernel"):
            self.link.put(input_name_packet("In[5]:= "))
            if self._question is not None:
                self._wait_for_answer()

    def _wait_for_answer(self):
        self.link.put(self._question)
        kept = []
        while not self.aborted.is_set() and not self.answers:
            try:
                received = self.link.get_packet(0.02)
            except LinkTimeout:
                continue
            if received.name == "WSCommandPacket":
                self._take(received)
            elif received.name == "TextPacket":
                self.answers.append(received.arguments[0])
            else:
                kept.append(received)
        for one in self._after:
            self.link.put(one)
        for one in kept:  # what the server kept back until the kernel was done
            self._take(one)


@contextlib.contextmanager
def taken_over(kernel, **callbacks):
    """A session that has taken the kernel over by its ID, and what it heard."""
    heard = []
    defaults = {
        "on_input": lambda prompt: heard.append(prompt) or "Ada",
        "on_menu": lambda prompt: heard.append(prompt) or "a",
        "on_result": lambda label, value: heard.append((label, value)),
        "on_print": heard.append,
    }
    with peer(kernel) as address, Session(address, PROMPT, callbacks=Callbacks(**(defaults | callbacks))) as session:
        session.command("ConnectKernel", KERNEL, timeout=PROMPT)
        yield session, heard


LINE = [text_packet("out\n"), *result(5, "Ada!"), input_name_packet("In[6]:= ")]


@for_all("question", [input_packet("name? "), packet("MenuPacket", 1, "name? ")])
@for_all("commands", [(), ("SetKeepAlive",)])
def test_its_question_is_answered_before_the_first_evaluation(question, commands):
    kernel = Bridged(question, LINE)
    with taken_over(kernel) as (session, heard):
        for name in commands:  # the question may have come by the time its answer does
            with pytest.raises(EvaluationError):
                session.command(name, True)
        assert session.evaluate(42, PROMPT) == 42
        assert heard == ["name? ", "out\n", ("Out[5]= ", "Ada!")]
        assert session.prompt == "In[6]:= "
        assert session.evaluate(43, PROMPT) == 43
    assert kernel.answers == ["Ada" if question == input_packet("name? ") else "a"]


def test_what_is_entered_is_no_answer():
    """An EnterTextPacket would be taken for the answer if it came before it."""
    kernel = Bridged(input_packet("name? "), LINE)
    with taken_over(kernel) as (session, heard):
        assert session.evaluate_text("x", PROMPT).text == "x"
    assert kernel.answers == ["Ada"]
    assert heard == ["name? ", "out\n", ("Out[5]= ", "Ada!"), ("Out[1]= ", "x")]


def test_the_value_of_the_evaluation_before_is_nobodys_answer():
    kernel = Bridged(input_packet("name? "), [return_packet("late")])
    with taken_over(kernel) as (session, _):
        assert session.evaluate(42, PROMPT) == 42
        assert session.evaluate_text("x", PROMPT).text == "x"


def test_it_was_aborted_at_the_question():
    kernel = Bridged(packet("MenuPacket", 1, "Interrupt> "), [return_packet(Symbol("$Aborted"))])
    with taken_over(kernel) as (session, heard):
        assert session.evaluate(42, PROMPT) == 42
        assert session.evaluate(43, PROMPT) == 43
        assert heard == ["Interrupt> "]


def test_nobody_gives_an_answer():
    """Then it is aborted, as in an evaluation of one's own."""
    kernel = Bridged(input_packet("name? "), [return_packet(Symbol("$Aborted"))])
    with taken_over(kernel, on_input=None) as (session, _):
        kernel.evaluating = True  # until the abort comes
        with pytest.raises(EvaluationError, match="asks for input"):
            session.evaluate(42, PROMPT)
        assert session.evaluate(43, PROMPT) == 43
    assert kernel.answers == []


def test_a_kernel_that_is_idle():
    with taken_over(Bridged()) as (session, heard):
        assert session.evaluate_text("x", PROMPT).text == "x"
        assert heard == [("Out[1]= ", "x")]


# Lines


def test_each_result_of_a_line_as_it_comes():
    def several(kernel):
        for number in (1, 2):
            kernel.print(f"before {number}\n")
            for one in result(number, f"value {number}"):
                kernel.link.put(one)
        kernel.link.put(return_text_packet("without a label"))

    heard = []
    callbacks = Callbacks(on_print=heard.append, on_result=lambda label, value: heard.append((label, value)))
    with peer(Kernel({"go": several})) as address, Session(address, PROMPT, callbacks=callbacks) as session:
        output = session.evaluate_text("go", PROMPT)
        assert heard == [
            "before 1\n", ("Out[1]= ", "value 1"), "before 2\n", ("Out[2]= ", "value 2"), ("", "without a label"),
        ]  # fmt: skip
        assert (output.name, output.text) == (None, "without a label")


def dialog(kernel):
    kernel.link.put(packet("BeginDialogPacket", 1))
    kernel.link.put(input_name_packet("(Dialog) In[2]:= "))
    received = kernel.link.get_packet(PROMPT)
    while received.name == "EvaluatePacket":
        kernel._take(received)
        received = kernel.link.get_packet(PROMPT)
    kernel.seen.append((received.name, received.arguments[0]))
    kernel.link.put(packet("EndDialogPacket", 1))
    return "after"


def test_a_dialog_is_left_at_once_where_nobody_is_there_for_it():
    kernel = Kernel({"Dialog[]": dialog})
    with peer(kernel) as address, Session(address, PROMPT) as session:
        assert session.evaluate_text("Dialog[]", PROMPT).text == "after"
        assert kernel.seen[-1][0] == "EnterExpressionPacket"


def test_a_dialog_that_is_entered():
    prompts = []
    kernel = Kernel({"Dialog[]": dialog})
    with (
        peer(kernel) as address,
        Session(address, PROMPT, callbacks=Callbacks(on_dialog=prompts.append)) as session,
    ):
        output = session.evaluate_text("Dialog[]", PROMPT)
        assert (output.text, output.prompt, prompts) == (None, "(Dialog) In[2]:= ", ["(Dialog) In[2]:= "])
        assert session.evaluate(7, PROMPT) == 7
        output = session.evaluate_text("Return[]", PROMPT)
        assert (output.text, output.prompt) == ("after", "In[2]:= ")


def test_a_dialog_of_an_evaluation_is_always_left():
    """Only lines can go on inside a dialog."""
    with (
        peer(Kernel({"Dialog[]": dialog})) as address,
        Session(address, PROMPT, callbacks=Callbacks(on_dialog=print)) as session,
    ):
        assert session.evaluate("Dialog[]", PROMPT) == "after"


def test_an_abort_is_repeated_after_a_while_only():
    """One that the kernel does not need any more would end the dialog that the evaluation is in."""
    with two_ends() as (link, other):
        talk = RequestStream(link, Callbacks())
        evaluation = Evaluation("ReturnPacket", Callbacks(), link.put)
        assert not talk.abort(None), "nothing runs"
        talk.set_current(evaluation)
        assert talk.abort(None)
        assert other.next_message(PROMPT) == (MessageCode.ABORT, 0)
        assert not resync.wants_another_abort(evaluation)
        evaluation.repeat_abort = Deadline(0)
        assert resync.wants_another_abort(evaluation)
