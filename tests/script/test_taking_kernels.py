"""How wstpscript gets its kernel: in which order it asks, what it leaves behind, and what it says meanwhile."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import threading

import pytest

from tests.client.helpers import PROMPT, peer
from tests.script.helpers import ScriptKernel, kernels_of, process, served, without_waiting
from tests.support.serving import Since
from tests.support.terminal import TerminalProgram
from tests.support.terminal import script as script_words
from tools.harness.kernels import make_kernel
from tools.harness.server import ServerProcess, pool
from tools.harness.waiting import wait_for
from wstpserver.cli.script.connect import describe_pool
from wstpserver.cli.script.main import main
from wstpserver.client import Session, connect
from wstpserver.client.commands import read_information, server_information
from wstpserver.wire.values import Function, Symbol

DEADLINE = 60


@pytest.fixture
def server(tmp_path):
    kernel = make_kernel(tmp_path)
    pools = {
        "Main": pool(kernel, MinimumKernelNumber=1, MaximumKernelNumber=2),
        "Full": pool(kernel, MinimumKernelNumber=0, MaximumKernelNumber=1),
        "Broken": pool(
            make_kernel(tmp_path, "broken", exit_at_once=True, last_output="No licence"),
            MinimumKernelNumber=1, MaximumKernelNumber=1,
        ),
    }  # fmt: skip
    with ServerProcess(tmp_path, {"Pools": pools}, "-l", "2") as running:
        running.address = f"{running.port}@127.0.0.1"
        yield running


def states(server, name="Main"):
    with Session(connect(server.address, PROMPT, without_kernel=True)) as session:
        return server_information(session).pools[name].states


# The pool is named before a kernel is taken


def test_the_kernels_of_a_profile_do_not_wait_for_each_other(server, tmp_path, capfd):
    """The second run names the pool of the first one, of whose two kernels one is reserved."""
    words = ["-wstpserver", server.address, "-startprofile", str(tmp_path / "p"), "-timeout", "20", "-code", ""]
    assert main(words) == 0
    assert main(words) == 0
    assert wait_for(lambda: states(server) == {"reserved": 2}, DEADLINE)
    capfd.readouterr()


def test_a_named_pool_takes_no_kernel_of_another(server, capfd):
    server.wait_for_log("Pool Main is ready")
    before = kernels_of(server)
    since = Since(server)
    assert main(["-wstpserver", server.address, "-kernelpool", "Full", "-code", ""]) == 0
    assert kernels_of(server) == before
    since.wait_for("is unbridged from kernel .*: the client's link ended")
    assert since.log.count(" is bridged to kernel ") == 1
    capfd.readouterr()


# A profile that cannot be written


@pytest.fixture
def nobody():
    """An address at which nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"{bound.getsockname()[1]}@127.0.0.1"


def test_a_profile_is_tried_before_a_server_is_looked_for(complains, nobody):
    status, line = complains("-wstpserver", nobody, "-startprofile", "/proc/p", "-code", "1")
    assert (status, line) == (1, "wstpscript: cannot write the profile /proc/p: No such file or directory")


def test_a_kernel_that_could_not_be_noted_is_given_up(capfd, monkeypatch, tmp_path):
    def full(*_):
        raise OSError(28, "No space left on device")

    success = '{"status":"ExecutionSuccess"}'
    rules = {"GetKernelID": '{"result":"a806-2645-9651"}', "SetKeepAlive": success, "SetReserveKernel": success}
    with served(rules) as (address, kernel):
        monkeypatch.setattr(os, "replace", full)
        words = ["-wstpserver", address, "-startprofile", str(tmp_path / "p"), "-code", "1"]
        assert main(words) == 1
    assert "No space left on device" in capfd.readouterr().err
    assert kernel.commands[-1] == Function(Symbol("SetKeepAlive"), (Symbol("False"),))


# What is said while waiting, and at its end


