"""What `wstpserver --check` prints: the effective settings, each with its origin, and whether they are valid."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from wstpserver.server import ServeOptions
from wstpserver.settings.model import PoolSettings, ServerSettings
from wstpserver.settings.schema import ANY, POOL_OPTIONS, ROOT_OPTIONS, Kind, Option, variables_text

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
    sections += [(f'Pool "{pool.name}"', list(_pool(options, pool))) for pool in loaded.settings.pools]
    rows = [row for _, section in sections for row in section]
    key_width = max(len(row[0]) for row in rows)
    value_width = min(_VALUE_WIDTH, max(len(row[1]) for row in rows))
    for title, section in sections:
        lines += ["", title]
        for key, value, origin in section:
            lines.append(f"    {key:{key_width}}  {value:{value_width}}  ({origin})")
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
            yield _row(options, option, options.loaded.settings, ())


def _pool(options: ServeOptions, pool: PoolSettings) -> Iterable[Row]:
    for option in POOL_OPTIONS:
        yield _row(options, option, pool, ("Pools", pool.name))


def _row(
    options: ServeOptions, option: Option, settings: ServerSettings | PoolSettings, prefix: tuple[str, ...]
) -> Row:
    origin = options.loaded.origins[prefix + (option.key,)]
    return option.key, _shown(option.kind, getattr(settings, option.field)), str(origin)


@lru_cache(maxsize=4096, typed=True)
def _shown(kind: Kind, value: Any) -> str:
    """Return a value as the file writes it. Cached, as thousands of pools have the same values."""
    if kind is Kind.WORDS:
        return json.dumps(shlex.join(value), ensure_ascii=False)
    if kind is Kind.VARIABLES:
        return variables_text(value)
    if kind is Kind.NUMBER and value.is_integer():
        return str(int(value))
    return json.dumps(value, ensure_ascii=False)
