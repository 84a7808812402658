"""How much resident memory kernels use."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection

import gevent
from gevent import subprocess

from wstpserver.server.ownership import family

#: Kernels looked at before other greenlets have their turn.
ROUND = 50

#: Seconds that ``ps`` may take.
PS_TIMEOUT = 10.0


class CannotMeasure(Exception):
    """This system does not tell how much memory its processes use; the text says why."""


def resident_memory(pids: Collection[int]) -> dict[int, int]:
    """Bytes of resident memory of each kernel, given by the process that was started for it.

    That may be a wrapper around the real kernel, and a kernel may have started others: what counts is the largest
    process of the family. Their sum would count the pages twice that they share, all of them while one forks. A kernel
    that is gone is missing. Lets other greenlets run. Raises `CannotMeasure`.
    """
    return from_proc(pids) if sys.platform.startswith("linux") else from_ps(pids)


def from_proc(pids: Collection[int]) -> dict[int, int]:
    """`resident_memory` on Linux."""
    page = os.sysconf("SC_PAGESIZE")
    sizes = {}
    for number, pid in enumerate(pids, 1):
        pages = max((_pages(process) for process in family(pid)), default=0)
        if pages:
            sizes[pid] = pages * page
        if number % ROUND == 0:
            gevent.sleep(0)
    return sizes


def _pages(pid: int) -> int:
    """Resident pages of one process; 0 if it is gone."""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as status:
            return int(status.read().split()[1])
    except OSError:
        return 0


def from_ps(pids: Collection[int]) -> dict[int, int]:
    """`resident_memory` on any system with the ``ps`` of POSIX: each kernel leads a process group of its own."""
    try:
        listing = subprocess.run(
            ["ps", "-A", "-o", "pgid=", "-o", "rss="], stdout=subprocess.PIPE, check=True, timeout=PS_TIMEOUT
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise CannotMeasure(f"ps does not work: {error}") from None
    sizes: dict[int, int] = {}
    for line in listing.stdout.split(b"\n"):
        group, _, kibibytes = line.strip().partition(b" ")
        if group.isdigit() and kibibytes.strip().isdigit() and int(group) in pids:
            sizes[int(group)] = max(sizes.get(int(group), 0), int(kibibytes) * 1024)
    return sizes
