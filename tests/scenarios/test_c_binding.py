"""The C examples, compiled against the vendor's library and run against a server."""

from __future__ import annotations

import re
import socket
import subprocess

import pytest

from tests.interop.conftest import compiled, vendor_library  # noqa: F401 - fixtures
from tests.scenarios.frontend import PATIENCE
from tools.harness.fake_kernel.codec import Symbol
from tools.harness.server import ROOT
from tools.harness.waiting import wait_for

ANSWER = re.compile(r"kernel ([0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4})\n(.*)\n")


@pytest.fixture
def run(compiled, embedded_server):  # noqa: F811
    """run(example, argument, ...) -> (exit status, stdout, stderr); {server} is the address of the server."""

    def start(example, *arguments):
        program = compiled(ROOT / "examples" / f"{example}.c")
        address = f"{embedded_server.port}@127.0.0.1"
        words = [argument.replace("{server}", address) for argument in arguments]
        done = subprocess.run([program, *words], capture_output=True, text=True, timeout=PATIENCE)
        return done.returncode, done.stdout, done.stderr

    return start


def test_an_evaluation(run):
    assert run("evaluate", "{server}") == (0, "2 + 2 = 4\n", "")


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
        wait_for(lambda: kernel not in link.command("GetServerInformation"), PATIENCE, "its end", interval=0.1)
    status, out, err = run("persistent", "{server}", "x", kernel)
    assert (status, out, err) == (5, "", "There is no such kernel, or it is at work\n")


def test_wrong_usage(run):
    assert run("persistent", "{server}")[0] == 64
