"""``wstpserver-admin status``: once, or again and again."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable
from typing import Final

from wstpserver.cli.admin_arguments import AdminArguments
from wstpserver.cli.admin_errors import EXIT_OK
from wstpserver.cli.admin_report import report
from wstpserver.cli.admin_server import address_of, open_server
from wstpserver.cli.script_terminal import Terminal
from wstpserver.client import Address, LinkError, Session
from wstpserver.client.commands import read_information

_HOME: Final = "\x1b[H"
_CLEAR_LINE: Final = "\x1b[K"
_CLEAR_BELOW: Final = "\x1b[J"


def status(arguments: AdminArguments, terminal: Terminal) -> int:
    """Show pools and kernels. Raises ConnectError, LinkTimeout, LinkClosed, CommandError."""
    address = address_of(arguments)
    if not arguments.watch:
        with open_server(address) as session:
            terminal.write(_text(_ask(session), address, arguments.json, indent=True))
        return EXIT_OK
    try:
        _Watch(address, arguments, terminal).run()
    except KeyboardInterrupt:  # the way to end it
        pass
    return EXIT_OK


def _ask(session: Session) -> object:
    return session.command("GetServerInformation")


def _text(answer: object, address: Address, as_json: bool, indent: bool) -> str:
    if as_json:
        return json.dumps(answer, ensure_ascii=False, indent=2 if indent else None) + "\n"
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    return "\n".join(report(read_information(answer), str(address), width)) + "\n"


class _Watch:
    """Shows the status every few seconds, in place on a terminal. A server that goes away is waited for."""

    def __init__(self, address: Address, arguments: AdminArguments, terminal: Terminal) -> None:
        self._address = address
        self._arguments = arguments
        self._terminal = terminal
        self._session: Session | None = None
        self._show: Callable[[str], None] = self._append
        if sys.stdout.isatty() and not arguments.json:
            self._show = self._replace

    def run(self) -> None:
        """Until KeyboardInterrupt. The first time there must be a server: ConnectError, LinkTimeout."""
        self._session = open_server(self._address)
        try:
            while True:
                self._show(self._next())
                time.sleep(self._arguments.interval)
        finally:
            if self._session is not None:
                self._session.close()

    def _next(self) -> str:
        try:
            if self._session is None:
                self._session = open_server(self._address)
            return _text(_ask(self._session), self._address, self._arguments.json, indent=False)
        except LinkError as error:
            if self._session is not None:
                self._session.close()
                self._session = None
            if self._arguments.json:
                return json.dumps({"error": str(error)}, ensure_ascii=False) + "\n"
            return f"{error}\nTrying again every {self._arguments.interval:g} s\n"

    def _append(self, text: str) -> None:
        self._terminal.write(text if self._arguments.json else text + "\n")

    def _replace(self, text: str) -> None:
        """Over what is there, line by line, so that nothing flickers; no more lines than the terminal has."""
        clock = time.strftime("%H:%M:%S")
        room = shutil.get_terminal_size().lines - 2
        lines = text.splitlines()
        if len(lines) > room:
            lines = [*lines[: room - 1], f"({len(lines) - room + 1} more lines)"]
        lines.append(f"{clock}, every {self._arguments.interval:g} s, Ctrl-C ends")
        self._terminal.write(_HOME + "".join(f"{line}{_CLEAR_LINE}\n" for line in lines) + _CLEAR_BELOW)
