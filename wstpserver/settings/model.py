"""The settings as the server uses them: frozen, complete, in range; and what differs between two of them.

Field names are the keys of the schema in snake case; a test compares the two. Times are seconds, sizes bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from wstpserver.settings.resolve import Resolution
from wstpserver.settings.schema import POOL_OPTIONS, ROOT_OPTIONS, Kind, Option


@dataclass(frozen=True)
class PoolSettings:
    """One kernel pool."""

    name: str
    default: bool
    kernel_path: str
    initialization_code: str
    initialization_file: str
    kernel_options: tuple[str, ...]
    keep_alive: bool
    maximum_kernel_number: int
    minimum_kernel_number: int
    parallel_kernel_default: bool
    parallel_kernels: bool
    reserve_previously_connected_kernels: bool
    parallel_kernel_options: tuple[str, ...]
    maximum_kernel_uses: int
    maximum_kernel_evaluations: int
    maximum_kernel_age: float
    kernel_memory_limit: int
    reserved_kernel_timeout: float
    evaluation_time_limit: float
    kernel_start_timeout: float
    kernel_wait_timeout: float
    kernel_directory: str
    #: `NAME=value` for each variable; `NAME` alone takes one away.
    kernel_environment: tuple[str, ...]
    reset_code: str
    kernel_launcher: tuple[str, ...]
    kernel_agent: tuple[str, ...]
    kernel_transport: str
    require_access_token: bool

    @property
    def launch_options(self) -> tuple[str, ...]:
        """The kernel's options, with ParallelKernelOptions where ParallelKernels is true."""
        if self.parallel_kernels:
            return self.kernel_options + self.parallel_kernel_options
        return self.kernel_options


@dataclass(frozen=True)
class ServerSettings:
    """The whole server; `pools` in the order of the file, exactly one of them the default pool."""

    allow_stealing_kernels: bool
    allow_silent_kernel_replacement: bool
    enable_automatic_kernel_connection: bool
    send_input_name_packet_upon_kernel_connection: bool
    pools: tuple[PoolSettings, ...]
    port: int
    interface: str
    kernel_start_timeout: float
    kernel_wait_timeout: float
    kernel_start_concurrency: int
    restart_timeout: float
    kernels_outlive_server: float
    missed_output_limit: int
    evaluation_queue_limit: int
    maximum_clients: int
    client_idle_timeout: float
    greeting_timeout: float
    maximum_unpaired_connections: int
    maximum_kernels_outside_pools: int
    kernel_transport_interface: str
    maximum_kernels: int
    show_initialization_code: bool
    allowed_addresses: tuple[str, ...]
    allowed_users: tuple[str, ...]
    access_token_file: str
    accept_proxy_protocol_from: tuple[str, ...]
    information_for: str
    advertised_service_type: str
    http_port: int
    http_interface: str
    http_host_names: tuple[str, ...]

    @cached_property
    def default_pool(self) -> PoolSettings:
        """The pool of clients that name none."""
        return next(pool for pool in self.pools if pool.default)

    @property
    def parallel_pool(self) -> PoolSettings | None:
        """The default pool for parallel computing, if there is one."""
        return next((pool for pool in self.pools if pool.parallel_kernel_default), None)

    @cached_property
    def requires_token(self) -> bool:
        """Whether a client can do nothing before it has said an access token."""
        return all(pool.require_access_token for pool in self.pools)

    def pool(self, name: str) -> PoolSettings | None:
        """Return the pool of that name, None if there is none."""
        return next((pool for pool in self.pools if pool.name == name), None)

    @classmethod
    def of(cls, resolution: Resolution) -> ServerSettings:
        """Make settings from values that are complete: `resolution` has no problems."""
        pools = tuple(
            PoolSettings(name=name, **{option.field: values[option.key] for option in POOL_OPTIONS})
            for name, values in resolution.pools.items()
        )
        root = {option.field: resolution.root[option.key] for option in ROOT_OPTIONS if option.kind is not Kind.POOLS}
        return cls(pools=pools, **root)


@dataclass(frozen=True)
class Change:
    """One option with another value, or a pool that was added or removed.

    Attributes:
        key: The option or pool as problems name it: `Port`, `Pools.NAME.KeepAlive`, `Pools.NAME`.
        text: What changed.
        needs_restart: Whether a running server keeps the old value.
    """

    key: str
    text: str
    needs_restart: bool = False

    def __str__(self) -> str:
        restart = " (takes effect when the server is restarted)" if self.needs_restart else ""
        return f"{self.key}: {self.text}{restart}"


def changes(old: ServerSettings, new: ServerSettings) -> list[Change]:
    """List every difference.

    Args:
        old: The settings in force.
        new: The settings that replace them.

    Returns:
        The server's own options first, then the pools in the order of `new`, then the removed pools.
    """
    found = list(_differences(ROOT_OPTIONS, old, new, ""))
    old_pools = {pool.name: pool for pool in old.pools}
    new_names = {pool.name for pool in new.pools}
    for pool in new.pools:
        before = old_pools.get(pool.name)
        if before is None:
            found.append(Change(f"Pools.{pool.name}", "new pool"))
        else:
            found += _differences(POOL_OPTIONS, before, pool, f"Pools.{pool.name}.")
    found += [Change(f"Pools.{name}", "removed") for name in old_pools if name not in new_names]
    return found


def _differences(
    options: Iterable[Option],
    old: ServerSettings | PoolSettings,
    new: ServerSettings | PoolSettings,
    prefix: str,
) -> Iterator[Change]:
    for option in options:
        before, after = getattr(old, option.field), getattr(new, option.field)
        if option.kind is not Kind.POOLS and before != after:
            secret = option.kind is Kind.VARIABLES  # passwords perhaps
            text = "changed" if secret else f"{before!r} -> {after!r}"
            yield Change(prefix + option.key, text, not option.reloadable)
