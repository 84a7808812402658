"""wstpserver - launches and maintains Wolfram Language kernels for incoming WSTP connections.

Usage:
  wstpserver [--port PORT] [--interface INTERFACE] [options]

Options:
  -h, --help                     Print this help.
  -l, --log-level LEVEL          How much to log: error (or 1), debug (2) or trace (3). [default: error]
  -f, --log-file [FILE]          Write the log to a file; without FILE, or without this option, to stdout.
  -a, --advertise [SERVICE]      Advertise the server as WSTPServer-Instance or WSTPServer-Instance-SERVICE.
  -p, --port PORT                Listen on this port instead of 31415; 0 chooses a free port.
  -i, --interface INTERFACE      Listen on this interface only; localhost excludes other computers.
  -c, --configuration-file FILE  Use this configuration file instead of searching for one.
  --check                        Check the configuration, print the effective settings, and exit.
  --version                      Print the version.

Environment:
  WSTPSERVER_CONFIGURATION_FILE, WSTPSERVER_PORT, WSTPSERVER_INTERFACE    The same as -c, -p and -i.
  WSTPSERVER_DISABLE_ADVERTISING    If set, the server is not advertised.
  WSTPSERVER_DISABLE_KEEPER         If set, the server starts kernels itself and not through the keeper.

Exit codes: 0; 64 wrong usage; 69 the port is not available; 70 internal error; 78 wrong configuration.
"""

from __future__ import annotations

import contextlib
import gc
import io
import json
import os
import re
import shlex
import sys
import traceback
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, TextIO

from docopt import DocoptExit, docopt

from wstpserver.cli.options import UsageError, normalise
from wstpserver.server import CAN_START, GRACE, HANDOVER_VARIABLE, GracePeriods, ServeOptions
from wstpserver.server.log import Log, LogLevel, parse_log_level
from wstpserver.settings.jsonc import ConfigurationError
from wstpserver.settings.loader import LoadedSettings, Source, load_settings, parse_port, read_environment
from wstpserver.settings.model import PoolSettings, ServerSettings
from wstpserver.settings.resolve import DEFAULT
from wstpserver.settings.schema import (
    ANY,
    DISABLE_ADVERTISING,
    POOL_OPTIONS,
    ROOT_OPTIONS,
    Kind,
    variables_text,
)
from wstpserver.version import VERSION

EXIT_OK = 0
EXIT_USAGE = 64
EXIT_INTERNAL = 70
EXIT_CONFIGURATION = 78

DOCUMENT = __doc__ or ""


def main(words: Sequence[str] | None = None, grace: GracePeriods = GRACE) -> int:
    """Run the program `wstpserver`.

    Args:
        words: The command line without the program's name; None for that of this process.
        grace: How long things have to come to their end.

    Returns:
        The exit code.
    """
    try:
        arguments = parse(sys.argv[1:] if words is None else words)
    except UsageError as error:
        _print(f"wstpserver: {error}\nTry 'wstpserver --help'.\n", sys.stderr)
        return EXIT_USAGE
    if arguments["--help"]:
        _print(DOCUMENT, sys.stdout)
        return EXIT_OK
    if arguments["--version"]:
        _print(f"wstpserver {VERSION}\n", sys.stdout)
        return EXIT_OK
    return _check(arguments) if arguments["--check"] else _serve(arguments, grace)


def parse(words: Sequence[str]) -> dict[str, Any]:
    """Parse a command line.

    Args:
        words: The command line without the program's name.

    Returns:
        docopt's dictionary with log level and port converted, and the options that were given under `"given"`.

    Raises:
        UsageError: The command line is wrong.
    """
    normalised = normalise(DOCUMENT, words)
    try:
        arguments: dict[str, Any] = docopt(DOCUMENT, normalised, help=False)
    except DocoptExit:
        raise UsageError("these options do not go together") from None
    for name, convert in (("--log-level", parse_log_level), ("--port", parse_port)):
        if arguments[name] is not None:
            try:
                arguments[name] = convert(arguments[name])
            except ValueError as error:
                raise UsageError(f"{name}: {error}") from None
    arguments["given"] = {word.partition("=")[0] for word in normalised}
    return arguments


