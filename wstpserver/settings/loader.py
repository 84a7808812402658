"""Loading settings: which file, what is in it, and what goes before it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from wstpserver.settings.discovery import Discovered, find_kernel
from wstpserver.settings.environment import INTERFACE, PORT, Environment, read_environment
from wstpserver.settings.locations import (
    FILE_NAME,
    application_data_file,
    home_folder,
    working_folder,
    write_new,
)
from wstpserver.settings.model import ServerSettings
from wstpserver.settings.origin import Given, GivenPool, GivenSettings, Origin
from wstpserver.settings.paths import settle_paths
from wstpserver.settings.problems import ConfigurationError, Problem
from wstpserver.settings.reader import read_document
from wstpserver.settings.resolve import Origins, resolve
from wstpserver.settings.sample import DEFAULT_POOL_NAME, sample_text
from wstpserver.settings.textfile import read_text
from wstpserver.settings.validate import validate


@dataclass(frozen=True)
class LoadedSettings:
    """Settings and how they came about.

    ``path`` is the file they are from, None when there is none; ``created`` says that it was written
    just now. ``origins`` has every value's origin under ``(key,)`` or ``("Pools", pool, key)``.
    ``warnings`` are for the log: files that were skipped, values that will not do what they seem to.
    ``default_kernel`` is the kernel that was discovered for pools without KernelPath.
    """

    settings: ServerSettings
    path: Path | None
    origins: Origins
    warnings: tuple[Problem, ...]
    created: bool
    default_kernel: Discovered | None
    source: Source


@dataclass(frozen=True)
class Source:
    """Everything outside the files that settings depend on; injectable for tests.

    ``path`` is the file the command line names. ``command_line`` holds values by root key that beat all
    others, each with the option that gave it.
    """

    path: str | None = None
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)
    cwd: Path = field(default_factory=working_folder)
    home: Path | None = field(default_factory=home_folder)
    platform: str = sys.platform
    command_line: Mapping[str, tuple[object, str]] = field(default_factory=dict)
    find_kernel: Callable[[], Discovered | None] = find_kernel


def load_settings(source: Source | None = None, *, create: bool = True) -> LoadedSettings:
    """Load the settings: from the file that is named, or from the first valid one of the search.

    Where no file is found one is written, unless ``create`` is false. Raises ConfigurationError when
    the named file cannot be used, or when there is no kernel at all for the default pool.
    """
    source = source or Source()
    environment = read_environment(source.environ)
    named = _named(source, environment)
    if named is not None:
        return _Loader(source, environment).load(named, [])
    return _search(source, environment, create)


def reload_settings(loaded: LoadedSettings) -> LoadedSettings:
    """The settings anew, by the same rules, but never from another kind of place than it seems.

    An invalid file in the search is an error here, not skipped: a server that runs keeps its settings.
    No file is written. Raises ConfigurationError, also when there is no file any more.
    """
    source = loaded.source
    environment = read_environment(source.environ)
    loader = _Loader(source, environment)
    named = _named(source, environment)
    if named is not None:
        return loader.load(named, [])
    for path in _search_paths(source):
        if os.path.lexists(path):
            return loader.load(path, [])
    if loaded.path is not None:
        raise ConfigurationError([Problem(str(loaded.path), None, None, None, "is not there any more")])
    return loader.load_defaults([])


def _named(source: Source, environment: Environment) -> Path | None:
    """The one file that the command line or the environment names."""
    name = source.path if source.path is not None else environment.configuration_file
    return None if name is None else source.cwd / name


def _search_paths(source: Source) -> list[Path]:
    paths = [source.cwd / FILE_NAME]
    application_data = application_data_file(source.platform, source.environ, source.home)
    if application_data is not None:
        paths.append(application_data)
    return paths


def _search(source: Source, environment: Environment, create: bool) -> LoadedSettings:
    warnings: list[Problem] = []
    loader = _Loader(source, environment)
    for path in _search_paths(source):
        if not os.path.lexists(path):
            continue
        try:
            return loader.load(path, warnings)
        except ConfigurationError as error:
            warnings += error.problems
            warnings.append(Problem(str(path), None, None, None, "is not valid and was skipped"))
    created = _create_default(source, warnings) if create else None
    if created is not None:
        return loader.load(created, warnings, created=True)
    try:
        return loader.load_defaults(warnings)
    except ConfigurationError as error:
        raise ConfigurationError([*warnings, *error.problems]) from None


def _create_default(source: Source, warnings: list[Problem]) -> Path | None:
    """Write the default file; None (and a warning) where that cannot be."""
    path = application_data_file(source.platform, source.environ, source.home)
    if path is None:
        message = "there is no home folder to write a default configuration file to"
        warnings.append(Problem(None, None, None, None, message))
        return None
    try:
        return path if write_new(path, sample_text()) else None
    except OSError as error:
        message = f"no default configuration file can be written here ({error.strerror}); using the defaults"
        warnings.append(Problem(str(path), None, None, None, message))
        return None


class _Loader:
    """Loads one file after the other until one will do."""

    def __init__(self, source: Source, environment: Environment) -> None:
        self._source = source
        self._environment = environment
        self._found: Discovered | None = None

    def load(self, path: Path, warnings: list[Problem], created: bool = False) -> LoadedSettings:
        """Settings from one file. Raises ConfigurationError with everything that is wrong with it."""
        document = read_document(read_text(path), str(path))
        problems = document.problems
        given = None if document.root is None else validate(document.root, str(path), problems)
        if given is None:
            raise ConfigurationError(problems)
        own_warnings: list[Problem] = []
        given = settle_paths(given, path.parent, self._source.environ, problems, own_warnings)
        return self._finish(given, path, problems, [*warnings, *own_warnings], created)

    def load_defaults(self, warnings: list[Problem]) -> LoadedSettings:
        """Settings without any file: one pool of defaults."""
        pool = GivenPool(DEFAULT_POOL_NAME, Origin("default"))
        return self._finish(GivenSettings({}, (pool,)), None, [], warnings, False)

    def _finish(
        self,
        given: GivenSettings,
        path: Path | None,
        problems: list[Problem],
        warnings: list[Problem],
        created: bool,
    ) -> LoadedSettings:
        self._found = None
        given = GivenSettings({**given.root, **self._overrides()}, given.pools)
        resolution = resolve(given, self._discover)
        # What is wrong already may seem to be missing here as well; one message for a key is enough.
        known = {problem.key for problem in problems}
        problems += [problem for problem in resolution.problems if problem.key not in known]
        if problems or resolution.settings is None:
            raise ConfigurationError(sorted(problems, key=lambda it: (it.line or 0, it.column or 0)))
        return LoadedSettings(
            settings=resolution.settings,
            path=path,
            origins=resolution.origins,
            warnings=(*warnings, *resolution.warnings),
            created=created,
            default_kernel=self._found,
            source=self._source,
        )

    def _overrides(self) -> dict[str, Given]:
        """What goes before the file: the environment, and before that the command line."""
        values: dict[str, Given] = {}
        if self._environment.port is not None:
            values["Port"] = Given(self._environment.port, Origin(PORT))
        if self._environment.interface is not None:
            values["Interface"] = Given(self._environment.interface, Origin(INTERFACE))
        for key, (value, option) in self._source.command_line.items():
            values[key] = Given(value, Origin(option))
        return values

    def _discover(self) -> tuple[str, str] | None:
        self._found = self._source.find_kernel()
        return None if self._found is None else (self._found.path, self._found.where)
