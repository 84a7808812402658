"""Texts made from the schema: the default configuration file and the reference page.

`sample_text` is the default configuration file: the documentation's sample with the extensions as further
comments. The server writes it where it finds no configuration, and `conf.example` holds the same text.
`reference_text` is the page `docs/configuration.md`.
"""

from __future__ import annotations

from collections.abc import Iterable

from wstpserver.settings.schema import (
    AUTOMATIC,
    ENVIRONMENT_VARIABLES,
    POOL_OPTIONS,
    ROOT_OPTIONS,
    Kind,
    Option,
)

#: Name of the pool that the default configuration has.
DEFAULT_POOL_NAME = "KernelPoolOne"

_KERNEL_PATHS = (
    'Only uncomment one of the "KernelPath" lines below',
    "Make sure to change the value to reflect the actual location of your Wolfram kernel binary",
    r'"KernelPath":"C:\\Program Files\\Wolfram Research\\Mathematica\\13.2\\wolfram",',
    '"KernelPath":"/usr/local/Wolfram/Mathematica/13.2/Executables/WolframKernel",',
    '"KernelPath":"/Applications/Mathematica.app/Contents/MacOS/WolframKernel",',
)

_PARALLEL_POOL = ('"ParallelKernelDefault":true,', '"ParallelKernels":true,', *_KERNEL_PATHS)


def sample_text() -> str:
    """The text of the default configuration file. All it sets is the name of one pool."""
    lines = ["{"]
    lines += _comments(4, ["Lines that begin with # are comments"])
    lines += _comments(4, _samples(ROOT_OPTIONS, extension=False))
    lines += _comments(4, ["Extensions, see docs/configuration.md"])
    lines += _comments(4, _samples(ROOT_OPTIONS, extension=True))
    lines += ['    "Pools":', "        {", f'            "{DEFAULT_POOL_NAME}":', "                {"]
    pool = [*_samples(POOL_OPTIONS, extension=False), "Extensions, see docs/configuration.md"]
    pool += _samples(POOL_OPTIONS, extension=True)
    lines += _comments(20, _without_last_comma(pool))
    lines += ["                },"]
    lines += _comments(12, ['"KernelPoolTwo":'])
    lines += _comments(16, ["{"])
    lines += _comments(20, _without_last_comma(list(_PARALLEL_POOL)))
    lines += _comments(16, ["}"])
    lines += ["        }", "}"]
    return "\n".join(lines) + "\n"


def _samples(options: Iterable[Option], *, extension: bool) -> list[str]:
    """Each option with its sample value, except those that have none or stand in the second pool."""
    lines: list[str] = []
    for option in options:
        if option.extension is not extension or not option.sample or option.key == "ParallelKernelDefault":
            continue
        if option.key == "KernelPath":
            lines += _KERNEL_PATHS
        else:
            lines.append(f'"{option.key}":{option.sample},')
    return lines


def _comments(indent: int, lines: list[str]) -> list[str]:
    return ["#" + " " * indent + line for line in lines]


def _without_last_comma(lines: list[str]) -> list[str]:
    return [*lines[:-1], lines[-1].removesuffix(",")]


_INTRODUCTION = """\
# Configuration

<!-- Made by tools/generate-docs from wstpserver/settings/schema.py and reference.py; edit those instead. -->

The server is controlled by a configuration file, `wstpserver.conf`. `wstpserver --check` reads it, says
what is wrong with it, and prints every value with the place it comes from.

## Which file

`--configuration-file FILE`, or else the environment variable WSTPSERVER_CONFIGURATION_FILE, names one file.
It must exist and be valid; otherwise the server ends with exit code 78. If neither is given, these are
tried in order:

1. `wstpserver.conf` in the current working directory;
2. `wstpserver.conf` in the application data directory:
   `%APPDATA%\\WSTPServer` on Windows, `~/Library/Application Support/WSTPServer` on macOS, elsewhere
   `WSTPServer` in `$XDG_CONFIG_HOME`, which is `~/.config` if it is not set.

A file of the search that is not valid is reported and skipped. If there is none in the application data
directory and none elsewhere, a default file is written there; a file that exists is never overwritten.
Where it cannot be written, the server says so and runs with the defaults.

The command line goes before the environment, the environment before the file, the file before the defaults.

## Format

JSON, with these freedoms: `#` begins a comment that goes to the end of the line (not inside a string), a
comma may follow the last member of an object, and the file may begin with a UTF-8 byte order mark. A key
may stand only once in an object. In a string, a backslash is written twice: `"C:\\\\Program Files\\\\..."`.

Every problem is reported with file, line, column and key, as many at once as can be told apart. Keys with
an automatic default also take the string `"automatic"`. A path is relative to the folder of the
configuration file, and may begin with `~`.

## Reloading

SIGHUP makes the server read its configuration again. New pools and new values take effect, running kernels
stay as they are. A configuration that is not valid changes nothing, and the log says what is wrong. Keys
marked with *restart* keep their values until the server is restarted.

"""


def reference_text() -> str:
    """The whole page, in Markdown."""
    parts = [_INTRODUCTION]
    parts += _section("Keys at the root", ROOT_OPTIONS, extension=False)
    parts += _section("Keys of a pool", POOL_OPTIONS, extension=False)
    parts.append("## Extensions\n\nKeys that only this server has.\n\n")
    parts += _section("Further keys at the root", ROOT_OPTIONS, extension=True)
    parts += _section("Further keys of a pool", POOL_OPTIONS, extension=True)
    parts.append("## Environment variables\n\nA variable that is set to nothing counts as not set.\n\n")
    parts += [f"- `{name}`: {meaning}.\n" for name, meaning in ENVIRONMENT_VARIABLES.items()]
    parts.append("\n## The default configuration file\n\nThe same text is in `conf.example`.\n\n")
    parts.append(f"```\n{sample_text()}```\n")
    return "".join(parts)


def _section(title: str, options: Iterable[Option], *, extension: bool) -> list[str]:
    level = "###" if extension else "##"
    head = f"{level} {title}\n\n| key | value | default | meaning |\n| --- | --- | --- | --- |\n"
    return [head, *(_row(option) for option in options if option.extension is extension), "\n"]


def _row(option: Option) -> str:
    meaning = option.summary + "." + (f" {option.details}" if option.details else "")
    meaning = meaning[0].upper() + meaning[1:]
    if not option.reloadable:
        meaning += " *(restart)*"
    cells = (f"`{option.key}`", _value(option), _default(option), meaning)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _value(option: Option) -> str:
    return option.expected + (f", {option.unit}" if option.unit else "")


def _default(option: Option) -> str:
    if option.required:
        return "required"
    if option.default is AUTOMATIC:
        return f"automatic: {option.automatic}"
    if option.kind is Kind.WORDS:
        return f'`"{" ".join(option.default)}"`'
    if option.kind is Kind.TEXT:
        return f'`"{option.default}"`'
    if option.kind is Kind.BOOLEAN:
        return "`true`" if option.default else "`false`"
    return f"`{option.default:.15g}`"
