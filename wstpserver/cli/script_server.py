"""Which server wstpscript talks to: the one that is named, else that of this computer, else one that is advertised."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from wstpserver.client import Address, Callbacks, ConnectError, Session, parse_address
from wstpserver.client.connecting import CONNECT_TIMEOUT
from wstpserver.client.deadline import Deadline
from wstpserver.client.discover import discover

#: Seconds for the servers of the local network to answer. All are waited for, so that the choice does not depend on
#: which one is the fastest.
DISCOVERY_TIME: Final = 1.0


def open_session(
    name: str, deadline: Deadline, callbacks: Callbacks, announce: Callable[[str], None]
) -> tuple[Session, Address]:
    """A session with the server at *name*, and where that is. A pool in it (see `parse_address`) is left to the caller.

    An empty name is the server on port 31415 of this computer. Where nothing answers there it is the first one by
    name that is advertised on the local network and can be connected to; *announce* is told which.

    Raises ConnectError, LinkTimeout, LinkSyntaxError.
    """
    here = parse_address(name)
    try:
        return _connect(here, deadline, callbacks), here
    except ConnectError as error:
        if name:
            raise
        problem = error
    for found, address in _advertised(deadline):
        try:
            session = _connect(address, deadline, callbacks)
        except ConnectError:
            continue
        announce(f"using {found} at {address}")
        return session, address
    raise ConnectError(problem.message, problem.where, _NOBODY) from problem


_NOBODY: Final = "No server is advertised on this network either. Start wstpserver, or name one: -wstpserver PORT@HOST"


def _advertised(deadline: Deadline) -> list[tuple[str, Address]]:
    remaining = deadline.remaining()
    seconds = DISCOVERY_TIME if remaining is None else min(DISCOVERY_TIME, remaining)
    return [(name, parse_address(text)) for name, text in discover(seconds)]


def _connect(address: Address, deadline: Deadline, callbacks: Callbacks) -> Session:
    remaining = deadline.remaining()
    limit = CONNECT_TIMEOUT if remaining is None else min(CONNECT_TIMEOUT, remaining)
    return Session(Address(address.data, address.message), limit, callbacks=callbacks, results="expression")
