"""One thread that takes items from a queue and has its kernel evaluate them; when the kernel dies it takes another."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Final

from wstpserver.client.address import Address
from wstpserver.client.commands import PoolInformation, server_information
from wstpserver.client.connecting import CONNECT_TIMEOUT, connect
from wstpserver.client.errors import (
    CommandError,
    EvaluationAborted,
    KernelDied,
    KernelLost,
    LinkClosed,
    LinkTimeout,
    ParallelError,
)
from wstpserver.client.events import Callbacks, KernelMessage
from wstpserver.client.parallel.tasks import Item, TaskQueue, values_of_chunk
from wstpserver.client.parallel.tasks import chunk as chunk_expression
from wstpserver.client.session import Session
from wstpserver.wire.encode import encode
from wstpserver.wire.errors import RemoteProtocolError
from wstpserver.wire.preview import PREVIEW_BYTES, preview
from wstpserver.wire.values import Expression, Symbol

_LOG: Final = logging.getLogger(__name__)

#: Seconds for an idle kernel to answer, where its link has something unexpected.
_IDLE_ANSWER: Final = 10.0
#: Characters of an expression in an error.
_SHOWN: Final = 100
#: Ends of the kernel, or of all sense on its link.
_KERNEL_ENDS: Final = (LinkClosed, KernelLost, RemoteProtocolError)


class Worker:
    """A kernel and its thread.

    Args:
        queue: Where the items come from.
        source: Where kernels come from.
        retries: How often an item is tried again whose kernel ended while it evaluated it.
        time_limit: Seconds for each item; None for no limit.
        convert: Gives values their form.

    Attributes:
        kernel: The ID of the kernel; None before there is one.
        started: Done when the first kernel is there, or with the error that there is none.
    """

    def __init__(
        self,
        queue: TaskQueue,
        source: KernelSource,
        retries: int,
        time_limit: float | None,
        convert: Callable[[Expression], Any],
    ) -> None:
        self._queue = queue
        self._source = source
        self._retries = retries
        self._time_limit = time_limit
        self._convert = convert
        self._session: Session | None = None
        self._ready = False
        self._aborting = False
        self._in_doubt = False  # the kernel was told to abort and may not have reacted
        #: The ID of the kernel; None before there is one.
        self.kernel: str | None = None
        #: Done when the first kernel is there, or with the error that there is none.
        self.started: Future[None] = Future()

    # The thread

    def run(self) -> None:
        """The thread's whole life; ends when the queue does, or when there is no kernel to be had."""
        try:
            self._take_kernel()
        except BaseException as error:
            self._drop_kernel()
            self.started.set_exception(error)
            return
        self.started.set_result(None)
        reason = None
        try:
            reason = self._work()
        finally:
            self._drop_kernel()
            left = self._queue.worker_ended(reason)
        if reason is not None and left:
            _LOG.warning("a kernel died and cannot be replaced, %d are left: %s", left, reason)

    def _work(self) -> Exception | None:
        """Evaluate until there is nothing more (None), or no kernel (why)."""
        while (items := self._queue.take()) is not None:
            try:
                session = self._living_session()
            except Exception as error:
                self._give_back(items)
                return error
            if self._aborting:
                self._give_back(items)
            elif len(items) == 1:
                self._evaluate_one(session, items[0])
            else:
                self._evaluate_several(session, items)
            del items, session  # nothing is held while there is nothing to do
        return None

    def _evaluate_one(self, session: Session, item: Item) -> None:
        began = time.monotonic()
        try:
            value = session.evaluate(item.expression, self._time_limit)
        except _KERNEL_ENDS as error:
            self._died([item], error)
        except BaseException as error:  # of a callback too
            self._in_doubt = True
            item.future.set_exception(error)
        else:
            item.group.took(1, time.monotonic() - began)
            self._finish(item, value)

    def _evaluate_several(self, session: Session, items: list[Item]) -> None:
        """All in one evaluation. Items with which anything unusual happens are evaluated again, each by itself."""
        began = time.monotonic()
        limit = None if self._time_limit is None else self._time_limit * len(items)
        try:
            value = session.evaluate(chunk_expression([item.expression for item in items]), limit)
        except _KERNEL_ENDS as error:
            self._died(items, error)
            return
        except BaseException:
            self._in_doubt = True
            self._give_back(items)
            return
        items[0].group.took(len(items), time.monotonic() - began)
        unclear = []
        for item, found in zip(items, values_of_chunk(value, len(items)), strict=True):
            if found is None:
                unclear.append(item)
            else:
                self._finish(item, found[0])
        self._give_back(unclear)

    def _finish(self, item: Item, value: Expression) -> None:
        try:
            converted = self._convert(value)
        except Exception as error:
            item.future.set_exception(error)
        else:
            item.future.set_result(converted)

    def _give_back(self, items: list[Item]) -> None:
        """Others may evaluate these, or we again, each by itself; unless all is to end."""
        if not self._aborting:
            self._queue.put_back(items)
            return
        for item in items:
            item.future.set_exception(EvaluationAborted("the executor was shut down while this was evaluated"))

    # The kernel

    def _living_session(self) -> Session:
        """The session, with another kernel if the first one has ended, or does not answer after a time-out."""
        session = self._session
        if session is not None and (self._in_doubt or session.link.ready(0.0)):  # nothing is due
            self._in_doubt = False
            try:
                session.synchronize(_IDLE_ANSWER)
            except (*_KERNEL_ENDS, EvaluationAborted):
                self._drop_kernel()
        return self._session or self._take_kernel()

    def _take_kernel(self) -> Session:
        session = self._source.take(self._opened)
        self.kernel = str(session.command("GetKernelID"))
        self._ready = True
        return session

    def _opened(self, session: Session) -> None:
        self._session = session
        if self._aborting:
            raise LinkClosed("the executor was shut down")

    def _drop_kernel(self) -> None:
        session, self._session, self._ready = self._session, None, False
        if session is not None:
            session.close()

    def _died(self, items: list[Item], cause: Exception) -> None:
        """The kernel has ended: items that were tried too often fail, the others are tried again."""
        self._drop_kernel()
        again = []
        for item in items:
            item.failures += 1
            if item.failures <= self._retries or self._aborting:
                again.append(item)
            else:
                item.future.set_exception(self._kernel_died(item, cause))
        self._give_back(again)

    def _kernel_died(self, item: Item, cause: Exception) -> KernelDied:
        tries = "" if item.failures == 1 else f", at attempt {item.failures}"
        what = preview(encode(item.expression, ascii=False, end_packet=False)[:PREVIEW_BYTES], _SHOWN)
        error = KernelDied(f"kernel {self.kernel} died while it evaluated {what}{tries}: {cause}")
        error.__cause__ = cause
        return error

    # From other threads

    def abort(self) -> None:
        """Give up what is evaluated now, and no more kernels are taken."""
        self._aborting = True
        session = self._session
        if session is None:
            return
        if self._ready:
            try:
                session.abort()
            except (LinkClosed, LinkTimeout):
                pass  # it knows already
        else:
            session.link.close()

    def cut(self) -> None:
        """Close the link to a kernel that does not react."""
        session = self._session
        if session is not None:
            session.link.close()


