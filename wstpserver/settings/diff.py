"""The differences between two settings, for the log of a reload."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from wstpserver.settings.model import PoolSettings, ServerSettings
from wstpserver.settings.schema import POOL_OPTIONS, ROOT_OPTIONS, Kind, Option


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
