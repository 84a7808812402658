"""What `wstpserver --check` prints: the effective settings, each with its origin, and whether they are valid."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from wstpserver.server import ServeOptions
from wstpserver.settings.model import PoolSettings, ServerSettings
from wstpserver.settings.resolve import DEFAULT
from wstpserver.settings.schema import ANY, POOL_OPTIONS, ROOT_OPTIONS, Kind, variables_text

Row = tuple[str, str, str]

#: Longer values do not widen the column of values.
_VALUE_WIDTH = 44


def report(options: ServeOptions) -> str:
    """Return the settings as a table of name, value and origin, after the warnings.

    The last line says that the configuration is valid, or which files of the search are not.
    """
    loaded = options.loaded
    lines = [f"Warning: {warning}" for warning in loaded.warnings]
    file = options.configuration_file or "none, using the defaults"
    lines.append(f"Configuration file: {file}" + (" (created when the server starts)" if loaded.created else ""))
    sections = [("Command line", list(_command_line(options))), ("Server", list(_root(options)))]
    sections += [(f'Pool "{pool.name}"', _pool(options, pool)) for pool in loaded.settings.pools]
    rows = set().union(*(section for _, section in sections))  # thousands of pools have most rows in common
    key_width = max(len(row[0]) for row in rows)
    value_width = min(_VALUE_WIDTH, max(len(row[1]) for row in rows))
    shown = {row: f"    {row[0]:{key_width}}  {row[1]:{value_width}}  ({row[2]})" for row in rows}
    for title, section in sections:
        lines += ["", title, *map(shown.__getitem__, section)]
    lines += [*_recommendations(loaded.settings), "", _verdict(loaded.skipped)]
    return "\n".join(lines) + "\n"


def _recommendations(settings: ServerSettings) -> Iterable[str]:
    """What makes a server safe on a computer that it does not have for itself."""
    if ANY in settings.allowed_users and not settings.requires_token:
        yield from ("", "Recommended where other people can log in to this computer")
        yield '    "AllowedUsers": ["self"]  (else each of them can run programs under the account of the server)'


def _verdict(skipped: Sequence[object]) -> str:
    if skipped:
        return f"Not valid and skipped: {', '.join(map(str, skipped))}"
    return "The configuration is valid"


def _command_line(options: ServeOptions) -> Iterable[Row]:
    advertise = {None: "no", "": "yes"}.get(options.advertise, json.dumps(options.advertise, ensure_ascii=False))
    yield "--log-level", options.log_level.name.lower(), options.origins["log_level"]
    yield "--log-file", options.log_file or "stdout", options.origins["log_file"]
    yield "--advertise", advertise, options.origins["advertise"]


def _root(options: ServeOptions) -> Iterable[Row]:
    for option in ROOT_OPTIONS:
        if option.kind is not Kind.POOLS:
            origin = str(options.loaded.origins[option.key,])
            yield _row(option.key, getattr(options.loaded.settings, option.field), origin)


_POOL_FIELDS = [(option.key, option.field) for option in POOL_OPTIONS]
_DEFAULT = str(DEFAULT)
_KINDS = {option.key: option.kind for option in (*ROOT_OPTIONS, *POOL_OPTIONS)}


def _pool(options: ServeOptions, pool: PoolSettings) -> list[Row]:
    origins, values = options.loaded.origins.of_pool(pool.name), vars(pool)
    given = {key: str(origin) for key, origin in origins.items()}
    return [_row(key, values[field], given.get(key, _DEFAULT)) for key, field in _POOL_FIELDS]


@lru_cache(maxsize=65536, typed=True)
def _row(key: str, value: Any, origin: str) -> Row:
    """Cached, as thousands of pools have the same values."""
    return key, _shown(_KINDS[key], value), origin


def _shown(kind: Kind, value: Any) -> str:
    """Return a value as the file writes it."""
    if kind is Kind.WORDS:
        return json.dumps(shlex.join(value), ensure_ascii=False)
    if kind is Kind.VARIABLES:
        return variables_text(value)
    if kind is Kind.NUMBER and value.is_integer():
        return str(int(value))
    return json.dumps(value, ensure_ascii=False)
