"""Conversations of all kinds: through the server they are what they are over a direct link."""
from __future__ import annotations

import pytest

from tests.turns.conversations import (
    EVALUATIONS,
    OUTPUT,
    QUESTIONS,
    REQUESTS,
    dialog,
    enter,
    enter_null,
    evaluate,
    question,
    request,
    together,
)
from tests.turns.player import assert_same, c, c_ahead, c_message, k, k_message, k_reads
from tools.harness.fake_kernel.codec import Function

#: Codes of messages that pass; 9 is the end of a link.
CODES = (1, 2, 3, 4, 5, 6, 7, 8, 10, 128, 255)

SCRIPTS = {
    "two in turn": evaluate(1) + evaluate(2),
    "Null, then another": enter_null(1) + enter(2),
    "what is no packet": c("Foo", 1) + evaluate(1) + c("Foo", 2) + k("Foo", 3) + evaluate(2),
    "a value outside packets": c(None, "a string") + evaluate(1, k(None, "another")),
    "a large evaluation": c("EvaluatePacket", "x" * 300_000) + k("ReturnPacket", "y" * 300_000) + evaluate(2),
    "all output": evaluate(1, *OUTPUT.values()) + enter(2, *OUTPUT.values()),
    "text after a prompt": enter(1) + k("TextPacket", "late\n") + enter(2),
    # calls in calls
    "calls three deep": evaluate(1, request("CallPacket", evaluate(2, request("CallPacket", evaluate(3))))),
    "calls and evaluations of the kernel": evaluate(
        1, request("EvaluatePacket", evaluate(2, request("EvaluatePacket", enter(3))))
    ),
    "output after a call": evaluate(1, request("CallPacket"), OUTPUT["text"], request("CallPacket", evaluate(2))),
    "two evaluations in a call": evaluate(1, request("CallPacket", evaluate(2), evaluate(3))) + evaluate(4),
    "a call while idle": request("CallPacket", evaluate(1)) + evaluate(2),
    "an unknown packet that nobody answers": evaluate(1, k("Foo", 1)) + evaluate(2),
    # questions
    "a menu answered by an input": evaluate(1, question("MenuPacket", answer=("EnterTextPacket", "c"))) + evaluate(2),
    "a question answered by a string": evaluate(1, question("InputPacket", answer=(None, "text"))) + evaluate(2),
    "two questions": enter(1, question("InputPacket"), question("InputStringPacket")) + enter(2),
    # dialogs
    "a dialog": evaluate(1, dialog(1, enter(2))) + evaluate(3),
    "a dialog of an input": enter(1, dialog(1, enter(2), evaluate(3))) + enter(4),
    "a dialog in a dialog": evaluate(1, dialog(1, enter(2, dialog(2, enter(3))), enter(4))) + evaluate(5),
    "a dialog that is left at once": evaluate(1, dialog(1)) + evaluate(2),
    "a dialog that an evaluation ends": evaluate(1, dialog(1, enter(2), end=c("EvaluatePacket", "Return[]")))
    + evaluate(3),
    "a call in a dialog": evaluate(1, dialog(1, enter(2, request("CallPacket", evaluate(3))))) + evaluate(4),
    "a question in a dialog": evaluate(1, dialog(1, enter(2, question("InputPacket")))) + evaluate(3),
    "a dialog in a call": evaluate(1, request("CallPacket", evaluate(2, dialog(1, enter(3))))) + evaluate(4),
    "a dialog that consumes the outer evaluation": together(
        c("EvaluatePacket", "Dialog[]"), k("BeginDialogPacket", 1), k("InputNamePacket", "In[2]:= "),
        k("ReturnPacket", 1), enter(2), c("EnterTextPacket", "Return[]"), k("EndDialogPacket", 1), evaluate(3),
    ),  # fmt: skip
    "a dialog that consumes the outer evaluation before its prompt": together(
        c("EvaluatePacket", "Dialog[]"), k("BeginDialogPacket", 1), k("ReturnPacket", 1),
        k("InputNamePacket", "In[2]:= "), enter(2), c("EnterTextPacket", "Return[]"), k("EndDialogPacket", 1),
        evaluate(3),
    ),  # fmt: skip
    # typed ahead: the kernel reads each when it is done with the one before
    "three typed ahead": together(
        c("EvaluatePacket", 1), c_ahead("EvaluatePacket", 2), c_ahead("EnterTextPacket", "3"), k("ReturnPacket", 1),
        k_reads(), k("ReturnPacket", 2), k_reads(), k("InputNamePacket", "In[4]:= "), evaluate(5),
    ),  # fmt: skip
    "an unknown packet behind a held evaluation": together(
        c("EvaluatePacket", 1), c_ahead("EvaluatePacket", 2), c_ahead("Foo", 1), k("ReturnPacket", 1), k_reads(),
        k_reads(), k("ReturnPacket", 2), evaluate(3),
    ),  # fmt: skip
    "an answer typed ahead": together(
        c("EnterTextPacket", "1"), c_ahead("EnterTextPacket", "Input[]"), c_ahead("TextPacket", "answer"),
        k("InputNamePacket", "In[2]:= "), k_reads(), k("InputPacket", "? "), k_reads(),
        k("InputNamePacket", "In[3]:= "), evaluate(4),
    ),  # fmt: skip
    "an evaluation typed ahead of a call": together(
        c("EvaluatePacket", 1), c_ahead("EvaluatePacket", 2), k("CallPacket", 7, Function("List")), k_reads(),
        k("ReturnPacket", 2), c("ReturnPacket", "answer"), k("ReturnPacket", 1), evaluate(3),
    ),  # fmt: skip
    "an evaluation typed ahead of a question": together(
        c("EvaluatePacket", 1), c_ahead("EvaluatePacket", 2), k("InputPacket", "? "), k_reads(),
        k("ReturnPacket", 2), c("TextPacket", "answer"), k("ReturnPacket", 1), evaluate(3),
    ),  # fmt: skip
    "typed ahead of a dialog": together(
        c("EvaluatePacket", 1), c_ahead("EnterTextPacket", "2"), k("BeginDialogPacket", 1),
        k("InputNamePacket", "In[2]:= "), k_reads(), k("InputNamePacket", "In[3]:= "),
        c("EnterTextPacket", "Return[]"), k("EndDialogPacket", 1), k("ReturnPacket", 1), evaluate(3),
    ),  # fmt: skip
    "the end of a dialog typed ahead of two inputs": together(
        c("EnterTextPacket", "1"), c_ahead("EvaluatePacket", 2), c_ahead("EnterTextPacket", "Return[]"),
        k("OutputNamePacket", "Out[1]= "), k("ReturnTextPacket", "1"), k("InputNamePacket", "In[2]:= "), k_reads(),
        k("BeginDialogPacket", 1), k("InputNamePacket", "In[2]:= "), k_reads(), k("EndDialogPacket", 1),
        k("ReturnPacket", 2), evaluate(3),
    ),  # fmt: skip
    # messages beside packets
    "an abort of an evaluation": evaluate(1, c_message(3)) + evaluate(2),
    "an interrupt and its menu": evaluate(1, c_message(2), question("MenuPacket")) + evaluate(2),
    "an abort in a call": evaluate(1, request("CallPacket", evaluate(2, c_message(3)))) + evaluate(3),
    "an abort in a dialog": evaluate(1, dialog(1, enter(2, c_message(3)))) + evaluate(3),
}  # fmt: skip

