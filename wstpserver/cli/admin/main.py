"""wstpserver-admin - shows and controls a running WSTPServer: its pools and its kernels.

Usage:
  wstpserver-admin [options] status [--json] [--watch] [--interval SECONDS]
  wstpserver-admin [options] wait [--pool POOL] [--kernels N] [--timeout SECONDS]
  wstpserver-admin [options] start [--command COMMAND]
  wstpserver-admin [options] close (ID... | --pool POOL [--reserved] | --reserved | --all)
  wstpserver-admin [options] abort ID...
  wstpserver-admin [options] connect ID
  wstpserver-admin [options] clients [--pool POOL] [--json]
  wstpserver-admin [options] kick CLIENT... [--json]
  wstpserver-admin [options] top [--once] [--interval SECONDS] [--sort KEY] [--json]
  wstpserver-admin [options] drain [--pool POOL] [--kick-idle SECONDS] [--timeout SECONDS [--kick]] [--json]
  wstpserver-admin [options] (pause | resume) [--pool POOL] [--json]
  wstpserver-admin [options] (reload | restart)
  wstpserver-admin [options] stop [--keep-kernels SECONDS]
  wstpserver-admin [options] (help | version)
  wstpserver-admin [options] completion SHELL
  wstpserver-admin --help | --version

Commands:
  status      Show the server, its pools and its kernels.
  wait        Return when the server is there and a pool is ready.
  start       Start a kernel outside all pools, and print its ID.
  close       Close kernels, also busy ones.
  abort       Abort what kernels evaluate; they stay with their clients.
  connect     Open an interactive session with a kernel, as wstpscript does; Ctrl-D leaves it as it is.
  clients     List the clients, with what they do. This and the commands below are for the server's user and root on
              its machine, and for clients with a token.
  kick        Close the links of clients, named by their numbers or addresses, whatever is under way.
  top         Show what kernels and clients do, again and again: q quits, other keys sort.
  drain       Admit no more clients to a pool, or the server, and wait until those that are there have left.
  pause       Let clients that ask for a kernel wait.
  resume      Admit clients again, after drain and pause.
  reload      Have the server read its configuration again.
  restart     Have the server execute its program again; kernels and clients stay.
  stop        Stop the server, and wait until it has stopped.
  help        Print this help.
  version     Print the version of this program, and of the server if there is one.
  completion  Print what makes a shell (bash, zsh or fish) complete the command lines of all three programs.

Options:
  -s, --server ADDRESS    The server: PORT, PORT@HOST or wstp://HOST:PORT (wstps:// with TLS). Without it the
                          environment variable WSTPSERVER, else 31415@localhost.
  -j, --json              status: what the server answers, as JSON. Other commands: their results as JSON.
  -w, --watch             status: show it again and again, until Ctrl-C.
  -i, --interval SECONDS  status --watch, top: how often. [default: 2]
  -o, --once              top: show it once, and not on a terminal of its own.
  -S, --sort KEY          top: sort by busy time (b), kernel (k), pool (p), state (s), evaluations per second (e),
                          processor (c) or memory (m). [default: b]
  -p, --pool POOL         wait: for this pool instead of the default pool. Others: this pool, instead of all.
  -k, --kernels N         wait: until N kernels are free, not until the pool's minimum has been started.
  -t, --timeout SECONDS   wait, drain: give up after this time.
  --kick-idle SECONDS     drain: close the links of clients that have had nothing under way for so long.
  --kick                  drain: after the timeout close the links of those that are left, whatever is under way.
  -c, --command COMMAND   start: the kernel's command line, instead of that of the default pool.
  -r, --reserved          close: kernels that are reserved for clients that left.
  -a, --all               close: all kernels.
  --keep-kernels SECONDS  stop: leave the kernels running for the next server, if that comes within this time.
  -h, --help              Print this help.
  --version               Print the version.

The environment variable WSTPSERVER_TOKEN_FILE names a file with the access token for the server, if it needs one.

No command takes a kernel of a pool away from a client, except close, kick, and connect, which takes the kernel that is
named.

Exit codes: 0; 1 the server refuses, or has no such kernel or pool; 64 wrong usage; 69 no server;
74 the output cannot be written; 75 wait, drain or stop timed out; 130 ended by Ctrl-C; 141 nobody reads the output.
connect has those of wstpscript.
"""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from docopt import DocoptExit, docopt

