"""From what was given to complete settings: defaults, the automatic rules, and what must fit together."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from wstpserver.settings.model import PoolSettings, ServerSettings
from wstpserver.settings.option import AUTOMATIC, Option
from wstpserver.settings.options import POOL_OPTIONS, ROOT_OPTIONS
from wstpserver.settings.origin import AUTOMATIC_ORIGIN, DEFAULT, Given, GivenPool, GivenSettings, Origin
from wstpserver.settings.problems import Problem

#: Finds a kernel for pools without KernelPath: its path and where it was found, or None.
KernelFinder = Callable[[], "tuple[str, str] | None"]

_KERNEL_ID = re.compile("[0-9a-fA-F]{4}(-[0-9a-fA-F]{4}){2}")

_NO_KERNEL = (
    "no kernel was found on this computer, so KernelPath is required"
    ' (the "mathics" extra of this package brings a kernel)'
)

Origins = Mapping[tuple[str, ...], Origin]


@dataclass
class Resolution:
    """The outcome: ``settings`` is None when there are problems.

    ``origins`` has an entry for every value, under ``(key,)`` or ``("Pools", pool, key)``.
    """

    settings: ServerSettings | None = None
    origins: dict[tuple[str, ...], Origin] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)


def resolve(given: GivenSettings, find_kernel: KernelFinder) -> Resolution:
    """Complete settings from what was given; ``find_kernel`` is called at most once, and only if needed."""
    result = Resolution()
    values = _with_defaults(ROOT_OPTIONS, given.root, (), result.origins)
    if values["KernelStartConcurrency"] is AUTOMATIC:
        values["KernelStartConcurrency"] = max(2, os.cpu_count() or 1)
    pools = [_PoolDraft.of(pool, result.origins) for pool in given.pools]
    _check_names(given.pools, result)
    _choose_one(pools, "Default", lambda pool: True, result)
    _choose_one(pools, "ParallelKernelDefault", lambda pool: bool(pool.values["ParallelKernels"]), result)
    if pools and not any(pool.values["Default"] for pool in pools):
        message = "every pool says false; one pool must be the default pool"
        result.problems.append(pools[0].given.origin.problem("Default", message))
    for pool in pools:
        _warn_about_parallel(pool, result)
        _settle_numbers(pool, result)
    _settle_kernel_paths(pools, find_kernel, result)
    if not result.problems:
        values["Pools"] = tuple(_pool_settings(pool) for pool in pools)
        result.settings = ServerSettings(**{option.field: values[option.key] for option in ROOT_OPTIONS})
    return result


@dataclass
class _PoolDraft:
    """A pool whose values are being settled; AUTOMATIC stands where a rule must still decide."""

    given: GivenPool
    values: dict[str, Any]
    origins: dict[tuple[str, ...], Origin]

    @classmethod
    def of(cls, given: GivenPool, origins: dict[tuple[str, ...], Origin]) -> _PoolDraft:
        values = _with_defaults(POOL_OPTIONS, given.values, ("Pools", given.name), origins)
        return cls(given, values, origins)

    @property
    def name(self) -> str:
        return self.given.name

    def origin(self, key: str) -> Origin:
        return self.origins["Pools", self.name, key]

    def settle(self, key: str, value: Any, how: str = "automatic") -> None:
        """Put the value that a rule found."""
        self.values[key] = value
        self.origins["Pools", self.name, key] = Origin(how)

    def problem(self, key: str, message: str) -> Problem:
        """A problem at the place of the key, or of the pool where the key was left out."""
        given = self.given.values.get(key)
        place = given.origin if given is not None else self.given.origin
        return place.problem(f"Pools.{self.name}.{key}", message)


def _with_defaults(
    options: tuple[Option, ...],
    given: Mapping[str, Given],
    prefix: tuple[str, ...],
    origins: dict[tuple[str, ...], Origin],
) -> dict[str, Any]:
    """Values by key, the default where nothing was given; notes every origin."""
    values: dict[str, Any] = {}
    for option in options:
        found = given.get(option.key)
        value = option.default if found is None else found.value
        origin = DEFAULT if found is None else found.origin
        if value is AUTOMATIC:
            origin = AUTOMATIC_ORIGIN
        values[option.key] = value
        origins[prefix + (option.key,)] = origin
    return values


def _check_names(pools: tuple[GivenPool, ...], result: Resolution) -> None:
    """Names identify pools in commands, beside kernel IDs: unique, and not to be taken for an ID."""
    if not pools:
        result.problems.append(Problem(None, None, None, "Pools", "at least one named pool is required"))
    seen: set[str] = set()
    for pool in pools:
        message = ""
        if pool.name in seen:
            message = f'there is already a pool "{pool.name}"'
        elif not pool.name or not pool.name.isprintable():
            message = "the name of a pool must have at least one character, and only printable ones"
        elif _KERNEL_ID.fullmatch(pool.name):
            message = "the name of a pool must not look like a kernel ID"
        if message:
            result.problems.append(pool.origin.problem(f"Pools.{pool.name}", message))
        seen.add(pool.name)


def _choose_one(pools: list[_PoolDraft], key: str, fits: Callable[[_PoolDraft], bool], result: Resolution) -> None:
    """The rule of Default and ParallelKernelDefault: the first pool that fits, unless one says true."""
    chosen = [pool for pool in pools if pool.values[key] is True]
    for other in chosen[1:]:
        message = f'pool "{chosen[0].name}" already says true; only one pool can'
        result.problems.append(other.problem(key, message))
    found = bool(chosen)
    for pool in pools:
        if pool.values[key] is AUTOMATIC:
            mine = not found and fits(pool)
            pool.settle(key, mine)
            found = found or mine


def _warn_about_parallel(pool: _PoolDraft, result: Resolution) -> None:
    if pool.values["ParallelKernelDefault"] is True and not pool.values["ParallelKernels"]:
        message = "the kernels of this pool are not configured for parallel work (ParallelKernels is false)"
        result.warnings.append(pool.problem("ParallelKernelDefault", message))


def _settle_numbers(pool: _PoolDraft, result: Resolution) -> None:
    """MinimumKernelNumber and MaximumKernelNumber: the automatic maximum, and that they fit together."""
    minimum, maximum = pool.values["MinimumKernelNumber"], pool.values["MaximumKernelNumber"]
    if maximum is AUTOMATIC:
        pool.settle("MaximumKernelNumber", minimum if minimum > 0 else 2)
    elif minimum > maximum and pool.origin("MinimumKernelNumber") is DEFAULT:
        pool.settle("MinimumKernelNumber", maximum, "default, lowered to MaximumKernelNumber")
    elif minimum > maximum:
        message = f"is smaller than MinimumKernelNumber ({maximum} < {minimum})"
        result.problems.append(pool.problem("MaximumKernelNumber", message))


def _settle_kernel_paths(pools: list[_PoolDraft], find_kernel: KernelFinder, result: Resolution) -> None:
    without = [pool for pool in pools if pool.values["KernelPath"] is AUTOMATIC]
    if not without:
        return
    found = find_kernel()
    for pool in without:
        if found is None:
            result.problems.append(pool.problem("KernelPath", _NO_KERNEL))
        else:
            path, where = found
            pool.settle("KernelPath", path, f"automatic: {where}")


def _pool_settings(pool: _PoolDraft) -> PoolSettings:
    return PoolSettings(name=pool.name, **{option.field: pool.values[option.key] for option in POOL_OPTIONS})
