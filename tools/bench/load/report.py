"""What a load test shows: progress, figures as text, what it cost the server, plots."""
import contextlib
import sys
import time

from tools.bench.figures import table
from tools.bench.plotting import pyplot, save
from tools.harness import processes

COLUMNS = ("count", "p50", "p90", "p99", "max")


def as_text(figures):
    lines = [] if figures["finished"] else ["NOT FINISHED: this is how far it came"]
    lines += [f"{key}: {_number(value)}" for key, value in figures.items() if not isinstance(value, bool | dict | list)]
    rows = [[name, *(values.get(column) for column in COLUMNS)] for name, values in figures["milliseconds"].items()]
    lines += ["", table(["milliseconds", *COLUMNS], rows), ""]
    lines += [f"server, {key}: {_number(value)}" for key, value in figures.get("server", {}).items()]
    lines += [f"error: {text} ({count} times)" for text, count in figures["errors"].items()] or ["no errors"]
    return "\n".join(lines)


def _number(value):
    return f"{value:,.1f}" if isinstance(value, float) else "-" if value is None else str(value)


class Progress:
    """How far a load has come."""

    def __init__(self, load):
        self._load = load
        self._bar = sys.stderr.isatty()
        self._next = time.monotonic() + (0.1 if self._bar else 1.0)

    def show(self, result):
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + (0.1 if self._bar else 1.0)
        text = (f"{result.prompted} of {self._load.clients} clients, {result.answers} answers, "
                f"{sum(result.errors.values())} errors")  # fmt: skip
        if self._bar:
            print(f"\r{self._drawn(result)} {text} ", end="", file=sys.stderr, flush=True)
        else:
            print(text, file=sys.stderr, flush=True)

    def _drawn(self, result, width=30):
        steps = self._load.clients * (1 + self._load.evaluations)
        done = int(width * (result.prompted + result.answers) / steps)
        return f"[{'#' * done}{'.' * (width - done)}]"

    def end(self):
        if self._bar:
            print(file=sys.stderr)


class Usage:
    """Looks at the process `pid` now and whenever `sample` is called; all zero if the process is not to be seen."""

    def __init__(self, pid):
        self._pid = pid
        self._begin = time.monotonic()
        self._processor = processes.processor_seconds(pid) or 0.0
        #: [seconds since the start, resident bytes, processor seconds since the start]
        self.samples = []
        self.sample()

    def sample(self):
        resident = 0
        with contextlib.suppress(OSError):
            resident = processes.resident_bytes(self._pid)
        used = (processes.processor_seconds(self._pid) or self._processor) - self._processor
        self.samples.append([round(time.monotonic() - self._begin, 3), resident, used])

    def figures(self):
        """Processor seconds, per cent of one processor, resident megabytes before, at the peak and now."""
        self.sample()
        elapsed, last, used = self.samples[-1]
        return {
            "processor seconds": used,
            "processor per cent": 100.0 * used / elapsed if elapsed else 0.0,
            "resident MB before": self.samples[0][1] / 1e6,
            "resident MB peak": max(resident for _, resident, _ in self.samples) / 1e6,
            "resident MB after": last / 1e6,
        }


def draw(path, result, usage=None):
    """Draw into the file `path`. Raises PlotError without matplotlib."""
    plots = pyplot()
    figure, (left, right) = plots.subplots(1, 2, figsize=(9, 3.6))
    _distribution(left, result)
    _over_time(right, result)
    if usage is not None:
        _memory(right.twinx(), usage)
    save(figure, path)


def _distribution(axes, result):
    for name, histogram in (("evaluation", result.evaluation), ("first prompt", result.prompt)):
        points = histogram.points() if histogram.counts else []
        if points:
            axes.step([ns / 1e6 for ns, _ in points], [100 * share for _, share in points], where="post", label=name)
    axes.set(xscale="log", xlabel="time (ms)", ylabel="done within that time (%)", ylim=(0, 101))
    axes.set_title("All evaluations of the run")
    if axes.get_legend_handles_labels()[0]:
        axes.legend()


def _over_time(axes, result):
    slots = sorted((slot, histogram) for slot, histogram in result.slots.items() if histogram.counts)
    seconds = [slot * result.SLOT for slot, _ in slots]
    for percent in (50, 99):
        axes.plot(seconds, [histogram.percentile(percent) / 1e6 for _, histogram in slots],
                  label=f"{percent} % of them within")  # fmt: skip
    axes.plot(seconds, [histogram.longest / 1e6 for _, histogram in slots], ".", markersize=3, label="longest")
    axes.set(yscale="log", xlabel="time since the start (s)", ylabel="time of one evaluation (ms)")
    axes.set_title("Evaluations of each tenth of a second")
    if slots:
        axes.legend(loc="upper left")


def _memory(axes, usage):
    axes.plot([sample[0] for sample in usage.samples], [sample[1] / 1e6 for sample in usage.samples], color="#7f7f7f",
              linestyle=":")  # fmt: skip
    axes.set_ylabel("server's resident memory (MB, dotted)")
    axes.set_ylim(bottom=0)
    axes.grid(visible=False)
