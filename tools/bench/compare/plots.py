"""The plots of docs/performance.md, each of which says by itself what it shows and in which unit."""
from tools.bench.compare.plan import CLIENTS, SIZES, in_bytes
from tools.bench.plotting import COLOURS, pyplot, save


def draw_all(document, folder):
    """Draw what the document has tables for; returns the names of the files. Raises PlotError."""
    drawn = []
    for name, draw in (("latency.png", _latency), ("throughput.png", _throughput), ("clients.png", _clients),
                       ("growth.png", _growth), ("depth.png", _depth)):  # fmt: skip
        figure = draw(pyplot(), {key: found["rows"] for key, found in document["tables"].items()})
        if figure is not None:
            save(figure, folder / name)
            drawn.append(name)
    return drawn


def _latency(plots, tables):
    """Median and 99th percentile as bars, for both kinds of ends."""
    kinds = [
        (key, title)
        for key, title in (
            ("light trivial", "client and kernel in C"),
            ("vendor trivial", "client and kernel on the vendor's library"),
            ("beside bulk", "in C, beside a bulk transfer"),
        )
        if key in tables
    ]
    if not kinds:
        return None
    figure, axes = plots.subplots(1, len(kinds), figsize=(3.9 * len(kinds), 3.3), squeeze=False)
    for (key, title), one in zip(kinds, axes[0], strict=True):
        rows = tables[key]
        for place, (name, row) in enumerate(rows.items()):
            one.barh(place, row["p99"], color=COLOURS[name], alpha=0.35)
            one.barh(place, row["p50"], color=COLOURS[name])
        one.set(xscale="log", xlabel="time (µs)", title=title)
        one.set_yticks(range(len(rows)), list(rows))
        one.invert_yaxis()
    figure.suptitle("Time of a trivial evaluation (dark: median, light: 99th percentile), by what is between the ends")
    return figure


def _lines(axes, points):
    """points: {name: [(x, y)]}."""
    for name, values in points.items():
        axes.plot(*zip(*values, strict=True), marker="o", markersize=3, color=COLOURS.get(name), label=name)


def _collect(tables, keys, column):
    """{leg: [(x, value)]} of the tables {x: key} that are there."""
    points = {}
    for x, key in keys.items():
        for name, row in tables.get(key, {}).items():
            points.setdefault(name, []).append((x, row[column]))
    return points


def _throughput(plots, tables):
    keys = {size: f"packed {size}" for size in SIZES}
    if not any(key in tables for key in keys.values()):
        return None
    figure, axes = plots.subplots(1, 3, figsize=(11, 3.6))
    for one, column, label, title in (
        (axes[0], "up MB/s", "throughput (MB/s)", "client to kernel"),
        (axes[1], "down MB/s", "throughput (MB/s)", "kernel to client"),
        (axes[2], "resident MB", "resident memory (MB)", "memory of what is in between"),
    ):
        points = _collect(tables, keys, column)
        _lines(one, {name: values for name, values in points.items() if column != "resident MB" or name != "direct"})
        one.set(xscale="log", xlabel="size of the list", ylabel=label, title=title)
        if column == "resident MB":
            one.set_ylim(bottom=0)
        else:
            one.set_yscale("log")
        one.set_xticks(SIZES[1::2], [in_bytes(size) for size in SIZES[1::2]])
        one.minorticks_off()
    axes[0].legend(fontsize=7)
    figure.suptitle("Lists of real numbers, by what is between client and kernel")
    return figure


def _clients(plots, tables):
    keys = {count: f"active {count}" for count in CLIENTS}
    if not any(key in tables for key in keys.values()):
        return None
    figure, axes = plots.subplots(1, 2, figsize=(8, 3.6))
    for one, column, label in ((axes[0], "per second", "evaluations per second, all clients together"),
                               (axes[1], "p99 ms", "99th percentile of one evaluation (ms)")):  # fmt: skip
        _lines(one, _collect(tables, keys, column))
        one.set(xscale="log", yscale="log", xlabel="clients, each with a kernel of its own", ylabel=label)
        one.set_xticks(CLIENTS, [f"{count:,}" for count in CLIENTS])
        one.minorticks_off()
    axes[0].legend(fontsize=7)
    figure.suptitle("Clients that evaluate without a pause, by what is between them and their kernels")
    return figure


def _depth(plots, tables):
    if "depth" not in tables:
        return None
    figure, axes = plots.subplots(figsize=(5.5, 3.6))
    points = {name: [(int(column.split()[1]), value) for column, value in row.items()]
              for name, row in tables["depth"].items()}  # fmt: skip
    _lines(axes, points)
    depths = [depth for depth, _ in next(iter(points.values()), [])]
    axes.set(xscale="log", yscale="log", xlabel="evaluations sent before the first answer has come",
             ylabel="evaluations per second", title="One client that sends ahead")  # fmt: skip
    axes.set_xticks(depths, list(map(str, depths)))
    axes.minorticks_off()
    axes.legend(fontsize=7)
    return figure


#: Column of the table of growth: what a stranger calls it, with its unit.
_GROWTH = {
    "kernels started s": "time to start all kernels (s)",
    "first prompt p50 ms": "connect to prompt, median (ms)",
    "connected per s": "clients connected per second",
    "KiB each": "server's memory, one idle client (KiB)",
    "evaluations per s": "evaluations per second, all clients",
    "processor us": "server's processor time (µs/evaluation)",
}


def _growth(plots, tables):
    if "growth" not in tables:
        return None
    rows = {int(number): row for number, row in tables["growth"].items()}
    figure, axes = plots.subplots(2, 3, figsize=(11, 6.4))
    for one, (column, label) in zip(axes.flat, _GROWTH.items(), strict=True):
        values = [row[column] for row in rows.values()]
        one.plot(list(rows), values, marker="o", markersize=3, color=COLOURS["wstpserver"])
        one.set(xlabel="clients, and as many kernels", ylabel=label, xlim=(0, None))
        one.set_ylim(bottom=0, top=1.15 * max(values) or 1)
    figure.suptitle("One server as its clients and kernels grow in number")
    return figure
