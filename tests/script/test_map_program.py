"""wstpscript -map as a program, on light and on embedded kernels."""

# ruff: noqa: F811 - fixtures are imported

import json
import os
import signal
import socket
import subprocess
import sys

import pytest

from tests.parallel.conftest import POOL, address, no_thread_is_left, running, serve, served  # noqa: F401 - fixtures
from tests.script.helpers import without_waiting
from tools.harness import forking
from tools.harness.server import ROOT
from tools.harness.waiting import wait_for

DEADLINE = 60


def start(address, *words, **streams):
    server = ["-wstpserver", address] if address else []
    command = [sys.executable, "-m", "wstpserver.cli.script.main", *server, *words]
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return forking.popen(command, heeds_interrupts=True, env=environment, text=True, **streams)


def run(address, *words, data=""):
    """(exit status, lines of stdout, stderr)."""
    with start(address, *words) as process:
        try:
            out, err = process.communicate(data, timeout=DEADLINE)
        finally:
            process.kill()
    return process.returncode, out.splitlines(), without_waiting(err)


def test_an_array_in_a_file(served, tmp_path):
    path = tmp_path / "data.json"
    path.write_text('["abc", "x", ""]')
    assert run(served.address, "-map", "StringReverse", "-over", str(path)) == (0, ['"cba"', '"x"', '""'], "")


def test_lines_in_order(served):
    data = "".join(f"{number}\n" for number in range(500))
    assert run(served.address, "-map", "Plus", "-over", "-", "-kernels", "3", data=data) == (0, data.splitlines(), "")


def test_what_fails_is_named(served):
    code, lines, err = run(served.address, "-map", "Die", "-over", "-", data="oops\n")
    assert (code, lines) == (64, [])
    assert "line 1 is no JSON" in err
    data = '"2"\noops\n"Die[1]"\n"3+"\n"4"\n'
    code, lines, err = run(served.address, "-map", "ToExpression", "-over", "-", data=data)
    assert (code, lines) == (1, ["2", "null", "null", "null", "4"])
    told = [line for line in err.splitlines() if line.startswith("wstpscript: element ")]
    assert told[0] == "wstpscript: element 2: line 2 is no JSON: Expecting value at column 1"
    assert "element 3: kernel" in told[1]
    assert "at attempt 2" in told[1]
    assert told[2] == "wstpscript: element 4: $Failed"


def test_time_limit_of_each_element(served):
    code, lines, err = run(served.address, "-map", "Sleep", "-over", "-", "-timeout", "1", data="0\n60\n0\n")
    assert (code, lines) == (1, ["null", "null", "null"])
    assert err.splitlines() == ["wstpscript: element 2: no result within 1 s; the kernel was told to abort"]


def test_code_before_it_in_each_kernel(served, tmp_path):
    file = tmp_path / "init.wl"
    file.write_text("Set[z, 4]")
    for words in (["-code", "Set[z, 4]"], ["-file", str(file)]):
        assert run(served.address, *words, "-map", "ToExpression", "-over", "-", data='"Get[z]"\n' * 9)[1] == ["4"] * 9


def test_output_goes_to_stderr(served):
    assert run(served.address, "-map", "Print", "-over", "-", data='"a"\n') == (0, ["null"], "a\n")


def test_no_function(served):
    code, lines, err = run(served.address, "-map", "f[", "-over", "-", data="1\n")
    assert (code, lines) == (64, [])
    assert "wstpscript: -map 'f[' is no function: it gives $Failed" in err


def test_a_pool_by_its_name(served):
    with served.executor(2):
        words = ["-kernelpool", "Main", "-map", "Plus", "-over", "-", "-kernels", "2"]
        assert run(served.address, *words, data="1\n") == (0, ["1"], "")


def test_no_kernels(served):
    code, lines, err = run(served.address, "-map", "Plus", "-over", "-", "-kernels", "9", data="1\n")
    assert (code, lines) == (69, [])
    assert f"9 kernels are too many: pool {POOL} has 2 of at most 4" in err


def test_no_server():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        address = f"{bound.getsockname()[1]}@127.0.0.1"
        code, lines, err = run(address, "-map", "Plus", "-over", "-", data="1\n")
    assert (code, lines) == (69, [])
    assert "wstpserver is running" in err


def test_progress(served):
    pytest.importorskip("tqdm")
    code, lines, err = run(served.address, "-map", "Plus", "-over", "-", "-progress", data="[1, 2, 3]")
    assert (code, lines) == (0, ["1", "2", "3"])
    assert "3/3" in err


def test_ctrl_c(served):
    with start(served.address, "-map", "Sleep", "-over", "-") as process:
        try:
            process.stdin.write("600\n600\n")
            process.stdin.close()
            wait_for(lambda: any(kernel.busy for kernel in served.kernels().values()), DEADLINE, interval=0.05)
            process.send_signal(signal.SIGINT)
            assert process.wait(DEADLINE) == 130
        finally:
            process.kill()
        assert process.stdout.read() == ""


def test_nobody_reads(served):
    with start(served.address, "-map", "Plus", "-over", "-") as process:
        try:
            process.stdout.close()
            process.stdin.write("1\n" * 1000)
            process.stdin.close()
            assert process.wait(DEADLINE) == 141
        finally:
            process.kill()


def test_the_language_as_it_is(address):
    data = json.dumps([1, 2.5, "x", None, [1, 2], {"a": 7}])
    code, lines, err = run(address, "-map", "{#, 1/3, Head[#]} &", "-over", "-", data=data)
    assert (code, err) == (0, "")
    assert [json.loads(line) for line in lines] == [
        [1, "1/3", "Integer"],
        [2.5, "1/3", "Real"],
        ["x", "1/3", "String"],
        [None, "1/3", "Symbol"],
        [[1, 2], "1/3", "List"],
        [{"a": 7}, "1/3", "Association"],
    ]
