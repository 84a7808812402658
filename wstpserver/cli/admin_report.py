"""What ``wstpserver-admin status`` shows: a table of the pools and one of the kernels."""

from __future__ import annotations

import re
from collections import Counter
from typing import Final

from wstpserver.cli.admin_table import Column, table
from wstpserver.client.commands import KernelInformation, PoolInformation, ServerInformation

#: The states of kernels as columns of the table of pools; the later ones only where there are such kernels.
_ALWAYS: Final = ("free", "in use", "reserved", "starting")
_SOMETIMES: Final = ("still busy", "resetting", "closing")
#: What the states are called here; the others keep their names.
_NAMES: Final = {"bridged": "in use"}

_KERNEL_COLUMNS: Final = (
    Column("KERNEL"),
    Column("POOL", shrinks=True),
    Column("STATE"),
    Column("BUSY"),
    Column("FOR", right=True),
    Column("AGE", right=True, optional=True),
    Column("EVALS", right=True),
    Column("PID", right=True),
    Column("CLIENT", shrinks=True),
)


def report(information: ServerInformation, address: str, width: int | None) -> list[str]:
    """The lines for a terminal of so many columns; None for any number."""
    pools = list(information.pools.values())
    kernels = information.kernels
    lines = [f"{address}: {_counted(len(pools), 'pool')}, {_counted(len(kernels), 'kernel')}", ""]
    lines += _pool_table(pools, width)
    for pool in pools:
        if pool.trouble:
            lines += ["", f"{pool.name}: {pool.trouble}"]
    if kernels:
        rows = [_kernel_row(kernel) for kernel in kernels]
        used = [place for place, column in enumerate(_KERNEL_COLUMNS) if _is_told(column, rows, place)]
        lines += ["", *table([_KERNEL_COLUMNS[place] for place in used], [_picked(row, used) for row in rows], width)]
    return lines


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def _pool_table(pools: list[PoolInformation], width: int | None) -> list[str]:
    states = {pool.name: Counter(state_of(kernel) for kernel in pool.kernels or ()) for pool in pools}
    shown = [*_ALWAYS, *(name for name in _SOMETIMES if any(counts[name] for counts in states.values()))]
    columns = [Column("POOL", shrinks=True), Column("ALL", right=True), Column("MIN-MAX", right=True)]
    columns += [Column(name.upper(), right=True) for name in [*shown, "waiting"]]
    rows = []
    for pool in pools:
        listed = pool.kernels is not None
        counts = [str(states[pool.name][name]) if listed else "-" for name in shown]
        number = str(len(pool.kernels)) if pool.kernels is not None else "-"
        rows.append([_pool_name(pool), number, f"{_or(pool.minimum)}-{_or(pool.maximum)}", *counts, _or(pool.waiting)])
    lines = table(columns, rows, width)
    marks = [text for mark, text in _MARKS if any(_pool_name(pool).endswith(mark) for pool in pools)]
    return lines + ["", *marks] if marks else lines


_MARKS: Final = (
    (" *", "* default pool"),
    (" +", "+ default pool for parallel kernels"),
    (" *+", "*+ default pool, for parallel kernels too"),
)


def _pool_name(pool: PoolInformation) -> str:
    mark = "*" * pool.is_default + "+" * pool.is_parallel_default
    return f"{pool.name} {mark}" if mark else pool.name


def state_of(kernel: KernelInformation) -> str:
    """The state in the words of the table: a free kernel that still works for a client that left is "still busy"."""
    if kernel.state == "free" and kernel.busy:
        return "still busy"
    return _NAMES.get(kernel.state, kernel.state)


def _kernel_row(kernel: KernelInformation) -> list[str]:
    return [
        kernel.id,
        kernel.pool or "(none)",
        state_of(kernel),
        "yes" if kernel.busy else "no",
        duration(kernel.seconds),
        duration(kernel.age),
        _or(kernel.evaluations),
        _or(kernel.process),
        _address(kernel.client) if kernel.client is not None else "-",
    ]


def _address(client: str) -> str:
    """Of ``Client 3 (127.0.0.1:46074)`` the address; the number is of use in the log only."""
    found = re.search(r"\((.+)\)", client)
    return found[1] if found else client


def _is_told(column: Column, rows: list[list[str]], place: int) -> bool:
    """Whether to show a column that not every server fills."""
    return column.title not in ("AGE", "CLIENT") or any(row[place] != "-" for row in rows)


def _picked(row: list[str], places: list[int]) -> list[str]:
    return [row[place] for place in places]


def _or(value: int | None) -> str:
    return "-" if value is None else str(value)


def duration(seconds: float | None) -> str:
    """In the largest unit that is full twice: ``95 s``, ``4 min``, ``30 h``, ``12 d``; "-" for None."""
    if seconds is None:
        return "-"
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"
