"""The plots of docs/performance.md."""
from tools.bench.compare.plan import CLIENTS, SIZES, in_bytes
from tools.bench.plotting import COLOURS, pyplot, save


def draw_all(document, folder):
    """Draw what the document has tables for; returns the names of the files. Raises PlotError."""
    drawn = []
    for name, draw in (("latency.svg", _latency), ("throughput.svg", _throughput), ("clients.svg", _clients),
                       ("growth.svg", _growth), ("depth.svg", _depth)):  # fmt: skip
        figure = draw(pyplot(), {key: found["rows"] for key, found in document["tables"].items()})
        if figure is not None:
            save(figure, folder / name)
            drawn.append(name)
    return drawn


def _latency(plots, tables):
    """p50 and p99 as bars, for both kinds of ends."""
    kinds = [(key, title) for key, title in (("light trivial", "light ends"), ("vendor trivial", "vendor's library"),
                                             ("beside bulk", "beside a bulk transfer")) if key in tables]  # fmt: skip
    if not kinds:
        return None
    figure, axes = plots.subplots(1, len(kinds), figsize=(3.3 * len(kinds), 3), squeeze=False)
    for (key, title), one in zip(kinds, axes[0], strict=True):
        rows = tables[key]
        for place, (name, row) in enumerate(rows.items()):
            one.barh(place, row["p99"], color=COLOURS[name], alpha=0.35)
            one.barh(place, row["p50"], color=COLOURS[name])
        one.set(xscale="log", xlabel="µs (dark: p50, light: p99)", title=title)
        one.set_yticks(range(len(rows)), list(rows))
        one.invert_yaxis()
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
    figure, axes = plots.subplots(1, 3, figsize=(10, 3.2))
    for one, column, title in zip(axes, ("up MB/s", "down MB/s", "resident MB"),
                                  ("to the kernel", "from the kernel", "memory of what is in between"), strict=True):
        points = _collect(tables, keys, column)
        _lines(one, {name: values for name, values in points.items() if column != "resident MB" or name != "direct"})
        one.set(xscale="log", yscale="log", xlabel="bytes of a list", ylabel=column, title=title)
        one.set_xticks(SIZES[1::2], [in_bytes(size) for size in SIZES[1::2]])
    axes[0].legend(fontsize=7)
    return figure


def _clients(plots, tables):
    keys = {count: f"active {count}" for count in CLIENTS}
    if not any(key in tables for key in keys.values()):
        return None
    figure, axes = plots.subplots(1, 2, figsize=(8, 3.2))
    for one, column in zip(axes, ("per second", "p99 ms"), strict=True):
        _lines(one, _collect(tables, keys, column))
        one.set(xscale="log", yscale="log", xlabel="active clients",
                ylabel={"per second": "evaluations per second", "p99 ms": "p99 of one, ms"}[column])  # fmt: skip
    axes[0].legend(fontsize=7)
    return figure


def _depth(plots, tables):
    if "depth" not in tables:
        return None
    figure, axes = plots.subplots(figsize=(5, 3.2))
    _lines(axes, {name: [(int(column.split()[1]), value) for column, value in row.items()]
                  for name, row in tables["depth"].items()})  # fmt: skip
    axes.set(xscale="log", yscale="log", xlabel="evaluations of one client under way",
             ylabel="evaluations per second")  # fmt: skip
    axes.legend(fontsize=7)
    return figure


def _growth(plots, tables):
    if "growth" not in tables:
        return None
    rows = {int(number): row for number, row in tables["growth"].items()}
    shown = ("kernels started s", "first prompt p50 ms", "connected per s", "KiB each", "evaluations per s",
             "processor us")  # fmt: skip
    figure, axes = plots.subplots(2, 3, figsize=(9, 5))
    for one, column in zip(axes.flat, shown, strict=True):
        values = [row[column] for row in rows.values()]
        one.plot(list(rows), values, marker="o", markersize=3, color=COLOURS["wstpserver"])
        one.set(xlabel="clients and kernels", title=column, xlim=(0, None))
        one.set_ylim(bottom=0, top=1.15 * max(values) or 1)
    return figure
