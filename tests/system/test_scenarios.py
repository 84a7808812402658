"""The example scenarios of the specification, with the programs themselves, embedded kernels and a terminal.

Where the specification has a notebook front end the Python client takes its place.
"""
import contextlib
import json
import os
import re
import subprocess
import sys
import textwrap

import pytest

from tests.script.helpers import without_waiting
from tests.support.embedded import make_embedded_kernel
from tests.support.terminal import TerminalProgram, script
from tools.harness import forking
from tools.harness.server import ROOT, ServerProcess
from tools.harness.waiting import wait_for
from wstpserver.client import Session
from wstpserver.wire.values import Function, Symbol

DEADLINE = 60
ID = re.compile(r"[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}")

#: The pools of all scenarios. The first one is the default pool.
CONFIGURATION = """
# wstpserver.conf: place in the current working directory
{
    "Pools":
        {
            "IBuildUpState":
                {
                    KERNEL,
                    "KeepAlive":true
                },
            "IDefineX":
                {
                    KERNEL,
                    "InitializationCode":"x=4"
                },
            "IHaveSpecificProperties":
                {
                    KERNEL,
                    "KeepAlive":true,
                    "ReservePreviouslyConnectedKernels":false
                },
            "ICloseKernels":
                {
                    KERNEL,
                    "KeepAlive":false
                },
            "IProvideParallelKernels":
                {
                    KERNEL,
                    "Parallel":true,
                    "MinimumKernelNumber":4
                }
        }
}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    kernel = make_embedded_kernel(folder)
    keys = f'"KernelPath":{json.dumps(str(kernel))}, "MaximumKernelNumber":16'
    (folder / "wstpserver.conf").write_text(CONFIGURATION.replace("KERNEL", keys))
    with ServerProcess(folder, None, "-l", "2") as running:
        running.wait_for_log("Pool IProvideParallelKernels is ready", DEADLINE)
        yield running


@pytest.fixture
def wstpscript(server, tmp_path):
    """wstpscript(option, ...) -> wstpscript -wstpserver PORT@HOST option ... on a terminal."""
    with contextlib.ExitStack() as stack:

        def start(*options):
            words = script("-wstpserver", f"{server.port}@127.0.0.1", *options)
            return stack.enter_context(TerminalProgram(words, tmp_path, {"TMPDIR": str(tmp_path)}))

        yield start


@pytest.fixture
def notebook(server):
    """notebook() -> a session of the Python client; notebook(pool) -> one with a kernel of that pool."""
    with contextlib.ExitStack() as stack:

        def start(pool=""):
            address = f"wstp://127.0.0.1:{server.port}/{pool}"
            return stack.enter_context(Session(address, DEADLINE, keep_kernel=True))

        yield start


def run(server, folder, *options, **streams):
    """wstpscript -wstpserver PORT@HOST option ... without a terminal: (exit status, output)."""
    words = script("-wstpserver", f"{server.port}@127.0.0.1", *options)
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(ROOT)}
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT} | streams
    done = forking.run(words, cwd=folder, env=environment, timeout=DEADLINE, **streams)
    return done.returncode, without_waiting(done.stdout.decode())


def transcript(text):
    """What the terminal shows, written with an indentation and without the blank behind a last prompt."""
    return textwrap.dedent(text)


def kernel_state(server, kernel):
    """What the server says of a kernel, None if it is not there any more."""
    with Session(f"{server.port}@127.0.0.1", DEADLINE) as session:
        pools = session.command("GetServerInformation")["Pools"].values()
    return next((found for pool in pools for found in pool["Kernels"] if found["ID"] == kernel), None)


def conversation(terminal):
    """What a terminal shows behind the banner, which names server, kernel and engine."""
    banner, _, rest = without_waiting(terminal.output).partition("\n")
    assert re.fullmatch(r"\d+@127\.0\.0\.1, kernel [0-9a-f-]{14}: Mathics3 [\d.]+\. Ctrl-D leaves, .*", banner), banner
    return rest


def leave(terminal):
    """Disconnect from the kernel, which leads back to the shell."""
    terminal.type("WSTPServer`DisconnectKernel[]")
    assert terminal.wait(DEADLINE) == 0
    assert terminal.output.endswith("]:= WSTPServer`DisconnectKernel[]\n")


def test_use_with_wolframscript(server, tmp_path):
    assert run(server, tmp_path, "-code", 'StringReverse["hello"]') == (0, "olleh\n")
    assert run(server, tmp_path, "-startprofile", "-code", "x = 2 + 2;") == (0, "")
    assert run(server, tmp_path, "-code", "x") == (0, "x\n"), "a kernel of its own"
    assert run(server, tmp_path, "-continueprofile", "-code", "x") == (0, "4\n")
    file = tmp_path / "script.wl"
    file.write_text("#!/usr/bin/env wstpscript\nPrint[x]\nx = x + 1")
    assert run(server, tmp_path, "-continueprofile", "-file", "script.wl") == (0, "4\n")
    with open(file, "rb") as stream:
        assert run(server, tmp_path, "-continueprofile", "-print", stdin=stream) == (0, "5\n6\n")
    assert run(server, tmp_path, "-continueprofile", "-code", "Exit[3]") == (3, "")
    status, output = run(server, tmp_path, "-continueprofile", "-code", "x")
    assert status == 1 and "is gone" in output, "Exit ends the kernel of a profile"


def test_bridging_to_a_specially_configured_pool(wstpscript):
    terminal = wstpscript("-kernelpool", "IDefineX")
    terminal.expect("In[1]:= ", DEADLINE)
    terminal.enter("WSTPServer`GetPoolName[]", "In[2]:= ")
    terminal.enter("x", "In[3]:= ")
    assert conversation(terminal) == transcript("""
        In[1]:= WSTPServer`GetPoolName[]

        Out[1]= IDefineX

        In[2]:= x

        Out[2]= 4

        In[3]:= """)
    terminal.keys("\x04")
    assert terminal.wait() == 0


def test_a_session_with_what_only_a_whole_kernel_has(wstpscript, tmp_path):
    terminal = wstpscript("-kernelpool", "IDefineX")
    terminal.expect("In[1]:= ", DEADLINE)
    terminal.enter("1/0", "Power::infy: Infinite expression 1 / 0 encountered.\n\nOut[1]= ComplexInfinity\n")
    terminal.expect("In[2]:= ")
    picture = terminal.enter("Plot[t^2, {t, 0, 1}]", re.compile(r"Out\[2\]= -Graphics-\nSaved as (.*/Out2.svg)\n"))[1]
    assert picture.startswith(str(tmp_path))
    with open(picture, encoding="utf-8") as file:
        assert file.read().startswith("<svg")
    terminal.expect("In[3]:= ")
    terminal.keys("PrincipalVa\t")
    terminal.expect("PrincipalValue")
    terminal.interrupt("In[3]:= ")
    terminal.type('Print["busy"]; While[True]')
    terminal.expect("busy\n")
    terminal.keys("\x03")
    terminal.expect("Out[3]= $Aborted\n\nIn[4]:= ")
    terminal.enter("f[", "      ")
    terminal.enter("x]", "Out[4]= f[4]\n\nIn[5]:= ")
    terminal.type("Exit[7]")
    assert terminal.wait(DEADLINE) == 7


def test_bridging_to_a_previously_used_kernel(wstpscript):
    terminal = wstpscript("-startprofile")
    terminal.expect("In[1]:= ", DEADLINE)
    terminal.enter("WSTPServer`GetKernelID[]", "In[2]:= ")
    kernel = ID.search(terminal.output)[0]
    assert conversation(terminal) == transcript(f"""
        In[1]:= WSTPServer`GetKernelID[]

        Out[1]= {kernel}

        In[2]:= """)
    for line in range(2, 10):
        terminal.enter(f"state[{line}] = {line}^2;", f"In[{line + 1}]:= ")
    leave(terminal)

    terminal = wstpscript("-continueprofile")
    terminal.expect("In[11]:= ", DEADLINE)
    terminal.enter("WSTPServer`GetKernelID[]", "In[12]:= ")
    assert conversation(terminal) == transcript(f"""
        In[11]:= WSTPServer`GetKernelID[]

        Out[11]= {kernel}

        In[12]:= """)
    terminal.enter("Table[state[i], {i, 2, 9}]", "{4, 9, 16, 25, 36, 49, 64, 81}\n\nIn[13]:= ")
    leave(terminal)


