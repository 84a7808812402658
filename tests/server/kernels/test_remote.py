"""Kernels that a launcher starts: programs of this machine stand in for ssh, kubectl and docker."""
import ast
import contextlib
import json
import os
import random
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.engines import conversation
from tests.server.test_kernel_death import is_death
from tests.support.serving import (
    SUCCESS,
    assert_serves,
    information,
    join,
    join_pool,
    kernel_facts,
    kernel_id,
    kernel_process,
    one_pool,
    prompt,
    ready_kernels,
    reconnect,
    serving,
)
from tools.harness import engines, processes
from tools.harness.fake_kernel.codec import Function
from tools.harness.kernels import make_kernel
from tools.harness.server import ROOT, ServerProcess, pool
from tools.harness.waiting import wait_for, wait_gone
from wstpserver.keeper import stream as protocol
from wstpserver.keeper.agent import Agent
from wstpserver.keeper.connector import AGENT_MODULES, LAUNCHER_GRACE, LINK_GRACE, REPORT, agent_source
from wstpserver.keeper.relay import lender_address
from wstpserver.server.kernels.process import RemoteKernel

#: What an engine with a remote shell does to a command.
REMOTE_SHELL = "sh -c 'exec sh -c \"$*\"' ssh"


def elsewhere(kernel, launcher="env", **keys):
    """The keys of a pool whose kernels are started by a launcher."""
    return pool(kernel, KernelLauncher=launcher, **{"KernelAgent": engines.interpreter(), **keys})


def script(path, text):
    path.write_text(f"#!{sys.executable}\n{text}")
    path.chmod(0o755)
    return str(path)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A kernel on this machine in the pool Main; a pool for each way that a launcher passes its command on, one whose
    data goes by TCP, and one whose launcher shows its words and that says where its kernels begin.
    """
    folder = tmp_path_factory.mktemp("server")
    kernel = make_kernel(folder)
    keys = {"MinimumKernelNumber": 1, "MaximumKernelNumber": 3, "ReservePreviouslyConnectedKernels": False}
    (folder / "init.wl").write_text("fromFile = 7")
    initialisation = {"InitializationFile": str(folder / "init.wl"), "InitializationCode": "fromCode = 8"}
    noisy = "sh -c 'echo Welcome to node7.; echo A warning. >&2; exec \"$@\"' sh"
    code = "import os, sys\nprint(sys.argv[1], flush=True)\nos.execvp(sys.argv[2], sys.argv[2:])\n"
    show = shlex.join([script(folder / "show", code), "{pool}/{id}/{server}"])
    (folder / "there").mkdir()
    surroundings = {"KernelDirectory": str(folder / "there"), "KernelEnvironment": {"GIVEN": "text", "HOME": None}}
    pools = {
        "Main": pool(kernel, MinimumKernelNumber=1, ReservePreviouslyConnectedKernels=False),
        "my pool; rm": elsewhere(kernel, show, **keys, **surroundings),
        "Words": elsewhere(kernel, **keys),
        "Shell": elsewhere(kernel, REMOTE_SHELL, **keys, **initialisation),
        "Noisy": elsewhere(kernel, noisy, **keys),
        "Tcp": elsewhere(kernel, KernelTransport="tcp", **keys),
        "Intruder": elsewhere(
            kernel, script(folder / "intruder", _INTRUDER), **{**keys, "MaximumKernelNumber": len(INTRUSIONS)}
        ),
    }
    root = {"EnableAutomaticKernelConnection": False, "KernelTransportInterface": "127.0.0.1"}
    with serving(folder, {"Pools": pools, **root}) as running:
        ready_kernels(running, 7)
        yield running


@pytest.mark.parametrize("pool_name", ["Words", "Shell", "Noisy", "Tcp"])
def test_a_kernel_works_as_on_this_machine(server, pool_name):
    with join_pool(server, pool_name) as link:
        told = kernel_facts(link, pool_name)
        assert told["HostProcessID"] == kernel_process(link)
        assert told["Host"] == socket.gethostname()
        conversation.evaluations(link, 100)
        conversation.unicode(link)
        conversation.output_while_it_happens(link)
        conversation.dialog(link)
        if pool_name in ("Words", "Tcp"):  # the others differ from the first in how the agent is started
            conversation.large(link, 2_000_000)
            conversation.send_large(link, 5_000_000)
            conversation.abort_among_bulk(link, 50_000_000)
        conversation.come_back(server, link)


def test_kernel_directory_and_environment(tmp_path):
    """What the agent is told of the kernel's surroundings."""
    agent, kernel = start_agent(
        tmp_path, directory=str(tmp_path), environment={"GIVEN": "text", "HOME": None}
    )
    with agent:
        # it is empty while one program of it executes the next
        content = wait_for(Path(f"/proc/{kernel}/environ").read_bytes)
        environment = content.split(b"\0")
        assert b"GIVEN=text" in environment and not [each for each in environment if each.startswith(b"HOME=")]
        assert os.readlink(f"/proc/{kernel}/cwd") == str(tmp_path)
        agent.stdin.close()
        wait_gone(kernel)


