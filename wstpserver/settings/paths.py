"""Paths that a configuration file gives: looked up, made absolute, checked."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from wstpserver.settings.discovery import EMBEDDED_PROGRAM, find_embedded
from wstpserver.settings.origin import Given, GivenPool, GivenSettings
from wstpserver.settings.problems import Problem


def settle_paths(
    given: GivenSettings,
    folder: Path,
    environ: Mapping[str, str],
    problems: list[Problem],
    warnings: list[Problem],
) -> GivenSettings:
    """The same settings with the paths of the pools ready for use.

    ``folder`` is that of the configuration file. A KernelPath that names no program is a problem at
    once, not a mystery when the first client waits; an InitializationFile is read by the kernel,
    which may look for it in other places, so one that is not there is a warning.
    """
    pools = tuple(_settle_pool(pool, folder, environ, problems, warnings) for pool in given.pools)
    return GivenSettings(given.root, pools)


def _settle_pool(
    pool: GivenPool,
    folder: Path,
    environ: Mapping[str, str],
    problems: list[Problem],
    warnings: list[Problem],
) -> GivenPool:
    values = dict(pool.values)
    kernel = values.get("KernelPath")
    if kernel is not None and isinstance(kernel.value, str):
        try:
            values["KernelPath"] = Given(_kernel_path(kernel.value, folder, environ), kernel.origin)
        except ValueError as error:
            problems.append(kernel.origin.problem(f"Pools.{pool.name}.KernelPath", str(error)))
    initialization = values.get("InitializationFile")
    if initialization is not None and initialization.value:
        path = _file_path(initialization.value, folder, environ)
        if path is None:
            key = f"Pools.{pool.name}.InitializationFile"
            message = f'there is no file "{initialization.value}"; the kernel is told to read it nevertheless'
            warnings.append(initialization.origin.problem(key, message))
        else:
            values["InitializationFile"] = Given(path, initialization.origin)
    return GivenPool(pool.name, pool.origin, values)


def _kernel_path(text: str, folder: Path, environ: Mapping[str, str]) -> str:
    """The absolute path of the program. Raises ValueError that says what is wrong with it."""
    if not text or "\0" in text:
        raise ValueError("expected the path of a program")
    if not _has_folder(text):
        found = shutil.which(text, path=environ.get("PATH", "")) or _embedded(text)
        if found is None:
            raise ValueError(f'there is no program "{text}" on PATH')
        return os.path.abspath(found)
    path = _absolute(text, folder, environ)
    found = shutil.which(path)
    if found is not None:
        return found
    if os.path.isdir(path):
        raise ValueError(f'"{path}" is a folder, not a program')
    if os.path.exists(path):
        raise ValueError(f'"{path}" is not a program that may be executed')
    raise ValueError(f'there is no file "{path}"')


def _file_path(text: str, folder: Path, environ: Mapping[str, str]) -> str | None:
    """The absolute path of a file that is there."""
    if "\0" in text:
        return None
    path = _absolute(text, folder, environ)
    return path if os.path.isfile(path) else None


def _embedded(name: str) -> str | None:
    """The embedded kernel by its bare name, which need not be on PATH where the package is installed."""
    found = find_embedded() if name == EMBEDDED_PROGRAM else None
    return None if found is None else found.path


def _has_folder(text: str) -> bool:
    separators = (os.sep, os.altsep) if os.altsep else (os.sep,)
    return any(separator in text for separator in separators)


def _absolute(text: str, folder: Path, environ: Mapping[str, str]) -> str:
    home = environ.get("HOME") or environ.get("USERPROFILE")
    if home and (text == "~" or text.startswith(("~/", "~\\"))):
        text = home + text[1:]
    return str(folder / text)
