"""wolframscript -wstpserver as the server sees it: code, a session at the prompt, profiles that come back to a kernel.

A profile is two properties that the kernel is given, SetKeepAlive and SetReserveKernel, and its ID that is noted.
"""

from __future__ import annotations

import json

import pytest

from tests.scenarios.frontend import DEADLINE, SUCCESS, call
from tests.support.serving import every_kernel
from tools.harness.kernels import make_kernel
from tools.harness.server import ServerProcess, pool
from tools.harness.waiting import wait_for
from wstpserver.wire.values import Symbol

TRUE, FALSE = Symbol("True"), Symbol("False")


@pytest.fixture
def script(open_front_end, embedded_server):
    """script() -> a link whose first prompt has come."""
    return lambda: open_front_end(embedded_server)


def result(link, name):
    return json.loads(link.command(name))["result"]


def state(link, kernel):
    """What the server says of a kernel; None if it is gone."""
    found = every_kernel(link).get(kernel)
    return None if found is None else found["State"]


def start_profile(link, keep_alive=TRUE, reserve=TRUE):
    """KEEPALIVE, RESERVE and KERNELID of a profile: what -startprofile asks of the server."""
    assert link.command("SetKeepAlive", keep_alive) == SUCCESS
    assert link.command("SetReserveKernel", reserve) == SUCCESS
    return result(link, "GetKernelID")


def test_code(script):
    """wolframscript -wstpserver -code 'StringReverse["hello"]'"""
    assert script().evaluate(call("ToExpression", 'StringReverse["hello"]')) == "olleh"


def test_code_that_is_wrong(script):
    link = script()
    link.send("EvaluatePacket", call("ToExpression", "1 + )"))
    message, text, answer = link.until("ReturnPacket")
    assert message[:2] == ("MessagePacket", Symbol("Syntax"))
    assert text[1].startswith("Syntax::")
    assert answer == ("ReturnPacket", Symbol("$Failed"))
    assert link.evaluate(call("ToExpression", "1 + 1")) == 2


def test_a_session_at_the_prompt(script):
    link = script()
    assert link.enter("WSTPServer`GetPoolName[]")[1] == ("ReturnTextPacket", "Notebooks")
    assert link.enter("x = 2 + 2")[1:] == [("ReturnTextPacket", "4"), ("InputNamePacket", "In[3]:= ")]


def test_a_pool_by_name(script):
    """-kernelpool: the kernel that came by itself was not used, and goes back to its pool."""
    link = script()
    unused = result(link, "GetKernelID")
    assert link.command("SetKeepAlive", FALSE) == SUCCESS
    link.connect("Parallel")
    assert result(link, "GetPoolName") == "Parallel"
    assert state(link, unused) == "free", "and is there for the next client"
    assert link.command("SetKeepAlive", FALSE) == SUCCESS  # the pool is a small one


def test_start_and_continue_profile(script):
    first = script()
    kernel = start_profile(first)
    assert first.shown("x = 2 + 2") == "4"
    for line in range(2, 10):
        first.enter(f"state[{line}] = {line};")
    # WSTPServer`DisconnectKernel[] leads back to the shell
    assert first.enter("WSTPServer`DisconnectKernel[]")[0] == ("OutputNamePacket", "Out[10]= ")
    first.close()
    second = script()
    assert state(second, kernel) == "reserved"
    assert second.connect(kernel) == "In[11]:= "
    assert second.enter("x")[:2] == [("OutputNamePacket", "Out[11]= "), ("ReturnTextPacket", "4")]
    assert result(second, "GetKernelID") == kernel


def test_a_script_that_is_killed(script):
    """Its kernel is there for -continueprofile all the same."""
    first = script()
    kernel = start_profile(first)
    first.evaluate(call("Set", Symbol("x"), 7))
    first.close()
    second = script()
    second.connect(kernel)
    assert second.evaluate(Symbol("x")) == 7


def test_keepalive_false(script):
    first = script()
    kernel = start_profile(first, keep_alive=FALSE)
    first.close()
    second = script()
    wait_for(lambda: state(second, kernel) is None, DEADLINE, "the kernel to be closed", interval=0.05)
    assert json.loads(second.command("ConnectKernel", kernel, 1)) == {"status": "ExecutionError"}


def test_reserve_false(open_front_end, tmp_path):
    """Whoever comes next gets it, with what is defined in it."""
    keys = {"MinimumKernelNumber": 1, "MaximumKernelNumber": 1}
    with ServerProcess(tmp_path, {"Pools": {"One": pool(make_kernel(tmp_path), **keys)}}) as server:
        first = open_front_end(server)
        kernel = start_profile(first, reserve=FALSE)
        first.enter("x = 7")
        assert first.command("DisconnectKernel") == SUCCESS
        second = open_front_end(server, prompt=False)
        assert second.packet() == ("InputNamePacket", "In[2]:= ")
        assert result(second, "GetKernelID") == kernel
        assert second.shown("x") == "7"
        for link in (first, second):
            link.close()


def test_a_profile_written_by_hand(script):
    """Back to the kernel of a notebook: its ID is all that is needed (KERNELID=...)."""
    notebook = script()
    kernel = notebook.shown("WSTPServer`GetKernelID[]")
    assert notebook.shown("WSTPServer`SetKeepAlive[True]").startswith("Success[")
    notebook.enter("WSTPServer`DisconnectKernel[]")
    link = script()
    assert link.connect(kernel) == "In[4]:= "
    assert link.shown("WSTPServer`GetKernelID[]") == kernel
