"""Commands for the server as a whole, and what needs a server that tells more: a peer plays it."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading

import pytest

from tests.client.helpers import PROMPT, Kernel, peer
from tests.support.terminal import TerminalProgram
from tools.harness.kernels import make_kernel
from tools.harness.server import ServerProcess, pool
from tools.harness.waiting import wait_for
from wstpserver.cli.admin.main import DOCUMENT, main
from wstpserver.cli.admin.status import megabytes, report
from wstpserver.cli.completion import commands_in, completion_script, options_in
from wstpserver.cli.script.arguments import DOCUMENT as SCRIPT_DOCUMENT
from wstpserver.cli.serve import DOCUMENT as SERVER_DOCUMENT
from wstpserver.client import Session, connect
from wstpserver.client.commands import server_information
from wstpserver.version import VERSION
from wstpserver.wire.values import Function, Symbol

from .helpers import command

SUCCESS = '{"status":"ExecutionSuccess"}'
ID = "a806-2645-9651"


@contextlib.contextmanager
def told(answer, **rules):
    """A server that answers GetServerInformation so, and other commands by `rules`: (address, the peer).

    Without rules for them it does not know the administrative commands.
    """
    unknown = dict.fromkeys(("ReloadConfiguration", "StopServer"), '{"status":"PacketMalformed"}')
    kernel = Kernel({"GetServerInformation": json.dumps({"result": answer}), **unknown, **rules}, prompt=False)
    with peer(kernel) as address:
        yield address, kernel


def pools(*kernels):
    return {"Main": {"MinimumKernelNumber": 1, "MaximumKernelNumber": 2, "EntryPool": True, "Kernels": list(kernels)}}


# reload and stop

#: A process that says which signals it gets. Its command line tells that it is a server.
PLAYED = """
import os, signal, sys
def told(number, frame):
    os.write(1, signal.Signals(number).name.encode() + b"\\n")  # print may be at work when the signal comes
    if number == signal.SIGTERM:
        os._exit(0)
signal.signal(signal.SIGHUP, told)
signal.signal(signal.SIGTERM, told)
print("ready", flush=True)
while True:
    signal.pause()