def _check(arguments: dict[str, Any]) -> int:
    gc.disable()  # nothing of it is garbage, and the program ends soon
    try:
        loaded = load_settings(_source(arguments), create=False)
    except ConfigurationError as error:
        _print(f"{error}\n", sys.stderr)
        return EXIT_CONFIGURATION
    _print(report(_options(arguments, loaded, Log())), sys.stdout)
    return EXIT_CONFIGURATION if loaded.skipped else EXIT_OK


def _serve(arguments: dict[str, Any], grace: GracePeriods) -> int:
    handed_over = os.environ.pop(HANDOVER_VARIABLE, "")
    if handed_over.startswith("check "):
        return _check_restart(arguments, handed_over)
    if handed_over:
        gc.disable()  # clients wait until all is loaded and restored, and nothing of that is garbage
    try:
        log = _ProgramLog(arguments["--log-level"], _log_file(arguments))
    except OSError as error:
        message = f"the log file {arguments['--log-file']!r} cannot be written: {error.strerror}"
        _print(f"wstpserver: {message}\n", sys.stderr)
        return EXIT_CONFIGURATION
    try:
        code = _load_and_run(arguments, log, handed_over, grace)
    finally:
        log.close()
    if code != EXIT_OK and not _log_is_stderr(arguments):
        _print(f"wstpserver: {log.last_error}\n", sys.stderr)
    return code


def _check_restart(arguments: dict[str, Any], words: str) -> int:
    """Tell a server that is about to execute this program whether it could start; stderr says why it could not."""
    try:
        path = _log_file(arguments)
        Log(path=path).close()
        loaded = load_settings(_source(arguments), create=False)
        # all of the program, so that what cannot be imported shows
        from wstpserver.server.app import can_start

        problem = can_start(words, loaded.settings)
        if loaded.skipped:
            problem = "the configuration file is not valid:\n" + "\n".join(map(str, loaded.warnings))
    except ConfigurationError as error:
        problem = f"the configuration cannot be used:\n{error}"
    except OSError as error:
        problem = f"the log file {arguments['--log-file']!r} cannot be written: {error.strerror}"
    if problem:
        _print(f"{problem}\n", sys.stderr)
        return EXIT_CONFIGURATION
    _print(f"{CAN_START}\n", sys.stdout)
    return EXIT_OK


class _ProgramLog(Log):
    """A log that keeps its last error: where the program ends with another exit code than 0, the reason."""

    last_error = ""

    def error(self, message: str) -> None:
        """Log something that does not work."""
        self.last_error = message
        super().error(message)


def _load_and_run(arguments: dict[str, Any], log: Log, handed_over: str, grace: GracePeriods) -> int:
    """Load the settings and run the server; the log's last error is the reason for an exit code other than 0.

    Args:
        arguments: The command line.
        log: The log.
        handed_over: What the program before this one in this process has left (`HANDOVER_VARIABLE`), "" for nothing.
        grace: How long things have to come to their end.
    """
    try:
        loaded = load_settings(_source(arguments))
    except ConfigurationError as error:
        log.error(f"The configuration cannot be used:\n{error}")
        return EXIT_CONFIGURATION
    _report_configuration(loaded, log)
    if loaded.skipped and (not _log_is_stderr(arguments) or sys.stderr.isatty()):
        _print(_skipped_notice(loaded), sys.stderr)
    options = _options(arguments, loaded, log, grace)
    if options.origins["advertise"] == DISABLE_ADVERTISING and "--advertise" in arguments["given"]:
        log.information(f"The server is not advertised, because {DISABLE_ADVERTISING} is set")
    try:
        # Only a server that really runs needs all of it.
        from wstpserver.server.app import run

        code: int = run(loaded.settings, options, handed_over)
        return code
    except KeyboardInterrupt:
        # Ctrl-C before the server handles signals itself.
        return EXIT_OK
    except Exception:  # noqa: BLE001 - the last place that can report it
        log.error(f"Internal error:\n{traceback.format_exc()}")
        return EXIT_INTERNAL


