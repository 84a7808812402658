"""Kernels for parallel work: how many a server has, and taking one of them (specification, "ConnectParallelKernel")."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from wstpserver.client.connecting import CONNECT_TIMEOUT, connect
from wstpserver.client.errors import CommandError
from wstpserver.client.events import Callbacks, KernelMessage
from wstpserver.client.information import PoolInformation, server_information
from wstpserver.client.options import Address
from wstpserver.client.parallel_errors import ParallelError
from wstpserver.client.session import Session
from wstpserver.wire.values import Expression, Symbol

#: Seconds for the server to answer after it has waited for a kernel.
_ANSWER: Final = 10.0
_FALSE: Final = Symbol("False")
_FAILURES: Final = ("$Failed", "$Aborted")

HOW_TO_CONFIGURE: Final = (
    'Give a pool of its wstpserver.conf "ParallelKernels":true, or name a pool: wstp://HOST:PORT/POOL'
)


@dataclass(frozen=True)
class KernelSource:
    """Where kernels come from, and what makes one ready for work.

    `address`: of the server; with a pool in it kernels of that pool are taken, otherwise those of the default pool for
    parallel kernels. `wait`: seconds that the server may take to have one free. `keep`: leave the kernels to their own
    settings at the end instead of closing them.
    """

    address: Address
    wait: float
    initialisation: Expression | None
    callbacks: Callbacks
    keep: bool

    def take(self, opened: Callable[[Session], None]) -> Session:
        """A session with a kernel that is ready; `opened` gets it as soon as it exists, so that it can be closed.

        Raises ParallelError, LinkError, and what an initialisation raises that asks for input.
        """
        session = self._open()
        try:
            opened(session)
            self._bridge(session)
            # At once, not at the end: the kernel goes even if this program is killed. One that dies must not be
            # replaced behind our back, since the new one would not be initialised.
            if not self.keep:
                session.command("SetKeepAlive", _FALSE)
            session.command("SetAllowSilentKernelReplacement", _FALSE)
            self._initialise(session)
        except BaseException:
            session.close()
            raise
        return session

    def _open(self) -> Session:
        plain = Address(self.address.data, self.address.message)
        link = connect(plain, CONNECT_TIMEOUT, without_kernel=True)
        return Session(link, callbacks=self.callbacks, keep_kernel=True, results="expression")

    def _bridge(self, session: Session) -> None:
        pool = self.address.pool
        words = ("ConnectParallelKernel",) if pool is None else ("ConnectKernel", pool)
        try:
            session.command(*words, self.wait, timeout=self.wait + _ANSWER)
        except CommandError as error:
            if not error.reply:
                raise
            found = self._pool(session) or "its pool is in use"
            raise ParallelError(f"no kernel came within {self.wait:g} s: {found}. {_CHANGE}") from None

    def _initialise(self, session: Session) -> None:
        if self.initialisation is None:
            return
        messages: list[KernelMessage] = []
        value = session.evaluate(self.initialisation, callbacks=Callbacks(on_message=messages.append))
        if isinstance(value, Symbol) and value.name.removeprefix("System`") in _FAILURES:
            said = "; ".join(message.text.strip() for message in messages)
            raise ParallelError(f"the initialisation gave {value.name}" + (f": {said}" if said else ""))

    def _pool(self, session: Session) -> PoolInformation | None:
        try:
            information = server_information(session)
        except CommandError as error:
            if not error.reply:
                raise
            return None
        name = self.address.pool
        pool = information.parallel_pool if name is None else information.pools.get(name)
        if pool is None:
            what = "no pool for parallel kernels" if name is None else f"no pool {name}"
            raise ParallelError(f"{self.address}: the server has {what}. {HOW_TO_CONFIGURE}")
        return pool

    def number(self, wanted: int | None) -> int:
        """How many kernels to take: `wanted`, or all that are free or about to be.

        Raises ParallelError if there is none, or if the pool cannot have so many; LinkError.
        """
        with self._open() as session:
            pool = self._pool(session)
            if wanted is not None:
                if pool is not None and pool.maximum is not None and wanted > pool.maximum:
                    raise ParallelError(f"{self.address}: {wanted} kernels are too many: {pool}. {_CHANGE}")
                return wanted
            if pool is not None and pool.kernels is not None:
                number = pool.available + pool.states["starting"]
            else:
                number = int(str(session.command("GetNumberOfAvailableParallelKernels")))
        if number < 1:
            found = pool or "the pool for parallel kernels"
            raise ParallelError(f"{self.address}: no kernel is free: {found}. Say how many to wait for: kernels=N")
        return number


_CHANGE: Final = "Ask for fewer kernels, or raise MaximumKernelNumber"