from wstpserver.cli.admin.clients import SORTS, clients, kick, top
from wstpserver.cli.admin.kernels import abort, close, connect, drain, pause, resume, start, wait
from wstpserver.cli.admin.status import open_server, reload, restart, status, stop
from wstpserver.cli.options import CommandOption, UsageError, normalise, options_of
from wstpserver.cli.script.connect import explain_end, server_name
from wstpserver.cli.terminal import ExitCode, ProgramError, Terminal, run_program
from wstpserver.client import Address, CommandError, LinkError, LinkSyntaxError, parse_address
from wstpserver.version import VERSION
from wstpserver.wire.errors import WSTPError

DOCUMENT: Final = __doc__ or ""


def main(words: Sequence[str] | None = None) -> int:
    """The program ``wstpserver-admin``; returns its exit code."""
    given = sys.argv[1:] if words is None else words
    return run_program("wstpserver-admin", "--help", lambda terminal: _main(given, terminal))


def _main(words: Sequence[str], terminal: Terminal) -> int:
    arguments = parse(DOCUMENT, words)
    if arguments.help:
        terminal.write(DOCUMENT)
        return ExitCode.OK
    if arguments.version:
        terminal.write(f"wstpserver-admin {VERSION}\n")
        return ExitCode.OK
    try:
        return _run(arguments, terminal)
    except (ProgramError, LinkSyntaxError):
        raise
    except WSTPError as error:
        unavailable = isinstance(error, LinkError) and not isinstance(error, CommandError)
        text = explain_end(error, parse_address(server_name(arguments.server)))
        raise ProgramError(text, ExitCode.UNAVAILABLE if unavailable else ExitCode.FAILED) from None


def _run(arguments: AdminArguments, terminal: Terminal) -> int:
    """Carry out the command."""
    if arguments.command == "help":
        terminal.write(DOCUMENT)
        return ExitCode.OK
    if arguments.command == "completion":
        from wstpserver.cli.completion import completion_script  # which knows all programs

        terminal.write(completion_script(arguments.shell, DOCUMENT))
        return ExitCode.OK
    named = server_name(arguments.server)
    address = parse_address(named)
    if address.pool is not None:
        raise UsageError(f"--server {named}: a server is needed, not a pool of it; for wait and close say --pool")
    match arguments.command:
        case "status":
            interval = arguments.interval if arguments.watch else None
            return status(address, terminal, as_json=arguments.json, interval=interval)
        case "wait":
            return wait(address, terminal, arguments.pool, arguments.free, arguments.timeout)
        case "start":
            return start(address, terminal, arguments.command_line)
        case "close":
            return close(address, terminal, arguments.kernels, pool=arguments.pool, reserved=arguments.reserved)
        case "abort":
            return abort(address, terminal, arguments.kernels)
        case "clients":
            return clients(address, terminal, arguments.pool, as_json=arguments.json)
        case "kick":
            return kick(address, terminal, arguments.clients, as_json=arguments.json)
        case "top":
            return top(
                address,
                terminal,
                once=arguments.once,
                interval=arguments.interval,
                sort=arguments.sort,
                as_json=arguments.json,
            )
        case "drain":
            return drain(
                address,
                terminal,
                arguments.pool,
                arguments.timeout,
                kick_idle=arguments.kick_idle,
                kick=arguments.kick,
                as_json=arguments.json,
            )
        case "pause":
            return pause(address, terminal, arguments.pool, as_json=arguments.json)
        case "resume":
            return resume(address, terminal, arguments.pool, as_json=arguments.json)
        case "reload":
            return reload(address, terminal)
        case "restart":
            return restart(address, terminal)
        case "stop":
            return stop(address, terminal, arguments.keep_kernels)
        case "version":
            return _version(address, terminal)
        case _:
            return connect(address, terminal, *arguments.kernels)


def _version(address: Address, terminal: Terminal) -> int:
    """The version of this program and of the server, if there is one that tells it."""
    terminal.write(f"wstpserver-admin {VERSION}\n")
    try:
        with open_server(address, terminal) as session:
            answer = session.command("GetServerInformation")
    except WSTPError:
        return ExitCode.OK
    told = answer.get("ServerVersion") if isinstance(answer, dict) else None
    terminal.write(f"wstpserver {told or '(version not told)'} at {address}\n")
    return ExitCode.OK


# The command line: a command, its arguments, and options before, between and after them.


#: Each command with the options that go with it beside --server.
_OPTIONS: Final = {
    "status": ("json", "watch", "interval"),
    "wait": ("pool", "kernels", "timeout"),
    "start": ("command",),
    "close": ("pool", "reserved", "all"),
    "abort": (),
    "connect": (),
    "clients": ("pool", "json"),
    "kick": ("json",),
    "top": ("once", "interval", "sort", "json"),
    "drain": ("pool", "timeout", "kick-idle", "kick", "json"),
    "pause": ("pool", "json"),
    "resume": ("pool", "json"),
    "reload": (),
    "restart": (),
    "stop": ("keep-kernels",),
    "help": (),
    "version": (),
    "completion": (),
}
_SHELLS: Final = ("bash", "zsh", "fish")
_FOR_ALL: Final = ("server", "help", "version")
_KERNEL_ID: Final = re.compile(r"[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}")


