"""The results of a `map`, in order, with no more items under way than there is room for."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from typing import Any

from wstpserver.client.parallel_progress import ProgressBar

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