#: Seconds for the server to answer after it has waited for a kernel.
_ANSWER: Final = 10.0
_FALSE: Final = Symbol("False")
_FAILURES: Final = ("$Failed", "$Aborted")

HOW_TO_CONFIGURE: Final = (
    'Give a pool of its wstpserver.conf "ParallelKernels":true, or name a pool: wstp://HOST:PORT/POOL'
)


@dataclass(frozen=True)
class KernelSource:
    """Where kernels come from, and how one is prepared.

    Attributes:
        address: The server; with a pool in it kernels of that pool are taken, otherwise those of the default pool for
            parallel kernels.
        wait: Seconds that the server may take to have a kernel.
        initialisation: What a kernel evaluates first; None for nothing.
        callbacks: Functions for output and messages.
        keep: Whether the kernels are left to their own settings at the end instead of being closed.
    """

    address: Address
    wait: float
    initialisation: Expression | None
    callbacks: Callbacks
    keep: bool

    def take(self, opened: Callable[[Session], None]) -> Session:
        """Take a kernel and prepare it.

        Args:
            opened: Gets the session as soon as it exists, so that it can be closed.

        Returns:
            The session.

        Raises:
            ParallelError: No kernel can be had, or the initialisation failed.
            LinkError: The server was not reached.
            EvaluationError: The initialisation asks for input.
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
        link = connect(self.address.server, CONNECT_TIMEOUT, without_kernel=True)
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
        """Say how many kernels to take.

        Args:
            wanted: What was asked for; None for all that are free or starting.

        Returns:
            The number.

        Raises:
            ParallelError: There is none, or the pool cannot have that many.
            LinkError: The server was not reached.
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
