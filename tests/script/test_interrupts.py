"""Ctrl-C at the moments at which it is easily lost: while readline is busy, and between an evaluation and a prompt."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from tests.script.helpers import served
from tests.support.terminal import TerminalProgram
from wstpserver.cli.script.connect import ScriptSession
from wstpserver.cli.script.reader import Interrupts
from wstpserver.cli.script.repl import Repl
from wstpserver.cli.terminal import Terminal
from wstpserver.client import Session, parse_address

pytest.importorskip("readline")

DEADLINE = 60
PROGRAM = Path(__file__).with_name("prompt_program.py")


@pytest.fixture
def prompt(tmp_path):
    """prompt(moment) -> the program, which shows its prompt; see its own text."""

    def start(moment):
        return TerminalProgram([sys.executable, PROGRAM, moment], tmp_path)

    return start


def test_ctrl_c_between_a_key_and_its_reading(prompt):
    """A terminal throws away what was typed; readline would wait for it, deaf to every further Ctrl-C."""
    with prompt("announced") as terminal:
        terminal.expect("prompt> ", DEADLINE)
        terminal.keys("t")
        terminal.expect("HOLD\n", DEADLINE)
        terminal.keys("\x03")
        terminal.expect("t")  # readline has read what was typed
        terminal.keys("\x03")
        terminal.expect("INTERRUPTED as before\n", DEADLINE)
        assert terminal.wait() == 0


def test_ctrl_c_before_readline_waits(prompt):
    """No key and no second Ctrl-C is needed."""
    with prompt("drawn") as terminal:
        terminal.expect("INTERRUPTED as before\n", DEADLINE)
        assert terminal.wait() == 0


class Script:
    """An InputReader: gives the inputs one after the other, and remembers the prompts. What is callable is called."""

    def __init__(self, *inputs):
        self._inputs = list(inputs)
        self.prompts = []

    def read(self, prompt):
        self.prompts.append(prompt)
        if not self._inputs:
            raise EOFError
        given = self._inputs.pop(0)
        return given() if callable(given) else given

    read_line = read


def press():
    """Ctrl-C, in this thread and at once."""
    signal.raise_signal(signal.SIGINT)


@pytest.fixture
def repl():
    """repl(input, ..., rules=..., pressing=...) -> (exit status, prompts) of a session in this process.

    pressing: how often Ctrl-C is pressed after each evaluation, before the server is asked what has become of it.
    """
    former = signal.signal(signal.SIGINT, signal.default_int_handler)

    def run(*inputs, rules=(), pressing=0):
        reader, terminal = Script(*inputs), Terminal()
        with served(dict(rules)) as (address, _), Session(address, DEADLINE) as session:
            opened = ScriptSession(session, None, parse_address(address))
            made = Repl(opened, terminal, reader, Interrupts(session, terminal))
            command, evaluate = session.command, session.evaluate_text
            evaluated = []

            def evaluating(*words, **options):
                evaluated.append(words)
                return evaluate(*words, **options)

            def pressed(*words, **options):
                for _ in range(pressing if evaluated else 0):
                    press()
                evaluated.clear()
                return command(*words, **options)

            session.command, session.evaluate_text = pressed, evaluating
            status = made.run()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        return status, reader.prompts

    yield run
    signal.signal(signal.SIGINT, former)


def test_ctrl_c_between_an_evaluation_and_the_prompt(repl, capfd):
    """It hits nothing: neither the result nor the next prompt is lost."""
    rules = {"GetKernelID": '{"status":"ExecutionSuccess","result":"a"}'}
    status, prompts = repl("1 + 1", "2 + 2", rules=rules, pressing=1)
    assert (status, prompts) == (0, ["In[1]:= ", "In[2]:= ", "In[3]:= "])
    assert "Out[2]= 2 + 2" in capfd.readouterr().out


def test_three_times_ctrl_c_after_an_evaluation_leaves(repl):
    status, prompts = repl("1 + 1", pressing=3, rules={"GetKernelID": '{"status":"ExecutionSuccess","result":"a"}'})
    assert (status, prompts) == (130, ["In[1]:= "])


def test_ctrl_c_at_the_prompt_again_and_again(repl):
    status, prompts = repl(*[press] * 5, "1 + 1")
    assert (status, prompts) == (0, ["In[1]:= "] * 6 + ["In[2]:= "])


def test_ctrl_c_while_a_name_is_completed_ends_that_only():
    """It aborts what the kernel does for it; the input goes on, and Ctrl-C is heard there as before."""
    with served() as (address, _), Session(address, DEADLINE) as session:
        interrupts = Interrupts(session, Terminal())
        with interrupts, pytest.raises(KeyboardInterrupt), interrupts.asked():
            with interrupts.evaluating():
                press()
            press()


def test_no_python_code_hears_ctrl_c_at_a_prompt():
    """After a KeyboardInterrupt `input` calls handlers once more; SystemError, if that is Python code."""
    with served() as (address, _), Session(address, DEADLINE) as session:
        interrupts = Interrupts(session, Terminal())
        with interrupts:
            with interrupts.asked():
                assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
                with interrupts.evaluating():
                    assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
                assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
            press()  # as between an evaluation and the prompt
