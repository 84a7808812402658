"""What the plots have in common. matplotlib is an extra: pip install -e .[plots]"""
import io
import sys

#: A colour for each way that is compared, the same in all plots.
COLOURS = {
    "direct": "#7f7f7f", "wstpserver": "#d62728", "haproxy": "#1f77b4", "nginx": "#2ca02c", "socat": "#9467bd",
    "vendor relay": "#ff7f0e", "direct without Nagle": "#bfbfbf",
}  # fmt: skip


class PlotError(Exception):
    """Plots are not possible here; the text says what is missing."""


def pyplot():
    """matplotlib.pyplot, prepared for files. Raises PlotError without matplotlib."""
    try:
        import matplotlib
    except ImportError:
        raise PlotError("matplotlib is needed for plots: .venv/bin/pip install -e '.[plots]'") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot as plots

    plots.rcParams.update({
        "figure.dpi": 100, "font.size": 9, "axes.grid": True, "grid.alpha": 0.3, "axes.titlesize": 9,
        "figure.titlesize": 11,
        "axes.spines.top": False, "axes.spines.right": False,
    })  # fmt: skip
    return plots


def save(figure, path):
    """Write the figure as PNG with few colours, which is small; the same data give the same bytes."""
    from PIL import Image  # matplotlib needs it, too

    figure.tight_layout()
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", metadata={"Software": None})
    Image.open(drawn).convert("RGB").quantize(128, dither=Image.Dither.NONE).save(path, format="png", optimize=True)
    sys.modules["matplotlib.pyplot"].close(figure)
