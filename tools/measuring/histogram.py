"""Durations in buckets, as the C programs report them (native/histogram.h): any number of values, exact to 0.8 %."""
from collections import Counter


def bucket_bounds(bucket):
    """The nanoseconds (first, end) which a bucket stands for."""
    if bucket < 256:
        return bucket, bucket + 1
    shift = bucket // 128 - 1
    mantissa = bucket - 128 * shift
    return mantissa << shift, (mantissa + 1) << shift


class Histogram:
    """Counts by bucket, and the longest duration (ns)."""

    def __init__(self):
        self.counts = Counter()
        self.longest = 0

    def add(self, report):
        """Add what a program reported: {"counts": {bucket: count}, "longest": ns}."""
        for bucket, count in report["counts"].items():
            self.counts[int(bucket)] += count
        self.longest = max(self.longest, report["longest"])

    @property
    def total(self):
        return sum(self.counts.values())

    def percentile(self, percent):
        """The middle of the bucket that holds the nearest-rank percentile, in nanoseconds; None without values."""
        rank = max(1, -(-self.total * percent // 100))
        for bucket in sorted(self.counts):
            rank -= self.counts[bucket]
            if rank <= 0:
                first, end = bucket_bounds(bucket)
                return min((first + end - 1) / 2, self.longest)
        return None

    def summary(self, scale=1.0):
        """count, p50, p90, p99 and max, each divided by `scale`; only the count if there are no values."""
        figures = {"count": self.total}
        if self.counts:
            figures |= {f"p{percent}": self.percentile(percent) / scale for percent in (50, 90, 99)}
            figures["max"] = self.longest / scale
        return figures

    def points(self):
        """[(ns, share of the values that are at most so long)], for plotting a distribution."""
        points, seen, total = [], 0, self.total
        for bucket in sorted(self.counts):
            seen += self.counts[bucket]
            points.append((min(bucket_bounds(bucket)[1] - 1, self.longest), seen / total))
        return points
