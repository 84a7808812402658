"""The configuration reference, ``docs/configuration.md``, made from the table of options."""

from __future__ import annotations

from collections.abc import Iterable

from wstpserver.settings.environment import VARIABLES
from wstpserver.settings.option import AUTOMATIC, Kind, Option
from wstpserver.settings.options import POOL_OPTIONS, ROOT_OPTIONS
from wstpserver.settings.sample import sample_text

_INTRODUCTION = """\
# Configuration

<!-- Made by tools/generate-docs from wstpserver/settings/root_options.py and pool_options.py; edit those instead. -->

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
    parts += [f"- `{name}`: {meaning}.\n" for name, meaning in VARIABLES.items()]
    parts.append("\n## The default configuration file\n\nThe same text is in `conf.example`.\n\n")
    parts.append(f"```\n{sample_text()}```\n")
    return "".join(parts)


def _section(title: str, options: Iterable[Option], extension: bool) -> list[str]:
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
