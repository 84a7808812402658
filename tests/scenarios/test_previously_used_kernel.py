"""The appendix's "Bridging to a Previously Used Kernel", with the programs in a terminal and embedded kernels.

The server is restarted between the two sessions, and killed in the second one.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys

import pytest

from tests.scenarios.frontend import DEADLINE
from tests.support.embedded import make_embedded_kernel
from tests.support.serving import Since
from tests.support.terminal import TerminalProgram
from tests.support.terminal import script as script_words
from tools.harness.server import ServerProcess, pool

ID = re.compile(r"Out\[\d+\]= ([0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4})\n")


@pytest.fixture
def configuration(tmp_path):
    settings = pool(make_embedded_kernel(tmp_path), KeepAlive=True, MinimumKernelNumber=0, MaximumKernelNumber=2)
    return {"KernelsOutliveServer": 60, "Pools": {"IBuildUpState": settings}}


def open_script(server, folder, *options):
    """The program on a terminal."""
    return TerminalProgram(script_words("-wstpserver", f"{server.port}@127.0.0.1", *options), folder)


def open_session(server, folder, option):
    """The same at its first prompt."""
    program = open_script(server, folder, option)
    program.expect(re.compile(r"In\[\d+\]:= "), DEADLINE)
    return program


#: Says that it has begun, waits for a file, and has a value that only this kernel knows.
CODE = 'Print["begun"]; While[!FileExistsQ["go"], Pause[0.02]]; y + 1'


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the keeper is for Linux")
@pytest.mark.timeout(300)
def test_it_is_there_after_a_restart_and_after_a_crash_of_the_server(tmp_path, configuration):
    with ServerProcess(tmp_path, configuration) as server:
        server.expect_exit(-signal.SIGKILL)
        with open_session(server, tmp_path, "-startprofile") as terminal:
            terminal.type("WSTPServer`GetKernelID[]")
            kernel = terminal.expect(ID, DEADLINE)[1]
            terminal.enter("x = 2 + 2", "Out[2]= 4", DEADLINE)
            terminal.enter("f[n_] := n x", "In[4]:= ", DEADLINE)
            terminal.type("WSTPServer`DisconnectKernel[]")
            assert terminal.wait(DEADLINE) == 0, "it leads back to the shell"
        since = Since(server)
        os.kill(server.pid, signal.SIGUSR2)
        since.wait_for("Restarted with 1 kernel and 0 clients", DEADLINE)
        with open_session(server, tmp_path, "-continueprofile") as terminal, contextlib.ExitStack() as stack:
            assert terminal.output.endswith("In[5]:= ")
            terminal.type("WSTPServer`GetKernelID[]")
            assert terminal.expect(ID, DEADLINE)[1] == kernel
            terminal.enter("f[10]", "Out[6]= 40", DEADLINE)
            profile = tmp_path / "another"
            with open_script(server, tmp_path, "-startprofile", profile, "-code", "y = 22") as program:
                assert program.wait(DEADLINE) == 0
            program = stack.enter_context(open_script(server, tmp_path, "-continueprofile", profile, "-code", CODE))
            program.expect("begun", DEADLINE)
            server.stop(signal.SIGKILL)
            (tmp_path / "go").touch()
            address = ["--port", str(server.port), "--interface", "127.0.0.1"]
            with ServerProcess(tmp_path, configuration, *address, usual_address=False):
                program.expect("23", DEADLINE)
                assert program.wait(DEADLINE) == 0, "a program without a prompt comes back, too"
                terminal.enter("f[x]", "Out[7]= 16", DEADLINE)
                assert terminal.output.count("reconnected\n") == 1
