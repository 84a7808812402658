"""What is set for the whole process: before Mathics is imported, before a kernel runs, and when it ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import NoReturn

#: Read once at import by the libraries named. One thread each: a warm parent forks, and forking with threads is not
#: safe; a kernel is one of many on its machine anyway.
IMPORT_ENVIRONMENT: Mapping[str, str] = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    # With UTF-8, InputForm writes arrows and other signs that the parser does not read back.
    "MATHICS_CHARACTER_ENCODING": "ASCII",
}

#: Bytes of stack for deep recursion: $RecursionLimit may be raised to 512, which Mathics counts as 15,560 Python calls.
#: Linux keeps at least 128 MiB of address space free below the stack, whatever the limit was at the start.
STACK_SIZE = 96 * 1024 * 1024


def prepare_environment() -> None:
    """Set what has to be set before the first import of NumPy or Mathics. What the user set stays, but for the
    encoding, which is not a matter of taste."""
    for name, value in IMPORT_ENVIRONMENT.items():
        if name not in os.environ or name == "MATHICS_CHARACTER_ENCODING":
            os.environ[name] = value


def prepare_limits() -> None:
    """Room for deep recursion and long numbers. Call it after Mathics was imported, which sets its own limits."""
    from mathics.core.evaluation import MAX_RECURSION_DEPTH, set_python_recursion_limit

    if hasattr(sys, "set_int_max_str_digits"):
        sys.set_int_max_str_digits(0)
    set_python_recursion_limit(MAX_RECURSION_DEPTH)
    try:
        import resource
    except ImportError:  # Windows: the size of the stack is in the executable
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
    wanted = STACK_SIZE if hard == resource.RLIM_INFINITY else min(STACK_SIZE, hard)
    # The stack of the main thread of a Linux process grows on demand up to the limit of the moment.
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_STACK, (wanted, hard))


def end_process(code: int) -> NoReturn:
    """End the process at once with `code` (its low 8 bits count), after flushing the standard streams.

    Nothing is torn down: the interpreter takes its time to dismantle Mathics, and in a forked kernel the handlers
    registered with atexit belong to the parent.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # the other end is gone, or the stream is closed
            continue
    os._exit(code & 0xFF)
