"""Parallel kernels: an executor whose workers are kernels of a WSTPServer.

with KernelExecutor("31415@localhost", kernels=4) as executor:
list(executor.map("Prime", range(1, 101)))
executor.submit("FactorInteger", 2**64 + 1).result()
"""

from __future__ import annotations

import operator
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sized
from concurrent.futures import FIRST_EXCEPTION, CancelledError, Executor, Future, wait
from types import TracebackType
from typing import Any, Final

from wstpserver.client.address import Address, parse_address
from wstpserver.client.convert import Results, converter
from wstpserver.client.evaluation import Callbacks
from wstpserver.client.parallel.worker import Group, Item, KernelSource, TaskQueue, Worker, task

#: Seconds that the server may take to have a kernel for us.
KERNEL_TIMEOUT: Final = 60.0
#: Items of a map that are under way or done and not yet fetched.
BUFFER_SIZE: Final = 10_000


class KernelExecutor(Executor):
    """Evaluates in several kernels of a server at a time.

    Args:
        address: The server (see `parse_address`). Kernels come from its default pool for parallel kernels, with
            ``wstp://host:port/pool`` from that pool.
        kernels: How many; None takes all that are free.
        initialisation: Wolfram Language text, or an expression, that is evaluated in each kernel first, also in one
            that replaces another.
        retries: How often something is tried again whose kernel died during it.
        task_timeout: Seconds for each evaluation; None for no limit.
        kernel_timeout: Seconds that the server may take to have a kernel.
        keep_kernels: Whether the kernels are left to their own settings at the end; they are closed otherwise.
        callbacks: Functions for output and messages, called in the threads of the kernels.
        results: The form of values, as in a `Session`.

    Raises:
        ParallelError: The kernels cannot be had or initialised.
        ConnectError: Nobody listens there.
        LinkTimeout: The server did not answer in time.
        LinkSyntaxError: `address` is no address.
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
        self._workers = WorkerThreads(number, lambda queue: Worker(queue, source, retries, task_timeout, convert))
        self._single = Group(1)
        # A forgotten executor does what it was given, and holds no threads and kernels after that.
        self._finalizer = weakref.finalize(self, self._workers.stop, join=False, abort=False)

    @property
    def kernels(self) -> tuple[str, ...]:
        """The IDs of the kernels at work."""
        return self._workers.kernels

    def submit(self, function: Any, /, *arguments: Any) -> Future[Any]:  # type: ignore[override]
        """Evaluate ``function[arguments...]``, or without arguments `function` itself.

        Args:
            function: A name ("Prime"), a pure function ("#^2 &"), an expression, or without arguments any Wolfram
                Language text.
            *arguments: Python values or expressions.

        Returns:
            The future of the value. It raises KernelDied, KernelsGone, EvaluationTimeout, EvaluationAborted (by
            `shutdown`), and EvaluationError if input is asked for.

        Raises:
            RuntimeError: `shutdown` was called.
            KernelsGone: No kernel is left.
            TypeError: `function` is a Python function, or no expression stands for an argument.
        """
        item = Item(task(function, arguments), self._single)
        self._workers.queue.put((item,))
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
        """Evaluate ``function[a, b, ...]`` for the elements of the iterables.

        What the iterables raise, and `submit` for one of their elements, comes after the values before it.

        Args:
            function: As for `submit`.
            *iterables: The arguments.
            timeout: Seconds from now after which waiting for a value raises TimeoutError; None for no limit.
            chunksize: How many elements go to a kernel at a time; None to find out.
            buffersize: How many elements are taken from the iterables ahead of the value that is fetched next.
            progress: Whether to show a bar on stderr, which needs tqdm.
            return_exceptions: Whether an error takes the place of the value; otherwise the first one is raised and ends
                the rest.

        Returns:
            An iterator over the values, in order.

        Raises:
            ValueError: There are no iterables, or a size is below 1.
            ImportError: tqdm is asked for and not installed.
            TypeError: `function` is a Python function.
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
        self._workers.queue.put((item,))
        return item.future

    def shutdown(
        self,
        wait: bool = True,  # noqa: FBT001, FBT002 - as Executor.shutdown
        *,
        cancel_futures: bool = False,
        abort: bool = False,
    ) -> None:
        """Take nothing more, and give the kernels back when all is done.

        Args:
            wait: Whether to return only when the threads have ended.
            cancel_futures: Whether to cancel what no kernel has begun.
            abort: Whether to cancel that and to abort what is being evaluated; a kernel that does not react is left
                alone.
        """
        self._finalizer.detach()
        if cancel_futures:
            self._workers.queue.cancel()
        self._workers.stop(join=wait, abort=abort)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """After an exception (Ctrl-C too) the rest is aborted."""
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


#: Seconds for kernels to react to an abort; then their links are closed.
_ABORT_TIME: Final = 5.0
#: An abort that comes just before an evaluation has no effect: it is repeated.
_REPEAT: Final = 0.2


