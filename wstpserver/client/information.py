"""What a server says of its pools and kernels (``GetServerInformation``); another server may say less."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from wstpserver.client.errors import CommandError
from wstpserver.client.session import Session

T = TypeVar("T")


@dataclass(frozen=True)
class KernelInformation:
    """One kernel. What the server does not say is None.

    `state`: starting, free, reserved, bridged, resetting or closing. `seconds`: how long it has been in it.
    `pool`: "" for a kernel outside pools. `client`: who is bridged to it.
    """

    id: str
    pool: str
    state: str
    busy: bool = False
    reserved: bool | None = None
    keep_alive: bool | None = None
    process: int | None = None
    seconds: float | None = None
    evaluations: int | None = None
    client: str | None = None
    age: float | None = None

    @property
    def available(self) -> bool:
        """Whether the next client of the pool could have it at once."""
        return self.state == "free" and not self.busy

    @property
    def ready(self) -> bool:
        """Whether it has been started and initialised, and is not about to end."""
        return self.state in ("free", "reserved", "bridged")


@dataclass(frozen=True)
class PoolInformation:
    """One pool; `kernels` is None where the server does not list them, `trouble` why its last start failed."""

    name: str
    minimum: int | None
    maximum: int | None
    is_default: bool
    is_parallel_default: bool
    waiting: int | None
    kernels: tuple[KernelInformation, ...] | None
    trouble: str = ""

    @property
    def states(self) -> Counter[str]:
        """How many kernels are in each state."""
        return Counter(kernel.state for kernel in self.kernels or ())

    @property
    def available(self) -> int:
        """How many clients could have a kernel at once."""
        return sum(kernel.available for kernel in self.kernels or ())

    @property
    def ready(self) -> int:
        """How many kernels are up, in use or not."""
        return sum(kernel.ready for kernel in self.kernels or ())

    def __str__(self) -> str:
        """For messages: ``pool Main has 2 of at most 4 kernels (1 bridged, 1 starting)``."""
        if self.kernels is None:
            return f"pool {self.name}"
        most = "" if self.maximum is None else f" of at most {self.maximum}"
        counted = ", ".join(f"{count} {state}" for state, count in sorted(self.states.items())) or "none"
        trouble = f"; {self.trouble}" if self.trouble else ""
        return f"pool {self.name} has {len(self.kernels)}{most} kernels ({counted}){trouble}"


@dataclass(frozen=True)
class ServerInformation:
    """All pools by name, in the order of the configuration, and the kernels outside them."""

    pools: dict[str, PoolInformation] = field(default_factory=dict)
    outside: tuple[KernelInformation, ...] = ()

    @property
    def default_pool(self) -> PoolInformation | None:
        return next((pool for pool in self.pools.values() if pool.is_default), None)

    @property
    def parallel_pool(self) -> PoolInformation | None:
        """The default pool for parallel kernels."""
        return next((pool for pool in self.pools.values() if pool.is_parallel_default), None)

    @property
    def kernels(self) -> list[KernelInformation]:
        """All kernels, pool by pool."""
        listed = [kernel for pool in self.pools.values() for kernel in pool.kernels or ()]
        return listed + list(self.outside)


def server_information(session: Session, timeout: float | None = 10.0) -> ServerInformation:
    """Ask the server. Raises CommandError, also for an answer that is no such information; LinkTimeout, LinkClosed."""
    return read_information(session.command("GetServerInformation", timeout=timeout))


def read_information(result: object) -> ServerInformation:
    """The meaning of what GetServerInformation gave. CommandError if it is something else."""
    pools = result.get("Pools") if isinstance(result, Mapping) else None
    if not isinstance(result, Mapping) or not isinstance(pools, Mapping):
        raise CommandError(f"GetServerInformation: the answer names no pools: {str(result)[:200]}")
    return ServerInformation(
        {str(name): _pool(str(name), values) for name, values in pools.items() if isinstance(values, Mapping)},
        _kernels("", result.get("KernelsOutsidePools")) or (),
    )


def _pool(name: str, values: Mapping[str, Any]) -> PoolInformation:
    return PoolInformation(
        name=name,
        minimum=_get(values, "MinimumKernelNumber", int),
        maximum=_get(values, "MaximumKernelNumber", int),
        is_default=values.get("EntryPool") is True,
        is_parallel_default=values.get("ParallelKernelEntryPool") is True,
        waiting=_get(values, "WaitingClients", int),
        kernels=_kernels(name, values.get("Kernels")),
        trouble=_get(values, "Trouble", str) or "",
    )


def _kernels(pool: str, listed: object) -> tuple[KernelInformation, ...] | None:
    if not isinstance(listed, list):
        return None
    return tuple(_kernel(pool, values) for values in listed if isinstance(values, Mapping))


def _kernel(pool: str, values: Mapping[str, Any]) -> KernelInformation:
    return KernelInformation(
        id=_get(values, "ID", str) or "?",
        pool=pool,
        state=_get(values, "State", str) or "unknown",
        busy=values.get("Busy") is True,
        reserved=_get(values, "Reserved", bool),
        keep_alive=_get(values, "KeepAlive", bool),
        process=_get(values, "ProcessID", int),
        seconds=_number(values.get("SecondsInState")),
        evaluations=_get(values, "Evaluations", int),
        client=_get(values, "Client", str),
        age=_number(values.get("Age")),
    )


def _get(values: Mapping[str, Any], key: str, kind: type[T]) -> T | None:
    value = values.get(key)
    return value if isinstance(value, kind) else None


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None
