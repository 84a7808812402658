"""Loading settings: which file, what is in it, and what overrides it."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import stat
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from wstpserver.settings.discovery import (
    EMBEDDED_PROGRAM,
    FILE_NAME,
    Discovered,
    application_data_file,
    find_embedded,
    find_kernel,
    home_folder,
    working_folder,
)
from wstpserver.settings.jsonc import ConfigurationError, Problem, read_document, read_text
from wstpserver.settings.model import ServerSettings
from wstpserver.settings.reference import DEFAULT_POOL_NAME, sample_text
from wstpserver.settings.resolve import Given, GivenPool, GivenSettings, Origin, Origins, resolve, validate
from wstpserver.settings.schema import CONFIGURATION_FILE, DISABLE_ADVERTISING, ROOT_BY_KEY


@dataclass(frozen=True)
class LoadedSettings:
    """Settings and where they come from.

    Attributes:
        settings: The settings.
        path: The file they come from, None when there is none.
        origins: Every value's origin, under `(key,)` or `("Pools", pool, key)`.
        warnings: For the log: files that were skipped, values that will not have the effect they seem to have.
        skipped: Files of the search that were not used because they are not valid.
        created: Whether the file was created just now. After `load_settings(create=False)`:
            whether a server would create it.
        default_kernel: The kernel that was discovered for pools without KernelPath.
        source: What the settings depend on outside the file, for `reload_settings`.
    """

    settings: ServerSettings
    path: Path | None
    origins: Origins
    warnings: tuple[Problem, ...]
    skipped: tuple[Path, ...]
    created: bool
    default_kernel: Discovered | None
    source: Source


@dataclass(frozen=True)
class Source:
    """Everything outside the files that settings depend on; tests give their own.

    Attributes:
        path: The file that the command line names.
        environ: The environment.
        cwd: The folder whose configuration file is tried first.
        home: The user's home folder, None if there is none.
        platform: The system, as `sys.platform`.
        command_line: Values by root key that override all others, each with the option that gave it.
        find_kernel: Finds the kernel of pools without KernelPath.
    """

    path: str | None = None
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)
    cwd: Path = field(default_factory=working_folder)
    home: Path | None = field(default_factory=home_folder)
    platform: str = sys.platform
    command_line: Mapping[str, tuple[object, str]] = field(default_factory=dict)
    find_kernel: Callable[[], Discovered | None] = find_kernel


def load_settings(source: Source | None = None, *, create: bool = True) -> LoadedSettings:
    """Load the settings from the file that is named, or from the first valid one of the search.

    Args:
        source: What the settings depend on; None for this process.
        create: Whether to create a default file where the search finds none. False, for a check, gives the settings
            that the file would have.

    Returns:
        The settings.

    Raises:
        ConfigurationError: The named file cannot be used, an environment variable is wrong, or there is no
            kernel for a pool without KernelPath.
    """
    source = source or Source()
    environment = read_environment(source.environ)
    named = _named(source, environment)
    if named is not None:
        return _Loader(source, environment).load(named, [])
    return _search(source, environment, create=create)


def reload_settings(loaded: LoadedSettings) -> LoadedSettings:
    """Load the settings again by the same rules.

    An invalid file in the search is an error here, not skipped, and no file is created: a running server keeps
    its settings instead.

    Args:
        loaded: The settings in force.

    Returns:
        The new settings.

    Raises:
        ConfigurationError: As `load_settings`; also when there was a file and there is none any more.
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
        raise ConfigurationError([Problem(str(loaded.path), None, None, None, "no longer exists")])
    return loader.load_defaults([])


# The environment


@dataclass(frozen=True)
class Environment:
    """The environment variables of the server.

    Attributes:
        configuration_file: The file to use, None if not set.
        values: Values of root keys by key, each with the name of its variable.
        disable_advertising: Whether advertising is disabled.
    """

    configuration_file: str | None
    values: Mapping[str, tuple[object, str]]
    disable_advertising: bool


