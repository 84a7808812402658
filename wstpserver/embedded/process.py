"""The process of a kernel: its settings before Mathics is imported and before a kernel runs, its link, its end."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn

from wstpserver.client.connecting import open_link
from wstpserver.client.errors import LinkError
from wstpserver.client.link import Link
from wstpserver.wire.errors import WSTPError

# Exit codes of `wstpkernel`; the names are those of sysexits.h.

#: The session ended: the link closed, or `Quit[]`.
EXIT_OK = 0
#: The command line is not that of a kernel.
EXIT_USAGE = 64
#: A package the kernel needs is not installed, or the link could not be opened.
EXIT_UNAVAILABLE = 69
#: The kernel itself failed.
EXIT_SOFTWARE = 70
#: The peer sent something that is not WSTP.
EXIT_PROTOCOL = 76

#: Seconds within which the link must be established.
LINK_TIMEOUT = 60.0

#: Variables that the named libraries read once, at import. One thread each: the warm parent forks, and a fork of a
#: process with several threads is not safe; a kernel is also only one of many on its machine.
IMPORT_ENVIRONMENT: Mapping[str, str] = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    # With UTF-8, InputForm writes arrows and other characters that the parser does not read back.
    "MATHICS_CHARACTER_ENCODING": "ASCII",
}

#: Bytes of stack for deep recursion: $RecursionLimit can be raised to 512, which Mathics counts as 15,560 Python calls.
#: Linux keeps at least 128 MiB of address space free below the stack, whatever the limit was at process start.
STACK_SIZE = 96 * 1024 * 1024


def prepare_environment() -> None:
    """Set the variables that must be set before the first import of NumPy or Mathics.

    Values of the user are kept, except for the encoding: another one would break InputForm.
    """
    for name, value in IMPORT_ENVIRONMENT.items():
        if name not in os.environ or name == "MATHICS_CHARACTER_ENCODING":
            os.environ[name] = value


def prepare_limits() -> None:
    """Allow deep recursion and long integers. Call after the import of Mathics, which sets limits of its own."""
    from mathics.core.evaluation import MAX_RECURSION_DEPTH, set_python_recursion_limit

    if hasattr(sys, "set_int_max_str_digits"):
        sys.set_int_max_str_digits(0)
    set_python_recursion_limit(MAX_RECURSION_DEPTH)
    try:
        import resource
    except ImportError:  # Windows: the executable fixes the stack size
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
    wanted = STACK_SIZE if hard == resource.RLIM_INFINITY else min(STACK_SIZE, hard)
    # On Linux the stack of the main thread grows on demand up to the current limit.
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_STACK, (wanted, hard))


def detach_input() -> None:
    """Connect descriptor 0 to the null device: a kernel and the programs it runs have no standard input."""
    null = os.open(os.devnull, os.O_RDONLY)
    if null != 0:
        os.dup2(null, 0)
        os.close(null)


def open_kernel_link(link_options: Sequence[str]) -> Link:
    """Open the link a command line names; on failure, report the reason on stderr and end the process.

    With -linkmode listen, the link's name is printed on stdout.

    Args:
        link_options: The words of the command line, link options and others.

    Returns:
        The link, connected and greeted.
    """
    detach_input()
    try:
        return open_link(link_options, LINK_TIMEOUT, on_listening=lambda name: print(name, flush=True))
    except (LinkError, WSTPError) as error:
        print(f"wstpkernel: {error}", file=sys.stderr)
        end_process(EXIT_UNAVAILABLE)


def end_process(code: int) -> NoReturn:
    """Flush the standard streams and end the process at once, without interpreter shutdown.

    Shutdown takes a noticeable time with Mathics loaded, and in a forked kernel the atexit handlers belong to the
    parent.

    Args:
        code: Exit code; its low 8 bits count.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # the reader is gone, or the stream is closed
            continue
    os._exit(code & 0xFF)
