"""The command line of wstpscript: long options with one dash, as wolframscript has them, or with two."""

from __future__ import annotations

import difflib
import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from wstpserver.cli.arguments import UsageError
from wstpserver.client.address import parse_address

#: Option names, the short ones too -> the name they are kept under.
_NAMES: Final = {
    "code": "code", "c": "code", "file": "file", "f": "file", "print": "print", "wstpserver": "wstpserver",
    "kernelpool": "kernelpool", "startprofile": "startprofile", "continueprofile": "continueprofile",
    "timeout": "timeout", "map": "map", "over": "over", "kernels": "kernels", "progress": "progress",
    "help": "help", "h": "help", "version": "version",
}  # fmt: skip
_VALUE_NEEDED: Final = ("code", "file", "kernelpool", "timeout", "map", "over", "kernels")
_VALUE_OPTIONAL: Final = ("wstpserver", "startprofile", "continueprofile")


@dataclass(frozen=True)
class ScriptArguments:
    """What the command line says. At most one of `code` and `file` is given, and of the two profiles."""

    code: str | None = None
    file: str | None = None
    #: As for `wstpserver.client.parse_address`; "" where the command line names no server.
    address: str = ""
    kernel_pool: str | None = None
    #: A file name, "" for the default profile; None where the option is not given.
    start_profile: str | None = None
    continue_profile: str | None = None
    print_result: bool = False
    #: Seconds; None for no limit.
    timeout: float | None = None
    #: A function, and the file of the data to apply it to; both or none.
    map: str | None = None
    over: str | None = None
    #: How many kernels do that; None for all that are free.
    kernels: int | None = None
    progress: bool = False
    help: bool = False
    version: bool = False


def parse(words: Sequence[str]) -> ScriptArguments:
    """The meaning of the command line's words. Raises UsageError, LinkSyntaxError."""
    given = _options(deque(words))
    arguments = ScriptArguments(
        code=given.get("code"),
        file=given.get("file"),
        address=given.get("wstpserver", ""),
        kernel_pool=given.get("kernelpool"),
        start_profile=given.get("startprofile"),
        continue_profile=given.get("continueprofile"),
        print_result="print" in given,
        timeout=_seconds(given["timeout"]) if "timeout" in given else None,
        map=given.get("map"),
        over=given.get("over"),
        kernels=_count(given["kernels"]) if "kernels" in given else None,
        progress="progress" in given,
        help="help" in given,
        version="version" in given,
    )
    if arguments.help or arguments.version:
        return arguments
    _check(arguments)
    return arguments


def _check(arguments: ScriptArguments) -> None:
    """Refuse what does not go together."""
    if arguments.code is not None and arguments.file is not None:
        raise UsageError("-code and -file exclude each other")
    if arguments.start_profile is not None and arguments.continue_profile is not None:
        raise UsageError("-startprofile and -continueprofile exclude each other")
    pool = parse_address(arguments.address).pool
    if arguments.kernel_pool == "":
        raise UsageError("-kernelpool needs a name")
    if arguments.kernel_pool is not None and pool is not None and pool != arguments.kernel_pool:
        raise UsageError(f"-kernelpool {arguments.kernel_pool} is not the pool {pool} of the address")
    if arguments.continue_profile is not None and (arguments.kernel_pool or pool):
        raise UsageError("-continueprofile goes back to one kernel: a pool cannot be chosen")
    _check_map(arguments)


def _check_map(arguments: ScriptArguments) -> None:
    if arguments.map is None:
        others = {"over": arguments.over, "kernels": arguments.kernels, "progress": arguments.progress or None}
        given = next((name for name, value in others.items() if value is not None), None)
        if given is not None:
            raise UsageError(f"-{given} goes with -map FUNCTION")
        return
    if arguments.over is None:
        raise UsageError("-map needs -over FILE: a JSON array, or a JSON value on each line (- for standard input)")
    if not arguments.map.strip():
        raise UsageError("-map needs a function, such as Prime or '#^2 &'")
    if arguments.over == arguments.file == "-":
        raise UsageError("-file and -over cannot both be standard input")
    profile = arguments.start_profile if arguments.continue_profile is None else arguments.continue_profile
    if profile is not None:
        raise UsageError("-map works with several kernels: a profile cannot be given")
    if arguments.print_result:
        raise UsageError("-map prints its results anyway: -print does not go with it")


def _options(words: deque[str]) -> dict[str, str]:
    """The options by name, with their values, "" where there is none."""
    given: dict[str, str] = {}
    while words:
        word = words.popleft()
        name, equals, value = word.lstrip("-").partition("=")
        if not word.startswith("-") or not name:
            raise UsageError(f"unexpected argument {word!r}")
        name = _known(name, word)
        if name in given:
            raise UsageError(f"-{name} is given twice")
        if name in _VALUE_NEEDED and not equals:
            # Code may begin with a dash: the next word is the value, whatever it is.
            if not words:
                raise UsageError(f"-{name} needs a value")
            value = words.popleft()
        elif name in _VALUE_OPTIONAL and not equals and words and not words[0].startswith("-"):
            value = words.popleft()
        elif equals and name in ("print", "progress", "help", "version"):
            raise UsageError(f"-{name} takes no value")
        given[name] = value
    return given


def _known(name: str, word: str) -> str:
    known = _NAMES.get(name.lower())
    if known is not None:
        return known
    nearest = difflib.get_close_matches(name.lower(), [long for long in _NAMES if len(long) > 1], n=1)
    raise UsageError(f"unknown option {word}" + (f"; did you mean -{nearest[0]}?" if nearest else ""))


def _count(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,6}", text) or int(text) < 1:
        raise UsageError(f"-kernels needs a number of kernels, 1 or more, not {text!r}")
    return int(text)


def _seconds(text: str) -> float:
    if not re.fullmatch(r"\d+\.?\d*|\.\d+", text):
        raise UsageError(f"-timeout needs a number of seconds, not {text!r}")
    return float(text)
