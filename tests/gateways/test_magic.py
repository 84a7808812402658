"""Wolfram Language in Python notebooks: %load_ext wstpserver."""

import signal
import threading

import pytest

from tests.client.relay import Relay
from tools.harness.waiting import wait_for

numpy = pytest.importorskip("numpy")
interactive = pytest.importorskip("IPython.core.interactiveshell", reason="IPython is not installed")
from IPython.utils.capture import capture_output  # noqa: E402


@pytest.fixture(scope="module")
def shell(served, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WSTPSERVER", served.address)
        patch.setenv("IPYTHONDIR", str(tmp_path_factory.mktemp("ipython")))
        shell = interactive.InteractiveShell.instance()
        shell.run_line_magic("load_ext", "wstpserver")
        yield shell
        interactive.InteractiveShell.clear_instance()


def run(shell, code):
    """What a cell writes and shows."""
    with capture_output() as captured:
        shell.run_cell(code)
    return captured


def test_a_cell(shell):
    captured = run(shell, '%%wl\nPrint["hello"]\nx^2/3\nPlot[x, {x, 0, 1}]\n1/0')
    assert captured.stdout.startswith("hello\n") and "Power::infy" in captured.stderr
    formula, plot, last = (output.data for output in captured.outputs)
    assert formula["text/latex"] == "$\\displaystyle \\frac{x^2}{3}$" and formula["text/plain"] == "x ^ 2 / 3"
    assert "<svg" in plot["image/svg+xml"] and last["text/plain"] == "ComplexInfinity"


def test_an_image(shell):
    captured = run(shell, "%%wl\nImage[{{0., 1.}, {1., 0.}}]")
    assert captured.outputs[0].data["image/png"]


def test_arrays_both_ways(shell):
    shell.user_ns["data"] = numpy.linspace(0, 1, 1000).reshape(20, 50)
    run(shell, "%%wl -i data -o squared,n\nsquared = data^2; n = Dimensions[data];")
    assert numpy.allclose(shell.user_ns["squared"], shell.user_ns["data"] ** 2)
    assert isinstance(shell.user_ns["squared"], numpy.ndarray) and shell.user_ns["n"].tolist() == [20, 50]


def test_a_line_is_a_value(shell):
    shell.run_cell("value = %wl 2^100")
    assert shell.user_ns["value"] == 2**100


def test_a_timeout_keeps_the_session(shell):
    run(shell, "%%wl\nkept = 3")
    captured = run(shell, "%%wl -t 0.2\nWhile[True]")
    assert "EvaluationTimeout" in captured.stderr
    assert run(shell, "%%wl\nkept").outputs[0].data["text/plain"] == "3"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("-i nosuch", "no Python variable nosuch"), ("-x 1", "-x is no option"), ("-o", "-o needs a value"),
        ("-o a_b", "letters and digits"), ("-t soon", "no number of seconds"), ("-i shell_", "letters and digits"),
    ],
)  # fmt: skip
def test_wrong_lines(shell, line, problem):
    captured = run(shell, f"%%wl {line}\n1")
    assert problem in captured.stderr and "Traceback" not in captured.stderr and not captured.outputs


def test_nobody_listens(shell, served):
    captured = run(shell, "%%wl -s 1@127.0.0.1\n1")
    assert "refused" in captured.stderr and "Traceback" not in captured.stderr
    assert run(shell, f"%%wl -s {served.address} -p Main\n1").outputs[0].data["text/plain"] == "1"


def test_the_way_to_the_server_breaks(shell, served):
    """The session keeps its kernel, between commands and in the middle of one, whose answer is fetched."""
    with Relay(served.process.port) as relay:
        run(shell, f"%%wl -s {relay.address} -p Main\nkept = 17")
        relay.break_all()
        assert run(shell, "%%wl\nkept + 1").outputs[0].data["text/plain"] == "18"
        relay.break_all()
        shell.run_cell("value = %wl kept + 2")
        assert shell.user_ns["value"] == 19
        breaking = threading.Timer(0.3, relay.break_all)
        breaking.start()
        shell.run_cell("value = %wl Pause[0.6]; kept + 3")
        breaking.join()
        assert relay.broken.is_set() and shell.user_ns["value"] == 20
        run(shell, f"%%wl -s {served.address} -p Main\n1")  # ends the session


def test_the_server_is_restarted(shell, served, tmp_path):
    """While a cell is evaluated, which goes on."""
    gate = tmp_path / "gate"
    run(shell, "%%wl\nkept = 21")
    mine = set(served.in_use())

    def restart():
        try:
            wait_for(lambda: any(served.kernels()[each].busy for each in mine), 100, "the evaluation to run")
            served.restart()
        finally:
            gate.touch()

    restarting = threading.Thread(target=restart)
    restarting.start()
    shell.run_cell(f'value = %wl While[! FileExistsQ["{gate}"], Pause[0.02]]; kept + 1')
    restarting.join()
    assert shell.user_ns["value"] == 22
    assert run(shell, "%%wl\nkept").outputs[0].data["text/plain"] == "21"


def test_an_interrupt_keeps_the_session(shell, served):
    run(shell, "%%wl\nkept = 4")
    before = set(served.in_use())

    def interrupt():
        wait_for(lambda: any(served.kernels()[each].busy for each in before), 100, "the evaluation to run")
        signal.raise_signal(signal.SIGINT)

    interrupting = threading.Thread(target=interrupt)
    interrupting.start()
    captured = run(shell, "%%wl\nWhile[True]")
    interrupting.join()
    assert "$Aborted" in captured.stderr and "Traceback" not in captured.stderr + captured.stdout
    assert run(shell, "%%wl\nkept").outputs[0].data["text/plain"] == "4"


def test_text_of_any_kind(shell):
    captured = run(shell, "%%wl\nFromCharacterCode[{55296, 65}]\nPrint[FromCharacterCode[Range[0, 255]]]\n")
    assert captured.outputs[0].data["text/plain"] == "\ufffdA" and captured.stdout.endswith("\xff\n")
    captured = run(shell, "%%wl\n1 + \x00")
    assert "Syntax" in captured.stderr and "Traceback" not in captured.stderr
    shell.run_cell('value = %wl StringRepeat["0123456789", 10^7]')
    assert len(shell.user_ns.pop("value")) == 100_000_000


def test_a_kernel_that_dies(shell, served):
    """In the middle of an evaluation."""
    run(shell, "%%wl\nkept = 4")
    captured = run(shell, '%%wl\nRun["kill -9 " <> ToString[$ProcessID]]; While[True]')
    assert "KernelLost" in captured.stderr and "new kernel" in captured.stderr and not captured.outputs
    assert run(shell, "%%wl\nkept").outputs[0].data["text/plain"] == "kept"
