"""The rules that lead from given values to complete ones: validation, defaults, and what must fit together.

`validate` turns the tree of a file into given values by the schema. `resolve` completes them: defaults, the automatic
rules, and checks across keys. Both collect problems instead of raising at the first one.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from wstpserver.settings.jsonc import Member, Members, Node, Problem
from wstpserver.settings.schema import (
    AUTOMATIC,
    POOL_ALIASES,
    POOL_BY_KEY,
    POOL_OPTIONS,
    ROOT_BY_KEY,
    ROOT_OPTIONS,
    Level,
    Option,
    describe,
)

# Given values and their origins


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value comes from.

    Attributes:
        source: The file, or the origin in words.
        line: Line in the file, from 1; None for another origin.
        column: Column in the line, from 1; None for another origin.
    """

    source: str
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        return self.source if self.line is None else f"{self.source}:{self.line}"

    def problem(self, key: str, message: str) -> Problem:
        """Make a problem with the value that came from here."""
        file = None if self.line is None else self.source
        return Problem(file, self.line, self.column, key, message)


DEFAULT = Origin("default")
AUTOMATIC_ORIGIN = Origin("automatic")
_LOWERED = Origin("default, lowered to MaximumKernelNumber")
#: Keys of pools whose default is the value at the root.
_FROM_ROOT = {key: Origin(f"{key} at the root") for key in ("KernelStartTimeout", "KernelWaitTimeout")}

#: Origin of a KernelPath that is looked for where the kernel runs.
_ELSEWHERE = Origin("automatic: discovered on the machine where the launcher runs it")


class Origins(Mapping[tuple[str, ...], Origin]):
    """The origin of each value, under `(key,)` or `("Pools", pool, key)`.

    Only those that are not the default are kept: thousands of pools leave out the same keys.
    """

    def __init__(self) -> None:
        self.root: dict[str, Origin] = {}
        self.pools: dict[str, dict[str, Origin]] = {}

    def of_pool(self, name: str) -> Mapping[str, Origin]:
        """The origins of a pool's values that are not the default, by key."""
        return self.pools[name]

    def __getitem__(self, place: tuple[str, ...]) -> Origin:
        if len(place) == 1 and place[0] in ROOT_BY_KEY:
            return self.root.get(place[0], DEFAULT)
        if len(place) == 3 and place[2] in POOL_BY_KEY:
            return self.pools[place[1]].get(place[2], DEFAULT)
        raise KeyError(place)

    def __iter__(self) -> Iterator[tuple[str, ...]]:
        yield from ((key,) for key in ROOT_BY_KEY)
        yield from (("Pools", name, key) for name in self.pools for key in POOL_BY_KEY)

    def __len__(self) -> int:
        return len(ROOT_BY_KEY) + len(self.pools) * len(POOL_BY_KEY)


@dataclass(frozen=True, slots=True)
class Given:
    """A value that was given for an option, converted and in range."""

    value: Any
    origin: Origin


@dataclass(frozen=True, slots=True)
class GivenPool:
    """What was given for one pool, by key."""

    name: str
    origin: Origin
    values: Mapping[str, Given] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GivenSettings:
    """What was given for the whole server; `pools` in the order of the file."""

    root: Mapping[str, Given]
    pools: tuple[GivenPool, ...]


# From a file to given values


_NO_ALIASES: Mapping[str, str] = {}


def validate(root: Node, file: str, problems: list[Problem]) -> GivenSettings | None:
    """Take the values of a file's tree.

    Args:
        root: The tree.
        file: Name of the file in problems.
        problems: Everything that is wrong (unknown keys, wrong types, values out of range) is appended here.

    Returns:
        The values, None when the file does not hold an object.
    """
    return _Validator(file, problems).settings(root)


