"""Kernels that die, code that is none, files that cannot be used: one line that names it, never a traceback."""

from __future__ import annotations

import os
import re
import signal

import pytest

from tests.client.helpers import PROMPT
from tests.script.helpers import kernels_of, process
from tests.support.terminal import TerminalProgram
from tests.support.terminal import script as script_words
from tools.harness.kernels import make_kernel
from tools.harness.server import ServerProcess, pool
from tools.harness.waiting import wait_for
from wstpserver.cli.script.main import main


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    with ServerProcess(folder, {"Pools": {"Main": pool(make_kernel(folder), MaximumKernelNumber=20)}}) as running:
        yield running


@pytest.mark.parametrize(
    "code", ['HalfFrame["die", 100000]', "Die[5]", 'PutBytes["FA#"]; Die[1]', "DieBySignal[9]", 'HalfFrame["close"]']
)
def test_a_kernel_that_dies_in_the_middle_of_a_result(server, tmp_path, code):
    with TerminalProgram(script_words("-wstpserver", f"{server.port}@127.0.0.1"), tmp_path) as terminal:
        terminal.expect("In[1]:= ", PROMPT)
        terminal.type(code)
        assert terminal.wait(PROMPT) == 1
    assert terminal.output.splitlines()[-1].startswith("wstpscript: ")
    # a frame that has begun cannot be taken back to make room for the server's words
    assert "the server says: the kernel died" in terminal.output or "in the middle of an expression" in terminal.output
    assert "Traceback" not in terminal.output


def test_a_kernel_that_is_killed(embedded_server):
    words = ("-wstpserver", f"{embedded_server.port}@127.0.0.1", "-code", "Print[$ProcessID]; Pause[60]")
    with process(*words) as started:
        os.kill(int(started.stdout.readline()), signal.SIGKILL)
        out, err = started.communicate(timeout=PROMPT)
    assert (started.returncode, out) == (1, b"")
    assert err.startswith(b"wstpscript: ") and b"the server says: the kernel died" in err
    assert err.count(b"\n") == 1


@pytest.mark.parametrize("code", ["1 +* 2", "f[", "{1, 2)", '"abc', ")"])
def test_code_that_is_none(capfd, embedded_server, code):
    """The kernel's message says what is wrong with it."""
    assert main(["-wstpserver", f"{embedded_server.port}@127.0.0.1", "-code", code]) == 1
    out, err = capfd.readouterr()
    assert out == "$Failed\n"
    assert err.startswith("Syntax::")


def test_a_binary_file(complains, tmp_path):
    path = tmp_path / "main.wl"
    path.write_bytes(b"Print[1]\n\x7fELF\x02\x01\x01\0\0")
    assert complains("-file", str(path)) == (
        64, f"wstpscript: cannot read {path}: it is not text (a zero byte in line 2)",
    )  # fmt: skip


def test_invalid_utf8(complains, tmp_path):
    path = tmp_path / "main.wl"
    path.write_bytes("(* größer *)\r\nPrint[1]\r\n".encode() + "Print[größer]".encode("latin-1"))
    status, line = complains("-file", str(path))
    assert status == 64
    assert line.startswith(f"wstpscript: cannot read {path}: line 3 is not UTF-8 (invalid ")


def unwritable(tmp_path):
    """Profiles in places that take no files; the administrator may write where the mode says no."""
    (tmp_path / "file").write_text("")
    yield str(tmp_path / "file" / "p")
    yield "/proc/p"
    if os.geteuid() != 0:
        folder = tmp_path / "folder"
        folder.mkdir(mode=0o500)
        yield str(folder / "p")


def test_a_profile_in_a_folder_that_cannot_be_written(complains, server, tmp_path):
    before = max(2, len(kernels_of(server)))
    for path in unwritable(tmp_path):
        status, line = complains("-wstpserver", f"{server.port}@127.0.0.1", "-startprofile", path, "-code", "1")
        assert status == 1
        assert re.match(rf"wstpscript: cannot (read|write) the profile {re.escape(path)}: \w+", line)
    wait_for(lambda: len(kernels_of(server)) <= before, PROMPT, "the kernels to be given back")


def test_a_profile_that_is_none(complains, tmp_path):
    (tmp_path / "p").write_bytes(b"\xff\xfeK\0")
    assert complains("-continueprofile", str(tmp_path / "p"), "-code", "1") == (
        1, f"wstpscript: {tmp_path / 'p'} is no profile: it is not UTF-8 text",
    )  # fmt: skip
    status, line = complains("-continueprofile", str(tmp_path), "-code", "1")
    assert (status, line) == (1, f"wstpscript: cannot read the profile {tmp_path}: Is a directory")