def test_output_of_the_kernel_and_of_the_engine(server):
    with join_pool(server, "Noisy") as link:
        identifier = kernel_id(link)
        link.evaluate(Function("WriteOutput", "here it is \x1e \ufdd0{\"host\": \"forged\"}"))
        server.wait_for_log(f"Kernel {identifier} printed: here it is")
        for line in ("Welcome to node7.", "A warning."):
            server.wait_for_log(f"Kernel {identifier} printed: {line}")
        link.evaluate(Function("FloodOutput", 1_000_000))

        def written():
            """Entries are left out while the log's reader, which is this process, does not keep up."""
            link.evaluate(Function("WriteOutput", "\nthat was all"))
            return f"Kernel {identifier} printed: that was all" in server.log

        wait_for(written, what="the line behind the flood")
        assert kernel_facts(link, "Noisy")["Host"] != "forged"
        link.put("EvaluatePacket", Function("Die", 3))
        packet = link.get_packet()
        assert is_death(packet) and "exit status 3" in packet[1]


@pytest.mark.parametrize("pool_name", ["Words", "Tcp"])
def test_a_hostile_kernel_harms_nobody(server, pool_name):
    """Garbage is its end; a frame without an end, and text without an end for a client that does not read, hold up its
    own client alone.
    """

    def join_one():
        """Nobody else gets its kernel."""
        link = join_pool(server, pool_name)
        assert link.command("SetKeepAlive", conversation.Symbol("False")) == SUCCESS
        return link

    with join_pool(server, "Main") as bystander:
        with join_one() as link:
            kernel = kernel_process(link)
            link.put("EvaluatePacket", Function("PutBytes", "\x00\xff" * 50_000))
            assert bystander.evaluate(1) == 1
            assert is_death(link.get_packet()) and link.at_end()
            wait_gone(kernel)
        with join_one() as link:
            link.put("EvaluatePacket", Function("PutBytes", 'FA#MA~JTextPacket\n"A~\x7fx'))
            assert bystander.evaluate(2) == 2
        with join_one() as link:
            link.put("EvaluatePacket", Function("Flood", 30_000, 10_000))
            assert link.get_packet()[0] == "TextPacket"
            for number in range(20):
                assert bystander.evaluate(number) == number


def test_quit_is_an_end_in_good_order(server):
    with join_pool(server, "Words") as link:
        kernel = kernel_process(link)
        link.put("EvaluatePacket", Function("Quit"))
        assert link.at_end()
        wait_gone(kernel)


def processes_of(link, pool_name):
    """(connector, launcher and agent, kernel): `env` becomes the agent."""
    told = kernel_facts(link, pool_name)
    return told["ProcessID"], *processes.children(told["ProcessID"]), told["HostProcessID"]


# -- the stream that is lent to the server ---------------------------------------------------------------------------


