"""Settings of values that a test writes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from wstpserver.settings import ServerSettings
from wstpserver.settings.jsonc import ConfigurationError, read_document
from wstpserver.settings.resolve import resolve, validate
from wstpserver.settings.schema import POOL_OPTIONS, ROOT_OPTIONS

#: All keys, those at the root and those of pools.
OPTIONS = ROOT_OPTIONS + POOL_OPTIONS


def make_settings(pools: Sequence[Mapping[str, Any]], **values: Any) -> ServerSettings:
    """The settings of a file with these values at the root, and with these pools: each has "name" and its keys.

    Raises:
        ConfigurationError: With every problem.
    """
    named = {pool["name"]: {key: value for key, value in pool.items() if key != "name"} for pool in pools}
    document = read_document(json.dumps({**values, "Pools": named}), "settings")
    problems = [*document.problems]
    given = validate(document.root, "settings", problems)
    assert given is not None
    resolution = resolve(given, lambda: None)
    problems += resolution.problems
    if problems:
        raise ConfigurationError(problems)
    return ServerSettings.of(resolution)
