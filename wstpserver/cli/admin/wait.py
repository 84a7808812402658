"""The commands of wstpserver-admin that concern pools: wait until one is ready, drain, pause, resume."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Mapping
from typing import Any, Final

from wstpserver.cli.admin.clients import administer, client_information, named
from wstpserver.cli.admin.status import ANSWER_TIMEOUT, open_server
from wstpserver.cli.terminal import ExitCode, ProgramError, Terminal, WaitNotice
from wstpserver.client import Address, ConnectError, LinkClosed, LinkTimeout, Session
from wstpserver.client.commands import PoolInformation, server_information
from wstpserver.client.deadline import Deadline

#: So many clients are named that a pool is not drained of yet.
_NAMED: Final = 5

#: Seconds between two looks. The server has no event for it; a look costs it less than a millisecond.
INTERVAL: Final = 0.2


def wait(
    address: Address, terminal: Terminal, pool: str | None, free: int | None, timeout: float | None
) -> int:
    """Return when a pool is ready; on a terminal what is missing is shown meanwhile.

    Args:
        address: The server. It need not be there yet.
        terminal: Where to report.
        pool: Name of the pool; None for the default pool.
        free: How many kernels are to be free; None to wait until the pool's minimum has been started.
        timeout: Seconds; None for no limit.

    Raises:
        ProgramError: The pool cannot get ready, or did not in time.
        CommandError: The server does not say how its pools are.
    """
    waiting = _PoolWatch(address, pool, free, terminal)
    deadline = Deadline(timeout)
    # Elsewhere than on a terminal nothing is said, so that scripts can do as they like.
    progress = WaitNotice(terminal, lambda: waiting.reason, None if timeout is None else deadline)
    with contextlib.closing(waiting), progress if terminal.updates_lines else contextlib.nullcontext():
        while not waiting.look(deadline):
            if deadline.expired:
                raise ProgramError(f"not ready {deadline}: {waiting.reason}", ExitCode.TIMED_OUT)
            time.sleep(deadline.at_most(INTERVAL).remaining() or 0.0)
    return ExitCode.OK


class _PoolWatch:
    """Looks at the pool. `reason` says why it was not ready the last time."""

    def __init__(self, address: Address, pool: str | None, free: int | None, terminal: Terminal) -> None:
        self._address = address
        self._pool = pool
        self._free = free
        self._terminal = terminal
        self._session: Session | None = None
        self._warned = False
        self.reason = ""

    def look(self, deadline: Deadline) -> bool:
        """Whether all is ready, as far as can be seen before the deadline."""
        limit = max(0.05, deadline.at_most(ANSWER_TIMEOUT).remaining() or 0.0)
        try:
            if self._session is None:
                self._session = open_server(self._address, self._terminal, limit, announce=False)
            pool = self._find(self._session, limit)
        except (ConnectError, LinkClosed, LinkTimeout) as error:
            self.close()
            self.reason = str(error)
            return False
        self.reason = str(pool)
        return self._is_ready(pool)

    def close(self) -> None:
        """Leave the server."""
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def _find(self, session: Session, limit: float) -> PoolInformation:
        information = server_information(session, limit)
        pool = information.default_pool if self._pool is None else information.pools.get(self._pool)
        if pool is None:
            names = ", ".join(information.pools)
            name = self._pool or "by default"
            raise ProgramError(f"{self._address}: there is no pool {name}; the pools are: {names}")
        if pool.kernels is None:
            raise ProgramError(f"{self._address}: this server does not say which kernels it has")
        return pool

    def _is_ready(self, pool: PoolInformation) -> bool:
        if self._free is None:
            return pool.ready >= (pool.minimum or 0)
        if pool.maximum is not None and self._free > pool.maximum:
            most = f"pool {pool.name} can have at most {pool.maximum} kernels"
            raise ProgramError(f"{most}, never {self._free} free ones")
        if pool.minimum is not None and self._free > pool.minimum and not self._warned:
            self._warned = True
            self._terminal.complain(
                f"pool {pool.name} keeps {pool.minimum} kernels by itself (MinimumKernelNumber); "
                f"{self._free} are free only when clients leave some"
            )
        return pool.available >= self._free


# drain, pause, resume


def drain(
    address: Address, terminal: Terminal, pool: str | None, timeout: float | None, *, as_json: bool = False
) -> int:
    """Admit no more clients to a pool, or to the server, and return when all have left. Who is left is told meanwhile.

    Args:
        address: The server.
        terminal: Where to report.
        pool: Name of the pool; None for all pools and the kernels outside pools.
        timeout: Seconds to wait; None for no limit. The pool stays as it is afterwards.
        as_json: Write the clients that are left as JSON, an empty list when there are none.

    Raises:
        ProgramError: The server refuses, clients are left after the timeout, or somebody has ended the drain.
    """
    deadline = Deadline(timeout)
    with open_server(address, terminal) as session:
        administer(session, "DrainPools", *_named_pool(pool))
        left = _left(session, pool)
        notice = WaitNotice(terminal, lambda: _describe(left), None if timeout is None else deadline)
        with contextlib.nullcontext() if as_json else notice:
            while left and not deadline.expired:
                time.sleep(deadline.at_most(INTERVAL).remaining() or 0.0)
                left = _left(session, pool)
    if as_json:
        terminal.write(json.dumps(left, ensure_ascii=False, indent=2) + "\n")
    if left:
        raise ProgramError(f"not drained {deadline}: {_describe(left)}", ExitCode.TIMED_OUT)
    if not as_json:
        what = "the server is drained" if pool is None else f"pool {pool} is drained"
        terminal.write(f"{what}: no client has a kernel; wstpserver-admin resume admits clients again\n")
    return ExitCode.OK


def _left(session: Session, pool: str | None) -> list[Mapping[str, Any]]:
    """The clients that keep the pool, or the server, from being drained."""
    information = client_information(session)
    state = information.get("Admission") if pool is None else information.get("Pools", {}).get(pool, "draining")
    if state != "draining":
        what = "the server" if pool is None else f"pool {pool}"
        raise ProgramError(f"{what} is not drained any more: it is {state} again")
    found: list[Mapping[str, Any]] = information["Clients"]
    return [one for one in found if (one.get("Occupies") if pool is None else pool in one.get("Occupies", ()))]


def _describe(left: list[Mapping[str, Any]]) -> str:
    """Says who is left: "2 clients are left: 3 (127.0.0.1:46074, evaluating), ..."; "" for nobody."""
    if not left:
        return ""
    listed = ", ".join(named(client) for client in left[:_NAMED]) + (", ..." if len(left) > _NAMED else "")
    return f"{len(left)} client{' is' if len(left) == 1 else 's are'} left: {listed}"


def pause(address: Address, terminal: Terminal, pool: str | None, *, as_json: bool = False) -> int:
    """Let clients that ask for a kernel of a pool, or of any pool, wait. ProgramError if the server refuses."""
    with open_server(address, terminal) as session:
        administer(session, "PausePools", *_named_pool(pool))
        _report(session, terminal, f"{_what(pool)} paused: clients wait for kernels until resume", as_json=as_json)
    return ExitCode.OK


def resume(address: Address, terminal: Terminal, pool: str | None, *, as_json: bool = False) -> int:
    """End drain and pause of a pool, or of all. ProgramError if the server refuses."""
    with open_server(address, terminal) as session:
        administer(session, "ResumePools", *_named_pool(pool))
        _report(session, terminal, f"{_what(pool)} open: clients get kernels", as_json=as_json)
    return ExitCode.OK


def _named_pool(pool: str | None) -> tuple[str, ...]:
    return () if pool is None else (pool,)


def _what(pool: str | None) -> str:
    return "all pools are" if pool is None else f"pool {pool} is"


def _report(session: Session, terminal: Terminal, text: str, *, as_json: bool) -> None:
    """Write the text, or which pools are open, paused and draining as JSON."""
    if as_json:
        states = client_information(session)
        told = {"Admission": states.get("Admission"), "Pools": states.get("Pools")}
        text = json.dumps(told, ensure_ascii=False, indent=2)
    terminal.write(text + "\n")
