"""The latencies of a load: their distribution, and how they went over time."""
from tools.measuring.plotting import pyplot, save


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
    axes.set(xscale="log", xlabel="milliseconds", ylabel="per cent done in at most that time", ylim=(0, 101))
    axes.set_title("Distribution")
    if axes.get_legend_handles_labels()[0]:
        axes.legend()


def _over_time(axes, result):
    slots = sorted((slot, histogram) for slot, histogram in result.slots.items() if histogram.counts)
    seconds = [slot * result.SLOT for slot, _ in slots]
    for percent in (50, 99):
        axes.plot(seconds, [histogram.percentile(percent) / 1e6 for _, histogram in slots], label=f"p{percent}")
    axes.plot(seconds, [histogram.longest / 1e6 for _, histogram in slots], ".", markersize=3, label="longest")
    axes.set(yscale="log", xlabel="seconds", ylabel="milliseconds of an evaluation")
    axes.set_title("Over time")
    if slots:
        axes.legend(loc="upper left")


def _memory(axes, usage):
    axes.plot([sample[0] for sample in usage.samples], [sample[1] / 1e6 for sample in usage.samples], color="#7f7f7f",
              linestyle=":")  # fmt: skip
    axes.set_ylabel("server's resident MB (dotted)")
    axes.set_ylim(bottom=0)
    axes.grid(False)
