"""From what the file says to values of the options: unknown keys, wrong types, values out of range."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

from wstpserver.settings.option import Option, describe
from wstpserver.settings.options import POOL_ALIASES, POOL_BY_KEY, ROOT_BY_KEY
from wstpserver.settings.origin import Given, GivenPool, GivenSettings, Origin
from wstpserver.settings.problems import Problem
from wstpserver.settings.reader import Member, Members, Node

_NO_ALIASES: Mapping[str, str] = {}


def validate(root: Node, file: str, problems: list[Problem]) -> GivenSettings | None:
    """The values the file gives; everything that is wrong is appended to ``problems``.

    None when the file holds no object at all.
    """
    return _Validator(file, problems).settings(root)


class _Validator:
    """Walks the tree of one file."""

    def __init__(self, file: str, problems: list[Problem]) -> None:
        self._file = file
        self._problems = problems

    def settings(self, root: Node) -> GivenSettings | None:
        if not isinstance(root.value, Members):
            message = f"expected an object, got {_describe(root)}"
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
            self._problem(pools.value, "Pools", f"expected {expected}, got {_describe(pools.value)}")
            return
        if not pools.value.value:
            self._problem(pools.value, "Pools", "at least one named pool is required")
        for member in pools.value.value:
            prefix = f"Pools.{member.key}"
            values: Mapping[str, Given] = {}
            if isinstance(member.value.value, Members):
                values = self._values(member.value.value, POOL_BY_KEY, POOL_ALIASES, prefix + ".")
            else:
                message = f"expected an object with the keys of the pool, got {_describe(member.value)}"
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
                message = "unknown key" + _hint(member.key, table)
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
            given[option.key] = Given(option.convert(_plain(member.value)), place)
        except ValueError as error:
            self._problems.append(place.problem(prefix + member.key, str(error)))

    def _problem(self, node: Node, key: str, message: str) -> None:
        self._problems.append(Problem(self._file, node.line, node.column, key, message))


def _plain(node: Node) -> object:
    """The value as plain Python; of containers only what kind they are, no option takes one."""
    if isinstance(node.value, Members):
        return {}
    return node.value


def _describe(node: Node) -> str:
    return describe(_plain(node))


def _hint(key: str, table: Mapping[str, Option]) -> str:
    """What the user may have meant by an unknown key."""
    if table is ROOT_BY_KEY and (key in POOL_BY_KEY or key in POOL_ALIASES):
        return "; this key belongs into a pool"
    if table is POOL_BY_KEY and key in ROOT_BY_KEY:
        return "; this key belongs beside Pools, not into a pool"
    by_lower = {name.lower(): name for name in table}
    nearest = difflib.get_close_matches(key.lower()[:100], by_lower, n=1, cutoff=0.6)
    return f'; did you mean "{by_lower[nearest[0]]}"?' if nearest else ""
