"""What scripts are made of: evaluations, requests of the kernel, questions, dialogs. Each function returns steps."""
from __future__ import annotations

from tests.turns.player import c, k
from tools.harness.fake_kernel.codec import Function, Symbol


def together(*parts):
    """One script of several."""
    return [step for part in parts for step in part]


# Evaluations: `body` is what happens before the answer.


def evaluate(number, *body):
    return together(c("EvaluatePacket", Function("f", number)), *body, k("ReturnPacket", number))


def enter(number, *body):
    return together(
        c("EnterTextPacket", f"f[{number}]"), *body, k("OutputNamePacket", f"Out[{number}]= "),
        k("ReturnTextPacket", f"{number}"), k("InputNamePacket", f"In[{number + 1}]:= "),
    )  # fmt: skip


def enter_null(number, *body):
    """An input that yields Null has no output."""
    return together(c("EnterTextPacket", f"f[{number}];"), *body, k("InputNamePacket", f"In[{number + 1}]:= "))


def enter_expression(number, *body):
    return together(
        c("EnterExpressionPacket", Function("f", number)), *body, k("OutputNamePacket", f"Out[{number}]= "),
        k("ReturnExpressionPacket", number), k("InputNamePacket", f"In[{number + 1}]:= "),
    )  # fmt: skip


EVALUATIONS = {"evaluate": evaluate, "enter": enter, "enter null": enter_null, "enter expression": enter_expression}


# Plain output of the kernel.

OUTPUT = {
    "text": k("TextPacket", "text\n"),
    "message": k("MessagePacket", Symbol("Power"), "infy") + k("TextPacket", "Power::infy: ...\n"),
    "syntax": k("SyntaxPacket", 3),
    "display": k("DisplayPacket", "%!PS") + k("DisplayEndPacket", ""),
    "suspend": k("SuspendPacket") + k("ResumePacket"),
    "large text": k("TextPacket", "x" * 200_000),
}


# What the kernel asks its client to do: between question and answer the client may do anything.

#: Head of the request: head of the client's answer.
REQUESTS = {
    "CallPacket": "ReturnPacket", "EvaluatePacket": "ReturnPacket", "ExpressionPacket": "ReturnPacket",
    "EnterExpressionPacket": "ReturnExpressionPacket", "EnterTextPacket": "ReturnTextPacket", "FooPacket": "FooAnswer",
}  # fmt: skip


def request(head, *between):
    arguments = (7, Function("List", 1)) if head == "CallPacket" else (Function("g", 1),)
    return together(k(head, *arguments), *between, c(REQUESTS[head], "answer"))


#: Packets of the kernel that ask the user: what is sent with them.
QUESTIONS = {"InputPacket": ("? ",), "InputStringPacket": ("? ",), "MenuPacket": (1, "Interrupt> ")}


def question(head, *between, answer=("TextPacket", "answer")):
    return together(k(head, *QUESTIONS[head]), *between, c(*answer))


def dialog(level, *between, end=None):
    """A dialog that an evaluation of Return[] ends; `end`: other steps that do."""
    end = c("EnterTextPacket", "Return[]") if end is None else end
    return together(
        k("BeginDialogPacket", level), k("InputNamePacket", "In[9]:= "), *between, end, k("EndDialogPacket", level)
    )
