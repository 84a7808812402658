"""Durations in buckets: what native/histogram.h counts and tools/bench/figures.py reads."""
import pytest

from tools.bench.figures import Histogram, bucket_bounds


def bucket_of(nanoseconds):
    """As in native/histogram.h."""
    shift = max(0, nanoseconds.bit_length() - 8)
    return shift * 128 + (nanoseconds >> shift)


@pytest.mark.parametrize("nanoseconds", [0, 1, 255, 256, 257, 511, 512, 1000, 123_456, 10**9, 10**12 + 7])
def test_bounds_hold_the_value_and_are_narrow(nanoseconds):
    first, end = bucket_bounds(bucket_of(nanoseconds))
    assert first <= nanoseconds < end
    assert end - first <= max(1, nanoseconds / 127)


def test_buckets_follow_one_another():
    for bucket in range(2000):
        assert bucket_bounds(bucket)[1] == bucket_bounds(bucket + 1)[0]


def filled(values):
    histogram = Histogram()
    for value in values:
        histogram.add({"counts": {str(bucket_of(value)): 1}, "longest": value})
    return histogram


def test_percentiles():
    values = [1000 * number for number in range(1, 101)]
    summary = filled(values).summary(1000)
    assert summary["count"] == 100
    assert summary["max"] == 100
    for percent in (50, 90, 99):
        assert summary[f"p{percent}"] == pytest.approx(percent, rel=0.008)


def test_nothing():
    assert Histogram().summary() == {"count": 0}
    assert Histogram().percentile(50) is None


def test_distribution_ends_at_one():
    points = filled([5, 5, 7000, 90_000]).points()
    assert points[0] == (5, 0.5)
    assert points[-1] == (90_000, 1.0)
