"""Who gets in: pools that are paused or drained, and the seats that all kernels of a server share (MaximumKernels).

All functions are pure. What they decide about is in the records of `states`, and the registry is the only writer of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from heapq import nsmallest

from wstpserver.pools.states import Admission, Client, Kernel, KernelState, Pool, Seats

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
