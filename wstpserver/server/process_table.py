"""What the system's process table says: when a process began, who is in a process group.

Linux is asked through /proc, other systems through ``ps``. A pid alone names nothing for long, because numbers are
used again; a pid with the time at which its process began names one process until the next start of the computer.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from gevent import subprocess

_LINUX = sys.platform.startswith("linux")


def boot() -> str:
    """Something that is different after each start of the computer, "-" where the system does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return "-"


def began(pid: int) -> str | None:
    """When the process began, as a word that is only good for comparing; None if there is no such process."""
    if _LINUX:
        fields = _stat(pid)
        return fields[19] if fields is not None else None
    return _ps("-o", "lstart=", "-p", str(pid)).strip().replace(" ", "_") or None


def group_members(group: int) -> list[int]:
    """The processes of a process group, zombies left out."""
    if _LINUX:
        return [pid for pid, fields in _all_stats() if int(fields[2]) == group and fields[0] not in "ZX"]
    members = []
    for line in _ps("-A", "-o", "pid=,pgid=,state=").splitlines():
        pid, its_group, state = line.split()
        if int(its_group) == group and not state.startswith("Z"):
            members.append(int(pid))
    return members


def has_in_environment(pid: int, variable: str, value: str) -> bool:
    """Whether the process was started with this variable; False also where that cannot be found out."""
    try:
        return f"{variable}={value}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/<pid>/stat after the name: state, parent, group ... began (19)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None


def _all_stats() -> Iterator[tuple[int, list[str]]]:
    for name in os.listdir("/proc"):
        if name.isdecimal() and (fields := _stat(int(name))) is not None:
            yield int(name), fields


def _ps(*arguments: str) -> str:
    """What ``ps`` prints, "" if it finds nothing or cannot be run."""
    environment = {**os.environ, "LC_ALL": "C"}  # for times that are always written alike
    try:
        done = subprocess.run(["ps", *arguments], capture_output=True, text=True, timeout=10, env=environment)
    except (OSError, subprocess.SubprocessError):
        return ""
    output: str = done.stdout
    return output