@dataclass(frozen=True)
class AdminArguments:
    """What the command line says; `command` is "" with help or version. Times are in seconds."""

    command: str = ""
    #: As for `wstpserver.client.parse_address`; "" where no server is named.
    server: str = ""
    kernels: tuple[str, ...] = ()
    clients: tuple[str, ...] = ()
    json: bool = False
    watch: bool = False
    interval: float = 2.0
    pool: str | None = None
    #: How many free kernels to wait for; None for the pool's minimum.
    free: int | None = None
    timeout: float | None = None
    #: For how long clients have to be idle so that drain closes their links; None for no such clients.
    kick_idle: float | None = None
    #: Whether drain closes the links of all that are left after the timeout.
    kick: bool = False
    command_line: str | None = None
    reserved: bool = False
    all: bool = False
    once: bool = False
    sort: str = "b"
    shell: str = ""
    #: For how long the kernels are left to the next server; None to close them.
    keep_kernels: float | None = None
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
    except DocoptExit:
        raise UsageError(f"wrong usage of {others[0]}") from None
    if found["--sort"] not in SORTS:
        raise UsageError(f"--sort needs one of the keys {', '.join(SORTS)}, not {found['--sort']!r}")
    server = found["--server"] if "server" in names else ""
    if parse_address(server).pool is not None:
        raise UsageError(f"--server {server}: a server is needed, not a pool of it; for wait and close say --pool")
    return AdminArguments(
        command=others[0],
        server=server,
        kernels=tuple(_kernel_id(name) for name in found["ID"] or ()),
        clients=tuple(name.removeprefix("Client ") for name in found["CLIENT"] or ()),
        json=found["--json"],
        watch=found["--watch"],
        interval=_seconds("--interval", found["--interval"]) or 2.0,
        pool=found["--pool"],
        free=_number("--kernels", found["--kernels"]),
        timeout=_seconds("--timeout", found["--timeout"]),
        kick_idle=_seconds("--kick-idle", found["--kick-idle"]),
        kick=found["--kick"],
        command_line=found["--command"],
        reserved=found["--reserved"],
        all=found["--all"],
        once=found["--once"],
        sort=found["--sort"],
        shell=found["SHELL"] or "",
        keep_kernels=_seconds("--keep-kernels", found["--keep-kernels"]),
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
        exact = [option for option in known if option.long == word[2:]]
        return any(option.value and option.long.startswith(word[2:]) for option in exact or known)
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
            *first, last = [owner for owner, theirs in _OPTIONS.items() if name in theirs]
            owners = f"{', '.join(first)} and {last}" if first else last
            raise UsageError(f"--{name} belongs to {owners}, not to {command}")
    if command == "status" and "interval" in names and "watch" not in names:
        raise UsageError("--interval says how often --watch looks; it has no meaning without")
    most = {"close": len(rest), "abort": len(rest), "kick": len(rest), "connect": 1, "completion": 1}.get(command, 0)
    if len(rest) > most:
        raise UsageError(f"unexpected argument {rest[most]!r} after {command}")
    selecting = [name for name in ("all", "pool", "reserved") if name in names] if command == "close" else []
    if command in ("close", "abort", "connect") and not rest and not selecting:
        instead = ", or --pool, --reserved or --all" if command == "close" else ""
        raise UsageError(f"{command} needs the ID of a kernel{instead}; wstpserver-admin status shows them")
    if selecting and (rest or ("all" in selecting and len(selecting) > 1)):
        raise UsageError("close takes either IDs, or --all, or --pool and --reserved")
    if "kick" in names and "timeout" not in names:
        raise UsageError("--kick says what happens after --timeout; it has no meaning without")
    if command == "kick" and not rest:
        raise UsageError("kick needs the number or the address of a client; wstpserver-admin clients shows them")
    if command == "completion" and rest not in [[shell] for shell in _SHELLS]:
        raise UsageError(f"completion needs the name of a shell: {', '.join(_SHELLS)}")


def _kernel_id(text: str) -> str:
    if not _KERNEL_ID.fullmatch(text.lower()):
        raise UsageError(f"{text!r} is not a kernel ID such as a806-2645-9651; wstpserver-admin status shows them")
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


if __name__ == "__main__":
    sys.exit(main())