def read_environment(environ: Mapping[str, str]) -> Environment:
    """Read the environment variables. An empty variable counts as unset.

    Raises:
        ConfigurationError: A variable has an invalid value.
    """
    values: dict[str, tuple[object, str]] = {}
    for option in ROOT_BY_KEY.values():
        text = environ.get(option.environment) if option.environment else None
        if not text:
            continue
        try:
            value = parse_port(text) if option.key == "Port" else option.convert(text)
        except ValueError as error:
            raise ConfigurationError([Problem(None, None, None, option.environment, str(error))]) from None
        values[option.key] = (value, option.environment)
    return Environment(
        configuration_file=environ.get(CONFIGURATION_FILE) or None,
        values=values,
        disable_advertising=bool(environ.get(DISABLE_ADVERTISING)),
    )


def parse_port(text: str) -> int:
    """Convert a port number as the command line and the environment write it.

    Raises:
        ValueError: With a message for the user.
    """
    option = ROOT_BY_KEY["Port"]
    if not (text.isascii() and text.isdecimal() and len(text) <= 20):
        raise ValueError(f"expected a port number from 0 to 65535, got {text[:40]!r}")
    port: int = option.convert(int(text))
    return port


# The search


def _named(source: Source, environment: Environment) -> Path | None:
    """Return the one file that the command line or the environment names."""
    name = source.path if source.path is not None else environment.configuration_file
    return None if name is None else source.cwd / name


def _search_paths(source: Source) -> list[Path]:
    paths = [source.cwd / FILE_NAME]
    application_data = application_data_file(source.platform, source.environ, source.home)
    if application_data is not None:
        paths.append(application_data)
    return paths


def _search(source: Source, environment: Environment, *, create: bool) -> LoadedSettings:
    warnings: list[Problem] = []
    skipped: list[Path] = []
    loader = _Loader(source, environment)
    for path in _search_paths(source):
        if not os.path.lexists(path):
            continue
        try:
            return replace(loader.load(path, warnings), skipped=tuple(skipped))
        except ConfigurationError as error:
            skipped.append(path)
            warnings += error.problems
            warnings.append(Problem(str(path), None, None, None, "is not valid and was skipped"))
    default = _default_path(source, warnings)
    try:
        if default is not None and (not create or _create_default(default, warnings)):
            loaded = replace(loader.load(default, warnings, None if create else sample_text()), created=True)
        else:
            loaded = loader.load_defaults(warnings)
    except ConfigurationError as error:
        raise ConfigurationError([*warnings, *error.problems]) from None
    return replace(loaded, skipped=tuple(skipped))


def _default_path(source: Source, warnings: list[Problem]) -> Path | None:
    """Return where a default file can be created. Returns None, with a warning, where that is not possible."""
    path = application_data_file(source.platform, source.environ, source.home)
    if path is None:
        message = "there is no home folder to write a default configuration file to"
        warnings.append(Problem(None, None, None, None, message))
        return None
    if os.path.lexists(path):
        return None
    folder = next(folder for folder in path.parents if os.path.lexists(folder))
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        reason = errno.EACCES if folder.is_dir() else errno.ENOTDIR
        warnings.append(_not_created(path, os.strerror(reason)))
        return None
    return path


def _create_default(path: Path, warnings: list[Problem]) -> bool:
    """Create the default file. Returns False, with a warning, where that fails."""
    try:
        return write_new(path, sample_text())
    except OSError as error:
        warnings.append(_not_created(path, error.strerror))
        return False


def _not_created(path: Path, reason: str | None) -> Problem:
    message = f"no default configuration file can be written here ({reason}); using the defaults"
    return Problem(str(path), None, None, None, message)


