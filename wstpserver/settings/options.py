"""The one table of options.

Everything that knows about options reads it: validation, defaults, the settings dataclasses (a test
holds their fields to it), ``conf.example`` and ``docs/configuration.md``. Rows stand in the order of the
documentation, extensions after the documented keys: those of `root_options`, then those of `pool_options`.
"""

from __future__ import annotations

from wstpserver.settings.option import Option
from wstpserver.settings.pool_options import POOL_OPTIONS
from wstpserver.settings.root_options import ROOT_OPTIONS

__all__ = ["OPTIONS", "POOL_ALIASES", "POOL_BY_KEY", "POOL_OPTIONS", "ROOT_BY_KEY", "ROOT_OPTIONS"]

OPTIONS: tuple[Option, ...] = ROOT_OPTIONS + POOL_OPTIONS

ROOT_BY_KEY: dict[str, Option] = {option.key: option for option in ROOT_OPTIONS}
POOL_BY_KEY: dict[str, Option] = {option.key: option for option in POOL_OPTIONS}

#: Other names of pool keys: the documentation's parallel example writes "Parallel" for "ParallelKernels".
POOL_ALIASES: dict[str, str] = {"Parallel": "ParallelKernels"}
