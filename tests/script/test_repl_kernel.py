"""Interactive sessions with embedded kernels: several results, dialogs, questions, kernels taken over."""

from __future__ import annotations

import contextlib
import json
import re
import signal

import pytest

from tests.script.helpers import conversation
from tests.support.terminal import TerminalProgram, script
from wstpserver.client import Session
from wstpserver.wire.packets import enter_text_packet

DEADLINE = 60


@pytest.fixture
def repl(embedded_server, tmp_path):
    """repl(option, ..., prompt=...) -> wstpscript on a terminal, at its first prompt."""
    with contextlib.ExitStack() as stack:

        def start(*options, prompt="In[1]:= "):
            words = script("-wstpserver", f"{embedded_server.port}@127.0.0.1", *options)
            terminal = stack.enter_context(TerminalProgram(words, tmp_path))
            terminal.expect(prompt, DEADLINE)
            return terminal

        yield start


def paste(terminal, text):
    """An input of several lines, as a terminal with bracketed paste gives it."""
    terminal.keys(f"\x1b[200~{text}\x1b[201~")
    terminal.keys("\r")


@pytest.fixture
def pasting(embedded_server, tmp_path):
    """A session with an editor that takes several lines at once."""
    words = script("-wstpserver", f"{embedded_server.port}@127.0.0.1")
    variables = {"TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1", "NO_COLOR": "1"}
    with TerminalProgram(words, tmp_path, variables) as terminal:
        terminal.expect("In[1]:=", DEADLINE)
        yield terminal


def test_each_expression_of_an_input_shows_its_result(pasting):
    paste(pasting, "1 + 1\nPrint[between];\nx = 5;\n{%, x}")
    pasting.expect("\nOut[1]= 2\n", DEADLINE)
    pasting.expect("between\n")
    pasting.expect("\nOut[4]= {5, 5}\n")
    pasting.expect("In[5]:=")


def test_results_come_as_they_are_there(pasting):
    """The second expression waits for an answer when the first result is shown already."""
    paste(pasting, '10\nInput["more? "]\n30')
    pasting.expect("\nOut[1]= 10\n", DEADLINE)
    pasting.expect("more?")
    pasting.enter("20", "\nOut[2]= 20\n")
    pasting.expect("\nOut[3]= 30\n")
    pasting.expect("In[4]:=")


def test_an_abort_ends_an_input_of_several_expressions(pasting):
    paste(pasting, '1\nPrint["busy"]; While[True]\n3')
    pasting.expect("busy\n", DEADLINE)
    pasting.keys("\x03")
    pasting.expect("\nOut[2]= $Aborted\n", DEADLINE)
    pasting.expect("In[3]:=")
    assert "Out[3]" not in pasting.output


def test_a_syntax_error_after_results(pasting):
    paste(pasting, "7\n1 + ]\n8")
    pasting.expect("\nOut[1]= 7\n", DEADLINE)
    pasting.expect("Syntax::")
    pasting.expect("In[3]:=")


def test_a_dialog_has_prompts_of_its_own(repl):
    terminal = repl()
    terminal.enter("y = 3; Dialog[] + 100", "(Dialog) In[2]:= ", DEADLINE)
    terminal.enter("y + 1", "\n(Dialog) Out[2]= 4\n")
    terminal.expect("\n(Dialog) In[3]:= ")
    terminal.enter("y = 4;", "(Dialog) In[4]:= ")
    terminal.enter("Return[y]", "\nOut[1]= 104\n")
    terminal.expect("\nIn[5]:= ")
    assert conversation(terminal.output) == (
        "\nIn[1]:= y = 3; Dialog[] + 100\n\n(Dialog) In[2]:= y + 1\n\n(Dialog) Out[2]= 4\n\n(Dialog) In[3]:= y = 4;\n"
        "\n(Dialog) In[4]:= Return[y]\n\nOut[1]= 104\n\nIn[5]:= "
    )


def test_dialogs_in_dialogs(repl):
    terminal = repl()
    terminal.enter("Dialog[]; 1", "(Dialog) In[2]:= ", DEADLINE)
    terminal.enter("Dialog[]; 2", "(Dialog) In[3]:= ")
    terminal.enter("Return[]", "(Dialog) Out[2]= 2\n")
    terminal.expect("(Dialog) In[4]:= ")
    terminal.enter("Return[]", "\nOut[1]= 1\n")
    terminal.expect("\nIn[5]:= ")


