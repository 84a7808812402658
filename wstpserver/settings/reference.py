"""Texts made from the schema: the default configuration file and the reference page.

`sample_text` is the default configuration file: the documentation's sample with the extensions as further
comments. The server writes it where it finds no configuration, and `conf.example` holds the same text.
`reference_text` is the page `docs/configuration.md`.
"""

from __future__ import annotations

import json
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

#: What the default file sets for its first pool. Under the defaults of absent keys, two clients that end without
#: closing their kernels leave the pool without a kernel for the next one, as used kernels stay reserved.
_SET = {
    "MaximumKernelNumber": ("8", "Room for further clients while used kernels are reserved"),
    "ReservedKernelTimeout": ("3600", "Close a reserved kernel that no client has come back to for an hour"),
}

#: Keys that are recommended in some situation, with that.
_RECOMMENDED = {
    "AllowedUsers": "Recommended where other people can log in to this computer: a kernel runs whatever it is sent",
}

_PARALLEL_POOL = (
    '    "ParallelKernelDefault":true,',
    '    "ParallelKernels":true,',
    *(f"#    {line}" for line in _KERNEL_PATHS),
    "#    No kernel runs before a front end asks for one; each is closed when its client leaves",
    '    "MinimumKernelNumber":0,',
    '    "MaximumKernelNumber":8,',
    '    "KeepAlive":false',
)


def sample_text() -> str:
    """Return the text of the default configuration file.

    It has two pools. The first has room for several clients, and closes reserved kernels that are not used
    for an hour. The second is for parallel computing and starts kernels on demand.
    """
    lines = ["{"]
    lines += _comments(4, ["Lines that begin with # are comments"])
    lines += _comments(4, _samples(ROOT_OPTIONS, extension=False))
    lines += _comments(4, ["Extensions, see docs/configuration.md"])
    lines += _comments(4, _samples(ROOT_OPTIONS, extension=True))
    lines += ['    "Pools":', "        {", f'            "{DEFAULT_POOL_NAME}":', "                {"]
    pool = [*_samples(POOL_OPTIONS, extension=False), "Extensions, see docs/configuration.md"]
    pool += _samples(POOL_OPTIONS, extension=True)
    for line in pool:
        lines += _set_line(20, line) or _comments(20, [line])
    lines += ["                },", '            "KernelPoolTwo":', "                {"]
    lines += [line[0] + " " * 16 + line[1:] for line in _PARALLEL_POOL]
    lines += ["                }", "        }", "}"]
    return "\n".join(lines) + "\n"


def _samples(options: Iterable[Option], *, extension: bool) -> list[str]:
    """Return a line for each option with its sample value, except those of the second pool."""
    lines: list[str] = []
    for option in options:
        if option.extension is not extension or not option.sample or option.key == "ParallelKernelDefault":
            continue
        if option.key == "KernelPath":
            lines += _KERNEL_PATHS
        else:
            if option.key in _RECOMMENDED:
                lines.append(_RECOMMENDED[option.key])
            value = _SET[option.key][0] if option.key in _SET else option.sample
            lines.append(f'"{option.key}":{value},')
    return lines


def _set_line(indent: int, line: str) -> list[str]:
    """Return the line without a comment sign, after its reason, if the default file sets its key, else nothing."""
    key = line.partition('"')[2].partition('"')[0]
    if key not in _SET:
        return []
    return [*_comments(indent, [_SET[key][1]]), " " * indent + line]


def _comments(indent: int, lines: list[str]) -> list[str]:
    return ["#" + " " * indent + line for line in lines]


_INTRODUCTION = """\
# Configuration

<!-- Made by tools/generate-docs from wstpserver/settings/schema.py and reference.py; edit those instead. -->

The configuration file, `wstpserver.conf`, controls the server. `wstpserver --check` reads it, reports every
error, and prints each value with its origin. Its last line says whether the configuration is valid.

## Which file

The option `--configuration-file FILE`, or else the environment variable WSTPSERVER_CONFIGURATION_FILE, names
the file. It must exist and be valid; otherwise the server ends with exit code 78. If neither is given, the
server looks for these files in this order:

1. `wstpserver.conf` in the current working directory;
2. `wstpserver.conf` in the application data directory:
   `%APPDATA%\\WSTPServer` on Windows, `~/Library/Application Support/WSTPServer` on macOS, elsewhere
   `WSTPServer` in `$XDG_CONFIG_HOME`, which is `~/.config` if it is not set.

The search skips a file that is not valid: the server says so in the log and, as a warning, on stderr, and
`--check` ends with exit code 78. If no valid file is found and the application data directory has none, the
server creates a [default file](#the-default-configuration-file) there. It never overwrites a file. Where it
cannot create the file, it says so and uses the defaults of the tables below.

Command-line options override environment variables, which override the file, which overrides the defaults.

## Format

JSON in UTF-8, with these additions: `#` begins a comment that ends with the line (not inside a string), a comma
may follow the last member of an object, the file may begin with a byte order mark, and any Unicode blank counts
as a blank outside strings (text copied from web pages holds no-break spaces). A key may appear only once in an
object. In a string, write a backslash as two: `"C:\\\\Program Files\\\\..."`.

Each error names file, line, column and key; one run reports as many errors as possible. Keys with an automatic
default also accept the string `"automatic"`. Where a number of seconds is expected, `Infinity` means no limit; it
stands for 0 where 0 means no limit, otherwise for a year. A path is relative to the folder of the configuration
file, and may begin with `~`.

## Reloading

SIGHUP makes the server read its configuration again. New pools and new values take effect; running kernels
keep running. If the configuration is not valid, nothing changes and the log says what is wrong. Keys marked
*restart* keep their values until the server is restarted.

"""


_DEFAULT_FILE = """
## The default configuration file

This is the file that the server creates where it finds none; `conf.example` holds the same text. Its values
differ from the defaults of absent keys: the first pool has room for more clients than two and closes reserved
kernels after an hour without a client, and a second pool serves parallel computing. To keep reserved kernels
for ever, as the defaults do, set `ReservedKernelTimeout` to 0.

"""


def reference_text() -> str:
    """Return the page `docs/configuration.md`, in Markdown."""
    parts = [_INTRODUCTION]
    parts += _section("Keys at the root", ROOT_OPTIONS, extension=False)
    parts += _section("Keys of a pool", POOL_OPTIONS, extension=False)
    parts.append("## Extensions\n\nKeys that the original server does not have.\n\n")
    parts += _section("Further keys at the root", ROOT_OPTIONS, extension=True)
    parts += _section("Further keys of a pool", POOL_OPTIONS, extension=True)
    parts.append("## Environment variables\n\nAn empty variable counts as unset.\n\n")
    parts += [f"- `{name}`: {meaning}.\n" for name, meaning in ENVIRONMENT_VARIABLES.items()]
    parts.append(_DEFAULT_FILE)
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
    if option.kind in (Kind.NETWORKS, Kind.USERS):
        return f"`{json.dumps(option.default)}`"
    if option.kind is Kind.WORDS:
        return f'`"{" ".join(option.default)}"`'
    if option.kind is Kind.VARIABLES:
        return "`{}`"
    if option.kind is Kind.TEXT:
        return f'`"{option.default}"`'
    if option.kind is Kind.BOOLEAN:
        return "`true`" if option.default else "`false`"
    return f"`{option.default:.15g}`"
