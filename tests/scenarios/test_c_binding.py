"""The C examples, compiled against the vendor's library and run against a server."""

from __future__ import annotations

import ctypes
import re
import socket
import subprocess

import pytest

from tests.interop.conftest import compiled, vendor_library  # noqa: F401 - fixtures
from tests.interop.vendor import PACKETS, VendorLibrary
from tests.scenarios.frontend import DEADLINE, call
from tools.harness.fake_kernel.codec import Symbol
from tools.harness.server import ROOT
from tools.harness.waiting import wait_for
from wstpserver.wire import values

ANSWER = re.compile(r"kernel ([0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4})\n(.*)\n")


@pytest.fixture
def run(compiled, embedded_server):  # noqa: F811
    """run(example, argument, ...) -> (exit status, stdout, stderr); {server} is the address of the server."""

    def start(example, *arguments):
        program = compiled(ROOT / "examples" / f"{example}.c")
        address = f"{embedded_server.port}@127.0.0.1"
        words = [argument.replace("{server}", address) for argument in arguments]
        done = subprocess.run([program, *words], capture_output=True, text=True, timeout=DEADLINE)
        return done.returncode, done.stdout, done.stderr

    return start


def test_an_evaluation(run):
    assert run("evaluate", "{server}") == (0, "2 + 2 = 4\n", "")


@pytest.fixture
def link(vendor_library, embedded_server):  # noqa: F811
    """A link of the library with a kernel of its own, behind the first prompt."""
    with VendorLibrary(vendor_library) as library:
        name = f"{embedded_server.port}@127.0.0.1"
        with library.open_string(f"-linkmode connect -linkprotocol TCPIP -linkname {name} -linkoptions 4") as opened:
            opened.activate(DEADLINE)
            assert next_packet(opened) == ("InputNamePacket", "In[1]:= ")
            opened.put(call("WSCommandPacket", call("SetKeepAlive", values.Symbol("False"))))
            assert next_packet(opened)[0] == "ReturnPacket"
            yield opened


NAMES = {number: name for name, number in PACKETS.items()}


def next_packet(link):
    """(name, first argument) of the next packet."""
    name = NAMES[link.next_packet(DEADLINE)]
    argument = link.get(DEADLINE)
    link.new_packet()
    return name, argument


def text_asked_for_as_an_integer(link):
    """What a program does that enters text and reads a number: a text comes, which is no number for the library."""
    assert NAMES[link.next_packet(DEADLINE)] == "ReturnTextPacket"
    number = ctypes.c_int64()
    assert link.call("GetInteger64", ctypes.byref(number)) == 0
    link.call("ClearError")
    link.new_packet()


def test_a_result_of_entered_text_is_text(link):
    """As from a Wolfram kernel: `ReturnTextPacket["42"]`, in dialogs as well. One that asks for an integer clears the
    error and goes on with the next packet.
    """
    link.put(call("EnterTextPacket", "n = 41 + 1"))
    assert next_packet(link) == ("OutputNamePacket", "Out[1]= ")
    text_asked_for_as_an_integer(link)
    assert next_packet(link) == ("InputNamePacket", "In[2]:= ")
    link.put(call("EnterTextPacket", "n"))
    assert [next_packet(link) for _ in range(3)] == [
        ("OutputNamePacket", "Out[2]= "), ("ReturnTextPacket", "42"), ("InputNamePacket", "In[3]:= "),
    ]  # fmt: skip
    link.put(call("EnterExpressionPacket", call("ToExpression", "n")))
    assert [next_packet(link) for _ in range(3)] == [
        ("OutputNamePacket", "Out[3]= "), ("ReturnExpressionPacket", 42), ("InputNamePacket", "In[4]:= "),
    ]  # fmt: skip
    link.put(call("EvaluatePacket", call("ToExpression", "x = Dialog[]; x * 2")))
    assert [next_packet(link)[0] for _ in range(2)] == ["BeginDialogPacket", "InputNamePacket"]
    link.put(call("EnterTextPacket", "SetOptions[$Output, PageWidth -> Infinity]; n - 40"))
    packets = []
    while not packets or packets[-1][0] != "InputNamePacket":
        packets.append(next_packet(link))
    assert ("ReturnTextPacket", "2") in packets, packets
    link.put(call("EnterTextPacket", "Return[n - 21]"))
    packets = [next_packet(link)]
    while packets[-1][0] != "ReturnPacket":
        packets.append(next_packet(link))
    assert packets == [("EndDialogPacket", 1), ("ReturnPacket", 42)]


def test_nobody_listens(run):
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        status, out, err = run("evaluate", f"{port}@127.0.0.1")
    assert (status in (2, 3), out) == (True, "")
    assert err


def test_a_kernel_that_is_kept(run, embedded_server):
    status, out, err = run("persistent", "{server}", "x = Prime[1000]")
    assert (status, err) == (0, "")
    kernel, value = ANSWER.fullmatch(out).groups()
    assert value == "7919"
    assert run("persistent", "{server}", "x + 1", kernel) == (0, f"kernel {kernel}\n7920\n", "")
    assert run("persistent", "{server}", "x = 5; {x, $Line}", kernel) == (0, f"kernel {kernel}\n{{5, 1}}\n", "")
    assert run("persistent", "{server}", "close", kernel) == (0, "", "")
    with embedded_server.connect() as link:
        assert link.get_packet()[0] == "InputNamePacket"
        link.command("SetKeepAlive", Symbol("False"))
        wait_for(lambda: kernel not in link.command("GetServerInformation"), DEADLINE, "its end", interval=0.1)
    status, out, err = run("persistent", "{server}", "x", kernel)
    assert (status, out, err) == (5, "", "There is no such kernel, or it is at work\n")


def test_wrong_usage(run):
    assert run("persistent", "{server}")[0] == 64