def restart(server):
    """Have the server execute its program again, as its administrator does."""
    words = [sys.executable, "-m", "wstpserver.cli.admin.main", "--server", f"{server.port}@127.0.0.1", "restart"]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    done = forking.run(words, capture_output=True, text=True, timeout=DEADLINE, env=environment)
    assert done.returncode == 0, done
    assert "all kernels and clients are as before" in done.stdout


def test_a_previously_used_kernel_and_its_client_outlive_restarts_of_the_server(wstpscript, server):
    terminal = wstpscript("-startprofile")
    terminal.expect("In[1]:= ", DEADLINE)
    terminal.enter("WSTPServer`GetKernelID[]", "In[2]:= ")
    kernel = ID.search(terminal.output)[0]
    for line in range(2, 5):
        terminal.enter(f"state[{line}] = {line}^2;", f"In[{line + 1}]:= ")
    restart(server)
    for line in range(5, 10):
        terminal.enter(f"state[{line}] = {line}^2;", f"In[{line + 1}]:= ")
    leave(terminal)
    restart(server)
    terminal = wstpscript("-continueprofile")
    terminal.expect("In[11]:= ", DEADLINE)
    terminal.enter("WSTPServer`GetKernelID[]", f"Out[11]= {kernel}\n\nIn[12]:= ")
    terminal.enter("Table[state[i], {i, 2, 9}]", "{4, 9, 16, 25, 36, 49, 64, 81}\n\nIn[13]:= ")
    leave(terminal)
    other = wstpscript("-kernelpool", "IDefineX")  # a kernel that is forked by the parent from before the restart
    other.expect("In[1]:= ", DEADLINE)
    other.enter("x", "Out[1]= 4\n\nIn[2]:= ")
    leave(other)


