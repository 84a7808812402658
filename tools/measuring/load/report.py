"""The figures of a load as text."""
from tools.figures import table

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