def test_ctrl_c_in_a_dialog(repl):
    """It aborts what is evaluated inside; at the dialog's prompt it throws away what was typed."""
    terminal = repl()
    terminal.enter("Dialog[]; 1", "(Dialog) In[2]:= ", DEADLINE)
    terminal.type('Print["busy"]; While[True]')
    terminal.expect("busy\n")
    terminal.keys("\x03")
    terminal.expect("(Dialog) Out[2]= $Aborted\n", DEADLINE)
    terminal.expect("(Dialog) In[3]:= ")
    terminal.keys("typed")
    terminal.keys("\x03")
    terminal.expect("(Dialog) In[3]:= ")
    terminal.enter("Return[]", "\nOut[1]= 1\n")


def test_the_end_of_the_session_in_a_dialog(repl):
    terminal = repl()
    terminal.enter("Dialog[]", "(Dialog) In[2]:= ", DEADLINE)
    terminal.keys("\x04")
    assert terminal.wait(DEADLINE) == 0


@pytest.mark.parametrize(("answer", "shown"), [("c", "7"), ("a", "$Aborted")])
def test_the_menu(repl, answer, shown):
    terminal = repl()
    terminal.type("Interrupt[]; 7")
    terminal.expect(re.compile(r"\nInterrupt> $"), DEADLINE)
    terminal.enter(answer, f"\nOut[1]= {shown}\n")
    terminal.expect("\nIn[2]:= ")


# Kernels that are in the middle of something


@pytest.fixture
def left(repl, embedded_server, tmp_path):
    """left(text, mark) -> wstpscript started with a profile, the text typed, killed when `mark` has appeared."""

    def leave(text, mark):
        terminal = repl("-startprofile", "p")
        terminal.type(text)
        terminal.expect(mark, DEADLINE)
        terminal.process.send_signal(signal.SIGKILL)
        terminal.process.wait()

    return leave


def test_a_question_is_asked_again(left, repl):
    left('x = 1; InputString["name> "] <> "!"', re.compile(r"\nname> $"))
    terminal = repl("-continueprofile", "p", prompt=re.compile(r"name> $"))
    terminal.enter("Ada", "\nOut[1]= Ada!\n\nIn[2]:= ")
    terminal.enter("x", "\nOut[2]= 1\n")
    assert "still at work" not in terminal.output


def test_the_menu_is_asked_again(left, repl):
    left("Interrupt[]; 7", re.compile(r"\nInterrupt> $"))
    terminal = repl("-continueprofile", "p", prompt=re.compile(r"Interrupt> $"))
    terminal.enter("c", "\nOut[1]= 7\n\nIn[2]:= ")
    terminal.enter("1 + 1", "\nOut[2]= 2\n")


def test_ctrl_c_at_a_question_from_before(left, repl):
    left("Input[]", re.compile(r"\n\? $"))
    terminal = repl("-continueprofile", "p", prompt=re.compile(r"\? $"))
    terminal.keys("\x03")
    terminal.expect("\nIn[2]:= ")
    terminal.enter("1 + 1", "\nOut[2]= 2\n")


def test_a_dialog_goes_on(left, repl):
    left("Dialog[]; 7", "(Dialog) In[2]:= ")
    terminal = repl("-continueprofile", "p", prompt="(Dialog) In[2]:= ")
    terminal.enter("1 + 1", "\n(Dialog) Out[2]= 2\n\n(Dialog) In[3]:= ")
    terminal.enter("Return[]", "\nOut[1]= 7\n\nIn[4]:= ")


def test_code_for_a_kernel_that_waits_for_an_answer(left, embedded_server, tmp_path):
    """The question comes first."""
    left('x = InputString["name> "];', re.compile(r"\nname> $"))
    words = script("-wstpserver", f"{embedded_server.port}@127.0.0.1", "-continueprofile", "p", "-code", "{x, x}")
    with TerminalProgram(words, tmp_path) as terminal:
        terminal.expect(re.compile(r"name> $"), DEADLINE)
        terminal.type("Ada")
        assert terminal.wait(DEADLINE) == 0
        assert terminal.output.endswith("{Ada, Ada}\n")


def test_a_kernel_taken_over_in_a_session(repl, embedded_server):
    """WSTPServer`ConnectKernel to a kernel that waits for an answer: it asks in this session."""
    with Session(f"{embedded_server.port}@127.0.0.1", DEADLINE) as other:
        kernel = other.command("GetKernelID", timeout=DEADLINE) if other.evaluate("1", DEADLINE) else None
        other.link.put(enter_text_packet('InputString["name> "]'))
        while other.link.get_packet(DEADLINE).name != "InputStringPacket":
            pass
        terminal = repl()
        terminal.type(f"WSTPServer`ConnectKernel[{json.dumps(kernel)}]")
        terminal.expect(re.compile(r"name> $"), DEADLINE)
        terminal.enter("Ada", "\nOut[1]= Ada\n")
        terminal.expect("\nIn[2]:= ")
