"""What is different between two settings: for the log of a reload."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from wstpserver.settings.model import PoolSettings, ServerSettings
from wstpserver.settings.option import Kind, Option
from wstpserver.settings.options import POOL_OPTIONS, ROOT_OPTIONS


@dataclass(frozen=True)
class Change:
    """One option with another value, or a pool that came or went.

    ``key`` as in problems: ``Port``, ``Pools.NAME.KeepAlive``, ``Pools.NAME``. ``needs_restart`` says that
    a running server goes on with the old value.
    """

    key: str
    text: str
    needs_restart: bool = False

    def __str__(self) -> str:
        restart = " (takes effect when the server is restarted)" if self.needs_restart else ""
        return f"{self.key}: {self.text}{restart}"


def changes(old: ServerSettings, new: ServerSettings) -> list[Change]:
    """Everything that is different: the server's own options first, then pools in the new file's order."""
    found = list(_differences(ROOT_OPTIONS, old, new, ""))
    for pool in new.pools:
        before = old.pool(pool.name)
        if before is None:
            found.append(Change(f"Pools.{pool.name}", "new pool"))
        else:
            found += _differences(POOL_OPTIONS, before, pool, f"Pools.{pool.name}.")
    found += [Change(f"Pools.{pool.name}", "removed") for pool in old.pools if new.pool(pool.name) is None]
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
            yield Change(prefix + option.key, f"{before!r} -> {after!r}", not option.reloadable)
