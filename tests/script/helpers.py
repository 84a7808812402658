"""What the tests of wstpscript need: a kernel that answers its programs, and the program itself as a process."""

import contextlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

from tests.client.helpers import PROMPT, Kernel, peer
from tools.harness import forking
from wstpserver.client import connect
from wstpserver.wire.packets import command_packet
from wstpserver.wire.values import Function, Symbol

ROOT = Path(__file__).parents[2]

NULL, FAILED, ABORTED = Symbol("Null"), Symbol("$Failed"), Symbol("$Aborted")


#: What a program says while it waits, which a busy machine makes it do.
_WAITING = re.compile(r"^\w[\w-]*: (?:waiting for|connecting to|no server at) .*\n", re.MULTILINE)
#: The first line of an interactive session.
_BANNER = re.compile(r"^\d+@\S+?(?:, kernel [0-9a-f-]{14})?(?:: .*?)?\. Ctrl-D leaves, .*\n", re.MULTILINE)


def without_waiting(text):
    """What is on stderr but for lines that only say that it takes long."""
    return _WAITING.sub("", text)


def conversation(output):
    """What is on the terminal of an interactive session behind its first line, which must be there."""
    shown, number = _BANNER.subn("", without_waiting(output))
    assert number == 1, output
    return shown


def listed(*values):
    return Function(Symbol("List"), values)


class ScriptKernel(Kernel):
    """A kernel whose rules say what code gives; wstpscript's program around it is carried out here."""

    def _evaluate(self, content):
        value = super()._evaluate(content)
        if not (isinstance(content, Function) and content.head == Symbol("Catch")) or value == ABORTED:
            return value
        if isinstance(value, tuple):  # what Exit[...] had
            return listed("exit", listed(*value))
        return listed("value", listed(value if isinstance(value, (Symbol, str)) else str(value)))


@contextlib.contextmanager
def served(rules=(), **options):
    """A server with one such kernel; gives (its address, the kernel)."""
    kernel = ScriptKernel(rules, **options)
    with peer(kernel) as name:
        yield name, kernel


@contextlib.contextmanager
def process(*words, **options):
    """wstpscript as a process with pipes; killed if it is still there at the end."""
    command = [sys.executable, "-m", "wstpserver.cli.script.main", *words]
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    options = {**streams, **options}
    with forking.popen(command, heeds_interrupts=True, **options, env=environment) as started:
        try:
            yield started
        finally:
            if started.poll() is None:
                started.kill()
            started.wait(PROMPT)


def kernels_of(server, pool="Main", state=None):
    """The IDs of all kernels of a pool, or of those in a state; asking takes none."""
    with connect(f"{server.port}@127.0.0.1", PROMPT, without_kernel=True) as link:
        link.put(command_packet("GetServerInformation"))
        pools = json.loads(link.get_packet(PROMPT).arguments[0])["result"]["Pools"]
    return {kernel["ID"] for kernel in pools[pool]["Kernels"] if state in (None, kernel["State"])}
