"""Interactive sessions and profiles on a terminal, with the real server and light test kernels."""

import contextlib
import os
import re
import signal
import stat

import pytest

from tests.script.helpers import conversation, kernels_of, without_waiting
from tests.support.serving import Gate
from tests.support.terminal import TerminalProgram, script
from tools.harness.kernels import make_kernel
from tools.harness.server import ServerProcess, pool
from tools.harness.waiting import wait_for
from wstpserver.client import Session

DEADLINE = 60
ID = re.compile(r"[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    kernel = make_kernel(folder)
    pools = {
        "Main": pool(kernel, MaximumKernelNumber=40),
        "Other": pool(kernel, MinimumKernelNumber=0, MaximumKernelNumber=10, InitializationCode="x=4"),
        "Full": pool(kernel, MinimumKernelNumber=0, MaximumKernelNumber=1),
    }
    with ServerProcess(folder, {"Pools": pools}, "-l", "2") as running:
        yield running


@pytest.fixture
def start(server, tmp_path):
    """start(option, ...) -> wstpscript on a terminal; the environment by keyword."""
    with contextlib.ExitStack() as stack:

        def start(*options, **environment):
            words = script("-wstpserver", f"{server.port}@127.0.0.1", *options)
            return stack.enter_context(TerminalProgram(words, tmp_path, environment))

        yield start


@pytest.fixture
def repl(start):
    """A session that shows its first prompt."""

    def repl(*options, prompt="In[1]:= ", **environment):
        terminal = start(*options, **environment)
        terminal.expect(prompt, DEADLINE)
        return terminal

    return repl


def test_numbers_and_results(repl):
    terminal = repl("-kernelpool", "Other")
    terminal.enter("x", "In[2]:= ")
    terminal.enter("Null", "In[3]:= ")
    terminal.enter("", "In[3]:= ")
    terminal.enter("1 +", "        ")
    terminal.enter("x", "In[4]:= ")
    terminal.enter('Print["a"]; 5', "In[5]:= ")
    terminal.keys("\x04")
    assert terminal.wait() == 0
    assert conversation(terminal.output) == (
        "\nIn[1]:= x\n\nOut[1]= 4\n\nIn[2]:= Null\n\nIn[3]:= \n\nIn[3]:= 1 +\n        x\n\nOut[3]= 5\n"
        '\nIn[4]:= Print["a"]; 5\na\n\nOut[4]= 5\n\nIn[5]:= \n'
    )


def test_an_empty_line_sends_an_input_that_is_incomplete(repl):
    terminal = repl()
    terminal.type("StringReverse[")
    terminal.enter("", "In[2]:= ")
    assert "Syntax" in terminal.output


def test_messages_are_in_colour_where_there_is_any(repl):
    shown = repl(TERM="xterm", PROMPT_TOOLKIT_NO_CPR="1", prompt="In[1]:=")
    shown.enter('Message["Power", "infy", "too much"]', "In[2]:=")
    assert "\x1b[31mPower::infy: too much\x1b[0m" in shown.raw
    plain = repl()
    plain.enter('Message["Power", "infy", "too much"]', "In[2]:= ")
    assert "\x1b[31m" not in plain.raw


def test_ctrl_c_aborts_and_keeps_the_session(repl, tmp_path):
    gate = Gate(tmp_path)
    terminal = repl()
    terminal.enter("y = 7", "In[2]:= ")
    terminal.type(f'Print["busy"]; BusyUntil["{gate.path}"]')
    terminal.expect("busy\n")
    terminal.keys("\x03")
    terminal.expect("Out[2]= $Aborted\n")
    terminal.expect("In[3]:= ")
    terminal.enter("y", "Out[3]= 7")


def test_ctrl_c_at_the_prompt_throws_away_what_was_typed(repl):
    terminal = repl()
    terminal.keys("1 + ")
    terminal.expect("1 + ")
    terminal.keys("\x03")
    terminal.expect("In[1]:= ")
    terminal.enter("2", "Out[1]= 2")


def test_three_times_ctrl_c_leaves_a_kernel_that_does_not_obey(repl):
    terminal = repl()
    terminal.type('Deaf[Print["busy"]; 60]')
    terminal.expect("busy\n")
    terminal.interrupt("once more Ctrl-C leaves it")
    terminal.keys("\x03")
    assert terminal.wait() == 130


def test_questions(repl):
    terminal = repl()
    terminal.type('Ask["your name> "]')
    terminal.expect(re.compile(r"\nyour name> $"))
    terminal.enter("Ada", "Out[1]= Ada")
    terminal.expect("In[2]:= ")
    terminal.type('Ask["again> "]')
    terminal.expect(re.compile(r"\nagain> $"))
    terminal.keys("\x03")
    terminal.expect("Out[2]= $Aborted")
    terminal.expect("In[3]:= ")


@pytest.mark.parametrize(("words", "status"), [("Quit[]", 0), ("Exit[3]", 3)])
def test_quit(repl, words, status):
    terminal = repl()
    terminal.type(words)
    assert terminal.wait() == status
    assert terminal.output.endswith(f"In[1]:= {words}\n")


def test_a_kernel_that_dies(repl):
    terminal = repl()
    terminal.type("Die[5]")
    assert terminal.wait() == 1
    assert "wstpscript: " in terminal.output


def test_another_kernel_from_inside(repl, tmp_path):
    terminal = repl("-startprofile", "p")
    terminal.enter('WSTPServer`ConnectKernel["Other"]', "In[1]:= ")
    terminal.enter("x", "Out[1]= 4")
    terminal.expect("In[2]:= ")
    assert "POOL=Other\n" in (tmp_path / "p").read_text()
    terminal.keys("\x04")
    terminal.wait()
    repl("-continueprofile", "p", prompt="In[2]:= ").enter("x", "Out[2]= 4")


def test_without_profile_the_kernel_is_closed(repl, server):
    terminal = repl()
    kernel = ID.search(terminal.enter("WSTPServer`GetKernelID[]", re.compile(r"Out\[1\]= .*\n\nIn\[2\]:= "))[0])[0]
    terminal.keys("\x04")
    assert terminal.wait() == 0
    wait_for(lambda: kernel not in kernels_of(server))


def test_a_profile_keeps_its_kernel(repl, server, tmp_path):
    terminal = repl("-startprofile")
    terminal.enter("y = 7", "In[2]:= ")
    terminal.keys("\x04")
    assert terminal.wait() == 0
    path = tmp_path / "WSTPServer" / "wstpscript.profile"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    lines = dict(line.split("=") for line in path.read_text().splitlines() if "=" in line)
    kernel = lines.pop("KERNELID")
    assert lines == {"KEEPALIVE": "TRUE", "RESERVE": "TRUE", "SERVER": f"{server.port}@127.0.0.1", "POOL": "Main"}
    assert kernel in kernels_of(server)

    terminal = repl("-continueprofile", prompt="In[2]:= ")
    terminal.enter("y", "Out[2]= 7")


@pytest.mark.parametrize("content", ["", "# mine\nPOOL=Other\n"])
def test_a_profile_that_names_no_kernel_gets_one(repl, server, tmp_path, content):
    """Programs make an empty file before they ask for a session."""
    (tmp_path / "p").write_text(content)
    first = repl("-continueprofile", "p")
    first.enter("y = 7", "In[2]:= ")
    first.keys("\x04")
    assert first.wait() == 0
    kernel = ID.search((tmp_path / "p").read_text())[0]
    assert kernel in kernels_of(server, "Other" if content else "Main")
    repl("-continueprofile", "p", prompt="In[2]:= ").enter("y", "Out[2]= 7")


def test_missed_output_is_shown(repl, server, tmp_path):
    gate = Gate(tmp_path)
    first = repl("-startprofile")
    first.type(f'Print["busy"]; BusyUntil["{gate.path}"]; Print["late"]; Message["a", "b", "late, too"]; 42')
    first.expect("busy\n")
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    kernel = ID.search((tmp_path / "WSTPServer" / "wstpscript.profile").read_text())[0]
    wait_for(lambda: kernel in kernels_of(server, state="reserved"))  # else this is written to the client that is gone
    gate.open()
    second = repl("-continueprofile", prompt="In[2]:= ")
    assert conversation(second.output).endswith("late\na::b: late, too\n\nOut[1]= 42\n\nIn[2]:= ")
    second.keys("\x04")
    second.wait()
    assert conversation(repl("-continueprofile", prompt="In[2]:= ").output) == "\nIn[2]:= ", "it is shown once"


def test_a_kernel_of_a_profile_that_is_gone(repl, start, server, tmp_path):
    terminal = repl("-startprofile", "p")
    terminal.type("Quit[]")
    assert terminal.wait() == 0
    gone = ID.search((tmp_path / "p").read_text())[0]
    terminal = start("-continueprofile", "p")
    assert terminal.wait(DEADLINE) == 1
    assert terminal.output == f"wstpscript: the kernel {gone} of the profile p is gone; -startprofile takes a new one\n"
    repl("-startprofile", "p").enter("1 + 1", "Out[1]= 2")
    assert gone not in (tmp_path / "p").read_text()


def test_a_new_kernel_for_a_profile_leaves_the_former_one(repl, server, tmp_path):
    first = repl("-startprofile", "p")
    first.keys("\x04")
    first.wait()
    former = ID.search((tmp_path / "p").read_text())[0]
    second = repl("-startprofile", "p")
    assert f"kernel {former}, which the profile named so far, stays alive" in second.output
    second.enter(f'WSTPServer`CloseKernel["{former}"]', "In[2]:= ")
    wait_for(lambda: former not in kernels_of(server))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "there is no profile p; -startprofile creates one"),
        ("KERNELID=a\nKEEPALIVE=2\n", "p, line 2: KEEPALIVE is TRUE or FALSE, not '2'"),
        ("KERNELID=0000-0000-0000\n", "kernel 0000-0000-0000 of the profile p is gone"),
    ],
)
def test_nothing_to_continue(start, tmp_path, content, says):
    if content is not None:
        (tmp_path / "p").write_text(content)
    terminal = start("-continueprofile", "p")
    assert terminal.wait(DEADLINE) == 1
    assert says in terminal.output