def test_profiles(wstpscript, server, tmp_path):
    profile = tmp_path / "sampleprofile"
    profile.write_text(
        'KEEPALIVE=TRUE # I want a kernel with "KeepAlive" set to true\n'
        'RESERVE=TRUE # I want a kernel with "ReservePreviouslyConnectedKernels" set to false\n'
    )
    terminal = wstpscript("-kernelpool", "IHaveSpecificProperties", "-startprofile", "sampleprofile")
    terminal.expect("In[1]:= ", DEADLINE)
    terminal.enter("x = 2 + 2", "In[2]:= ")
    assert conversation(terminal) == transcript("""
        In[1]:= x = 2 + 2

        Out[1]= 4

        In[2]:= """)
    for line in range(2, 10):
        terminal.enter("Null", f"In[{line + 1}]:= ")
    leave(terminal)
    lines = profile.read_text().splitlines()
    assert lines[0] == 'KEEPALIVE=TRUE # I want a kernel with "KeepAlive" set to true'
    kernel = ID.search(profile.read_text())[0]
    assert kernel_state(server, kernel)["State"] == "reserved", "the profile beats the pool"

    terminal = wstpscript("-continueprofile", "sampleprofile")
    terminal.expect("In[11]:= ", DEADLINE)
    terminal.enter("x", "In[12]:= ")
    assert conversation(terminal) == transcript("""
        In[11]:= x

        Out[11]= 4

        In[12]:= """)
    leave(terminal)


def test_keep_a_kernel_alive_contrary_to_configuration(wstpscript, notebook, server, tmp_path):
    front_end = notebook("ICloseKernels")
    kernel = front_end.evaluate_text("WSTPServer`GetKernelID[]", DEADLINE).text
    assert front_end.evaluate_text("WSTPServer`SetKeepAlive[True]", DEADLINE).text.startswith("Success[")
    for line in range(3, 10):
        front_end.evaluate_text(f"x = {line}", DEADLINE)
    assert front_end.evaluate_text("WSTPServer`DisconnectKernel[]", DEADLINE).name == "Out[10]= "
    folder = tmp_path / "WSTPServer"
    folder.mkdir()
    (folder / "wstpscript.profile").write_text(f"KERNELID={kernel}\n")

    terminal = wstpscript("-continueprofile")
    terminal.expect("In[11]:= ", DEADLINE)
    terminal.enter("WSTPServer`GetKernelID[]", "In[12]:= ")
    assert conversation(terminal) == transcript(f"""
        In[11]:= WSTPServer`GetKernelID[]

        Out[11]= {kernel}

        In[12]:= """)
    terminal.enter("x", "Out[12]= 9\n\nIn[13]:= ")
    leave(terminal)
    assert kernel_state(server, kernel)["State"] == "reserved"


