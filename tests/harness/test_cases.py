"""A test of many cases tries them all, and names those that fail."""
import pytest

from tests.support.cases import for_all, for_each


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


def test_all_that_fail_are_named():
    @for_each([1, 0, 2, 3])
    def refused(case):
        with pytest.raises(ZeroDivisionError):
            1 / case if case < 3 else int("x")

    with pytest.raises(AssertionError) as caught:
        refused()
    lines = str(caught.value).splitlines()
    assert [line.partition(":")[0] for line in lines] == ["case 1, 1", "case 3, 2", "case 4, 3"]
    assert "DID NOT RAISE" in lines[0] and "invalid literal" in lines[2]


def test_no_cases_are_no_proof():
    with pytest.raises(AssertionError, match="there are no cases"):
        for_each([])(print)()


def test_all_combinations_are_tried_and_those_that_fail_are_named():
    seen = []

    @for_all(("first", "second"), [(1, "a"), (2, "b")])
    @for_all("third", [False, True], ids=["no", "yes"])
    def combination(first, second, third):
        """Its text."""
        seen.append((first, second, third))
        assert not third or first == 1, "not these"

    assert combination.__doc__ == "Its text."
    with pytest.raises(AssertionError, match="^case 4, 2, 'b', yes: not these") as caught:
        combination()
    assert "\ncase" not in str(caught.value)
    assert sorted(seen) == [(1, "a", False), (1, "a", True), (2, "b", False), (2, "b", True)]