class _Validator:
    """Walks the tree of one file."""

    def __init__(self, file: str, problems: list[Problem]) -> None:
        self._file = file
        self._problems = problems

    def settings(self, root: Node) -> GivenSettings | None:
        if not isinstance(root.value, Members):
            message = f"expected an object, got {describe(root.plain)}"
            self._problems.append(Problem(self._file, root.line, root.column, None, message))
            return None
        given = self._values(root.value, ROOT_BY_KEY, _NO_ALIASES, "")
        pools = next((member for member in root.value if member.key == "Pools"), None)
        if pools is None:
            message = "is required: an object with at least one named pool"
            self._problems.append(Problem(self._file, root.line, root.column, "Pools", message))
            return GivenSettings(given, ())
        return GivenSettings(given, tuple(self._pools(pools)))

    def _pools(self, pools: Member) -> Iterable[GivenPool]:
        if not isinstance(pools.value.value, Members):
            expected = ROOT_BY_KEY["Pools"].expected
            self._problem(pools.value, "Pools", f"expected {expected}, got {describe(pools.value.plain)}")
            return
        if not pools.value.value:
            self._problem(pools.value, "Pools", "at least one named pool is required")
        for member in pools.value.value:
            prefix = f"Pools.{member.key}"
            values: Mapping[str, Given] = {}
            if isinstance(member.value.value, Members):
                values = self._values(member.value.value, POOL_BY_KEY, POOL_ALIASES, prefix + ".")
            else:
                message = f"expected an object with the keys of the pool, got {describe(member.value.plain)}"
                self._problem(member.value, prefix, message)
            yield GivenPool(member.key, Origin(self._file, member.line, member.column), values)

    def _values(
        self, members: Members, table: Mapping[str, Option], aliases: Mapping[str, str], prefix: str
    ) -> dict[str, Given]:
        given: dict[str, Given] = {}
        for member in members:
            if member.key == "Pools" and table is ROOT_BY_KEY:
                continue
            option = table.get(aliases.get(member.key, member.key))
            if option is None:
                message = "unknown key" + _hint(member.key, Level.ROOT if table is ROOT_BY_KEY else Level.POOL)
                self._problems.append(Problem(self._file, member.line, member.column, prefix + member.key, message))
            elif option.key in given:
                names = " and ".join([option.key, *(name for name in aliases if aliases[name] == option.key)])
                message = f"is given twice; {names} are the same option"
                self._problem(member.value, prefix + member.key, message)
            else:
                self._convert(member, option, prefix, given)
        return given

    def _convert(self, member: Member, option: Option, prefix: str, given: dict[str, Given]) -> None:
        place = Origin(self._file, member.value.line, member.value.column)
        try:
            given[option.key] = Given(option.convert(member.value.plain), place)
        except ValueError as error:
            self._problems.append(place.problem(prefix + member.key, str(error)))

    def _problem(self, node: Node, key: str, message: str) -> None:
        self._problems.append(Problem(self._file, node.line, node.column, key, message))


@lru_cache(maxsize=256)
def _hint(key: str, level: Level) -> str:
    """Suggest what an unknown key may stand for. Cached, as a file often has the same key in every pool."""
    if level is Level.ROOT and (key in POOL_BY_KEY or key in POOL_ALIASES):
        return "; this key belongs into a pool"
    if level is Level.POOL and key in ROOT_BY_KEY:
        return "; this key belongs beside Pools, not into a pool"
    by_lower = {name.lower(): name for name in (ROOT_BY_KEY if level is Level.ROOT else POOL_BY_KEY)}
    nearest = difflib.get_close_matches(key.lower()[:100], by_lower, n=1, cutoff=0.6)
    return f'; did you mean "{by_lower[nearest[0]]}"?' if nearest else ""


# From given values to complete ones


#: KernelPath of a pool whose kernel is looked for on the machine where its launcher runs it.
AUTOMATIC_PATH = "automatic"

#: Finds a kernel for pools without KernelPath: its path and where it was found, or None.
KernelFinder = Callable[[], "tuple[str, str] | None"]

_KERNEL_ID = re.compile("[0-9a-fA-F]{4}(-[0-9a-fA-F]{4}){2}")

_NO_KERNEL = (
    "no kernel was found on this computer, so KernelPath is required"
    " (or install the embedded kernel: pip install '.[mathics]' in the folder of wstpserver's source)"
)


