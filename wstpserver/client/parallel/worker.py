"""Items to evaluate in parallel, the queue they wait in, and the threads that have their kernels evaluate them.

A worker whose kernel dies takes another one.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import BrokenExecutor, Future
from dataclasses import dataclass
from math import prod
from typing import Any, Final

from wstpserver.client.address import Address
from wstpserver.client.commands import PoolInformation, server_information
from wstpserver.client.connecting import CONNECT_TIMEOUT, connect
from wstpserver.client.convert import to_expression
from wstpserver.client.errors import (
    CommandError,
    EvaluationAborted,
    KernelDied,
    KernelLost,
    LinkClosed,
    LinkTimeout,
    ParallelError,
)
from wstpserver.client.evaluation import Callbacks, KernelMessage
from wstpserver.client.session import Session
from wstpserver.wire.encode import encode
from wstpserver.wire.errors import RemoteProtocolError
from wstpserver.wire.preview import PREVIEW_BYTES, preview
from wstpserver.wire.values import Expression, Function, PackedArray, Symbol

#: Seconds of work that are worth one exchange with a kernel, which costs about 0.2 ms.
_WORTHWHILE: Final = 0.05
_LARGEST_CHUNK: Final = 4096
#: Weight of the newest chunk in the running average of the time that an item takes.
_NEWEST: Final = 0.3


class KernelsGone(ParallelError, BrokenExecutor):
    """No kernel of the executor is left, and no other can be had: nothing more will be evaluated."""


class Group:
    """Items that may go to a kernel together, several in one evaluation.

    `chunk_size`: how many; None to find out: as many as take 50 ms, fewer towards the end, so that all kernels are
    done at about the same time.
    """

    def __init__(self, chunk_size: int | None) -> None:
        self._chunk_size = chunk_size
        self._seconds: float | None = None  # for one item, on average

    def limit(self, queued: int, workers: int) -> int:
        """How many of the `queued` items one of the `workers` should take now."""
        if self._chunk_size is not None:
            return self._chunk_size
        if self._seconds is None:
            return 1
        worthwhile = _LARGEST_CHUNK if self._seconds <= 0 else int(_WORTHWHILE / self._seconds)
        return max(1, min(worthwhile, _LARGEST_CHUNK, queued // (2 * workers)))

    def took(self, items: int, seconds: float) -> None:
        """So long an evaluation of so many items has taken. Threads may call it at once: an average forgives that."""
        each = seconds / items
        self._seconds = each if self._seconds is None else (1 - _NEWEST) * self._seconds + _NEWEST * each


class Item:
    """One expression to evaluate, and the future of its value."""

    __slots__ = ("alone", "begun", "failures", "expression", "future", "group")

    def __init__(self, expression: Expression, group: Group) -> None:
        self.expression = expression
        self.group = group
        self.future: Future[Any] = Future()
        #: How many kernels ended while they evaluated it.
        self.failures = 0
        #: Whether it is to be evaluated by itself, because something happened to it in the company of others.
        self.alone = False
        self.begun = False

    def begin(self) -> bool:
        """The moment from which it cannot be cancelled; False if it was."""
        if not self.begun:
            self.begun = self.future.set_running_or_notify_cancel()
        return self.begun


class TaskQueue:
    """Items on their way to the kernels of `workers` threads, first come first served."""

    def __init__(self, workers: int) -> None:
        self._items: deque[Item] = deque()
        self._condition = threading.Condition()
        self._workers = workers
        self._closed = False
        #: Why no kernel is left, if so.
        self._broken: KernelsGone | None = None

    def put(self, items: Iterable[Item]) -> None:
        """Append items. RuntimeError after `close`, KernelsGone when no worker is left."""
        with self._condition:
            if self._broken is not None:
                raise self._broken
            if self._closed:
                raise RuntimeError("nothing can be submitted any more: the executor was shut down")
            before = len(self._items)
            self._items.extend(items)
            self._condition.notify(len(self._items) - before)

    def put_back(self, items: Iterable[Item]) -> None:
        """What a worker took and did not finish comes first again, each item by itself."""
        items = list(items)
        for item in items:
            item.alone = True
        with self._condition:
            if self._broken is None:
                self._items.extendleft(reversed(items))
                self._condition.notify(len(items))
                return
        for item in items:
            item.future.set_exception(self._broken)

    def take(self) -> list[Item] | None:
        """What a worker is to evaluate next, waiting for it; None when there will be nothing more."""
        with self._condition:
            while True:
                chunk = self._next_chunk()
                if chunk:
                    return chunk
                if self._closed:
                    return None
                self._condition.wait()

    def _next_chunk(self) -> list[Item]:
        chunk: list[Item] = []
        limit = 1
        while self._items and len(chunk) < limit:
            if chunk and (self._items[0].group is not chunk[0].group or self._items[0].alone):
                break
            item = self._items.popleft()
            if not item.begin():
                continue
            if not chunk and not item.alone:
                limit = item.group.limit(len(self._items) + 1, self._workers)
            chunk.append(item)
        return chunk

    def close(self) -> None:
        """Nothing comes any more; workers finish what is there."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    def cancel(self) -> None:
        """Cancel what no worker has begun."""
        with self._condition:
            items = list(self._items)
            self._items = deque(item for item in items if item.begun)
        for item in items:
            if not item.begun and item.future.cancel():
                item.begin()  # which tells those who wait for several futures

    def worker_ended(self, error: Exception | None) -> int:
        """One worker ends, because of `error` or because there is nothing more; the number of those that are left.

        When the last one has none to evaluate with, everything that is here or still comes fails.
        """
        with self._condition:
            self._workers -= 1
            if self._workers or error is None:
                return self._workers
            self._broken = broken = KernelsGone(f"no kernel is left: {error}")
            items = list(self._items)
            self._items.clear()
        broken.__cause__ = error
        for item in items:
            if item.begin():
                item.future.set_exception(broken)
        return 0


