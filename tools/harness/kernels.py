"""Executables that behave like a WolframKernel, well or badly, for KernelPath."""

import os
import shlex
import sys
from pathlib import Path

from tools.harness.fake_kernel.options import BEHAVIOURS

PROGRAM = Path(__file__).parent / "fake_kernel" / "__main__.py"


def make_kernel(folder, name="kernel", **behaviour):
    """Write an executable test kernel into `folder`; returns its path (str), fit for KernelPath.

    Without behaviour it is a good kernel. Its language is in tools/harness/fake_kernel/functions_*.py.

    last_output="text"           written to stderr before anything else happens
    exit_at_once=True           ends before it connects, with exit_code=N (0)
    hang=True                   never connects
    start_delay=seconds         connects later
    start_gate="path"           a FIFO: it connects when somebody has opened it for writing, and written or closed it
    connect_from_child=True     a child process is the kernel; the first process waits for it
    grandchild=True             leaves a child process that ignores SIGTERM, SIGINT and SIGHUP
    ignore_term=True            ignores SIGTERM and SIGINT itself
    flood_before=N              N bytes to stdout and to stderr before it connects (flood_after: after)
    never_greet=True            connects and says nothing
    garbage=True                connects and says what is no greeting
    garbage_after_greeting=True greets, then writes what is no expression
    silent=True                 greets and never sends an InputNamePacket, but evaluates
    die_after=N                 dies at evaluation N+1, without closing, with exit_code=N (1)
    version=N                   greets as version N (6)
    write_size=N                every write to the link is at most N bytes
    mirror=True                 sends every frame back byte for byte, then ends it: ReturnPacket[Null] for an
                                EvaluatePacket, InputNamePacket for the EnterText and EnterExpression ones
    hand_over="path"            gives both connections of its link, and its process id, to whoever listens on this Unix
                                socket; the process ends when that closes it
    register="path"             appends its process id to this file at start
    """
    # without the links that a virtual environment consists of, which take an eighth of its start
    words = [os.path.realpath(sys.executable), "-S", "-E", str(PROGRAM)]
    for key, value in behaviour.items():
        if key not in BEHAVIOURS:
            raise TypeError(f"no behaviour {key!r}")
        if value is True:
            words.append(f"--{key.replace('_', '-')}")
        elif value is not None and value is not False:
            words.append(f"--{key.replace('_', '-')}={value}")
    path = Path(folder) / name
    new = path.with_name(f"{name}.new")
    new.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
    new.chmod(0o755)
    new.replace(path)  # nobody can write to a file while a server begins to execute it
    return os.fspath(path)
