"""What the measuring programs share: percentiles and tables."""


def percentile(ordered, percent):
    """The smallest value that at least `percent` per cent of the sorted values do not exceed."""
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(0, int(rank) - 1)]


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
