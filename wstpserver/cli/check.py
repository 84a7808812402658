"""What ``wstpserver --check`` prints: the effective settings, each with its origin."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable

from wstpserver.server import ServeOptions
from wstpserver.settings.model import PoolSettings, ServerSettings
from wstpserver.settings.option import Kind, Option
from wstpserver.settings.options import POOL_OPTIONS, ROOT_OPTIONS

Row = tuple[str, str, str]


def report(options: ServeOptions) -> str:
    """The settings as a table of name, value and origin, after the warnings."""
    loaded = options.loaded
    lines = [f"Warning: {warning}" for warning in loaded.warnings]
    lines.append(f"Configuration file: {options.configuration_file or 'none, using the defaults'}")
    sections = [("Command line", list(_command_line(options))), ("Server", list(_root(options)))]
    sections += [(f'Pool "{pool.name}"', list(_pool(options, pool))) for pool in loaded.settings.pools]
    rows = [row for _, section in sections for row in section]
    key_width = max(len(row[0]) for row in rows)
    value_width = min(44, max(len(row[1]) for row in rows))
    for title, section in sections:
        lines += ["", title]
        for key, value, origin in section:
            lines.append(f"    {key:{key_width}}  {value:{value_width}}  ({origin})")
    return "\n".join(lines) + "\n"


def _command_line(options: ServeOptions) -> Iterable[Row]:
    advertise = {None: "no", "": "yes"}.get(options.advertise, json.dumps(options.advertise))
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
    value = getattr(settings, option.field)
    if option.kind is Kind.WORDS:
        # As the file writes them: words in one string.
        value = shlex.join(value)
    elif option.kind is Kind.NUMBER and value.is_integer():
        value = int(value)
    origin = options.loaded.origins[prefix + (option.key,)]
    return option.key, json.dumps(value, ensure_ascii=False), str(origin)
