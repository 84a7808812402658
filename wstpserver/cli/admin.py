"""wstpserver-admin - looks after a running WSTPServer: its pools and its kernels.

Usage:
  wstpserver-admin [options] status [--json] [--watch] [--interval SECONDS]
  wstpserver-admin [options] wait [--pool POOL] [--kernels N] [--timeout SECONDS]
  wstpserver-admin [options] start [--command COMMAND]
  wstpserver-admin [options] close ID...
  wstpserver-admin [options] connect ID
  wstpserver-admin --help | --version

Commands:
  status   Show the pools and the kernels.
  wait     Return when the server is there and a pool is ready.
  start    Start a kernel outside all pools, and print its ID.
  close    Close kernels, also busy ones.
  connect  Open an interactive session with a kernel, as wstpscript does; Ctrl-D leaves it as it is.

Options:
  -s, --server ADDRESS    The server: PORT, PORT@HOST or wstp://HOST:PORT. [default: 31415@localhost]
  -j, --json              status: what the server answers, as JSON.
  -w, --watch             status: show it again and again, until Ctrl-C.
  -i, --interval SECONDS  status: how often with --watch. [default: 2]
  -p, --pool POOL         wait: for this pool instead of the default pool.
  -k, --kernels N         wait: until N kernels are free, not until the pool's minimum has been started.
  -t, --timeout SECONDS   wait: give up after this time.
  -c, --command COMMAND   start: the kernel's command line, instead of that of the default pool.
  -h, --help              Print this help.
  --version               Print the version.

None of the commands takes a kernel of a pool away from anybody, except connect, which takes the kernel it is told to.

Exit codes: 0; 1 the server refuses, or has no such kernel or pool; 64 wrong usage; 69 no server;
75 the time of wait is over; 130 ended by Ctrl-C; 141 nobody reads the output. That of connect is that of wstpscript.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Final

from wstpserver.cli.admin_arguments import AdminArguments, parse
from wstpserver.cli.admin_errors import (
    EXIT_CLOSED_PIPE,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_REFUSED,
    EXIT_UNAVAILABLE,
    EXIT_USAGE,
    AdminError,
)
from wstpserver.cli.admin_kernels import close, connect, start
from wstpserver.cli.admin_status import status
from wstpserver.cli.admin_wait import wait
from wstpserver.cli.options import UsageError
from wstpserver.cli.script_terminal import Terminal
from wstpserver.client import CommandError, LinkError, LinkSyntaxError
from wstpserver.version import VERSION
from wstpserver.wire.errors import WSTPError

DOCUMENT: Final = __doc__ or ""

_COMMANDS: Final[dict[str, Callable[[AdminArguments, Terminal], int]]] = {
    "status": status,
    "wait": wait,
    "start": start,
    "close": close,
    "connect": connect,
}


def main(words: Sequence[str] | None = None) -> int:
    """The program ``wstpserver-admin``; returns its exit code."""
    terminal = Terminal()
    try:
        arguments = parse(DOCUMENT, sys.argv[1:] if words is None else words)
        if arguments.help:
            terminal.write(DOCUMENT)
            return EXIT_OK
        if arguments.version:
            terminal.write(f"wstpserver-admin {VERSION}\n")
            return EXIT_OK
        return _COMMANDS[arguments.command](arguments, terminal)
    except (UsageError, LinkSyntaxError) as error:
        terminal.error(f"wstpserver-admin: {error}\nTry wstpserver-admin --help.")
        return EXIT_USAGE
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        terminal.abandon()
        return EXIT_CLOSED_PIPE
    except WSTPError as error:
        terminal.error(f"wstpserver-admin: {error}")
        return _code_of(error)


def _code_of(error: WSTPError) -> int:
    if isinstance(error, AdminError):
        return error.code
    refused = isinstance(error, CommandError) or not isinstance(error, LinkError)
    return EXIT_REFUSED if refused else EXIT_UNAVAILABLE


if __name__ == "__main__":
    sys.exit(main())
