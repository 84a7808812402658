"""What the server needed over the time of a soak."""
from tools.measuring.plotting import COLOURS, pyplot, save

SHOWN = ("resident MB", "descriptors", "greenlets")


def draw(path, rows):
    """Draw into the file `path`. Raises PlotError without matplotlib."""
    plots = pyplot()
    figure, axes = plots.subplots(1, len(SHOWN) + 1, figsize=(12, 3))
    for one, name in zip(axes, SHOWN, strict=False):
        found = [(row["seconds"] / 60, row[name]) for row in rows if name in row]
        if found:
            one.plot(*zip(*found, strict=True), color=COLOURS["wstpserver"], linewidth=1)
            one.set_ylim(bottom=0, top=1.25 * max(value for _, value in found))
        one.set(xlabel="minutes", title=name)
    for name in ("answers", "conversations", "lost links", "kernels killed"):
        found = [(row["seconds"] / 60, row[name]) for row in rows if row.get(name)]
        if found:
            axes[-1].plot(*zip(*found, strict=True), linewidth=1, label=name)
    axes[-1].set(xlabel="minutes", title="work done", yscale="log")
    if axes[-1].get_legend_handles_labels()[0]:
        axes[-1].legend(fontsize=7)
    save(figure, path)