"""


@pytest.fixture
def played():
    """started(name) -> a process whose command line holds the name, once it hears signals."""
    with contextlib.ExitStack() as stack:

        def started(name="wstpserver"):
            words = [sys.executable, "-c", PLAYED, name]
            process = stack.enter_context(subprocess.Popen(words, stdout=subprocess.PIPE, text=True))
            stack.callback(process.kill)
            assert process.stdout.readline() == "ready\n"
            return process

        yield started


def test_reload(played, capfd):
    process = played()
    with told({"Pools": {}, "ServerProcessID": process.pid, "ServerMachine": socket.gethostname()}) as (address, _):
        assert main(["-s", address, "reload"]) == 0
    assert process.stdout.readline() == "SIGHUP\n"
    assert capfd.readouterr() == (
        f"told the server (process {process.pid}) to read its configuration again; its log says what changed\n", "",
    )  # fmt: skip


def test_stop(played, capfd):
    process = played()
    with told({"Pools": {}, "ServerProcessID": process.pid}) as (address, _):
        assert main(["-s", address, "stop"]) == 0
    assert process.stdout.read() == "SIGTERM\n"
    assert capfd.readouterr().out == f"the server (process {process.pid}) has stopped\n"


@pytest.mark.parametrize("name", ["reload", "stop"])
@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({}, "this server does not tell its process ID"),
        ({"ServerProcessID": "4711"}, "this server does not tell its process ID"),
        ({"ServerProcessID": 1}, "this server does not tell its process ID"),
        ({"ServerProcessID": 2**22 + 1}, "the server does not run on this machine"),
        ({"ServerProcessID": None, "name": "wstpserver", "ServerMachine": "elsewhere"}, "does not run on this machine"),
        ({"ServerProcessID": None, "name": "another-program"}, "does not run on this machine"),
    ],
)
def test_a_process_that_is_not_surely_the_server_gets_no_signal(name, keys, says, played, capfd):
    """The address may be the near end of a tunnel."""
    keys = dict(keys)
    process = played(keys.pop("name")) if "name" in keys else None
    if process is not None:
        keys["ServerProcessID"] = process.pid
    with told({"Pools": {}, **keys}) as (address, _):
        assert main(["-s", address, name]) == 1
    assert process is None or process.poll() is None
    out, err = capfd.readouterr()
    assert out == "" and err.startswith(f"wstpserver-admin: {address}: ") and says in err


# abort


def test_abort(capfd):
    kernels = [{"ID": ID, "State": "bridged", "Busy": True}, {"ID": "0000-0000-0001", "State": "free", "Busy": False}]
    with told({"Pools": pools(*kernels)}, AbortKernel=SUCCESS) as (address, server):
        assert main(["-s", address, "abort", ID, "0000-0000-0001"]) == 0
    assert capfd.readouterr() == (f"told {ID} to abort its evaluation\n0000-0000-0001 evaluates nothing (free)\n", "")
    assert [asked for asked in server.commands if asked.head == Symbol("AbortKernel")] == [
        Function(Symbol("AbortKernel"), (ID,))
    ]


@pytest.mark.parametrize(
    ("status", "says"),
    [
        ("ExecutionError", f"there is no kernel {ID}; wstpserver-admin status shows those that are"),
        ("PacketMalformed", "this server cannot abort kernels by their IDs (AbortKernel)"),
    ],
)
def test_abort_of_nothing(status, says, capfd):
    with told({"Pools": {}}, AbortKernel=json.dumps({"status": status})) as (address, _):
        assert main(["-s", address, "abort", ID]) == 1
    assert capfd.readouterr() == ("", f"wstpserver-admin: {says}\n")


# start


def test_why_a_kernel_did_not_start(capfd):
    trouble = "it ended with exit status 1; its last output lines:\nNo licence"
    with told({"Pools": {}, "StartTrouble": trouble}, StartKernel='{"status":"ExecutionError"}') as (address, _):
        assert main(["-s", address, "start", "--command", "kernel"]) == 1
    assert capfd.readouterr().err == (
        "wstpserver-admin: the kernel did not start: it ended with exit status 1; its last output lines:; No licence\n"
    )


# close


@pytest.fixture
def server(tmp_path):
    kernel = make_kernel(tmp_path)
    settings = {
        "Main": pool(kernel, MinimumKernelNumber=0, MaximumKernelNumber=3),
        "Other": pool(kernel, MinimumKernelNumber=1, MaximumKernelNumber=1),
    }
    with ServerProcess(tmp_path, {"Pools": settings}) as running:
        running.address = f"{running.port}@127.0.0.1"
        running.wait_for_log("Pool Other is ready")
        yield running


def kernels(server):
    with Session(connect(server.address, PROMPT, without_kernel=True)) as session:
        return {kernel.id: (kernel.pool, kernel.state) for kernel in server_information(session).kernels}


def left(server):
    """The ID of a kernel that a client left, and that is reserved for it."""
    with Session(f"wstp://127.0.0.1:{server.port}/Main", PROMPT, keep_kernel=True) as session:
        session.evaluate("1 + 1", PROMPT)
        identifier = session.command("GetKernelID")
    wait_for(lambda: kernels(server)[identifier] == ("Main", "reserved"), interval=0.05)
    return identifier


def closed(capfd):
    return {line.split()[1].rstrip(";") for line in capfd.readouterr().out.splitlines() if line.startswith("closed ")}


def test_close_what_is_reserved(server, capfd):
    reserved = {left(server), left(server)}
    assert main(["-s", server.address, "close", "--reserved"]) == 0
    assert closed(capfd) == reserved
    wait_for(lambda: [where for where, _ in kernels(server).values()] == ["Other"], interval=0.05)
    assert main(["-s", server.address, "close", "-r"]) == 0
    assert capfd.readouterr().out == "there is no such kernel to close\n"


def test_close_a_pool_and_all(server, capfd):
    first = left(server)
    (other,) = set(kernels(server)) - {first}
    assert main(["-s", server.address, "close", "--pool", "Main", "--reserved"]) == 0
    assert closed(capfd) == {first}
    second = left(server)
    assert main(["-s", server.address, "close", "--all"]) == 0
    assert closed(capfd) == {second, other}
    assert main(["-s", server.address, "close", "-p", "Nowhere"]) == 1
    assert capfd.readouterr().err == "wstpserver-admin: there is no pool Nowhere; the pools are: Main, Other\n"


@pytest.mark.parametrize(
    "words", [["close"], ["close", "--all", "--reserved"], ["close", ID, "--all"], ["close", "-p", "x", ID], ["abort"]]
)
def test_what_to_close_is_said_in_one_way(words, capfd):
    assert main(words) == 64
    assert capfd.readouterr().err.startswith(("wstpserver-admin: close ", "wstpserver-admin: abort needs the ID"))


# status, help, version


def test_what_is_told_of_the_server():
    kernel = {"ID": ID, "State": "free", "Memory": 85_400_000, "ProcessID": 7}
    answer = {
        "Pools": pools(kernel), "KernelsOutsidePools": [{"ID": "0000-0000-0001", "State": "free"}],
        "ServerVersion": "1.2", "ServerProcessID": 4711, "Uptime": 10800.5, "ConfigurationFile": "/etc/w.conf",
    }  # fmt: skip
    lines = report(answer, "31415@localhost", None)
    assert lines[1] == "wstpserver 1.2, process 4711, up 3 h, configuration /etc/w.conf"
    titles, first, second = (line.split() for line in lines[-3:])
    assert titles[6:] == ["EVALS", "MEMORY", "PID"] or "MEMORY" in titles
    assert "85 MB" in lines[-2] and first[-1] == "7" and second[-2:] == ["-", "-"]


def test_a_server_that_tells_none_of_it():
    lines = report({"Pools": pools({"ID": ID, "State": "free"})}, "31415@localhost", None)
    assert lines[1] == "" and "MEMORY" not in "\n".join(lines)


@pytest.mark.parametrize(("size", "text"), [(0, "0.0 MB"), (400_000, "0.4 MB"), (123_456_789, "123 MB")])
def test_megabytes(size, text):
    assert megabytes(size) == text


def test_help_and_version_as_commands(capfd):
    assert main(["help"]) == 0
    assert capfd.readouterr().out == DOCUMENT
    with told({"Pools": {}, "ServerVersion": "7.5"}) as (address, _):
        assert main(["-s", address, "version"]) == 0
    assert capfd.readouterr().out == f"wstpserver-admin {VERSION}\nwstpserver 7.5 at {address}\n"
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        assert main(["-s", f"{bound.getsockname()[1]}@127.0.0.1", "version"]) == 0
    assert capfd.readouterr().out == f"wstpserver-admin {VERSION}\n"


def test_the_environment_names_the_server(monkeypatch, capfd):
    with told({"Pools": pools()}) as (address, _):
        monkeypatch.setenv("WSTPSERVER", address)
        assert main(["status"]) == 0
    assert capfd.readouterr().out.startswith(f"{address}: 1 pool, 0 kernels\n")
    monkeypatch.setenv("WSTPSERVER", "wstp://host/Pool")
    assert main(["status"]) == 64


def test_wait_shows_what_is_missing_on_a_terminal(tmp_path):
    """And nothing where a script may read it."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    settings = pool(make_kernel(tmp_path, start_gate=str(gate)), MinimumKernelNumber=1)
    with ServerProcess(tmp_path, {"Pools": {"Main": settings}}) as server:
        words = command("-s", f"{server.port}@127.0.0.1", "wait")
        with TerminalProgram(words, tmp_path, {"TERM": "xterm"}) as terminal:
            terminal.expect("wstpserver-admin: pool Main has 1 of at most 1 kernels (1 starting); ", PROMPT)
            opening = threading.Thread(target=lambda: open(gate, "w").close())
            opening.start()
            assert terminal.wait(PROMPT) == 0
            opening.join(PROMPT)
        assert terminal.raw.endswith("\r\x1b[K")


