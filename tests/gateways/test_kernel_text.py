"""wstpserver-kernel on a terminal or a pipe, as Sage, Emacs and shell scripts use a kernel."""

import re
import sys

import pytest

from tests.gateways.conftest import ROOT, write_program
from tests.script.helpers import without_waiting
from tests.support.serving import Gate
from tests.support.terminal import TerminalProgram
from tools.harness import forking
from tools.harness.kernels import make_kernel
from tools.harness.server import ServerProcess, pool
from tools.harness.waiting import wait_for
from wstpserver.client import Session, connect
from wstpserver.client.commands import server_information

DEADLINE = 60
COMMAND = [sys.executable, "-m", "wstpserver.cli.kernel"]
BANNER = re.compile(r"\A.*WSTPServer at \d+@127\.0\.0\.1, kernel [0-9a-f-]{14}\n")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    with ServerProcess(folder, {"Pools": {"Main": pool(make_kernel(folder), MaximumKernelNumber=20)}}) as running:
        yield running


def environment(address):
    return {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "WSTPSERVER": address, "LANG": "C.UTF-8"}


@pytest.fixture
def run(server):
    """run(option, ..., inputs=text) -> (exit status, stdout, stderr) with a pipe as standard input."""

    def run(*words, inputs="", address=None):
        done = forking.run(
            [*COMMAND, *map(str, words)], input=inputs, capture_output=True, text=True, timeout=DEADLINE,
            env=environment(address or f"{server.port}@127.0.0.1"),
        )  # fmt: skip
        return done.returncode, done.stdout, without_waiting(done.stderr)

    return run


@pytest.fixture
def terminal(server, tmp_path):
    with TerminalProgram(COMMAND, tmp_path, environment(f"{server.port}@127.0.0.1")) as started:
        started.expect("In[1]:= ", DEADLINE)
        yield started


def test_a_pipe(run):
    inputs = '1 + 1\n\nPrint["a"]; Null\nMessage["Power", "infy", "x"]; 5\nStringReverse[\n"abc"]\n'
    status, out, err = run(inputs=inputs)
    assert (status, err) == (0, "")
    assert BANNER.sub("", out) == (
        "\nIn[1]:= \nOut[1]= 2\n\nIn[2]:= \nIn[2]:= a\n\nIn[3]:= \nPower::infy: x\n\nOut[3]= 5\n"
        "\nIn[4]:= \nOut[4]= cba\n\nIn[5]:= \n"
    )


def test_without_prompts(run):
    assert run("-noprompt", inputs="1 + 1\nNull\nx = 3\nx\n") == (0, "2\n3\n3\n", "")


@pytest.mark.parametrize(("words", "status"), [("Quit[]", 0), ("Exit[3]", 3)])
def test_the_input_ends_the_kernel(run, words, status):
    assert run("-noprompt", inputs=f"1 + 1\n{words}\n2\n") == (status, "2\n", "")


def test_the_kernel_dies(run):
    status, out, err = run("-noprompt", inputs="Die[5]\n2\n")
    assert (status, out) == (1, "")
    assert err.startswith("wstpserver-kernel: ") and "Traceback" not in err


def test_no_server(run):
    status, out, err = run(address="1@127.0.0.1")
    assert (status, out) == (69, "")
    assert err.startswith("wstpserver-kernel: ") and "refused" in err


def test_a_terminal(terminal):
    """What Sage looks for: the prompt, and the menu of Ctrl-C."""
    assert terminal.enter("1 + 1", re.compile(r"Out\[1\]= (.*)\n\nIn\[2\]:= "))[1] == "2"
    terminal.type("StringJoin[")
    terminal.enter('"a", "b"]', "Out[2]= ab\n\nIn[3]:= ")
    terminal.keys("\x04")
    assert terminal.wait() == 0


def test_as_sage_talks_to_it(served, tmp_path):
    """The command, the prompt, the file for long inputs and the interrupt of sage/interfaces/mathematica.py."""
    prompt = re.compile(r"(?s)(.*?)In\[[0-9]+\]:= ")
    math = write_program(tmp_path, "import sys; from wstpserver.cli.kernel import main; sys.exit(main())")
    command = ["sh", "-c", f"stty -echo; {math} -rawterm"]

    def evaluate(line):
        sage.keys(line + "\n")
        text = sage.expect(prompt, DEADLINE)[1]
        begin = text.find("Out[")
        end = begin + text[begin:].find("=")
        return (text[:begin] + text[end + 1 :]).strip() if begin >= 0 else text.strip()

    with TerminalProgram(command, tmp_path, environment(served.address)) as sage:
        sage.expect(prompt, DEADLINE)
        assert evaluate("2+2") == "4"
        assert evaluate("sage1=Sin[x]^2;") == ""
        assert evaluate("InputForm[sage1, NumberMarks->False]") == "Sin[x]^2"
        assert evaluate("Print[1]; Print[2]") == "1\n2"
        assert evaluate('SetDirectory["/tmp"]') == "/tmp"
        assert "Power::infy" in evaluate("1/0")
        long = tmp_path / "interface"
        long.write_text(f"sage2={'+'.join(['1'] * 2000)};")
        assert evaluate(f'<<"{long}"') == "" and evaluate("sage2") == "2000"
        sage.keys('Print["runs"]; While[True]\n')
        sage.expect("runs\n", DEADLINE)
        sage.keys("\x03\n")
        sage.expect("Interrupt> ", DEADLINE)
        sage.keys("a\n")
        sage.expect(prompt, DEADLINE)
        assert evaluate("sage2 + 1") == "2001"


def test_ctrl_c_in_an_evaluation_gives_the_menu(terminal, tmp_path):
    gate = Gate(tmp_path)
    terminal.type(f'Print["busy"]; BusyUntil["{gate.path}"]')
    terminal.expect("busy\n")
    terminal.keys("\x03")
    terminal.expect("Interrupt> ")
    terminal.enter("a", "In[2]:= ")
    terminal.enter("1 + 1", "Out[2]= 2")


def test_ctrl_c_at_the_prompt(terminal):
    terminal.keys("1 + ")
    terminal.expect("1 + ")
    terminal.keys("\x03")
    terminal.expect("In[1]:= ")
    terminal.enter("2", "Out[1]= 2")


def test_nothing_is_left(run, server):
    run(inputs="1\n")
    run("-noprompt", inputs="Quit[]\n")

    def calm():
        with Session(connect(f"{server.port}@127.0.0.1", 20.0, without_kernel=True)) as session:
            kernels = server_information(session).pools["Main"].kernels
            return all(kernel.state in ("free", "starting") and not kernel.evaluations for kernel in kernels)

    wait_for(calm)


def test_scripts_and_code_to_run_first(served, run, tmp_path):
    """They need the language itself: with the embedded kernel."""
    before = served.in_use()
    script, first = tmp_path / "s.wl", tmp_path / "init.m"
    script.write_text("#!/usr/bin/env wolfram -script\nPrint[a, b, Rest[$ScriptCommandLine]]\nExit[4]\nPrint[0]\n")
    first.write_text("a = 1\n")
    words = ("-noinit", "-initfile", first, "-run", "b = 2; 5", "-script", script, "x", "-y")
    assert run(*words, address=served.address) == (4, "12{x, -y}\n", "")
    assert run("-run", "Print[6]; Exit[]", address=served.address) == (0, "6\n", "")
    served.assert_nothing_is_left(before)
