"""wstpserver-admin as a process."""

import os
import subprocess
import sys

from tools.harness import forking
from tools.harness.server import ROOT

DEADLINE = 60


def command(*words):
    return [sys.executable, "-m", "wstpserver.cli.admin.main", *map(str, words)]


def start(*words, **streams):
    """The program as a process with pipes."""
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return forking.popen(command(*words), heeds_interrupts=True, env=environment, text=True, **streams)


def run(*words, **streams):
    """(exit code, stdout, stderr)."""
    with start(*words, **streams) as process:
        try:
            out, err = process.communicate(timeout=DEADLINE)
        finally:
            process.kill()
    return process.returncode, out, err
