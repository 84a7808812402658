"""The command line of wstpserver-admin: a command, its arguments, and options before, between and after them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from docopt import DocoptExit, docopt

from wstpserver.cli.arguments import CommandOption, UsageError, normalise, options_of
from wstpserver.client.address import parse_address

#: Each command with the options that go with it beside --server.
_OPTIONS: Final = {
    "status": ("json", "watch", "interval"),
    "wait": ("pool", "kernels", "timeout"),
    "start": ("command",),
    "close": (),
    "connect": (),
}
_FOR_ALL: Final = ("server", "help", "version")
_KERNEL_ID: Final = re.compile(r"[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}")


@dataclass(frozen=True)
class AdminArguments:
    """What the command line says; `command` is "" with help or version. Times are in seconds."""

    command: str = ""
    #: As for `wstpserver.client.parse_address`; "" where no server is named.
    server: str = ""
    kernels: tuple[str, ...] = ()
    json: bool = False
    watch: bool = False
    interval: float = 2.0
    pool: str | None = None
    #: How many free kernels to wait for; None for the pool's minimum.
    free: int | None = None
    timeout: float | None = None
    command_line: str | None = None
    help: bool = False
    version: bool = False


def parse(document: str, words: Sequence[str]) -> AdminArguments:
    """The meaning of the words, by the docopt help text `document`. Raises UsageError, LinkSyntaxError."""
    options, others = _parted(options_of(document), words)
    given = normalise(document, options)
    names = [word.partition("=")[0].removeprefix("--") for word in given]
    if "help" in names or "version" in names:
        return AdminArguments(help="help" in names, version="version" in names)
    _check_command(others, names)
    try:
        found: dict[str, Any] = docopt(document, [*given, *others], help=False)
    except DocoptExit as error:
        raise UsageError(str(error)) from None
    server = found["--server"] if "server" in names else ""
    if parse_address(server).pool is not None:
        raise UsageError(f"--server {server}: a server is needed, not a pool of it; for wait say --pool")
    return AdminArguments(
        command=others[0],
        server=server,
        kernels=tuple(_kernel_id(name) for name in found["ID"] or ()),
        json=found["--json"],
        watch=found["--watch"],
        interval=_seconds("--interval", found["--interval"]) or 2.0,
        pool=found["--pool"],
        free=_number("--kernels", found["--kernels"]),
        timeout=_seconds("--timeout", found["--timeout"]),
        command_line=found["--command"],
    )


def _parted(known: list[CommandOption], words: Sequence[str]) -> tuple[list[str], list[str]]:
    """(options with their values, the other words)."""
    options: list[str] = []
    others: list[str] = []
    waiting = iter(words)
    for word in waiting:
        if not word.startswith("-") or word in ("-", "--"):
            others.append(word)
            continue
        options.append(word)
        if _wants_value(known, word):
            options.extend(islice(waiting, 1))
    return options, others


def _wants_value(known: Iterable[CommandOption], word: str) -> bool:
    """Whether the next word is the value of this one: after ``--pool``, ``-p``, ``-jp``, not ``--pool=x``, ``-px``."""
    if word.startswith("--"):
        return any(option.value and option.long.startswith(word[2:]) for option in known)
    for position, letter in enumerate(word[1:], 2):
        option = next((option for option in known if option.short == letter), None)
        if option is None or option.value:
            return option is not None and position == len(word)
    return False


def _check_command(others: list[str], names: list[str]) -> None:
    """Say what is wrong where docopt would only say that something is."""
    if not others:
        raise UsageError(f"a command is needed: {', '.join(_OPTIONS)}")
    command, *rest = others
    if command not in _OPTIONS:
        nearest = difflib.get_close_matches(command, _OPTIONS, n=1)
        hint = f"did you mean {nearest[0]}?" if nearest else f"the commands are {', '.join(_OPTIONS)}"
        raise UsageError(f"unknown command {command!r}; {hint}")
    for name in names:
        if name not in _OPTIONS[command] and name not in _FOR_ALL:
            owner = next(owner for owner, theirs in _OPTIONS.items() if name in theirs)
            raise UsageError(f"--{name} belongs to {owner}, not to {command}")
    if "interval" in names and "watch" not in names:
        raise UsageError("--interval says how often --watch looks; it has no meaning without")
    if command in ("close", "connect") and not rest:
        raise UsageError(f"{command} needs the ID of a kernel; wstpserver-admin status shows them")
    most = {"close": len(rest), "connect": 1}.get(command, 0)
    if len(rest) > most:
        raise UsageError(f"unexpected argument {rest[most]!r} after {command}")


def _kernel_id(text: str) -> str:
    if not _KERNEL_ID.fullmatch(text.lower()):
        raise UsageError(f"{text!r} is no kernel ID such as a806-2645-9651; wstpserver-admin status shows them")
    return text.lower()


def _number(option: str, text: str | None) -> int | None:
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,6}", text) or int(text) < 1:
        raise UsageError(f"{option} needs a number of kernels, 1 or more, not {text!r}")
    return int(text)


def _seconds(option: str, text: str | None) -> float | None:
    if text is None:
        return None
    if not re.fullmatch(r"\d{1,9}(\.\d*)?|\.\d+", text) or float(text) <= 0:
        raise UsageError(f"{option} needs a number of seconds greater than 0, not {text!r}")
    return float(text)
