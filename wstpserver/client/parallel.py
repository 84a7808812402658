"""Parallel kernels: an executor whose workers are kernels of a WSTPServer.

    from wstpserver.client.parallel import KernelExecutor

    with KernelExecutor("31415@localhost", kernels=4) as executor:
        list(executor.map("Prime", range(1, 101)))
        executor.submit("FactorInteger", 2**128 + 1).result()
"""

from __future__ import annotations

import operator
import time
import weakref
from collections.abc import Iterable, Sized
from concurrent.futures import Executor, Future
from types import TracebackType
from typing import Any, Final

from wstpserver.client.events import Callbacks
from wstpserver.client.options import Address, parse_address
from wstpserver.client.parallel_crew import Crew
from wstpserver.client.parallel_errors import KernelDied, KernelsGone, ParallelError
from wstpserver.client.parallel_expressions import task
from wstpserver.client.parallel_kernels import KernelSource
from wstpserver.client.parallel_progress import ProgressBar
from wstpserver.client.parallel_results import MapResults
from wstpserver.client.parallel_tasks import Group, Item
from wstpserver.client.parallel_worker import Worker
from wstpserver.client.results import Results, converter

__all__ = ["KernelDied", "KernelExecutor", "KernelsGone", "ParallelError"]

#: Seconds that the server may take to have a kernel for us.
KERNEL_TIMEOUT: Final = 60.0
#: Items of a map that are under way or done and not yet fetched.
BUFFER_SIZE: Final = 10_000


class KernelExecutor(Executor):
    """Evaluates in several kernels at a time.

    `address`: the server, see `parse_address`; kernels come from its default pool for parallel kernels, with
    ``wstp://host:port/pool`` from that pool. `kernels`: how many; None takes all that are free. `initialisation`:
    Wolfram Language text (or an expression) that is evaluated in each kernel first, in one that replaces another too.
    `retries`: how often something is tried again whose kernel died over it. `task_timeout`: seconds for each
    evaluation. `kernel_timeout`: seconds that the server may take to have a kernel. `keep_kernels`: leave the kernels
    to their own settings at the end; they are closed otherwise. `callbacks`: who hears of output and messages, in the
    threads of the kernels. `results`: the form of values, as in a `Session`.

    Raises ParallelError if the kernels cannot be had or initialised, ConnectError, LinkTimeout, LinkSyntaxError.
    """

    def __init__(
        self,
        address: str | int | Address = "",
        kernels: int | None = None,
        *,
        initialisation: Any | None = None,
        retries: int = 1,
        task_timeout: float | None = None,
        kernel_timeout: float = KERNEL_TIMEOUT,
        keep_kernels: bool = False,
        callbacks: Callbacks | None = None,
        results: Results = "python",
    ) -> None:
        convert = converter(results)
        code = None if initialisation is None else task(initialisation, ())
        source = KernelSource(parse_address(address), kernel_timeout, code, callbacks or Callbacks(), keep_kernels)
        number = source.number(_count("kernels", kernels))
        retries = _count("retries", retries, 0) or 0
        self._crew = Crew(number, lambda queue: Worker(queue, source, retries, task_timeout, convert))
        self._single = Group(1)
        # A forgotten executor does what it was given, and holds no threads and kernels after that.
        self._finalizer = weakref.finalize(self, self._crew.stop, join=False, abort=False)

    @property
    def kernels(self) -> tuple[str, ...]:
        """The IDs of the kernels at work."""
        return self._crew.kernels

    def submit(self, function: Any, /, *arguments: Any) -> Future[Any]:  # type: ignore[override]
        """The future of the value of ``function[arguments...]``; without arguments of `function` as it stands.

        A str is a name ("Prime"), a pure function ("#^2 &"), or without arguments any Wolfram Language text.
        The future raises KernelDied, KernelsGone, EvaluationTimeout, EvaluationAborted (by `shutdown`),
        EvaluationError if input is asked for. At once come RuntimeError after `shutdown`, KernelsGone if no kernel is
        left, TypeError for a Python function or for arguments that no expression stands for (see `conversions`).
        """
        item = Item(task(function, arguments), self._single)
        self._crew.queue.put((item,))
        return item.future

    def map(
        self,
        function: Any,
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | None = None,
        buffersize: int = BUFFER_SIZE,
        progress: bool = False,
        return_exceptions: bool = False,
    ) -> MapResults:
        """The values of ``function[a, b, ...]`` for the elements of the iterables, in order, as an iterator.

        `timeout`: seconds from now after which waiting for a value raises TimeoutError. `chunksize`: how many go to a
        kernel at a time; None finds out. `buffersize`: how many are taken from the iterables ahead of the value that
        is fetched next. `progress`: show a bar on stderr, which needs tqdm. The first error is raised and ends the
        rest, unless `return_exceptions` puts it in the place of the value.

        What the iterables raise, and `submit` for one of their elements, comes after the values before it.
        At once come ValueError without iterables and for sizes below 1, ImportError without tqdm, TypeError.
        """
        if not iterables:
            raise ValueError("map needs at least one iterable")
        group = Group(_count("chunksize", chunksize))
        size = _count("buffersize", buffersize)
        task(function, ())  # what is wrong with it is said now
        return MapResults(
            lambda arguments: self._submit_in(group, task(function, arguments)),
            zip(*iterables, strict=False),
            buffer_size=size or BUFFER_SIZE,
            deadline=None if timeout is None else time.monotonic() + timeout,
            return_exceptions=return_exceptions,
            bar=ProgressBar(_total(iterables)) if progress else None,
        )

    def _submit_in(self, group: Group, expression: Any) -> Future[Any]:
        item = Item(expression, group)
        self._crew.queue.put((item,))
        return item.future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False, abort: bool = False) -> None:
        """Take nothing more, and give the kernels back when all is done.

        `cancel_futures`: cancel what no kernel has begun. `abort`: that, and abort what is being evaluated; a kernel
        that does not obey is left alone. `wait`: return when the threads have ended.
        """
        self._finalizer.detach()
        if cancel_futures:
            self._crew.queue.cancel()
        self._crew.stop(join=wait, abort=abort)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """After an exception (Ctrl-C too) nobody waits for the rest any more: it is aborted."""
        self.shutdown(abort=kind is not None)


def _count(name: str, value: int | None, least: int = 1) -> int | None:
    """`value` if it is such a number; TypeError, ValueError."""
    if value is None:
        return None
    if isinstance(value, bool):
        raise TypeError(f"{name} must be a whole number, not {value}")
    number = operator.index(value)
    if number < least:
        raise ValueError(f"{name} must be {least} or more, not {number}")
    return number


def _total(iterables: tuple[Iterable[Any], ...]) -> int | None:
    known = [len(iterable) for iterable in iterables if isinstance(iterable, Sized)]
    return min(known) if known else None
