"""Prompts: the number that the kernel waits for, whether the server tells it or not."""

from __future__ import annotations

import pytest

from tests.client.helpers import PROMPT, Kernel, peer
from tests.script.helpers import conversation
from tests.support.terminal import TerminalProgram, script
from tools.harness.kernels import make_kernel
from tools.harness.server import ServerProcess, pool
from wstpserver.cli.script.repl import output_label, prompt_of_new_kernel
from wstpserver.client import Session
from wstpserver.wire.values import Symbol

DEADLINE = 60


@pytest.mark.parametrize(
    ("prompt", "before", "label"),
    [
        ("In[1]:= ", 0, "Out[1]= "), ("In[12]:= ", 1, "Out[11]= "), ("(Dialog) In[3]:= ", 0, "(Dialog) Out[3]= "),
        ("> ", 0, "> "),
    ],
)  # fmt: skip
def test_labels(prompt, before, label):
    assert output_label(prompt, before) == label


@pytest.mark.parametrize(
    ("line", "prompts", "expected"),
    [
        (1, True, "In[1]:= "),
        (4, True, "In[4]:= "),  # the prompt is that of a kernel before
        (4, False, "In[4]:= "),
        (Symbol("$Line"), True, "In[1]:= "),  # a kernel that does not know it
        (Symbol("$Line"), False, "In[1]:= "),
    ],
)
def test_the_prompt_of_a_new_kernel(line, prompts, expected):
    kernel = Kernel({Symbol("$Line"): line}, prompt=prompts)
    with peer(kernel) as address, Session(address, PROMPT) as session:
        session.synchronize(PROMPT)
        assert prompt_of_new_kernel(session) == expected


@pytest.mark.parametrize("automatic", [True, False])
def test_coming_back_where_the_server_sends_no_prompt(tmp_path, automatic):
    """SendInputNamePacketUponKernelConnection false, with and without a kernel that comes by itself before."""
    configuration = {
        "SendInputNamePacketUponKernelConnection": False,
        "EnableAutomaticKernelConnection": automatic,
        "Pools": {"Main": pool(make_kernel(tmp_path), MaximumKernelNumber=8)},
    }
    with ServerProcess(tmp_path, configuration) as server:

        def start(*options):
            return TerminalProgram(script("-wstpserver", f"{server.port}@127.0.0.1", *options), tmp_path)

        with start("-startprofile", "p") as terminal:
            terminal.expect("In[1]:= ", DEADLINE)
            for number in (2, 3, 4):
                terminal.enter("1", f"In[{number}]:= ", DEADLINE)
            terminal.keys("\x04")
            assert terminal.wait(DEADLINE) == 0
        with start("-continueprofile", "p") as terminal:
            terminal.expect("In[4]:= ", DEADLINE)
            assert conversation(terminal.output) == "\nIn[4]:= "
            terminal.enter("2 + 2", "\nOut[4]= 4\n\nIn[5]:= ", DEADLINE)
        with start("-kernelpool", "Main") as terminal:
            terminal.expect("In[1]:= ", DEADLINE)