@dataclass
class Resolution:
    """The outcome of `resolve`.

    Attributes:
        root: The values at the root by key, without the pools. Complete if there are no problems.
        pools: The values of each pool by its name, in the order of the file. Complete if there are no problems.
        origins: The origin of every value.
        problems: Why the settings cannot be used.
        warnings: Values that will not have the effect they seem to have.
    """

    root: dict[str, Any] = field(default_factory=dict)
    pools: dict[str, dict[str, Any]] = field(default_factory=dict)
    origins: Origins = field(default_factory=Origins)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)


def resolve(given: GivenSettings, find_kernel: KernelFinder) -> Resolution:
    """Complete what was given.

    Args:
        given: The given values.
        find_kernel: Finds a kernel for pools without KernelPath. Called at most once, and only if needed.

    Returns:
        The values, and everything that is wrong with them.
    """
    result = Resolution()
    result.root, result.origins.root = _with_defaults(_ROOT_DEFAULTS, given.root)
    if result.root["KernelStartConcurrency"] is AUTOMATIC:
        result.root["KernelStartConcurrency"] = max(2, os.cpu_count() or 1)
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
        _check_launcher(pool, result)
        _settle_times(pool, result)
        _settle_token(pool, result)
    _warn_about_seats(pools, result)
    if result.root["InformationFor"] == "token" and not result.root["AccessTokenFile"]:
        message = 'with "token" an AccessTokenFile is needed'
        result.problems.append(result.origins[("InformationFor",)].problem("InformationFor", message))
    _settle_kernel_paths(pools, find_kernel, result)
    result.pools = {pool.name: pool.values for pool in pools}
    return result


@dataclass
class _PoolDraft:
    """A pool whose values are being determined; AUTOMATIC marks a value that a rule must still determine."""

    given: GivenPool
    values: dict[str, Any]
    origins: dict[str, Origin]

    @classmethod
    def of(cls, given: GivenPool, origins: Origins) -> _PoolDraft:
        values, own = _with_defaults(_POOL_DEFAULTS, given.values)
        origins.pools[given.name] = own
        return cls(given, values, own)

    @property
    def name(self) -> str:
        return self.given.name

    def origin(self, key: str) -> Origin:
        return self.origins.get(key, DEFAULT)

    def settle(self, key: str, value: Any, origin: Origin = AUTOMATIC_ORIGIN) -> None:
        """Put the value that a rule determined."""
        self.values[key] = value
        self.origins[key] = origin

    def problem(self, key: str, message: str) -> Problem:
        """Make a problem at the place of the key, or of the pool where the key was left out."""
        given = self.given.values.get(key)
        place = given.origin if given is not None else self.given.origin
        return place.problem(f"Pools.{self.name}.{key}", message)


#: The default of each key, and the origins of those that a rule determines.
_Defaults = tuple[dict[str, Any], dict[str, Origin]]


def _defaults_of(options: tuple[Option, ...]) -> _Defaults:
    values = {option.key: option.default for option in options}
    return values, {key: AUTOMATIC_ORIGIN for key, value in values.items() if value is AUTOMATIC}


_ROOT_DEFAULTS = _defaults_of(ROOT_OPTIONS)
_POOL_DEFAULTS = _defaults_of(POOL_OPTIONS)


def _with_defaults(defaults: _Defaults, given: Mapping[str, Given]) -> _Defaults:
    """Return values by key, the default where nothing was given, and the origins of those that are not the default."""
    values, origins = defaults[0].copy(), defaults[1].copy()
    for key, found in given.items():
        values[key] = found.value
        origins[key] = AUTOMATIC_ORIGIN if found.value is AUTOMATIC else found.origin
    return values, origins


def _check_names(pools: tuple[GivenPool, ...], result: Resolution) -> None:
    """Check the names: unique, and not to be confused with a kernel ID, as commands take both."""
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
    """Apply the rule of Default and ParallelKernelDefault: the first pool that fits, unless one says true."""
    chosen = [pool for pool in pools if pool.values[key] is True]
    for other in chosen[1:]:
        message = f'pool "{chosen[0].name}" already says true; only one pool can'
        result.problems.append(other.problem(key, message))
    found = bool(chosen)
    for pool in pools:
        if pool.values[key] is AUTOMATIC:
            this_one = not found and fits(pool)
            pool.settle(key, this_one)
            found = found or this_one


