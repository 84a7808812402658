"""Settings from values that a program writes (tests, embedding), by the same table and the same rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wstpserver.settings.model import ServerSettings
from wstpserver.settings.option import Option
from wstpserver.settings.options import POOL_BY_KEY, ROOT_BY_KEY
from wstpserver.settings.origin import PROGRAM, Given, GivenPool, GivenSettings
from wstpserver.settings.problems import ConfigurationError, Problem
from wstpserver.settings.resolve import resolve


def build_settings(pools: Sequence[Mapping[str, Any]], values: Mapping[str, Any]) -> ServerSettings:
    """See ``ServerSettings.build``. Raises ConfigurationError with every problem."""
    problems: list[Problem] = []
    given = GivenSettings(
        root=_convert(ROOT_BY_KEY, values, problems),
        pools=tuple(
            GivenPool(
                name=pool["name"],
                origin=PROGRAM,
                values=_convert(POOL_BY_KEY, {k: v for k, v in pool.items() if k != "name"}, problems),
            )
            for pool in pools
        ),
    )
    resolution = resolve(given, find_kernel=lambda: None)
    problems += resolution.problems
    if problems or resolution.settings is None:
        raise ConfigurationError(problems)
    return resolution.settings


def _convert(table: Mapping[str, Option], values: Mapping[str, Any], problems: list[Problem]) -> dict[str, Given]:
    given: dict[str, Given] = {}
    for key, value in values.items():
        option = table.get(key)
        if option is None:
            problems.append(PROGRAM.problem(key, "no such option"))
            continue
        if isinstance(value, list):
            value = tuple(value)
        try:
            given[key] = Given(option.convert(value), PROGRAM)
        except ValueError as error:
            problems.append(PROGRAM.problem(key, str(error)))
    return given
