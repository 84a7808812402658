"""What the server answers to commands, and what they say about the kernel's future."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeVar

from wstpserver.client.errors import CommandError
from wstpserver.client.link import Packet
from wstpserver.wire.values import Expression, Function, Symbol

T = TypeVar("T")

_KERNEL_ID: Final = re.compile(r"[0-9a-f]{4}(-[0-9a-f]{4}){2}")


def asks_to_keep(name: str, arguments: tuple[Expression, ...]) -> bool:
    """Whether this command shows that the kernel is meant to outlive the session."""
    if not arguments:
        return False
    first = arguments[0]
    if name == "ConnectKernel":
        return isinstance(first, str) and _KERNEL_ID.fullmatch(first) is not None
    return name == "SetKeepAlive" and first in (True, Symbol("True"))


def kernel_named(
    name: str, arguments: tuple[Expression, ...], result: object, before: str | None
) -> str | None:
    """The ID of the kernel after this command, as far as it tells; `before` what was known."""
    if name == "GetKernelID":
        return str(result)
    if name in ("ConnectKernel", "ConnectParallelKernel", "DisconnectKernel"):
        asked = arguments[0] if arguments else None
        return asked if isinstance(asked, str) and _KERNEL_ID.fullmatch(asked) else None
    return before


def reply_of(packet: Packet, prefix: str = "") -> dict[str, Any]:
    """The server's JSON. CommandError, its text with this *prefix*, if it is none."""
    text = packet.arguments[0] if packet.arguments else None
    try:
        reply = json.loads(text) if isinstance(text, str) else None
    except ValueError:
        reply = None
    if not isinstance(reply, dict):
        raise CommandError(f"{prefix}the other side is no WSTPServer, it answered {text!r}")
    return reply


def result_of(name: str, packet: Packet) -> Any:
    """The "result" in the server's JSON, None if it reports success alone. CommandError for anything else."""
    reply = reply_of(packet, f"{name}: ")
    if "result" in reply:
        return reply["result"]
    if reply.get("status") != "ExecutionSuccess":
        raise CommandError(f"{name}: the server answers {reply.get('status')}", reply)
    return None


def missed_packets(packet: Packet) -> tuple[int, tuple[Expression, ...]]:
    """What answers GetMissedOutput: (number of packets lost, packets, oldest first). CommandError."""
    match packet.arguments:
        case (Function(args=(int(dropped), Function(args=packets))),):
            return dropped, packets
        case (Function(args=(int(dropped), _)),):  # an empty list, packed
            return dropped, ()
    raise CommandError("GetMissedOutput: the server keeps none, or the other side is no WSTPServer")


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


class Commanded(Protocol):
    """What takes server commands; a `Session` does."""

    def command(self, name: str, *arguments: Expression, timeout: float | None = ...) -> Any:
        """See `Session.command`."""


def server_information(session: Commanded, timeout: float | None = 10.0) -> ServerInformation:
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
