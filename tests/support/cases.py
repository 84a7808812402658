"""Many small cases as one test."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

import pytest

Case = TypeVar("Case")


def for_each(cases: Iterable[Case], name: Callable[[Case], object] = repr) -> Callable[..., Callable[[], None]]:
    """Has a test called with each of *cases* in turn, whatever comes of the others; all that fail are named.

    It is for cases that take less than what a test of its own costs in a run of several workers.

    Args:
        cases: What the test is called with.
        name: Says which case it was.
    """

    def decorate(test: Callable[[Case], None]) -> Callable[[], None]:
        def test_each() -> None:
            number, failures = 0, []
            for number, case in enumerate(cases, 1):  # noqa: B007 (how many there were)
                try:
                    test(case)
                except (Exception, pytest.fail.Exception) as error:
                    failures.append((f"case {number}, {name(case)}: {error or type(error).__name__}", error))
            assert number, "there are no cases"
            if failures:  # the traceback is that of the first one
                raise AssertionError("\n".join(message for message, _ in failures)) from failures[0][1]

        test_each.__name__, test_each.__doc__ = test.__name__, test.__doc__
        test_each.__module__, test_each.__qualname__ = test.__module__, test.__qualname__
        return test_each

    return decorate
