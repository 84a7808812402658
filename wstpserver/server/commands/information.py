"""The answers of the command language that carry data, as JSON texts."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import ujson

from wstpserver.pools.limits import is_hopeless, occupancy, remedy
from wstpserver.pools.registry import Registry
from wstpserver.pools.states import Kernel, Pool
from wstpserver.server.kernels.supervisor import Supervisor
from wstpserver.settings import ServerSettings


def result(text: str) -> str:
    """`{"result":"text"}`."""
    return ujson.dumps({"result": text}, escape_forward_slashes=False, ensure_ascii=False)


def server_information(
    registry: Registry, supervisor: Supervisor, settings: ServerSettings, *, addresses: bool
) -> str:
    """The answer to GetServerInformation: the documented schema, and every kernel beside it.

    Args:
        registry: All kernels and pools.
        supervisor: Knows the processes, and why kernels do not start.
        settings: The configuration.
        addresses: Show the addresses of clients, which are the administrator's business only.
    """
    describe = partial(_kernel, supervisor, addresses=addresses)
    outside = [describe(kernel) for kernel in registry.kernels.values() if kernel.pool is None]
    pools = {
        pool.name: _pool(settings, pool) | {
            "Trouble": _trouble(supervisor, settings, pool),
            "Kernels": [describe(kernel) for kernel in pool.kernels.values()],
        }
        for pool in registry.pools.values()
    }
    content = {"result": {"Pools": pools, "KernelsOutsidePools": outside}}
    return ujson.dumps(content, escape_forward_slashes=False, ensure_ascii=False)


def _pool(configuration: ServerSettings, pool: Pool) -> dict[str, Any]:
    settings = pool.settings
    return {
        "InitializationCode": settings.initialization_code if configuration.show_initialization_code else "",
        "InitializationFile": settings.initialization_file,
        "MaximumKernelNumber": settings.maximum_kernel_number,
        "MinimumKernelNumber": settings.minimum_kernel_number,
        "KeepAlive": settings.keep_alive,
        "EntryPool": settings.default and not pool.retired,
        "KernelPath": settings.kernel_path,
        "PreferFreshKernel": settings.reserve_previously_connected_kernels,
        "ReservePreviouslyConnectedKernels": settings.reserve_previously_connected_kernels,
        "ParallelKernels": settings.parallel_kernels,
        "ParallelKernelEntryPool": settings.parallel_kernel_default and not pool.retired,
        "WaitingClients": len(pool.waiting),
    }


def _trouble(supervisor: Supervisor, configuration: ServerSettings, pool: Pool) -> str:
    """Why a client that asks for a kernel of the pool now would wait in vain, or ""."""
    trouble = supervisor.trouble(pool)
    if not trouble and is_hopeless(pool, time.monotonic(), configuration.kernel_wait_timeout):
        return f"No kernel can become available: {occupancy(pool)}; {remedy(pool)}"
    return trouble


def _kernel(supervisor: Supervisor, record: Kernel, *, addresses: bool) -> dict[str, Any]:
    kernel = supervisor.sessions.get(record)
    client = record.client
    keep_alive = record.pool.settings.keep_alive if record.pool is not None else True
    if client is not None and client.keep_alive is not None:
        keep_alive = client.keep_alive
    now = time.monotonic()
    return {
        "ID": record.id,
        "State": record.state.value,
        "ProcessID": kernel.process.pid if kernel is not None else None,
        "Busy": record.busy,
        "Reserved": record.reserved_when_unbridged,
        "KeepAlive": keep_alive,
        "SecondsInState": round(now - record.since, 3),
        "Age": round(now - record.ready_at, 3) if record.ready_at else None,
        "Client": (client.name if addresses else client.name.partition(" (")[0]) if client is not None else None,
        "Evaluations": record.evaluations,
    }