# Completion


def test_every_option_and_command_is_known():
    server = {word for option in options_in(SERVER_DOCUMENT) for word in option.words}
    assert server >= {"-p", "--port", "--check"}
    script = completion_script("bash", DOCUMENT)
    names = {word for option in options_in(SCRIPT_DOCUMENT) for word in option.words}
    assert names >= {"-code", "-format", "-kernelpool"}
    for name in names:
        assert f" {name} " in script.replace('"', " ")
    assert set(commands_in(DOCUMENT)) >= {"status", "close", "abort", "reload", "completion"}


def completed(*words):
    """What bash makes of the last word. The programs themselves are none that could be asked."""
    shell = (
        f"{completion_script('bash', DOCUMENT)}\n"
        "wstpserver-admin() { printf 'x: 1 pool\\n\\nPOOL    ALL\\nMain *    1\\nSmall     0\\n\\nKERNEL\\n%s\\n' "
        f"'{ID}  Main'; }}\n"
        'COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()\n'
        '_complete_${1//-/_}; printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run(["bash", "-c", shell, "bash", *words], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["wstpserver-admin", "st"], ["status", "start", "stop"]),
        (["wstpserver-admin", "close", ""], [ID]),
        (["wstpserver-admin", "close", "--res"], ["--reserved"]),
        (["wstpserver-admin", "wait", "--pool", ""], ["Main", "Small"]),
        (["wstpserver-admin", "completion", ""], ["bash", "zsh", "fish"]),
        (["wstpscript", "-kernel"], ["-kernelpool", "-kernels"]),
        (["wstpscript", "-kernelpool", "S"], ["Small"]),
        (["wstpserver", "--log-f"], ["--log-file"]),
    ],
)
def test_bash(words, expected):
    assert completed(*words) == expected


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_names_all_programs(shell, capfd):
    assert main(["completion", shell]) == 0
    script = capfd.readouterr().out
    assert all(f"{program}\n" in script or f"-c {program} " in script for program in ("wstpserver", "wstpscript"))
    assert main(["completion", "tcsh"]) == 64
    assert "needs the name of a shell: bash, zsh, fish" in capfd.readouterr().err