def _warn_about_parallel(pool: _PoolDraft, result: Resolution) -> None:
    if pool.values["ParallelKernelDefault"] is True and not pool.values["ParallelKernels"]:
        message = "the kernels of this pool are not configured for parallel work (ParallelKernels is false)"
        result.warnings.append(pool.problem("ParallelKernelDefault", message))


def _settle_numbers(pool: _PoolDraft, result: Resolution) -> None:
    """Determine the automatic MaximumKernelNumber, and check it against MinimumKernelNumber."""
    minimum, maximum = pool.values["MinimumKernelNumber"], pool.values["MaximumKernelNumber"]
    if maximum is AUTOMATIC:
        pool.settle("MaximumKernelNumber", minimum if minimum > 0 else 2)
    elif minimum > maximum and pool.origin("MinimumKernelNumber") is DEFAULT:
        pool.settle("MinimumKernelNumber", maximum, _LOWERED)
    elif minimum > maximum:
        message = f"is smaller than MinimumKernelNumber ({maximum} < {minimum})"
        result.problems.append(pool.problem("MaximumKernelNumber", message))


#: What `{...}` may stand for in KernelLauncher.
_PLACEHOLDERS = ("{pool}", "{id}", "{server}")


def _check_launcher(pool: _PoolDraft, result: Resolution) -> None:
    """Check the keys of kernels on other machines against each other, and leave KernelPath to the other machine."""
    launcher = pool.values["KernelLauncher"]
    for found in re.findall(r"\{[A-Za-z]+\}", " ".join(launcher)):
        if found not in _PLACEHOLDERS:
            message = f"{found} stands for nothing; there are {', '.join(_PLACEHOLDERS)}"
            result.problems.append(pool.problem("KernelLauncher", message))
    if not pool.values["KernelAgent"]:
        result.problems.append(pool.problem("KernelAgent", "expected the command line of a program"))
    if not launcher:
        return
    if pool.values["KernelTransport"] == "tcp" and not result.root["KernelTransportInterface"]:
        message = "tcp needs KernelTransportInterface, beside Pools: the host that kernels connect to"
        result.problems.append(pool.problem("KernelTransport", message))
    if pool.values["KernelPath"] is AUTOMATIC:
        pool.settle("KernelPath", AUTOMATIC_PATH, _ELSEWHERE)


def _settle_times(pool: _PoolDraft, result: Resolution) -> None:
    """Take the times that the pool does not give from the root."""
    for key in _FROM_ROOT:
        if pool.values[key] is AUTOMATIC:
            pool.settle(key, result.root[key], _FROM_ROOT[key])


def _warn_about_seats(pools: list[_PoolDraft], result: Resolution) -> None:
    seats = result.root["MaximumKernels"]
    needed = sum(pool.values["MinimumKernelNumber"] for pool in pools)
    if 0 < seats < needed:
        message = f"the pools are to have {needed} kernels at least (MinimumKernelNumber); the last ones get fewer"
        result.warnings.append(result.origins[("MaximumKernels",)].problem("MaximumKernels", message))


def _settle_token(pool: _PoolDraft, result: Resolution) -> None:
    """A token is required by default where there is one; without one nobody could get a kernel."""
    given = bool(result.root["AccessTokenFile"])
    if pool.values["RequireAccessToken"] is AUTOMATIC:
        pool.settle("RequireAccessToken", given)
    elif pool.values["RequireAccessToken"] and not given:
        result.problems.append(pool.problem("RequireAccessToken", "an AccessTokenFile is needed for that"))


def _settle_kernel_paths(pools: list[_PoolDraft], find_kernel: KernelFinder, result: Resolution) -> None:
    without = [pool for pool in pools if pool.values["KernelPath"] is AUTOMATIC]
    if not without:
        return
    found = find_kernel()
    if found is None:
        # Once: the cause and the remedy are the same for every pool.
        result.problems.append(without[0].problem("KernelPath", _NO_KERNEL))
        return
    path, where = found
    origin = Origin(f"automatic: {where}")
    for pool in without:
        pool.settle("KernelPath", path, origin)
