"""The answers of the command language that carry data, as JSON texts."""

from __future__ import annotations

import os
import shlex
import socket
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import ujson

from wstpserver.pools.limits import is_hopeless, not_admitted, occupancy, occupied_pools, remedy
from wstpserver.pools.registry import Registry
from wstpserver.pools.states import READY, Admission, Kernel, KernelState, Pool, WaitingClient
from wstpserver.server.bridge.client_session import ClientSession
from wstpserver.server.kernels.process import KernelProcess, resident_memory
from wstpserver.server.kernels.supervisor import Supervisor
from wstpserver.settings import ServerSettings
from wstpserver.version import VERSION


def result(text: str) -> str:
    """`{"result":"text"}`."""
    return ujson.dumps({"result": text}, escape_forward_slashes=False, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What a server says of itself that does not change while it runs.

    Attributes:
        configuration_file: The path of the configuration file, "" if there is none.
        began: When the server was started, by the monotonic clock, in seconds.
    """

    configuration_file: str = ""
    began: float = field(default_factory=time.monotonic)


@dataclass(frozen=True, slots=True)
class Administration:
    """What only the administrator is told: the user that the server runs as, and root, on the server's computer.

    Attributes:
        facts: What the server says of itself.
        start_trouble: Why the last StartKernel failed, "" if it did not.
    """

    facts: ServerFacts
    start_trouble: str


def server_information(
    registry: Registry,
    supervisor: Supervisor,
    settings: ServerSettings,
    administration: Administration | None = None,
) -> str:
    """The answer to GetServerInformation: the documented schema, and every kernel beside it.

    Args:
        registry: All kernels and pools.
        supervisor: Knows the processes, and why kernels do not start.
        settings: The configuration.
        administration: For the administrator, who also sees the addresses of clients and the memory of kernels. None
            for everybody else.
    """
    sessions = supervisor.sessions.values() if administration is not None else ()
    memory = resident_memory(session.process for session in sessions)
    describe = partial(describe_kernel, supervisor, memory, addresses=administration is not None)
    outside = [describe(kernel) for kernel in registry.kernels.values() if kernel.pool is None]
    pools = {
        pool.name: describe_pool(settings, pool) | {
            "Trouble": pool_trouble(supervisor, pool),
            "Kernels": [describe(kernel) for kernel in pool.kernels.values()],
        }
        for pool in registry.pools.values()
    }
    content: dict[str, Any] = {
        "Pools": pools,
        "KernelsOutsidePools": outside,
        "Admission": registry.admission.value,
        "ServerVersion": VERSION,
        "KernelWaitTimeout": settings.default_pool.kernel_wait_timeout,
    }
    if administration is not None:
        content |= {
            "ServerProcessID": os.getpid(),
            "ServerMachine": socket.gethostname(),
            "Uptime": round(time.monotonic() - administration.facts.began, 3),
            "ConfigurationFile": administration.facts.configuration_file,
            "StartTrouble": administration.start_trouble,
        }
    return ujson.dumps({"result": content}, escape_forward_slashes=False, ensure_ascii=False)


def client_information(registry: Registry, sessions: Iterable[ClientSession]) -> str:
    """The answer to GetClientInformation: every client link, and what clients may do at the server and in each pool."""
    now = time.monotonic()
    content = {
        "Clients": [_client(session, now) for session in sessions],
        "Admission": registry.admission.value,
        "Pools": {pool.name: pool.admission.value for pool in registry.pools.values()},
    }
    return ujson.dumps({"result": content}, escape_forward_slashes=False, ensure_ascii=False)


def _client(session: ClientSession, now: float) -> dict[str, Any]:
    record = session.record
    kernel, waiting = record.kernel, record.waiting
    idle = session.idle_since()
    target = waiting.target if waiting is not None else None
    return {
        "ID": record.number,
        "Address": record.address,
        "State": _state_of(session),
        "SecondsConnected": round(now - session.opened, 3),
        "SecondsIdle": round(max(0.0, now - idle), 3) if idle is not None else None,
        "Kernel": kernel.id if kernel is not None else None,
        "Pool": kernel.pool.name if kernel is not None and kernel.pool is not None else None,
        "WaitsFor": (target.name if isinstance(target, Pool) else target.id) if target is not None else None,
        "SecondsWaiting": round(now - waiting.since, 3) if waiting is not None else None,
        "Occupies": [pool.name if pool is not None else "" for pool in occupied_pools(record)],
        "Evaluations": kernel.evaluations - record.evaluations_before if kernel is not None else 0,
        "Queued": session.queue.size,
    }


def _state_of(session: ClientSession) -> str:
    record = session.record
    if session.closing:
        return "closing"
    if record.waiting is not None:
        return "waiting"
    if record.kernel is None:
        return "without kernel"
    if record.kernel.evaluation.awaiting:
        return "asked"
    return "evaluating" if record.kernel.busy else "idle"


def describe_pool(configuration: ServerSettings, pool: Pool) -> dict[str, Any]:
    """What is documented of a pool."""
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
        "Admission": pool.admission.value,
        "KernelWaitTimeout": settings.kernel_wait_timeout,
    }


def pool_trouble(supervisor: Supervisor, pool: Pool) -> str:
    """Why a client that asks for a kernel of the pool now would wait in vain, or ""."""
    if pool.admission is not Admission.OPEN:
        return f"No client gets a kernel: {not_admitted(pool.admission, pool)}"
    trouble = supervisor.trouble(pool)
    if not trouble and is_hopeless(pool, time.monotonic(), pool.settings.kernel_wait_timeout):
        return f"No kernel can become available: {occupancy(pool)}; {remedy(pool)}"
    return trouble


def describe_kernel(
    supervisor: Supervisor, memory: Mapping[KernelProcess, int], record: Kernel, *, addresses: bool
) -> dict[str, Any]:
    """What is told of a kernel.

    Args:
        supervisor: Knows the processes.
        memory: Bytes of resident memory, as far as they are known.
        record: The kernel.
        addresses: Whether the address of its client is told.
    """
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
        "SecondsBusy": round(now - record.busy_since, 3) if record.busy_since is not None else None,
        "Reserved": record.reserved_when_unbridged,
        "KeepAlive": keep_alive,
        "SecondsInState": round(now - record.since, 3),
        "Age": round(now - record.ready_at, 3) if record.ready_at else None,
        "Client": (client.name if addresses else client.short_name) if client is not None else None,
        "Evaluations": record.evaluations,
        **_place(supervisor, record),
        **({"Memory": memory[kernel.process]} if kernel is not None and kernel.process in memory else {}),
    }


def _place(supervisor: Supervisor, record: Kernel) -> dict[str, Any]:
    """Where a kernel runs, and how far its start has come, for one that is started by a launcher."""
    process = supervisor.process_of(record)
    if process is None or process.remote is None:
        return {"Host": socket.gethostname(), "Launcher": "", "HostProcessID": None, "LastOutput": ""}
    remote = process.remote
    waits = record.state is KernelState.STARTING
    return {
        "Host": remote.host,
        "Launcher": shlex.join(remote.launcher),
        "HostProcessID": remote.process or None,
        "LastOutput": process.last_output().rpartition("\n")[2] if waits else "",
    }


def shortfall(supervisor: Supervisor, pool: Pool, *, was_complete: bool) -> str:
    """Why a pool does not serve clients as it is configured to, or "".

    Args:
        supervisor: Knows why kernels do not start.
        pool: The pool.
        was_complete: As many kernels as MinimumKernelNumber says were ready before. Then one that starts in the place
            of another counts, unless the last start failed.
    """
    minimum = pool.settings.minimum_kernel_number
    ready = sum(pool.counts[state] for state in READY)
    trouble = supervisor.trouble(pool)
    if pool.retired or ready >= minimum or (was_complete and pool.living >= minimum and not trouble):
        return ""
    text = f"{ready} of at least {minimum} {'kernel' if minimum == 1 else 'kernels'} of pool {pool.name} are ready"
    return f"{text}: {trouble}" if trouble else text


def describe_waiting(waiting: WaitingClient, trouble: str) -> dict[str, Any]:
    """What is told of a client that waits, with the address in its name.

    Args:
        waiting: The client.
        trouble: Why the last kernel of the pool did not start, "" if it did.
    """
    target = waiting.target
    if isinstance(target, Pool):
        wanted, reason = f"pool {target.name}", occupancy(target)
    else:
        wanted, reason = f"kernel {target.id}", f"it is {'busy' if target.busy else target.state.value}"
    return {
        "Client": waiting.client.name,
        "Wanted": wanted,
        "Because": waiting.purpose.value,
        "Reason": f"{reason}; {trouble}" if trouble else reason,
    }
