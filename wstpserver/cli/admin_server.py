"""The server that wstpserver-admin talks to."""

from __future__ import annotations

from typing import Final

from wstpserver.cli.admin_arguments import AdminArguments
from wstpserver.client import Address, Callbacks, ConnectError, LinkTimeout, Session, connect, parse_address

#: Seconds for the server to take the connection and to answer a question.
PATIENCE: Final = 10.0
_START: Final = "Start wstpserver, or name another server: --server PORT@HOST"


def address_of(arguments: AdminArguments) -> Address:
    """Where the server is. LinkSyntaxError."""
    return parse_address(arguments.server)


def open_server(address: Address, timeout: float = PATIENCE, callbacks: Callbacks | None = None) -> Session:
    """A session for commands: it takes no kernel, and none is started for it. Raises ConnectError, LinkTimeout."""
    try:
        return Session(connect(address, timeout, without_kernel=True), callbacks=callbacks, results="expression")
    except ConnectError as error:
        raise ConnectError(error.message, error.where, error.advice or _START) from error
    except LinkTimeout as error:
        raise LinkTimeout(error.message, error.where or str(address), error.advice or _START) from error