def test_without_that_the_pool_closes_its_kernels(notebook, server):
    front_end = notebook("ICloseKernels")
    kernel = front_end.command("GetKernelID")
    front_end.evaluate_text("WSTPServer`DisconnectKernel[]", DEADLINE)
    wait_for(lambda: kernel_state(server, kernel) is None, DEADLINE, interval=0.2)


def test_reserving_a_kernel_that_is_doing_important_work(notebook, server):
    front_end = notebook("IHaveSpecificProperties")
    kernel = front_end.evaluate_text("WSTPServer`GetKernelID[]", DEADLINE).text
    assert front_end.evaluate_text("WSTPServer`SetReserveKernel[True]", DEADLINE).text.startswith("Success[")
    front_end.evaluate_text("important = 42", DEADLINE)
    front_end.evaluate_text("WSTPServer`DisconnectKernel[]", DEADLINE)

    strangers = [notebook("IHaveSpecificProperties") for _ in range(3)]
    assert kernel not in [stranger.command("GetKernelID") for stranger in strangers]
    for stranger in strangers:
        stranger.close()
    owner = notebook()
    owner.command("ConnectKernel", kernel)
    assert owner.evaluate_text("important", DEADLINE).text == "42"


def test_a_kernel_that_is_not_reserved_goes_to_the_next(notebook):
    first = notebook("IHaveSpecificProperties")
    kernel = first.command("GetKernelID")
    first.evaluate_text("WSTPServer`SetReserveKernel[False]", DEADLINE)
    first.evaluate_text("WSTPServer`DisconnectKernel[]", DEADLINE)
    others = [notebook("IHaveSpecificProperties") for _ in range(4)]
    assert kernel in [other.command("GetKernelID") for other in others]


def test_monitoring(notebook):
    front_end = notebook()
    shown = front_end.evaluate_text("WSTPServer`GetServerInformation[]", DEADLINE).text
    assert shown.startswith("<|Pools -> <|IBuildUpState -> <|InitializationCode -> ")
    information = front_end.command("GetServerInformation")
    assert list(information["Pools"]) == [
        "IBuildUpState", "IDefineX", "IHaveSpecificProperties", "ICloseKernels", "IProvideParallelKernels",
    ]  # fmt: skip
    pool = information["Pools"]["IProvideParallelKernels"]
    assert (pool["ParallelKernels"], pool["ParallelKernelEntryPool"], pool["MinimumKernelNumber"]) == (True, True, 4)
    own = front_end.evaluate('WSTPServer`GetServerInformation[]["Pools"]["IDefineX"]["InitializationCode"]', DEADLINE)
    assert own == "x=4"


def test_parallel_computing(notebook):
    """ParallelSum[EulerPhi[i], {i, 200}] on four parallel kernels: the parts run at the same time."""
    kernels = [notebook() for _ in range(4)]
    assert int(kernels[0].command("GetNumberOfAvailableParallelKernels")) >= 4
    for kernel in kernels:
        kernel.command("ConnectParallelKernel", DEADLINE, timeout=DEADLINE)
    assert len({kernel.command("GetKernelID") for kernel in kernels}) == 4
    assert {kernel.command("GetPoolName") for kernel in kernels} == {"IProvideParallelKernels"}
    for number, kernel in enumerate(kernels):
        text = f"Sum[EulerPhi[i], {{i, {50 * number + 1}, {50 * number + 50}}}]"
        kernel.link.put(Function(Symbol("EvaluatePacket"), (Function(Symbol("ToExpression"), (text,)),)))
    assert sum(_answer(kernel) for kernel in kernels) == 12232


def _answer(kernel):
    """The value of what was sent, past any prompts that come before it."""
    while (packet := kernel.link.get_packet(DEADLINE)).name != "ReturnPacket":
        assert packet.name == "InputNamePacket"
    return packet.arguments[0]