def switches(pid):
    """How often a process has gone to sleep."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"^voluntary_ctxt_switches:\s*(\d+)$", status, re.MULTILINE)[1])


def wait_until_lent(link, connector):
    """Evaluate until twenty evaluations pass while the connector sleeps on most of the time."""

    def passes():
        before = switches(connector)
        conversation.evaluations(link, 20)
        return switches(connector) - before < 10

    wait_for(passes, what="the stream to be lent")


def test_the_connector_sleeps_while_evaluations_pass(server):
    """After whatever else has passed as well: the stream is lent to the server again and again."""
    with join_pool(server, "Words") as link:
        connector, *_ = processes_of(link, "Words")
        wait_until_lent(link, connector)
        conversation.output_while_it_happens(link)
        conversation.large(link, 200_000)
        conversation.send_large(link, 100_000)
        conversation.send_large(link, 20_000)
        link.evaluate(Function("WriteOutput", "a line\n"))
        wait_until_lent(link, connector)
        for size in (16_000, 16_300, 16_384, 16_400, 40_000, 70_000):  # more than one loan allows
            for number in range(6):
                assert link.evaluate(Function("StringJoin", "x" * size, str(number))) == "x" * size + str(number)
        link.put("EvaluatePacket", Function("CompoundExpression", Function("Print", "now"), Function("Pause", 100)))
        assert link.get_packet() == ("TextPacket", "now\n")
        link.send_message(conversation.ABORT)
        assert link.get_packet() == ("ReturnPacket", conversation.ABORTED)
        wait_until_lent(link, connector)


def test_somebody_else_asks_for_the_stream(server):
    """It is for one at a time; the server goes on without it."""
    with join_pool(server, "Words") as link:
        connector, *_ = processes_of(link, "Words")
        wait_until_lent(link, connector)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as other:
            other.settimeout(60.0)
            other.connect(lender_address(connector))
            _, descriptors, _, _ = socket.recv_fds(other, 100, 10)
            conversation.evaluations(link, 6)
            other.send(b"nothing that it knows")
            for descriptor in descriptors:
                os.close(descriptor)
        conversation.evaluations(link, 20)


#: A launcher whose stream says more than the agent does, once an answer has passed that asks for it.
_INTRUDER = """
import os, selectors, subprocess, sys
words = {
    "no line feed": b"\\0\\0\\0\\2\\0\\1abc" + bytes(100),
    "4 GB": b"\\xff\\xff\\xff\\xff\\0\\1" + bytes(100),
    "credit for nothing": b"\\0\\0\\0\\4\\1\\1\\0\\1\\0\\0\\n",
    "no WSTP": b"\\0\\0\\0\\4\\0\\1!!!!\\n",
    "the beginning of a frame": b"\\0\\0\\0\\4\\0\\1!",
}
agent = subprocess.Popen(sys.argv[1:], stdin=0, stdout=subprocess.PIPE)
while data := os.read(agent.stdout.fileno(), 1 << 16):
    os.write(1, data)
    for word in words:
        if b"please: " + word.encode() in data:
            os.write(1, words[word])
            if "beginning" in word:
                agent.kill()