def _report_configuration(loaded: LoadedSettings, log: Log) -> None:
    for warning in loaded.warnings:
        log.warning(str(warning))
    if loaded.created:
        log.information(f'Wrote a default configuration file to "{loaded.path}"')
    elif loaded.path is not None:
        log.information(f'Using the configuration file "{loaded.path}"')
    if loaded.default_kernel is not None:
        log.information(f'Using "{loaded.default_kernel.path}" as a default kernel path')


def _skipped_notice(loaded: LoadedSettings) -> str:
    """Say on the terminal that the server does not use a file that its user wrote, whatever the log goes to."""
    lines = ["wstpserver: WARNING: the configuration file was skipped because it is not valid:"]
    lines += [f"    {warning}" for warning in loaded.warnings]
    instead = f'"{loaded.path}"' if loaded.path is not None else "the defaults"
    lines.append(f"The server runs with {instead} instead. Correct the file, try it with --check, and restart.")
    return "\n".join(lines) + "\n"


def _source(arguments: dict[str, Any]) -> Source:
    command_line: dict[str, tuple[object, str]] = {}
    if arguments["--port"] is not None:
        command_line["Port"] = (arguments["--port"], "--port")
    if arguments["--interface"] is not None:
        command_line["Interface"] = (arguments["--interface"], "--interface")
    return Source(path=arguments["--configuration-file"], command_line=command_line)


def _options(
    arguments: dict[str, Any], loaded: LoadedSettings, log: Log, grace: GracePeriods = GRACE
) -> ServeOptions:
    given = arguments["given"]
    origins = {
        name: f"--{name.replace('_', '-')}" if f"--{name.replace('_', '-')}" in given else "default"
        for name in ("log_level", "log_file", "advertise")
    }
    origins |= {name: str(loaded.origins[(name.capitalize(),)]) for name in ("port", "interface")}
    advertise = arguments["--advertise"]
    if read_environment(loaded.source.environ).disable_advertising:
        advertise = None
        origins["advertise"] = DISABLE_ADVERTISING
    return ServeOptions(
        port=loaded.settings.port,
        interface=loaded.settings.interface,
        log_level=LogLevel(arguments["--log-level"]),
        log_file=_log_file(arguments),
        log=log,
        advertise=advertise,
        configuration_file=loaded.path,
        loaded=loaded,
        origins=origins,
        grace=grace,
    )


def _log_file(arguments: dict[str, Any]) -> str | None:
    """Return the log file's absolute path, None for stdout."""
    name = arguments["--log-file"]
    return None if name in (None, "", "-") else os.path.abspath(name)


def _log_is_stderr(arguments: dict[str, Any]) -> bool:
    """Return whether what is logged appears where stderr goes: the log goes to stdout, and both are one file."""
    if _log_file(arguments) is not None:
        return False
    try:
        return os.path.samestat(os.fstat(1), os.fstat(2))
    except OSError:
        return False


_UNPRINTABLE = re.compile(r"[^\n -~]")


def _print(text: str, stream: TextIO | None) -> None:
    """Print to a stream that may be closed, full, or unable to show every character.

    Characters that are not printable are written as escape sequences: names and values from a file must not
    control the terminal.
    """
    if stream is None:
        return
    try:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
        stream.write(_UNPRINTABLE.sub(_escaped, text))
        stream.flush()
    except OSError:
        # What is left in the buffer would cause an error message when Python ends.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _escaped(match: re.Match[str]) -> str:
    character = match.group()
    return character if character.isprintable() else character.encode("unicode_escape").decode("ascii")


# The effective settings


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


if __name__ == "__main__":
    sys.exit(main())
