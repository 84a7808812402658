"""``wstpserver-admin wait``: until the server is there and a pool is ready."""

from __future__ import annotations

import contextlib
import time
from typing import Final

from wstpserver.cli.admin.status import ANSWER_TIMEOUT, open_server
from wstpserver.cli.terminal import ExitCode, ProgramError, Terminal, WaitNotice
from wstpserver.client import Address, ConnectError, LinkClosed, LinkTimeout, Session
from wstpserver.client.commands import PoolInformation, server_information
from wstpserver.client.deadline import Deadline

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
