"""What a server tells about its pools, in words."""

from __future__ import annotations

from collections import Counter

from wstpserver.client import CommandError, Session


def describe_pool(session: Session, name: str) -> str | None:
    """How full the pool is, "" if the server does not say; None if it has no such pool."""
    try:
        information = session.command("GetServerInformation")
    except CommandError:
        return ""
    pools = information.get("Pools") if isinstance(information, dict) else None
    if not isinstance(pools, dict):
        return ""
    pool = pools.get(name)
    if pool is None:
        return None
    kernels = pool.get("Kernels", ())
    states = Counter(kernel.get("State", "unknown") for kernel in kernels)
    counted = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    return f"{len(kernels)} of at most {pool.get('MaximumKernelNumber')} kernels" + (f" ({counted})" if counted else "")
