"""What the measuring programs share: percentiles, histograms and tables."""
import math
from collections import Counter


def percentile(ordered, percent):
    """The smallest value that at least `percent` per cent of the sorted values do not exceed."""
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(0, int(rank) - 1)]


def median_interval(values, confidence=0.95):
    """(low, high): two of the values, between which the median of what they are taken from lies with that confidence,
    as their ranks say (binomial distribution); the extremes where there are too few values.

    With eight values these are the extremes, and the confidence is 99 %; with nine the second and the eighth, and 96 %.
    """
    ordered, count = sorted(values), len(values)
    rank = outside = 0
    while True:
        outside += 2 * math.comb(count, rank) / 2**count
        if 1 - outside < confidence or rank > (count - 1) // 2:
            break
        rank += 1
    return ordered[max(0, rank - 1)], ordered[min(count - 1, count - rank)]


def summary(values, scale=1.0):
    """count, p50, p90, p99 and max of the values, each divided by `scale`; only the count if there are none."""
    ordered = sorted(values)
    figures = {"count": len(ordered)}
    if ordered:
        for name, percent in (("p50", 50), ("p90", 90), ("p99", 99), ("max", 100)):
            figures[name] = percentile(ordered, percent) / scale
    return figures


def table(header, rows):
    """Text: the first column flush left, the others flush right; floats with one digit."""
    cells = [list(map(_cell, row)) for row in [header, *rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    return "\n".join(
        "  ".join(cell.rjust(width) if column else cell.ljust(width)
                  for column, (cell, width) in enumerate(zip(row, widths, strict=True)))
        for row in cells
    )  # fmt: skip


def _cell(value):
    if value is None:
        return "-"
    return f"{value:,.1f}" if isinstance(value, float) else str(value)


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