agent.wait()
"""
INTRUSIONS = ("no line feed", "4 GB", "credit for nothing", "no WSTP", "the beginning of a frame")


def test_hostile_streams_while_they_are_lent(server):
    """Their kernels end, and nobody else notices."""
    with contextlib.ExitStack() as stack:
        bystander, *links = [
            stack.enter_context(join_pool(server, name)) for name in ("Main", *["Intruder"] * len(INTRUSIONS))
        ]
        for link in links:
            wait_until_lent(link, kernel_facts(link, "Intruder")["ProcessID"])
        for link, what in zip(links, INTRUSIONS, strict=True):
            link.put("EvaluatePacket", Function("StringJoin", "please: ", what))
            assert link.get_packet() == ("ReturnPacket", f"please: {what}")
        for number in range(10):
            assert bystander.evaluate(number) == number
        for link in links:
            packet = link.get_packet()
            assert is_death(packet), packet


def test_initialisation_and_silent_replacement(server):
    """Each kernel reads the file of its machine and evaluates the code, also one that takes the place of another."""
    with join_pool(server, "Shell") as link:
        assert link.command("SetAllowSilentKernelReplacement", conversation.Symbol("True")) == SUCCESS
        old = kernel_process(link)
        os.kill(old, signal.SIGKILL)
        while (packet := link.get_packet())[0] != "InputNamePacket":
            assert "a new one takes its place" in packet[1]
        assert kernel_process(link) != old
        for name, value in (("fromFile", 7), ("fromCode", 8)):
            assert link.evaluate(conversation.Symbol(name)) == value


@pytest.mark.parametrize("victim", ["connector", "agent", "kernel"])
@pytest.mark.parametrize("pool_name", ["Words", "Tcp"])
def test_death_of_any_of_its_processes(server, pool_name, victim):
    """The client is told, and nothing is left on either side."""
    words = {
        "connector": "signal 9 (SIGKILL)", "agent": 'its launcher "env" ended with signal 9 (SIGKILL)',
        "kernel": "signal 9 (SIGKILL)",
    }  # fmt: skip
    with join_pool(server, pool_name) as link:
        pids = processes_of(link, pool_name)
        os.kill(pids[["connector", "agent", "kernel"].index(victim)], signal.SIGKILL)
        packet = link.get_packet()
        assert is_death(packet) and words[victim] in packet[1]
        assert link.at_end()
        for pid in pids:
            wait_gone(pid)


def test_the_server_is_killed(tmp_path):
    """Without a keeper that keeps kernels nothing is left, on either side."""
    kernel = make_kernel(tmp_path, connect_from_child=True)
    with serving(tmp_path, one_pool(kernel, root={"KernelsOutliveServer": 0}, **elsewhere(kernel))) as server:
        with join(server):
            server.expect_exit(-9)
            server.stop(signal.SIGKILL)
        server.assert_no_process_left()


@pytest.mark.parametrize("transport", ["stdio", "tcp"])
def test_a_kernel_outlives_restart_and_crash_of_the_server(tmp_path, transport):
    """The kernel goes on, its client comes back, and what is known of it is known again."""
    kernel = make_kernel(tmp_path)
    keys = elsewhere(kernel, MinimumKernelNumber=1, KernelTransport=transport)
    root = {"KernelTransportInterface": "127.0.0.1", "KernelsOutliveServer": 60}
    configuration = {"Pools": {"a": keys}, "EnableAutomaticKernelConnection": False, **root}
    first = ServerProcess(tmp_path, configuration, "--log-level", "debug")
    try:
        first.start()
        with join_pool(first, "a") as link:
            identifier, before = kernel_id(link), kernel_facts(link, "a")
            link.evaluate(Function("Set", conversation.Symbol("x"), 23))
            conversation.evaluations(link, 20)  # the stream is lent to the server by then
            os.kill(first.pid, signal.SIGUSR2)
            first.wait_for_log("Restarted with ")
            assert link.evaluate(conversation.Symbol("x")) == 23
            conversation.evaluations(link, 20)
            assert {**kernel_facts(link, "a"), **CHANGING} == {**before, **CHANGING}
            assert link.command("SetReserveKernel", conversation.Symbol("True")) == SUCCESS
        first.wait_for_log(f"is unbridged from kernel {identifier}")
        first.stop(signal.SIGKILL)
        place = ("--port", str(first.port), "--interface", "127.0.0.1")
        with (
            serving(tmp_path, configuration, *place, usual_address=False) as second,
            second.connect(without_kernel=True) as link,
        ):
            reconnect(link, identifier)
            assert link.evaluate(conversation.Symbol("x")) == 23
            conversation.evaluations(link, 20)
            assert {**kernel_facts(link, "a"), **CHANGING} == {**before, **CHANGING}
            link.put("EvaluatePacket", Function("Die", 3))
            packet = link.get_packet()
            assert is_death(packet) and "exit status 3" in packet[1], packet
        first.assert_no_process_left()
    finally:
        first.kill()


#: What is not the same in two looks at a kernel.
CHANGING = dict.fromkeys(("SecondsInState", "Age", "Evaluations", "Memory", "Client"))


def test_the_surroundings_that_the_pool_says(server):
    """KernelDirectory is a folder of the other machine, KernelEnvironment is different there."""
    with join_pool(server, "my pool; rm") as link:
        assert link.evaluate(Function("Environment", "GIVEN")) == "text"
        assert os.path.basename(link.evaluate(Function("Directory"))) == "there"
        assert "text" not in processes.command_line(kernel_facts(link, "my pool; rm")["ProcessID"])


def test_outside_pools_and_limits(tmp_path):
    """StartKernel uses the launcher of the default pool; KernelMemoryLimit looks at the other side."""
    kernel = make_kernel(tmp_path)
    keys = elsewhere(kernel, MinimumKernelNumber=1, KernelMemoryLimit=60_000_000, KernelOptions="-special 'a b'")
    with serving(tmp_path, {"Pools": {"a": keys}}) as server, join(server) as link:
        identifier = json.loads(link.command("StartKernel"))["result"]
        (outside,) = information(link)["KernelsOutsidePools"]
        assert (outside["ID"], outside["Launcher"]) == (identifier, "env")
        arguments = link.evaluate(Function("KernelArguments")).args
        assert arguments[arguments.index("-special") + 1] == "a b"
        link.put("EvaluatePacket", Function("UseMemory", 100_000_000))
        while (packet := link.get_packet())[0] == "ReturnPacket":
            pass
        assert "KernelMemoryLimit" in packet[1]


# -- starts that fail ------------------------------------------------------------------------------------------------

_TERMINAL = "import pty, sys\npty.spawn(sys.argv[1:])\n"
_LATE = "import sys\nprint('Permission denied (publickey).', file=sys.stderr)\nsys.exit(255)\n"

FAILURES = {
    "no such launcher": ({"KernelLauncher": "/nowhere/srun -n1"}, 'the launcher "/nowhere/srun" could not be started'),
    "no such interpreter": ({"KernelAgent": "/nowhere/python3 -"}, "before the agent answered"),
    "no such kernel": ({"KernelPath": "/nowhere/kernel"}, 'the kernel "/nowhere/kernel" does not exist on '),
    "no such folder": ({"KernelDirectory": "/no"}, 'there is no folder "/no" on '),
    "a launcher that is refused": ({"KernelLauncher": _LATE}, "Permission denied (publickey)."),
    "a launcher with a terminal": ({"KernelLauncher": _TERMINAL}, "leave out -t"),
    "an agent of another version": ({"KernelAgent": "print('\\x1eWSTPSERVER-AGENT {\"version\": 9, \"host\": \"n\"}')"},
                                    "speaks version 9 of the protocol"),
    "an agent that is none": ({"KernelAgent": "print('\\x1eWSTPSERVER-AGENT ' + 'x' * 9000)"}, "is not the agent"),
}  # fmt: skip


@pytest.fixture(scope="class")
def failing(tmp_path_factory):
    """A server, and its pools by what is wrong with them."""
    folder, names, pools = tmp_path_factory.mktemp("failing"), {}, {}
    kernel = make_kernel(folder)
    for number, (what, (keys, _)) in enumerate(FAILURES.items()):
        names[what] = name = f"pool{number}"
        wrong = {key: script(folder / f"{key}{number}", text) if "\n" in text or "print" in text else text
                 for key, text in keys.items()}  # fmt: skip
        pools[name] = elsewhere(kernel, MinimumKernelNumber=1) | wrong
    with serving(folder, {"Pools": pools, "EnableAutomaticKernelConnection": False}) as server:
        yield server, names


class TestStartThatFails:
    """The log and the status tell why."""

    @pytest.mark.parametrize("what", FAILURES)
    def test_reason(self, failing, what):
        (server, names), (_, reason) = failing, FAILURES[what]
        server.wait_for_log(f"A kernel of pool {names[what]} did not start: (?s:.*?){re.escape(reason)}")
        with server.connect() as link:
            wait_for(lambda: reason in information(link)["Pools"][names[what]]["Trouble"], 60.0)


def test_client_that_waits_hears_the_reason(tmp_path):
    """Soon, or at the end of its wait if no start has failed until then."""
    configuration = {"Pools": {"a": elsewhere("/nowhere/kernel", MinimumKernelNumber=1)}, "KernelWaitTimeout": 20}
    with serving(tmp_path, configuration) as server, server.connect(timeout=90.0) as link:
        while 'the kernel "/nowhere/kernel" does not exist on ' not in (packet := link.get_packet())[1]:
            assert packet[0] == "TextPacket"


# -- engines that lose the connection --------------------------------------------------------------------------------

#: kubectl and docker: the words before the command as theirs are, then a connection that ends after so many bytes.
_ENGINE = """
import os, random, signal, subprocess, sys, threading
words = sys.argv[1:]
assert words[:2] == ["exec", "-i"], words
name = os.path.basename(sys.argv[0])
command = words[4:] if name == "kubectl" else words[3:]
assert name != "kubectl" or words[3] == "--", words
left = [random.randrange(30_000, 3_000_000)]
def carry(source, target):
    while data := os.read(source, 65536):
        left[0] -= len(data)
        if left[0] < 0:
            print("error: unable to upgrade connection: lost", file=sys.stderr, flush=True)
            os._exit(1)
        os.write(target, data)
    os.close(target)
