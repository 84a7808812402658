"""How full a pool is, in words."""

from __future__ import annotations

from wstpserver.model.states import KernelState, Pool

#: States of kernels that a client of the pool cannot have now, in the order in which they are told of.
UNAVAILABLE = (
    KernelState.BRIDGED,
    KernelState.RESERVED,
    KernelState.RESETTING,
    KernelState.STARTING,
    KernelState.CLOSING,
)


def occupancy(pool: Pool) -> str:
    """Why a pool has no kernel to give, in words."""
    parts = [f"{pool.counts[state]} {state.value}" for state in UNAVAILABLE if pool.counts[state]]
    busy = sum(kernel.busy for kernels in (pool.fresh, pool.used) for kernel in kernels.values())
    if busy:
        parts.append(f"{busy} free but busy")
    if pool.holding_off:
        parts.append("a pause after a failed start")
    return f"{pool.running} of {pool.settings.maximum_kernel_number} kernels ({', '.join(parts) or 'none'})"

