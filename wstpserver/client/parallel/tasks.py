"""What is to be evaluated in parallel: items, the groups they belong to, and the queue that kernels take them from."""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import BrokenExecutor, Future
from math import prod
from typing import Any, Final

from wstpserver.client.convert import to_expression
from wstpserver.client.errors import ParallelError
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
            "give a name or a pure function as text, \"Prime\" or \"#^2 &\""
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
    return [
        PackedArray(value.data[row * size : (row + 1) * size], value.kind, below) for row in range(value.shape[0])
    ]