class WorkerThreads:
    """The threads of an executor: started together, ended together.

    Args:
        number: How many.
        make_worker: Makes the worker of a thread.

    Raises:
        Exception: What the first worker raises that gets no kernel.
    """

    def __init__(self, number: int, make_worker: Callable[[TaskQueue], Worker]) -> None:
        self.queue = TaskQueue(number)
        self._workers = [make_worker(self.queue) for _ in range(number)]
        self._threads = [
            threading.Thread(target=worker.run, name=f"KernelExecutor-{index}", daemon=True)
            for index, worker in enumerate(self._workers, 1)
        ]
        for thread in self._threads:
            thread.start()
        try:
            done, _ = wait([worker.started for worker in self._workers], return_when=FIRST_EXCEPTION)
            for started in done:
                started.result()
        except BaseException:
            self.stop(join=True, abort=True)
            raise

    @property
    def kernels(self) -> tuple[str, ...]:
        """The IDs of the kernels that are there."""
        return tuple(worker.kernel for worker in self._workers if worker.kernel is not None)

    def stop(self, *, join: bool, abort: bool) -> None:
        """End the threads.

        Args:
            join: Whether to wait for them.
            abort: Whether they end at once; else when everything in the queue is done.
        """
        self.queue.close()
        if abort:
            self.queue.cancel()
            for worker in self._workers:
                worker.abort()
        if not join:
            return
        if abort:
            self._wait_for_abort()
        for thread in self._threads:
            if thread is not threading.current_thread():  # where a future's callback shuts everything down
                thread.join()

    def _wait_for_abort(self) -> None:
        """Wait until all have stopped; the links of those that do not are closed."""
        end = time.monotonic() + _ABORT_TIME
        for worker, thread in zip(self._workers, self._threads, strict=True):
            if thread is threading.current_thread():
                continue
            while thread.is_alive() and time.monotonic() < end:
                thread.join(_REPEAT)
                if thread.is_alive():
                    worker.abort()
            if thread.is_alive():
                worker.cut()


#: Makes and submits the item for one set of arguments.
Submit = Callable[[tuple[Any, ...]], "Future[Any]"]


class MapResults(Iterator[Any]):
    """Values in the order of their arguments.

    `buffer_size`: items that are submitted and not yet fetched. `deadline`: when to give up waiting, by
    `time.monotonic`. `return_exceptions`: give what an item raised in its place instead of raising it, which ends
    everything.
    """

    def __init__(
        self,
        submit: Submit,
        arguments: Iterator[tuple[Any, ...]],
        *,
        buffer_size: int,
        deadline: float | None,
        return_exceptions: bool,
        bar: ProgressBar | None,
    ) -> None:
        self._submit = submit
        self._arguments = arguments
        self._buffer_size = buffer_size
        self._deadline = deadline
        self._return_exceptions = return_exceptions
        self._bar = bar
        self._pending: deque[Future[Any]] = deque()
        self._exhausted = False
        #: Why there are no more items: due when everything before that has been fetched.
        self._failure: Exception | None = None
        self._fill()

    def _fill(self) -> None:
        while not self._exhausted and len(self._pending) < self._buffer_size:
            try:
                self._add(self._submit(next(self._arguments)))
            except StopIteration:
                self._exhausted = True
            except Exception as error:
                self._exhausted, self._failure = True, error

    def _add(self, future: Future[Any]) -> None:
        self._pending.append(future)
        if self._bar is not None:
            future.add_done_callback(self._bar.advance)

    def __next__(self) -> Any:
        if not self._pending:
            failure, self._failure = self._failure, None
            self.close()
            raise failure if failure is not None else StopIteration
        try:
            value = self._result(self._pending[0])
        except BaseException:
            self.close()
            raise
        self._pending.popleft()
        self._fill()
        return value

    def _result(self, future: Future[Any]) -> Any:
        remaining = None if self._deadline is None else max(0.0, self._deadline - time.monotonic())
        if not self._return_exceptions:
            return future.result(remaining)
        try:
            error = future.exception(remaining)
        except CancelledError as cancelled:
            return cancelled
        return future.result() if error is None else error

    def close(self) -> None:
        """Cancel what was not begun and not fetched; nothing more comes."""
        self._exhausted = True
        if self._bar is not None:
            self._bar.close()  # first: what is cancelled is not done
        while self._pending:
            self._pending.popleft().cancel()

    def __del__(self) -> None:
        if hasattr(self, "_pending"):
            self.close()


class ProgressBar:
    """Counts items that are done, on stderr. `total`: None if not known. ImportError without tqdm."""

    def __init__(self, total: int | None) -> None:
        try:
            from tqdm.auto import tqdm
        except ImportError:
            raise ImportError("a progress bar needs tqdm, which is not installed: pip install tqdm") from None
        self._bar = tqdm(total=total, unit="item")

    def advance(self, _: Any) -> None:
        """One more is done; threads may call it at once, and after `close`."""
        self._bar.update()

    def close(self) -> None:
        """Leave the bar as it is and go to the next line."""
        self._bar.close()