# Servers that know the commands


def test_reload_and_stop_of_a_real_server(tmp_path, capfd):
    with ServerProcess(tmp_path, {"Pools": {"Main": pool(make_kernel(tmp_path), MinimumKernelNumber=1)}}) as running:
        address = f"{running.port}@127.0.0.1"
        assert main(["-s", address, "reload"]) == 0
        assert capfd.readouterr().out == "the server has read its configuration again; its log says what changed\n"
        (configuration,) = tmp_path.glob("*.conf")
        configuration.write_text("{")
        assert main(["-s", address, "reload"]) == 1
        assert "The configuration was not reloaded" in capfd.readouterr().err
        assert main(["-s", address, "stop"]) == 0
        assert capfd.readouterr().out == f"the server (process {running.pid}) has stopped\n"
        assert running.wait_for_exit() == 0


@pytest.mark.parametrize(("name", "command"), [("reload", "ReloadConfiguration"), ("stop", "StopServer")])
def test_a_server_that_refuses_says_why(name, command, capfd):
    refused = json.dumps({"status": "ExecutionError", "reason": f"{command} is for others"})
    with told({"Pools": {}}, **{command: refused}) as (address, _):
        assert main(["-s", address, name]) == 1
    assert capfd.readouterr() == ("", f"wstpserver-admin: {address}: {command} is for others\n")


def test_stop_of_a_server_elsewhere(capfd):
    """It tells no process of this machine: its port is waited for."""
    stopped = threading.Event()
    with contextlib.ExitStack() as stack:
        address, _ = stack.enter_context(told({"Pools": {}}, StopServer=SUCCESS))
        thread = threading.Thread(target=lambda: (stopped.wait(PROMPT), stack.close()))
        thread.start()
        wait = threading.Timer(0.3, stopped.set)
        wait.start()
        assert main(["-s", address, "stop"]) == 0
        thread.join()
    assert capfd.readouterr().out == "the server has stopped\n"
# restart


def test_restart_waits_for_the_program_that_goes_on(tmp_path, capsys):
    with ServerProcess(tmp_path, {"Pools": {"Main": pool(make_kernel(tmp_path))}}) as server:
        assert main(["--server", str(server.port), "restart"]) == 0
        assert "the server was restarted" in capsys.readouterr().out
        server.wait_for_log("Restarted with")


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ({"status": "ExecutionError", "reason": "no module named x"}, "goes on as before: no module named x"),
        ({"status": "ExecutionError"}, "only the user that it runs as can restart it"),
        ({"status": "PacketMalformed"}, "this server cannot restart without losing anything"),
    ],
)
def test_restart_says_why_it_was_not_done(capsys, reply, said):
    with told({"Pools": {}}, RestartServer=json.dumps(reply)) as (address, _):
        assert main(["--server", str(address), "restart"]) == 1
    assert said in capsys.readouterr().err
