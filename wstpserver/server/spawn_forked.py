"""Starts the processes of kernels by forking the server, where there is no better way."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Mapping, Sequence

from gevent import subprocess

from wstpserver.server.process import KernelProcess

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None) if sys.platform.startswith("linux") else None

_CLOSE_RANGE_CLOEXEC = 4
_ALL = ctypes.c_uint(0xFFFFFFFF)


def _can_mark_descriptors() -> bool:
    """Whether `_mark_descriptors` works here: Linux 5.11 with the C library of that time."""
    return hasattr(_libc, "close_range") and _libc.close_range(_ALL, _ALL, _CLOSE_RANGE_CLOEXEC) == 0  # type: ignore


CAN_MARK_DESCRIPTORS = _can_mark_descriptors()


def _mark_descriptors() -> None:
    """Let all descriptors but the first three be closed when another program is executed."""
    _libc.close_range(ctypes.c_uint(3), _ALL, _CLOSE_RANGE_CLOEXEC)  # type: ignore[union-attr]


def _die_with_parent(parent: int) -> None:
    """In a child just forked: ask the system to kill it when its parent dies, where the system can do that."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it died before we asked
            os._exit(1)


def _prepare_child(parent: int, mark_descriptors: bool) -> None:
    _die_with_parent(parent)
    if mark_descriptors:
        _mark_descriptors()


def spawn_forked(
    arguments: Sequence[str], environment: Mapping[str, str], output: int, pass_descriptors: Sequence[int]
) -> KernelProcess:
    """Start a program in a session of its own that prints to the descriptor *output*. Raises OSError or ValueError."""
    parent = os.getpid()
    # One call instead of one for each descriptor: a server with thousands of clients would need longer for them than
    # for all the rest of the start.
    marked = CAN_MARK_DESCRIPTORS and not pass_descriptors
    child = subprocess.Popen(
        list(arguments),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        close_fds=not marked,
        pass_fds=tuple(pass_descriptors),
        start_new_session=True,
        env=dict(environment),
        preexec_fn=lambda: _prepare_child(parent, marked),
    )
    process = KernelProcess(child.pid)
    child.rawlink(lambda ended: process.exited.set(_wait_status(ended.returncode)))
    return process


def _wait_status(return_code: int) -> int:
    return -return_code if return_code < 0 else return_code << 8
