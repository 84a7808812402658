"""The limits of pools: when a kernel has to go although nothing is wrong with it, how full a pool is, which pools are
paused or drained, and the seats that all kernels of a server share (MaximumKernels).

All functions are pure; *now* is the time of the registry's clock, in seconds. Those that say why a kernel must go
return the reason in words for the log ("it has served 100 clients (MaximumKernelUses)"), or None. A limit of 0 is none,
and kernels outside pools have none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from heapq import nsmallest

from wstpserver.pools.states import Admission, Client, Kernel, KernelState, Pool, Seats
from wstpserver.settings import ServerSettings

#: How far below MaximumKernelAge a kernel's own limit may lie, as a part of it.
JITTER = 0.1

#: States of kernels that a client of the pool cannot have now, in the order in which they are told of.
_UNAVAILABLE = (
    KernelState.BRIDGED,
    KernelState.RESERVED,
    KernelState.RESETTING,
    KernelState.STARTING,
    KernelState.DYING,
    KernelState.CLOSING,
)

#: States in which a kernel's memory counts. One that is starting is looked at when it is ready.
MEASURED_STATES = frozenset({KernelState.FREE, KernelState.RESERVED, KernelState.BRIDGED, KernelState.RESETTING})


def overdue(pool: Pool, now: float) -> Iterator[tuple[Kernel, str]]:
    """The kernels of a pool that are to be closed because of the time, each with the reason."""
    if pool.settings.maximum_kernel_age or pool.settings.reserved_kernel_timeout:
        for kernel in tuple(pool.kernels.values()):
            why = worn_out(kernel, now) or forgotten(kernel, now)
            if why is not None:
                yield kernel, why


def worn_out(kernel: Kernel, now: float) -> str | None:
    """Why a fresh kernel should take the place of this one, if it is free and idle and no client waits for it."""
    if kernel.pool is None or kernel.state is not KernelState.FREE or kernel.busy or kernel.waiting:
        return None
    settings = kernel.pool.settings
    if 0 < settings.maximum_kernel_uses <= kernel.uses:
        return f"it has served {_count(kernel.uses, 'client')} (MaximumKernelUses)"
    if 0 < settings.maximum_kernel_evaluations <= kernel.evaluations:
        return f"it has done {_count(kernel.evaluations, 'evaluation')} (MaximumKernelEvaluations)"
    age = now - kernel.ready_at
    if settings.maximum_kernel_age > 0 and age >= age_limit(kernel.id, settings.maximum_kernel_age):
        return f"it is {age:.1f} s old (MaximumKernelAge)"
    return None


def age_limit(kernel_id: str, maximum: float) -> float:
    """The age at which the kernel with this ID is replaced: *maximum* or up to a tenth less.

    IDs are random, so kernels that were started together do not all go together.
    """
    digits = int(kernel_id[-4:], 16)
    return maximum * (1 - JITTER * digits / 0x10000)


def forgotten(kernel: Kernel, now: float) -> str | None:
    """Why a reserved kernel is not kept any longer. The time begins when it is idle and not bridged, so
    that the result of a long evaluation can still be fetched after it has ended.
    """
    if kernel.pool is None or kernel.state is not KernelState.RESERVED or kernel.busy or kernel.waiting:
        return None
    limit = kernel.pool.settings.reserved_kernel_timeout
    kept = now - max(kernel.since, kernel.idle_since)
    if 0 < limit <= kept:
        return f"it was kept for {kept:.1f} s and nobody came back to it (ReservedKernelTimeout)"
    return None


def too_large(kernel: Kernel, resident: int) -> str | None:
    """Why a kernel with so many bytes of resident memory must go, whether it is bridged or not."""
    limit = kernel.pool.settings.kernel_memory_limit if kernel.pool is not None else 0
    if 0 < limit < resident:
        return f"it uses {megabytes(resident)} of memory, more than {megabytes(limit)} (KernelMemoryLimit)"
    return None


def evaluation_limit(kernel: Kernel) -> float:
    """Seconds that an evaluation beginning now may take; 0 for any time.

    What the server itself evaluates in a kernel is under other limits.
    """
    if kernel.pool is None or kernel.state is not KernelState.BRIDGED:
        return 0.0
    return kernel.pool.settings.evaluation_time_limit


def start_timeout(kernel: Kernel, server: ServerSettings) -> float:
    """Seconds from the launch of a kernel to its link, and for each step of its initialisation."""
    return server.kernel_start_timeout if kernel.pool is None else kernel.pool.settings.kernel_start_timeout


def megabytes(size: int) -> str:
    """A size in bytes for people."""
    return f"{size / 1e6:.1f} MB"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


# -- how full a pool is --------------------------------------------------------------------------------------------


def occupancy(pool: Pool) -> str:
    """Say why a pool has no kernel to give: "2 of 2 kernels (1 bridged, 1 reserved)"."""
    parts = [f"{pool.counts[state]} {state.value}" for state in _UNAVAILABLE if pool.counts[state]]
    busy = sum(kernel.busy for kernels in (pool.fresh, pool.used) for kernel in kernels.values())
    if busy:
        parts.append(f"{busy} free but busy")
    if pool.holding_off:
        parts.append("a pause after a failed start")
    if pool.admission is not Admission.OPEN:
        parts.append(pool.admission.value)
    return f"{pool.running} of {pool.settings.maximum_kernel_number} kernels ({', '.join(parts) or 'none'})"


def is_stuck(pool: Pool) -> bool:
    """Tell whether no kernel of *pool* is being started or reset for a client that waits."""
    full = not pool.room and pool.coming < len(pool.waiting)
    return full or pool.holding_off or pool.admission is Admission.PAUSED


def is_hopeless(pool: Pool, now: float, seconds: float) -> bool:
    """Tell whether no kernel of *pool* can become available within so many *seconds*.

    That is so if all of its kernels are reserved and none of them is kept for so short a time only.
    """
    has_room = pool.running < pool.settings.maximum_kernel_number
    if has_room or not pool.kernels or pool.counts[KernelState.RESERVED] < pool.running:
        return False
    limit = pool.settings.reserved_kernel_timeout
    if not limit:
        return True
    return all(
        not kernel.busy and max(kernel.since, kernel.idle_since) + limit > now + seconds
        for kernel in pool.kernels.values()
    )


def remedy(pool: Pool) -> str:
    """Say what would free a kernel of a pool that has none to give."""
    ways = []
    if pool.admission is Admission.PAUSED:
        ways.append(not_admitted(pool.admission, pool))
    if pool.counts[KernelState.RESERVED]:
        limit = pool.settings.reserved_kernel_timeout
        kept = f"are closed after {limit:g} s without a client" if limit else "are kept for ever"
        ways.append(
            f"reserved kernels go only to clients that name their IDs, and {kept} (ReservedKernelTimeout);"
            " `wstpserver-admin close --reserved` closes them"
        )
    if pool.counts[KernelState.BRIDGED]:
        ways.append("a bridged kernel becomes available when its client leaves it")
    if pool.running >= pool.settings.maximum_kernel_number:
        ways.append(f"MaximumKernelNumber of pool {pool.name} allows for {pool.settings.maximum_kernel_number}")
    elif pool.seats.left == 0:
        ways.append(seat_holders(pool.seats))
    return "; ".join(ways)

#: So many clients are named where it is told who holds the seats.
NAMED_CLIENTS = 10

_IN_WORDS = {
    Admission.PAUSED: "is paused: clients wait until it is resumed",
    Admission.DRAINING: "is being drained: it takes no further clients until it is resumed",
}


def not_admitted(admission: Admission, pool: Pool | None = None) -> str:
    """Why a client gets no kernel of *pool*, or of the server; "" where it is open."""
    if admission is Admission.OPEN:
        return ""
    return f"{f'pool {pool.name}' if pool is not None else 'the server'} {_IN_WORDS[admission]}"


def occupied_pools(client: Client) -> list[Pool | None]:
    """The pools of which the client has a kernel or is to get one, None for kernels outside pools: while there are
    any, it keeps its pools, or the server, from being drained.
    """
    targets: list[Kernel | Pool | None] = [client.kernel]
    targets += [waiting.target for waiting in (client.waiting, client.pending) if waiting is not None]
    pools = [target.pool if isinstance(target, Kernel) else target for target in targets if target is not None]
    return list(dict.fromkeys(pools))


# -- seats ---------------------------------------------------------------------------------------------------------


def seat_holders(seats: Seats) -> str:
    """Say that there is no seat for a further kernel, and which clients and pools hold them."""
    pools: dict[str, Counter[str]] = {}
    clients = []
    for kernel in seats.kernels.values():
        where = f"pool {kernel.pool.name}" if kernel.pool is not None else "outside pools"
        pools.setdefault(where, Counter())[kernel.state.value] += 1
        if kernel.client is not None:
            clients.append(f"Client {kernel.client.number}")
    parts = [
        f"{where} {counts.total()} ({', '.join(f'{count} {state}' for state, count in sorted(counts.items()))})"
        for where, counts in pools.items()
    ]
    named = clients[:NAMED_CLIENTS]
    more = f" and {len(clients) - len(named)} more" if len(clients) > len(named) else ""
    users = f"; their clients are {', '.join(named)}{more}" if named else ""
    return f"MaximumKernels allows for {seats.maximum} kernels in all, and these are: {', '.join(parts)}{users}"


def spare_kernels(pools: Iterable[Pool], number: int) -> list[Kernel]:
    """Up to *number* kernels that can go for the sake of clients of other pools, the longest idle first.

    They are free and idle, nobody waits for them or for their pools, and these keep their minimum.
    """
    if number <= 0:
        return []
    found: list[Kernel] = []
    for pool in pools:
        more = pool.living - pool.settings.minimum_kernel_number
        if more > 0 and not pool.waiting:
            idle = (kernel for kernels in (pool.used, pool.fresh) for kernel in kernels.values() if _is_spare(kernel))
            found += nsmallest(more, idle, key=_idle_since)
    return nsmallest(number, found, key=_idle_since)


def _is_spare(kernel: Kernel) -> bool:
    return kernel.state is KernelState.FREE and not kernel.busy and not kernel.waiting


def _idle_since(kernel: Kernel) -> float:
    return max(kernel.since, kernel.idle_since)


def unserved(pool: Pool) -> int:
    """For how many waiting clients of *pool* a kernel would be started if there were seats."""
    if pool.holding_off or pool.retired or pool.admission is Admission.PAUSED:
        return 0
    return max(0, min(len(pool.waiting) - pool.coming, pool.settings.maximum_kernel_number - pool.running))


def waits_longest(pool: Pool) -> tuple[bool, float]:
    """Sorts pools that need seats: those with waiting clients first, the longest wait before others."""
    return (False, pool.waiting.first.since) if unserved(pool) else (True, 0.0)
