"""Many small cases as one test.

A test of its own costs each worker of a run, and the process that started them, some milliseconds: more than most cases
take.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import pytest

Case = TypeVar("Case")


def for_each(cases: Iterable[Case], name: Callable[[Case], object] = repr) -> Callable[..., Callable[[], None]]:
    """Has a test called with each of *cases* in turn, whatever comes of the others; all that fail are named.

    Args:
        cases: What the test is called with.
        name: Says which case it was.
    """

    def decorate(test: Callable[[Case], None]) -> Callable[[], None]:
        return _one_test(test, lambda: ((name(case), functools.partial(test, case)) for case in cases))

    return decorate


def for_all(names: str | tuple[str, ...], values: Iterable[Any], ids: Any = None) -> Callable[..., Callable[[], None]]:
    """`pytest.mark.parametrize` as one test, which uses no fixtures: every case is tried, all that fail are named.

    Args:
        names: The arguments of the test, as one text or several.
        values: A value for each of several names, or for the only one; of each case.
        ids: The names of the cases, or a function that makes them from values; their repr without it.
    """
    arguments = tuple(name.strip() for name in names.split(",")) if isinstance(names, str) else tuple(names)
    rows = [(value,) if len(arguments) == 1 else tuple(value) for value in values]
    if ids is None or callable(ids):
        labels = [", ".join(str((ids or repr)(value)) for value in row) for row in rows]
    else:
        labels = [str(label) for label in ids]
    here = [(label, dict(zip(arguments, row, strict=True))) for label, row in zip(labels, rows, strict=True)]

    def decorate(test: Callable[..., None]) -> Callable[[], None]:
        inner, former = getattr(test, "for_all", (test, [("", {})]))  # of the decorator below this one
        cases = [
            (", ".join(filter(None, (label, other))), {**values, **others})
            for (label, values), (other, others) in itertools.product(here, former)
        ]
        made = _one_test(inner, lambda: ((label, functools.partial(inner, **values)) for label, values in cases))
        made.for_all = inner, cases  # type: ignore[attr-defined]
        return made

    return decorate


def _one_test(test: Callable[..., None], calls: Callable[[], Iterator[tuple[object, Callable[[], None]]]]) -> Any:
    """A test that makes all of the calls, each of which comes with the name of its case."""

    def test_each() -> None:
        number, failures = 0, []
        for number, (name, call) in enumerate(calls(), 1):  # noqa: B007 (how many there were)
            try:
                call()
            except (Exception, pytest.fail.Exception) as error:
                failures.append((f"case {number}, {name}: {error or type(error).__name__}", error))
        assert number, "there are no cases"
        if failures:  # the traceback is that of the first one
            raise AssertionError("\n".join(message for message, _ in failures)) from failures[0][1]

    test_each.__name__, test_each.__doc__ = test.__name__, test.__doc__
    test_each.__module__, test_each.__qualname__ = test.__module__, test.__qualname__
    return test_each
