"""How the server looks from outside, again and again, and whether that stays flat."""
import json
import statistics
import time
from pathlib import Path

from tools.bench.plotting import COLOURS, pyplot, save
from tools.harness import processes

#: What a sample holds besides "seconds"; memory in MB.
QUANTITIES = ("resident MB", "descriptors", "greenlets", "objects", "blocks", "threads")

#: How much larger the last quarter may be than the second one: a share of it, and a number besides.
TOLERANCE = {
    "resident MB": (0.05, 2), "descriptors": (0.10, 20), "greenlets": (0.10, 20), "objects": (0.10, 2000),
    "blocks": (0.02, 3000), "threads": (0.0, 1),
}  # fmt: skip


class Samples:
    """The samples of one run. The server writes what it counts into the file `counts`, and has done so once."""

    def __init__(self, pid, counts):
        self._pid, self._counts = pid, Path(counts)
        self._begin = time.monotonic()
        self.rows = []

    def take(self, **more):
        """Look at the server now; `more` goes into the sample."""
        row = {
            "seconds": round(time.monotonic() - self._begin, 1),
            "resident MB": processes.resident_bytes(self._pid) / 1e6,
            "descriptors": len(processes.open_descriptors(self._pid)),
            "threads": processes.threads(self._pid),
            "processor seconds": processes.processor_seconds(self._pid),
        }
        self.rows.append(row | json.loads(self._counts.read_text()) | more)


def judge(rows):
    """{quantity: {"second quarter", "last quarter", "flat"}} by the medians of the two quarters of the time.

    The first quarter is for what grows once: pools at their full size, memory that Python keeps.
    """
    verdicts = {}
    for name in QUANTITIES:
        values = [row[name] for row in rows if name in row]
        quarter = len(values) // 4
        if quarter == 0:
            continue
        early, late = statistics.median(values[quarter : 2 * quarter]), statistics.median(values[-quarter:])
        share, number = TOLERANCE[name]
        flat = late <= early * (1 + share) + number
        verdicts[name] = {"second quarter": early, "last quarter": late, "flat": flat}
    return verdicts


#: Column of a sample: what a stranger calls it, with its unit.
SHOWN = {"resident MB": "resident memory (MB)", "descriptors": "open descriptors", "greenlets": "greenlets"}
COUNTED = {
    "answers": "answers", "conversations": "conversations", "lost links": "links lost",
    "kernels killed": "kernels killed",
}  # fmt: skip


def draw(path, rows):
    """Draw into the file `path`. Raises PlotError without matplotlib."""
    plots = pyplot()
    figure, axes = plots.subplots(1, len(SHOWN) + 1, figsize=(12, 3.4))
    for one, (name, label) in zip(axes, SHOWN.items(), strict=False):
        found = [(row["seconds"] / 60, row[name]) for row in rows if name in row]
        if found:
            one.plot(*zip(*found, strict=True), color=COLOURS["wstpserver"], linewidth=1)
            one.set_ylim(bottom=0, top=1.25 * max(value for _, value in found))
        one.set(xlabel="time (minutes)", ylabel=f"server: {label}")
    for name, label in COUNTED.items():
        found = [(row["seconds"] / 60, row[name]) for row in rows if row.get(name)]
        if found:
            axes[-1].plot(*zip(*found, strict=True), linewidth=1, label=label)
    axes[-1].set(xlabel="time (minutes)", ylabel="events since the start", yscale="log")
    if axes[-1].get_legend_handles_labels()[0]:
        axes[-1].legend(fontsize=7)
    figure.suptitle("One server under random use: what it holds, and what it did")
    save(figure, path)