process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
threading.Thread(target=carry, args=(0, process.stdin.fileno()), daemon=True).start()
carry(process.stdout.fileno(), 1)
sys.exit(process.wait())
"""


#: An engine that closes the stream when a file is there, says why, and stays.
_STAYS = """
import os, subprocess, sys, threading, time
process = subprocess.Popen(sys.argv[2:], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
def carry(source, target):
    while data := os.read(source, 65536):
        os.write(target, data)
for pair in ((0, process.stdin.fileno()), (process.stdout.fileno(), 1)):
    threading.Thread(target=carry, args=pair, daemon=True).start()
while not os.path.exists(sys.argv[1]):
    time.sleep(0.01)
print("engine: the node is gone", file=sys.stderr, flush=True)
null = os.open(os.devnull, os.O_RDWR)
os.dup2(null, 1)
while True:
    time.sleep(1)
"""


def test_an_engine_that_closes_the_stream_and_stays(tmp_path):
    """The client is told without waiting for the engine's end, with its last line. All that is waited for before that,
    on either side, is less than 2 seconds together.
    """
    assert LAUNCHER_GRACE < 2.0
    assert LINK_GRACE + 2 * Agent.EXIT_GRACE < 2.0
    launcher = shlex.join([script(tmp_path / "engine", _STAYS), str(tmp_path / "now")])
    keys = elsewhere(make_kernel(tmp_path), launcher, MinimumKernelNumber=1)
    with serving(tmp_path, {"Pools": {"a": keys}}) as server, join(server) as link:
        connector, engine, kernel = processes_of(link, "a")
        (tmp_path / "now").touch()
        packet = link.get_packet()
        assert is_death(packet) and "was given up: it has ended" in packet[1], packet
        assert "engine: the node is gone" in packet[1]
        assert link.at_end()
        for pid in (connector, engine, kernel):
            wait_gone(pid)


@pytest.mark.parametrize(
    ("name", "launcher"), [("kubectl", "kubectl exec -i deploy/kernels --"), ("docker", "docker exec -i box")]
)
def test_connection_that_is_lost_at_random(tmp_path, name, launcher):
    """Clients are told each time, the pool starts kernels again, and nothing is left on the other side."""
    programs = tmp_path / "bin"
    programs.mkdir()
    script(programs / name, _ENGINE)
    environment = {"PATH": f"{programs}:{os.environ['PATH']}"}
    keys = {"ReservePreviouslyConnectedKernels": False}
    configuration = one_pool(make_kernel(tmp_path), 2, **keys)
    configuration["Pools"]["a"] |= {"KernelLauncher": launcher, "KernelAgent": engines.interpreter()}
    text, deaths, seen = "x" * 50_000, 0, set()
    with serving(tmp_path, configuration, environment=environment) as server:
        while deaths < 2:
            with server.connect() as link:
                if prompt(link)[0] != "InputNamePacket":
                    continue  # the kernel died while it was given to the client
                link.put("EvaluatePacket", Function("KernelProcess"))
                while True:
                    packet = link.get_packet()
                    if packet[0] == "TextPacket":
                        break
                    seen.add(packet[1] if isinstance(packet[1], int) else None)
                    link.put("EvaluatePacket", Function("StringJoin", text, random.choice("ab")))
                assert is_death(packet) and f'its launcher "{name}" ended with exit status 1' in packet[1]
                assert "unable to upgrade connection" in packet[1]
                deaths += 1
        for pid in seen - {None}:
            wait_gone(pid)


# -- the agent by itself ---------------------------------------------------------------------------------------------


def start_agent(folder, **order):
    """An agent with a kernel; returns the process and the kernel's process ID."""
    agent = subprocess.Popen(
        [sys.executable, "-I", "-c", agent_source()], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert agent.stdout.readline().startswith(protocol.HELLO)
    send(agent, protocol.START, json.dumps({"path": make_kernel(folder, hang=True), "options": [], **order}).encode())
    kind, payload = receive(agent)
    assert kind == protocol.STARTED
    return agent, json.loads(payload)["pid"]


def send(agent, kind, payload=b""):
    agent.stdin.write(len(payload).to_bytes(4, "big") + bytes([kind, 0]) + payload + b"\n")
    agent.stdin.flush()


def receive(agent):
    header = agent.stdout.read(6)
    payload = agent.stdout.read(int.from_bytes(header[:4], "big"))
    assert agent.stdout.read(1) == b"\n"
    return header[4], payload


def end_of_input(agent):
    agent.stdin.close()


def silence(agent):
    """Nothing: it was told to wait for half a second."""


def garbage(agent):
    agent.stdin.write(b"\xff" * 100)
    agent.stdin.flush()


@pytest.mark.parametrize("what", [end_of_input, silence, garbage])
def test_agent_ends_its_kernel(tmp_path, what):
    agent, kernel = start_agent(tmp_path, silence=0.5 if what is silence else 30)
    with agent:
        what(agent)
        wait_gone(kernel)
        assert agent.wait(10.0) == 0


def test_signs_of_life_keep_the_agent(tmp_path):
    """It goes on for longer than it may hear nothing."""
    silence = 1.0
    while True:
        agent, kernel = start_agent(tmp_path, silence=silence)
        with agent:
            began = heard = time.monotonic()
            longest = 0.0
            try:
                while heard - began < 1.5 * silence:
                    send(agent, protocol.PING)
                    while receive(agent)[0] != protocol.PONG:
                        pass
                    longest = max(longest, time.monotonic() - heard)
                    heard = time.monotonic()
                    time.sleep(0.1)
                assert processes.alive(kernel)
                return
            except (BrokenPipeError, IndexError):  # it has ended
                assert max(longest, time.monotonic() - heard) > 0.8 * silence, "it was heard all the time"
            finally:
                with contextlib.suppress(BrokenPipeError):
                    agent.stdin.close()
                wait_gone(kernel)


def test_whole_group_ends_with_a_killed_agent(tmp_path):
    path = make_kernel(tmp_path, "wrapper", connect_from_child=True, hang=True)
    agent, kernel = start_agent(tmp_path, path=path)
    with agent:
        agent.kill()
        wait_gone(kernel)


DISCOVERY = "settings/discovery"


def oldest_python(*files):
    """What `vermin` says of files: its exit code is 0 if they need no later Python than 3.8, and its report."""
    program = "import sys, vermin; sys.exit(vermin.main())"
    command = [sys.executable, "-c", program, "--no-tips", "--target=3.8-", "--violations", *map(os.fspath, files)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


def test_agent_runs_with_the_oldest_python(tmp_path):
    """What is sent to the other machine uses nothing that is later than Python 3.8, or has to be installed."""
    sent = {f"wstpserver.keeper.{name}" for name in AGENT_MODULES}
    files = [ROOT / "wstpserver" / f"{name}.py" for name in (*(f"keeper/{each}" for each in AGENT_MODULES), DISCOVERY)]
    code, report = oldest_python(*files)
    assert code == 0, report
    for file in files:
        tree = ast.parse(file.read_text(), feature_version=(3, 8))
        imported = {
            alias.name.partition(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import)
            for alias in node.names
        } | {
            node.module.partition(".")[0] for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module not in sent
        }  # fmt: skip
        assert imported <= sys.stdlib_module_names
    lines = ("'ab'.removeprefix('a')", "zip('a', 'b', strict=True)", "with (open('a') as b, open('c') as d): pass")
    later = [tmp_path / f"later{number}.py" for number, _ in enumerate(lines)]
    for file, line in zip(later, lines, strict=True):
        file.write_text(f"{line}\n")
    code, report = oldest_python(*later)
    assert code == 1
    for file, line in zip(later, lines, strict=True):  # it sees what a later Python has
        assert re.search(rf"!2, 3\.\d+ +{re.escape(str(file))}$", report, re.MULTILINE), f"{line}: {report}"


# -- hostile agents --------------------------------------------------------------------------------------------------

_HELLO = """
import os, struct, sys, time
def write(data):
    while data:
        data = data[os.write(1, data):]
def frame(kind, payload=b"", channel=0):
    write(struct.pack(">IBB", len(payload), kind, channel) + payload + b"\\n")
write(b'\\x1eWSTPSERVER-AGENT {"version": 1, "host": "hostile"}\\n')
"""

HOSTILE = {
    "garbage": "write(os.urandom(100_000))",
    "a frame of 4 GB": "write(b'\\xff\\xff\\xff\\xff\\x07\\x00' + b'x' * 100_000)",
    "data without a connection": "frame(0, b'x' * 100_000, 1)",
    "too much output": "frame(0, b'x' * (5 << 20), 3)",
    "a channel that is not there": "frame(1, b'\\0\\0\\0\\1', 77)",
    "credit for what was not sent": "frame(1, b'\\0\\0\\1\\0', 1)",
    "JSON that is none": "frame(8, b'[' * 100_000)",
    "an absurd status": "frame(11, b'{\"status\": 99999999999, \"why\": \"' + b'y' * 10_000 + b'\"}')",
    "the end at once": "pass",
    "a failure with control characters": "frame(12, b'\\x1b[31m\\n\\x00 no \\xff')",
}


def bad_pools(folder, ways, **keys):
    """A configuration with a good pool, and one for each agent that behaves in one of these ways."""
    root = {"KernelStartConcurrency": 20, "KernelTransportInterface": "127.0.0.1"}
    configuration = one_pool(make_kernel(folder), 2, root)
    for number, (way, code) in enumerate(ways.items()):
        agent = script(folder / f"agent{number}", _HELLO + code)
        transport = "tcp" if "tcp" in way else "stdio"
        configuration["Pools"][f"bad{number}"] = elsewhere(
            "kernel", KernelAgent=agent, MinimumKernelNumber=1, KernelTransport=transport, **keys
        )
    return configuration


def test_hostile_agents(tmp_path):
    """The start of their kernels fails, and nobody else notices."""
    with serving(tmp_path, bad_pools(tmp_path, HOSTILE)) as server, join(server) as bystander:
        for number, _ in enumerate(HOSTILE):
            server.wait_for_log(f"A kernel of pool bad{number} did not start: ")
            assert bystander.evaluate(number) == number
        assert_serves(server)


#: On and on; not as fast as it can all the time, because the floods would take the processors for seconds.
_ON_AND_ON = """
def endless(say, *what):
    began = time.monotonic()
    while True:
        say(*what)
        if time.monotonic() - began > 0.5:
            time.sleep(0.01)
"""
ENDLESS = {
    "silence": "time.sleep(1000)",
    "endless output": f"{_ON_AND_ON}endless(frame, 0, b'line of output\\n' * 1000, 3)",
    "endless output of the engine": f"{_ON_AND_ON}endless(os.write, 2, b'line of the engine\\n' * 1000)",
    "endless reports": f"{_ON_AND_ON}endless(frame, 10, b'\\0' * 8)",
    "endless questions": f"{_ON_AND_ON}endless(frame, 4)",
}


#: How an agent without a kernel makes the link, and what comes over that.
_LINK = {
    "stdio": "frame(9, b'', 1); frame(9, b'', 2); link = lambda data: frame(0, data, 1)\n",
    "tcp": """
import json
from wstpserver.keeper.agent import connect_to_server
header = sys.stdin.buffer.read(6)
server = json.loads(sys.stdin.buffer.read(int.from_bytes(header[:4], "big")))["server"]
sockets = [connect_to_server(server, channel) for channel in (1, 2)]
link = sockets[0].sendall
""",
}
_LINKS = {
    "garbage": "link(os.urandom(100_000)); time.sleep(1000)",
    "a text of 4 GB": "link(b'FA#\"\\x04\\0\\0\\0\\x01' + b'x' * 1000); time.sleep(1000)",
    "endless bytes": f"{_ON_AND_ON}endless(link, bytes(60_000))",
    "silence": "time.sleep(1000)",
}
LINKS = {f"{way} by {by}": made + said for by, made in _LINK.items() for way, said in _LINKS.items()}


def test_endless_agents(tmp_path):
    """They are given up at the end of their time; the server does not grow, and others are served meanwhile."""
    configuration = bad_pools(tmp_path, ENDLESS | LINKS, KernelStartTimeout=2)
    with serving(tmp_path, configuration, level="error") as server, join(server) as bystander:
        before = processes.resident_bytes(server.pid)
        for number in range(300):
            assert bystander.evaluate(number) == number
        for number, way in enumerate(ENDLESS | LINKS):
            late = "it made no link within 2 seconds" if way in ENDLESS or "silence" in way else ""
            server.wait_for_log(f"A kernel of pool bad{number} did not start: {late}")
        assert processes.resident_bytes(server.pid) - before < 40 << 20
        assert_serves(server)


# -- connections of agents -------------------------------------------------------------------------------------------


def transport_port(server):
    return int(server.wait_for_log(r"Listening for kernels on other machines on 127\.0\.0\.1:(\d+)")[1])


STRANGERS = (
    b"GET / HTTP/1.1\r\n\r\n",
    b"WSTPSERVER-AGENT 1 " + b"x" * 10_000,
    b"WSTPSERVER-AGENT 1 abc one nonce\n",
    b"\0\xff\n" * 10,
    b"WSTPSERVER-AGENT 1 \xff\xfe 1\n",
)


def test_strangers_at_the_port_for_agents(server):
    for said in STRANGERS:
        with socket.create_connection(("127.0.0.1", transport_port(server)), 60.0) as stranger:
            stranger.sendall(said)
            try:
                assert stranger.recv(100) == b"", said
            except ConnectionError:
                pass
    with join_pool(server, "Tcp") as link:
        assert link.evaluate(3) == 3


def test_agent_without_the_secret(server):
    """A token that somebody has seen is of no use, and the secret is on no command line."""
    with join_pool(server, "Tcp") as link:
        connector, agent, kernel = processes_of(link, "Tcp")
        for pid in (connector, agent, kernel):
            assert not re.search(r"[0-9a-f]{64}", processes.command_line(pid))
    assert not re.search(r"[0-9a-f]{64}", server.log)


def test_tcp_interface_that_cannot_be_had(tmp_path):
    keys = elsewhere(make_kernel(tmp_path), KernelTransport="tcp")
    configuration = {"Pools": {"a": keys}, "KernelTransportInterface": "192.0.2.1:1"}
    with serving(tmp_path, configuration) as server:
        server.wait_for_log("did not start: the server cannot listen on KernelTransportInterface 192.0.2.1:1: ")


def test_words_of_the_launcher_are_filled_in(server):
    with join_pool(server, "my pool; rm") as link:
        expected = f"my pool; rm/{kernel_id(link)}/{socket.gethostname()}"
        server.wait_for_log(f"printed: {re.escape(expected)}")


def test_what_is_known_is_handed_over():
    lines = []
    remote = RemoteKernel(("ssh", "node7"), lines.append)
    assert remote.take_line(REPORT + '{"host": "node7", "path": "/k", "pid": 5}')
    assert remote.take_line(REPORT + '{"memory": 1000}')
    assert not remote.take_line("printed")
    assert remote.take_line(REPORT + '{"cut off')
    record = json.loads(json.dumps(remote.hand_over()))
    again = RemoteKernel.of_record(record, lines.append)
    assert again.hand_over() == record
    assert again.started.is_set()
    assert (again.launcher, again.host, again.process, again.memory) == (("ssh", "node7"), "node7", 5, 1000)
    again.take_line("more")
    assert lines == ["printed", "more"]
