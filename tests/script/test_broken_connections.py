"""Connections that break, at every step: one line that says so, and no half of a profile."""

from __future__ import annotations

import signal

import pytest

from tests.client.helpers import PROMPT, takes
from tests.script.helpers import without_waiting
from tests.script.peers import Cut, many_served
from tests.support.terminal import TerminalProgram
from tests.support.terminal import script as script_words
from tools.harness.kernels import make_kernel
from tools.harness.server import ServerProcess, pool
from wstpserver.cli.script.main import main


def run_cut(capfd, address, limit):
    """wstpscript through a relay: (exit status, stdout, stderr, bytes that came to the client)."""
    with Cut(address, limit) as relay:
        status = main(["-wstpserver", relay.address, "-code", "go"])
        passed = relay.passed
    out, err = capfd.readouterr()
    return status, out, without_waiting(err), passed


@pytest.mark.timeout(180)
def test_the_connection_breaks_at_every_step(capfd):
    """In the greeting, before and in the prompt, in the answers to commands, in the middle of the result."""
    with many_served({"go": "x" * 300}) as address:
        status, out, err, total = run_cut(capfd, address, 1 << 20)
        assert (status, out, err) == (0, "x" * 300 + "\n", "")
        for limit in [*range(0, total - 1, 29), total - 3]:
            with takes(0):
                status, out, err, _ = run_cut(capfd, address, limit)
            assert (status in (1, 69), out) == (True, ""), (limit, status, out, err)
            assert len(err.splitlines()) == 1 and err.startswith("wstpscript: "), (limit, err)
            assert relay_is_named(err), (limit, err)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("option", ["-startprofile", "-continueprofile"])
def test_the_connection_breaks_at_every_step_to_a_profile(capfd, tmp_path, option, monkeypatch):
    """The profile is as before, or names the kernel: never half of it. No server comes to reconnect to."""
    monkeypatch.setattr("wstpserver.cli.script.connect.RECONNECT_TIME", 0.1)
    result, success = '{"result":"a806-2645-9651"}', '{"status":"ExecutionSuccess"}'
    rules = {"go": "7", "GetKernelID": result, "GetPoolName": '{"result":"Main"}'}
    rules |= dict.fromkeys(("SetKeepAlive", "SetReserveKernel", "ConnectKernel"), success)
    rules |= {"GetKernelBusyStatus": '{"result":"False"}', "GetMissedOutput": '{"status":"PacketMalformed"}'}
    before = "KERNELID=a806-2645-9651\n" if option == "-continueprofile" else "POOL=\n"
    profile = tmp_path / "p"

    def run(limit):
        profile.write_text(before)
        with Cut(address, limit) as relay:
            words = ["-wstpserver", relay.address, option, str(profile), "-timeout", "20", "-code", "go"]
            status = main(words)
            passed = relay.passed
        out, err = capfd.readouterr()
        return status, out, without_waiting(err), passed

    with many_served(rules) as address:
        status, out, err, total = run(1 << 20)
        assert (status, out, err) == (0, "7\n", "")
        assert "KERNELID=a806-2645-9651\n" in profile.read_text()
        for limit in [*range(0, total - 1, 41), total - 3]:
            with takes(0):
                status, out, err, _ = run(limit)
            assert (status in (1, 69), out) == (True, ""), (limit, status, out, err)
            assert len(err.splitlines()) == 1 and relay_is_named(err), (limit, err)
            text = profile.read_text()
            assert text == before or ("KERNELID=a806-2645-9651\n" in text and "SERVER=" in text), (limit, text)


def test_the_server_is_killed_in_a_session(tmp_path):
    with ServerProcess(tmp_path, {"Pools": {"Main": pool(make_kernel(tmp_path))}}) as server:
        with TerminalProgram(script_words("-wstpserver", f"{server.port}@127.0.0.1"), tmp_path) as terminal:
            terminal.expect("In[1]:= ", PROMPT)
            terminal.enter("x = 1", "In[2]:= ", PROMPT)
            server.expect_exit(-signal.SIGKILL)
            server.stop(signal.SIGKILL)
            terminal.type("x")
            assert terminal.wait(PROMPT) == 1
        assert terminal.output.splitlines()[-1] == f"wstpscript: {server.port}@127.0.0.1: the server has stopped"


def relay_is_named(line):
    """Whether the line says which link it is about, and what became of it."""
    return "@127.0.0.1: " in line and any(word in line for word in ("closed", "connection", "has gone"))