def test_a_profile_that_cannot_be_written_leaves_no_kernel(start, server, tmp_path):
    (tmp_path / "file").write_text("")
    before = kernels_of(server)
    terminal = start("-startprofile", "file/p")
    assert terminal.wait(DEADLINE) == 1
    assert "the profile file/p: Not a directory" in terminal.output
    wait_for(lambda: len(kernels_of(server)) <= max(2, len(before)))


def test_a_pool_that_is_not_there(start):
    terminal = start("-kernelpool", "Nowhere")
    assert terminal.wait(DEADLINE) == 69
    assert without_waiting(terminal.output) == (
        "wstpscript: the server gives no kernel of pool Nowhere; "
        "it has no such pool; its pools are: Main, Other, Full\n"
    )


def test_a_pool_that_is_full(start, server):
    with Session(f"wstp://127.0.0.1:{server.port}/Full", DEADLINE):
        terminal = start("-kernelpool", "Full", "-timeout", "4")
        terminal.expect("waiting for a kernel of pool Full: 1 of at most 1 kernels (1 bridged)")
        assert terminal.wait(DEADLINE) == 69
        assert terminal.output.count("wstpscript: ") == 2


def test_history(repl, tmp_path):
    first = repl()
    first.enter('StringReverse["abc"]', "Out[1]= cba\n\nIn[2]:= ")
    first.keys("\x04")
    first.wait()
    second = repl(TERM="xterm", PROMPT_TOOLKIT_NO_CPR="1", prompt="In[1]:=")
    second.keys("\x1b[A")
    second.expect('StringReverse["abc"]')
    second.keys("\r")
    second.expect("Out[1]= cba")
    os.stat(tmp_path / "WSTPServer" / "wstpscript.history")