#: An input without output is like one with it, as far as other conversations inside or around it are concerned.
NESTED = {name: make for name, make in EVALUATIONS.items() if name != "enter null"}

for _outer, _wrap in NESTED.items():
    for _head in REQUESTS:
        SCRIPTS[f"{_head} in {_outer}"] = _wrap(1, request(_head)) + evaluate(9)
        for _inner, _make in NESTED.items():
            SCRIPTS[f"{_inner} in {_head} in {_outer}"] = _wrap(1, request(_head, _make(2))) + evaluate(9)
    for _head in QUESTIONS:
        SCRIPTS[f"{_head} in {_outer}"] = _wrap(1, question(_head)) + evaluate(9)
        for _inner, _make in NESTED.items():
            SCRIPTS[f"{_inner} in {_head} in {_outer}"] = _wrap(1, question(_head, _make(2))) + evaluate(9)
    for _name, _output in OUTPUT.items():
        SCRIPTS[f"{_name} in {_outer}"] = _wrap(1, _output) + evaluate(9)
for _code in CODES:
    SCRIPTS[f"message {_code} to an idle kernel"] = c_message(_code, 5) + evaluate(1)
    SCRIPTS[f"message {_code} to a busy kernel"] = evaluate(1, c_message(_code, 5)) + evaluate(2)
    SCRIPTS[f"message {_code} to the client"] = k_message(_code, 5) + evaluate(1, k_message(_code, 6)) + evaluate(2)


@pytest.mark.parametrize("name", SCRIPTS)
def test_as_over_a_direct_link(scripted, name):
    assert_same(SCRIPTS[name], *scripted)