_LIST: Final = Symbol("List")
_LISTS: Final = (_LIST, Symbol("System`List"))
_TO_EXPRESSION: Final = Symbol("ToExpression")
#: A symbol, with or without context; letters are those of any alphabet.
_NAME: Final = re.compile(r"`?(?:(?!\d)(?:[^\W_]|\$)+`)*(?!\d)(?:[^\W_]|\$)+")


def task(function: Any, arguments: Sequence[Any]) -> Expression:
    """``function[arguments...]``, or `function` itself where there are none. A str is Wolfram Language text there.

    TypeError for a Python function, and for arguments that no expression stands for (see `conversions`).
    """
    head = _meaning(function)
    return Function(head, tuple(map(to_expression, arguments))) if arguments else head


def _meaning(function: Any) -> Expression:
    if isinstance(function, str):
        text = function.strip()
        return Symbol(text) if _NAME.fullmatch(text) else Function(_TO_EXPRESSION, (text,))
    if callable(function) and not hasattr(function, "as_expression"):
        raise TypeError(
            f"kernels evaluate Wolfram Language, not Python functions such as {function!r}: "
            'give a name or a pure function as text, "Prime" or "#^2 &"'
        )
    return to_expression(function)


def chunk(expressions: Sequence[Expression]) -> Expression:
    """One expression that evaluates all of them. Each is a list of its own, which no Sequence or Nothing can break."""
    return Function(_LIST, tuple(Function(_LIST, (expression,)) for expression in expressions))


def values_of_chunk(value: Expression, size: int) -> list[tuple[Expression] | None]:
    """The value of each of the `size` expressions of a `chunk` as a tuple; None where it did not give just one."""
    rows = _parts(value)
    if rows is None or len(rows) != size:
        return [None] * size
    found: list[tuple[Expression] | None] = []
    for row in rows:
        parts = _parts(row)
        found.append((parts[0],) if parts is not None and len(parts) == 1 else None)
    return found


def _parts(value: Any) -> Sequence[Any] | None:
    """The elements of a list; None if it is no list."""
    if isinstance(value, Function):
        return value.args if value.head in _LISTS else None
    if not isinstance(value, PackedArray) or value.heads is not None:
        return None
    if len(value.shape) == 1:
        return value.flat()
    below = value.shape[1:]
    if value.kind == "real128":
        return value.tolist()
    size = prod(below)
    return [PackedArray(value.data[row * size : (row + 1) * size], value.kind, below) for row in range(value.shape[0])]


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
            value = session.evaluate(chunk([item.expression for item in items]), limit)
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