def test_waiting_is_announced_with_reason_remedy_and_time(server, tmp_path):
    words = script_words("-wstpserver", server.address, "-kernelpool", "Full", "-timeout", "50", "-code", "")
    with (
        Session(f"wstp://127.0.0.1:{server.port}/Full", DEADLINE) as session,
        TerminalProgram(words, tmp_path) as terminal,
    ):
        terminal.expect(
            "wstpscript: waiting for a kernel of pool Full: 1 of at most 1 kernels (1 bridged); "
            "a kernel is free when a client leaves; ",
            DEADLINE,
        )
        terminal.expect(re.compile(r"\d+ s left\n"))
        session.close()
        assert terminal.wait(DEADLINE) == 0


def test_on_a_terminal_the_line_is_kept_up_to_date_and_taken_away(server, tmp_path):
    words = script_words("-wstpserver", server.address, "-kernelpool", "Full", "-timeout", "50", "-code", "")
    with (
        Session(f"wstp://127.0.0.1:{server.port}/Full", DEADLINE) as session,
        TerminalProgram(words, tmp_path, {"TERM": "xterm"}) as terminal,
    ):
        first = terminal.expect(re.compile(r"; (\d+) s left"), DEADLINE)
        second = terminal.expect(re.compile(r"; (\d+) s left"), DEADLINE)
        assert int(second[1]) < int(first[1])
        session.close()
        assert terminal.wait(DEADLINE) == 0
    assert "\n" not in terminal.raw[: terminal.raw.rindex(" s left")], "it is one line"
    assert "\r\x1b[K" in terminal.raw[terminal.raw.rindex(" s left") :], "and taken away"


def test_a_pool_whose_kernels_do_not_start_says_why(server, capfd):
    server.wait_for_log("did not start")
    assert main(["-wstpserver", server.address, "-kernelpool", "Broken", "-timeout", "1", "-code", "1"]) == 69
    (line,) = without_waiting(capfd.readouterr().err).splitlines()
    assert line.startswith("wstpscript: the server gives no kernel of pool Broken within 1 s: ")
    assert "No licence" in line


def test_no_kernel_in_time_says_nothing_of_an_abort(capfd):
    release = threading.Event()
    with peer(lambda link: release.wait(PROMPT)) as address:
        assert main(["-wstpserver", address, "-timeout", "1", "-code", "1"]) == 69
        release.set()
    assert without_waiting(capfd.readouterr().err) == f"wstpscript: {address}: no kernel within 1 s\n"


def described(maximum, *states, **keys):
    kernels = [{"ID": f"k{number}", "State": state} for number, state in enumerate(states)]
    answer = {"Pools": {"P": {"MaximumKernelNumber": maximum, "Kernels": kernels, **keys}}}
    return describe_pool(read_information(answer).pools["P"])


def test_the_remedy_fits_the_reason():
    assert described(2, "free") == "1 of at most 2 kernels (1 free)"
    assert described(2, "bridged", "starting") == "2 of at most 2 kernels (1 bridged, 1 starting)"
    remedy = "; `wstpserver-admin close --reserved` closes the reserved kernels"
    assert described(2, "bridged", "reserved").endswith(remedy)
    assert described(1, "bridged").endswith("; a kernel is free when a client leaves")
    assert described(1, Trouble="No licence") == "0 of at most 1 kernels; No licence"


def test_the_server_says_how_long_to_wait(capfd):
    """KernelWaitTimeout holds for a pool that is named, too."""
    pools = {"P": {"MaximumKernelNumber": 1, "Kernels": []}}
    rules = {"GetServerInformation": json.dumps({"result": {"Pools": pools, "KernelWaitTimeout": 7}})}
    with served(rules) as (address, kernel):
        assert main(["-wstpserver", address, "-kernelpool", "P", "-code", "1"]) == 69
    (asked,) = [command for command in kernel.commands if command.head == Symbol("ConnectKernel")]
    assert asked.args[0] == "P" and 6 < asked.args[1] <= 7
    assert "the server gives no kernel of pool P: 0 of at most 1 kernels" in capfd.readouterr().err


# The kernel is taken over


