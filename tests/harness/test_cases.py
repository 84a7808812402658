"""A test of many cases fails at the first that fails, and names it."""
import pytest

from tests.support.cases import for_each


def test_each_case_is_tried():
    seen = []
    for_each([1, 2, 3])(seen.append)()
    assert seen == [1, 2, 3]


def test_the_case_that_fails_is_named():
    @for_each(["a", "bb"], len)
    def short(case):
        assert len(case) < 2

    with pytest.raises(AssertionError, match="^case 2, 2: "):
        short()


def test_no_cases_are_no_proof():
    with pytest.raises(AssertionError, match="there are no cases"):
        for_each([])(print)()
