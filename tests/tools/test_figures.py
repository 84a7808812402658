"""Percentiles and tables of the measuring programs."""
import pytest

from tools.bench.figures import median_interval, percentile, summary, table


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [([7], 50, 7), ([1, 2], 50, 1), ([1, 2, 3], 50, 2), (list(range(1, 101)), 99, 99), (list(range(1, 102)), 99, 100),
     ([1, 2, 3], 100, 3)],
)  # fmt: skip
def test_percentile_is_the_nearest_rank(values, percent, expected):
    assert percentile(values, percent) == expected


def test_summary_scales():
    assert summary([4000, 1000, 3000, 2000], 1000.0) == {"count": 4, "p50": 2.0, "p90": 4.0, "p99": 4.0, "max": 4.0}
    assert summary([]) == {"count": 0}


@pytest.mark.parametrize(("count", "low", "high"), [(1, 1, 1), (5, 1, 5), (8, 1, 8), (9, 2, 8), (20, 6, 15)])
def test_interval_of_a_median(count, low, high):
    assert median_interval(range(count, 0, -1)) == (low, high)


def test_table_is_flush():
    assert table(["", "count"], [["direct", 5], ["x", None], ["y", 1234.56]]) == (
        "          count\n"
        "direct        5\n"
        "x             -\n"
        "y       1,234.6"
    )  # fmt: skip