def test_a_kernel_that_was_taken_over_ends_the_session(server, tmp_path):
    """What is typed then is evaluated nowhere."""
    words = script_words("-wstpserver", server.address, "-kernelpool", "Full", "-startprofile", "p")
    with TerminalProgram(words, tmp_path) as terminal:
        terminal.expect("In[1]:= ", DEADLINE)
        (kernel,) = kernels_of(server, "Full")
        with Session(connect(server.address, PROMPT, without_kernel=True)) as thief:
            assert thief.command("ConnectKernel", kernel, 5) is None
            thief.evaluate("1 + 1", DEADLINE)
            before = kernels_of(server)
            terminal.type(f'Run["touch {tmp_path}/evaluated"]')
            assert terminal.wait(DEADLINE) == 1
            assert kernels_of(server) == before, "no other kernel was taken for it"
    assert re.search(rf"wstpscript: .*(kernel {kernel} is not connected to this session any more|taken|closed)",
                     terminal.output)
    assert not (tmp_path / "evaluated").exists()


# The server's name


def test_the_environment_names_the_server(monkeypatch, capfd):
    with served({"1 + 1": "2"}) as (address, _):
        monkeypatch.setenv("WSTPSERVER", address)
        assert main(["-code", "1 + 1"]) == 0
    assert capfd.readouterr().out == "2\n"


def test_a_server_that_the_environment_names_is_the_only_one(monkeypatch, complains, nobody):
    monkeypatch.setenv("WSTPSERVER", nobody)
    status, line = complains("-code", "1")
    assert status == 69 and f"{nobody}: the connection was refused" in line


# What a script that was killed leaves


def test_an_abort_that_is_sent_before_the_end_is_obeyed(capfd):
    """The program waits for the kernel to come to rest: what is sent just before a link is closed may be lost."""
    with served({"endless": lambda kernel: kernel.until_aborted()}) as (address, kernel):
        assert main(["-wstpserver", address, "-timeout", "1", "-code", "endless"]) == 1
    assert kernel.aborts == 1
    assert [name for name, _ in kernel.seen][-1] == "EvaluatePacket", "something was asked behind it"
    capfd.readouterr()


def test_the_answer_of_a_script_that_was_killed_is_shown_as_text(tmp_path):
    """It is what wstpscript's own program gave."""
    missed = [0, Function(Symbol("List"), (
        Function(Symbol("TextPacket"), ("printed\n",)),
        Function(Symbol("ReturnPacket"), (
            Function(Symbol("List"), ("value", Function(Symbol("List"), ("{1, a}",)))),
        )),
        Function(Symbol("ReturnPacket"), (Function(Symbol("f"), (Symbol("x"), 1)),)),
    ))]  # fmt: skip
    success = '{"status":"ExecutionSuccess"}'
    rules = dict.fromkeys(("SetKeepAlive", "SetReserveKernel", "ConnectKernel"), success)
    rules |= {"GetKernelBusyStatus": '{"result":"False"}', "GetPoolName": '{"result":"Main"}', "1": "1"}
    rules |= {"GetKernelID": '{"result":"a806-2645-9651"}', "GetMissedOutput": Function(Symbol("List"), tuple(missed))}
    profile = tmp_path / "p"
    profile.write_text("KERNELID=a806-2645-9651\n")
    with (
        peer(ScriptKernel(rules)) as address,
        process("-wstpserver", address, "-continueprofile", str(profile), "-code", "1") as started,
    ):
        out, err = started.communicate(timeout=PROMPT)
    assert (started.returncode, without_waiting(err.decode())) == (0, "")
    assert out.decode() == "printed\n\n{1, a}\n\nf[x, 1]\n1\n"


def test_the_abort_of_ctrl_c_is_mentioned_only_where_there_was_one(capfd):
    from wstpserver.cli.script.reader import Interrupts
    from wstpserver.cli.terminal import Terminal

    with served() as (address, _), Session(address, PROMPT) as session:
        said = threading.Event()

        class Listening(Terminal):
            def complain(self, text):
                super().complain(text)
                said.set()

        former = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            with Interrupts(session, Listening()):
                signal.raise_signal(signal.SIGINT)
                signal.raise_signal(signal.SIGINT)
                assert said.wait(PROMPT)
        finally:
            signal.signal(signal.SIGINT, former)
    assert capfd.readouterr().err == "wstpscript: nothing is being evaluated; once more Ctrl-C leaves it\n"


