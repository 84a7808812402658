"""The standard streams: errors of writing, the announcement of waits, values as text, and wrong usage."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from tests.client.helpers import PROMPT
from tests.script.helpers import process, served
from tools.harness.server import ROOT
from wstpserver.cli.admin.main import main as admin
from wstpserver.cli.script.main import main as script
from wstpserver.cli.terminal import ExitCode, Terminal, WaitNotice, one_line, text_of
from wstpserver.client.deadline import Deadline
from wstpserver.wire.values import BigReal, Function, PackedArray, Symbol

# Output that cannot be written

needs_full = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")


@needs_full
def test_a_full_disk_is_one_line():
    with (
        served({"go": "x"}) as (address, _), open("/dev/full", "wb") as full,
        process("-wstpserver", address, "-code", "go", stdout=full) as started,
    ):
        _, err = started.communicate(timeout=PROMPT)
    assert started.returncode == ExitCode.IO
    assert err == b"wstpscript: cannot write standard output: No space left on device\n"


@needs_full
def test_a_full_disk_during_an_evaluation_aborts_it():
    def rule(kernel):
        kernel.print("line\n")
        return kernel.until_aborted()

    with (
        served({"go": rule}) as (address, kernel), open("/dev/full", "wb") as full,
        process("-wstpserver", address, "-code", "go", stdout=full) as started,
    ):
        _, err = started.communicate(timeout=PROMPT)
    assert started.returncode == ExitCode.IO
    assert err == b"wstpscript: cannot write standard output: No space left on device\n"
    assert kernel.aborts == 1


@needs_full
@pytest.mark.parametrize("name", ["script", "admin"])
def test_help_for_a_full_disk(name):
    command = [sys.executable, "-m", f"wstpserver.cli.{name}.main", "--help"]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, timeout=PROMPT, check=False)
    assert done.returncode == ExitCode.IO
    assert done.stderr.endswith(b": cannot write standard output: No space left on device\n")
    assert done.stderr.count(b"\n") == 1


def test_streams_that_are_closed(tmp_path):
    """As with >&- and <&- in a shell."""
    command = f"{sys.executable} -m wstpserver.cli.script.main"

    def run(words):
        return subprocess.run(
            ["sh", "-c", f"{command} {words}"], cwd=ROOT, capture_output=True, timeout=PROMPT, check=False
        )

    done = run("-help >&-")
    assert done.returncode == ExitCode.IO
    assert done.stderr == b"wstpscript: cannot write standard output: it is closed\n"
    with served({}) as (address, _):
        done = run(f"-wstpserver {address} <&-")
    assert (done.returncode, done.stdout) == (0, b"")


# Waiting


class Said(Terminal):
    """A terminal that keeps what is said, and notifies of it."""

    def __init__(self):
        super().__init__("program")
        self.lines = []
        self.changed = threading.Condition()

    def complain(self, text):
        with self.changed:
            self.lines.append(text)
            self.changed.notify_all()

    def wait_for(self, number):
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.lines) >= number, PROMPT), self.lines


def test_a_wait_is_announced_once_and_when_it_changes():
    terminal = Said()
    states = iter(["", "one", "one", "two"])
    with WaitNotice(terminal, lambda: next(states, "two"), Deadline(60)):
        terminal.wait_for(2)
    assert [line.partition(";")[0] for line in terminal.lines] == ["one", "two"]
    assert all(line.endswith(" s left") for line in terminal.lines)


def test_a_short_wait_is_not_announced():
    """Nor is one that ends while the reason for it is being looked for."""
    asked, answer = threading.Event(), threading.Event()

    def describe():
        asked.set()
        answer.wait(PROMPT)
        return "late"

    terminal = Said()
    with WaitNotice(terminal, describe):
        assert asked.wait(PROMPT)
    answer.set()
    for thread in threading.enumerate():
        if thread.name == "WaitNotice":
            thread.join(PROMPT)
    assert terminal.lines == []


# Values


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a string", "a string"),
        (Symbol("System`Null"), "Null"),
        (Symbol("Global`x"), "x"),
        (Function(Symbol("f"), (Symbol("x"), "a", (10**30))), f'f[x, "a", {10**30}]'),
        (PackedArray.from_list([[1, 2], [3, 4]]), "{{1, 2}, {3, 4}}"),
        (Function(Symbol("g"), (PackedArray.from_list([1.5]),)), "g[{1.5}]"),
        (BigReal("1.5`20."), "1.5`20."),
        (7, "7"),
    ],
)
def test_text_of(value, text):
    assert text_of(value) == text


def test_one_line():
    assert one_line("it ended\n  sleep: invalid\n\nTry") == "it ended; sleep: invalid; Try"


# Wrong usage


@pytest.mark.parametrize(
    ("program", "main", "words", "help_option"),
    [
        ("wstpscript", script, ["-nonsense"], "-help"),
        ("wstpscript", script, ["-wstpserver", "99999@h", "-code", "1"], "-help"),
        ("wstpserver-admin", admin, ["nonsense"], "--help"),
        ("wstpserver-admin", admin, ["-s", "99999@h", "status"], "--help"),
    ],
)
def test_wrong_usage_is_reported_alike(capfd, program, main, words, help_option):
    assert main(words) == ExitCode.USAGE
    out, err = capfd.readouterr()
    problem, advice = err.splitlines()
    assert (out, advice) == ("", f"Try '{program} {help_option}'.")
    assert problem.startswith(f"{program}: ")