def write_new(path: Path, text: str) -> bool:
    """Create a file, completely or not at all, and its folder where that is missing.

    Never overwrites a file, not even when two servers start at the same time.

    Args:
        path: The file.
        text: Its content.

    Returns:
        False if something of that name exists.

    Raises:
        OSError: The file cannot be written.
    """
    if os.path.lexists(path):
        return False
    _make_folders(path.parent)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        _create(draft, text)
        try:
            os.link(draft, path)
        except FileExistsError:
            return False
        except OSError:
            # A file system without hard links. Exclusive creation still lets one server only take the name.
            try:
                _create(path, text)
            except FileExistsError:
                return False
        return True
    finally:
        with contextlib.suppress(OSError):
            draft.unlink()


def _create(path: Path, text: str) -> None:
    """Create a file that only its owner may write, whatever the umask allows."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def _make_folders(folder: Path) -> None:
    """Create a folder and those above it that are missing, none of them writable for others."""
    missing = [folder, *folder.parents]
    for path in reversed([path for path in missing if not path.exists()]):
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o755)


# One file


class _Loader:
    """Loads one file after another until one is valid."""

    def __init__(self, source: Source, environment: Environment) -> None:
        self._source = source
        self._environment = environment
        self._found: Discovered | None = None

    def load(self, path: Path, warnings: list[Problem], text: str | None = None) -> LoadedSettings:
        """Load settings from one file, or from the text that it would have.

        Raises ConfigurationError with everything that is wrong with it.
        """
        document = read_document(read_text(path) if text is None else text, str(path))
        problems = document.problems
        given = None if document.root is None else validate(document.root, str(path), problems)
        if given is None:
            raise ConfigurationError(problems)
        own_warnings: list[Problem] = []
        environ = self._source.environ
        found: dict[str, str] = {}
        pools = tuple(
            _settle_paths(pool, path.parent, environ, problems, own_warnings, found) for pool in given.pools
        )
        root = _settle_token_file(given.root, path.parent, self._source.environ, problems, own_warnings)
        given = GivenSettings(root, pools)
        return self._finish(given, path, problems, [*warnings, *own_warnings])

    def load_defaults(self, warnings: list[Problem]) -> LoadedSettings:
        """Load settings without any file: one pool of defaults."""
        pool = GivenPool(DEFAULT_POOL_NAME, Origin("default"))
        return self._finish(GivenSettings({}, (pool,)), None, [], warnings)

    def _finish(
        self,
        given: GivenSettings,
        path: Path | None,
        problems: list[Problem],
        warnings: list[Problem],
    ) -> LoadedSettings:
        self._found = None
        given = GivenSettings({**given.root, **self._overrides()}, given.pools)
        resolution = resolve(given, self._discover)
        # A value that is wrong may seem to be missing here as well; one message for a key is enough.
        known = {problem.key for problem in problems}
        problems += [problem for problem in resolution.problems if problem.key not in known]
        if problems:
            raise ConfigurationError(sorted(problems, key=lambda it: (it.line or 0, it.column or 0)))
        return LoadedSettings(
            settings=ServerSettings.of(resolution),
            path=path,
            origins=resolution.origins,
            warnings=(*warnings, *resolution.warnings),
            skipped=(),
            created=False,
            default_kernel=self._found,
            source=self._source,
        )

    def _overrides(self) -> dict[str, Given]:
        """Return what overrides the file: the command line, and below it the environment."""
        overrides = {**self._environment.values, **self._source.command_line}
        return {key: Given(value, Origin(origin)) for key, (value, origin) in overrides.items()}

    def _discover(self) -> tuple[str, str] | None:
        self._found = self._source.find_kernel()
        return None if self._found is None else (self._found.path, self._found.where)


# Paths in a file


def _settle_paths(
    pool: GivenPool,
    folder: Path,
    environ: Mapping[str, str],
    problems: list[Problem],
    warnings: list[Problem],
    found: dict[str, str],
) -> GivenPool:
    """Make the paths of a pool absolute and check them; `folder` is that of the configuration file.

    `found` remembers the programs of other pools by their KernelPath.

    A KernelPath that names no program, or a KernelDirectory that is no folder, is a problem now, not when the first
    client waits. An InitializationFile is read by the kernel, which may look for it in other places, so a missing one
    is a warning. Paths of a pool with KernelLauncher are those of another machine.
    """
    values = dict(pool.values)
    launcher = values.get("KernelLauncher")
    if launcher is not None and launcher.value:
        return pool
    kernel = values.get("KernelPath")
    if kernel is not None and isinstance(kernel.value, str):
        try:
            path = found.get(kernel.value)
            if path is None:
                path = found[kernel.value] = _kernel_path(kernel.value, folder, environ)
            values["KernelPath"] = Given(path, kernel.origin)
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
    directory = values.get("KernelDirectory")
    if directory is not None and directory.value:
        try:
            values["KernelDirectory"] = Given(_folder_path(directory.value, folder, environ), directory.origin)
        except ValueError as error:
            problems.append(directory.origin.problem(f"Pools.{pool.name}.KernelDirectory", str(error)))
    return GivenPool(pool.name, pool.origin, values)


#: Characters of a token that nobody can guess.
SHORTEST_TOKEN = 16


def _settle_token_file(
    root: Mapping[str, Given],
    folder: Path,
    environ: Mapping[str, str],
    problems: list[Problem],
    warnings: list[Problem],
) -> Mapping[str, Given]:
    """Make the path of AccessTokenFile absolute. Without its tokens the server must not run, nor take new settings."""
    given = root.get("AccessTokenFile")
    if given is None or not given.value:
        return root
    try:
        if "\0" in given.value:
            raise ValueError("expected the path of a file")
        path = _absolute(given.value, folder, environ)
        tokens = read_tokens(path)
    except ValueError as error:
        problems.append(given.origin.problem("AccessTokenFile", str(error)))
        return root
    if os.name != "nt" and os.stat(path).st_mode & stat.S_IROTH:
        message = f'every user of this computer can read "{path}"; chmod o-r keeps the tokens secret'
        warnings.append(given.origin.problem("AccessTokenFile", message))
    if min(map(len, tokens)) < SHORTEST_TOKEN:
        message = f"a token of fewer than {SHORTEST_TOKEN} characters can be guessed"
        warnings.append(given.origin.problem("AccessTokenFile", message))
    return {**root, "AccessTokenFile": Given(path, given.origin)}


def read_tokens(path: str) -> list[str]:
    """Read the access tokens of a file: one a line, without lines that are empty or begin with #.

    Raises:
        ValueError: It cannot be read or holds none; the text says so.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            lines = [line.strip() for line in file]
    except OSError as error:
        raise ValueError(f'"{path}" cannot be read: {error.strerror}') from None
    except UnicodeDecodeError:
        raise ValueError(f'"{path}" is not UTF-8 text') from None
    tokens = [line for line in lines if line and not line.startswith("#")]
    if not tokens:
        raise ValueError(f'"{path}" holds no token: it needs one on a line of its own')
    return tokens


def _kernel_path(text: str, folder: Path, environ: Mapping[str, str]) -> str:
    """Return the absolute path of the program. Raises ValueError that says what is wrong with it."""
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
        raise ValueError(f'"{path}" is not executable')
    raise ValueError(f'there is no file "{path}"')


def _folder_path(text: str, folder: Path, environ: Mapping[str, str]) -> str:
    """Return the absolute path of a folder. Raises ValueError that says what is wrong with it."""
    if "\0" in text:
        raise ValueError("expected the path of a folder")
    path = _absolute(text, folder, environ)
    if not os.path.isdir(path):
        raise ValueError(f'"{path}" is not a folder' if os.path.exists(path) else f'there is no folder "{path}"')
    if not os.access(path, os.X_OK):
        raise ValueError(f'the folder "{path}" cannot be entered')
    return path


def _file_path(text: str, folder: Path, environ: Mapping[str, str]) -> str | None:
    """Return the absolute path of a file, None if there is no such file."""
    if "\0" in text:
        return None
    path = _absolute(text, folder, environ)
    return path if os.path.isfile(path) else None


def _embedded(name: str) -> str | None:
    """Find the embedded kernel by its bare name, which need not be on PATH where the package is installed."""
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
