"""Compares two builds of the server: whether the new one has lost speed.

Three servers take turns in every round: the old build, the old build again, and the new build. Each sitting starts all
of them anew and gives a ratio of its own for every figure. How far the old build differs from itself says what a
difference is worth.
"""
import statistics
from pathlib import Path

from tools.bench.compare.legs import Server
from tools.bench.figures import table

OLD, AGAIN, NEW = "old", "old again", "wstpserver"

#: A median or a rate may be worse by this factor at most, whatever the old build does.
TOLERANCE = 1.05

#: Words of the columns in which more is better; in all others less is.
_RATES = ("per second", "MB/s", "depth")

#: Words of the columns that a few slow events decide: TOLERANCE is not for them.
_TAILS = ("p90", "p99", "resident")

#: Columns that are not compared: numbers of repetitions, and extremes that one event decides.
_LEFT_OUT = ("count", "clients", "max")


def legs(folder):
    """The three ways, by name, for the old build in `folder`.

    Raises ValueError where `folder` is no checkout with its C module.
    """
    folder = Path(folder).resolve()
    if not (folder / "wstpserver" / "__main__.py").is_file():
        raise ValueError(f"{folder} is no checkout of wstpserver")
    if not list((folder / "wstpserver").glob("_*.so")):
        raise ValueError(f"{folder} has no C module; make it: (cd {folder} && python setup.py build_ext --inplace)")

    class Old(Server):
        name = OLD
        root = folder

    class OldAgain(Old):
        name = AGAIN

    return {OLD: Old, AGAIN: OldAgain, NEW: Server}


def in_order(ways, number):
    """The ways of sitting `number`, each time another one first."""
    names = list(ways)
    first = number % len(names)
    return {name: ways[name] for name in names[first:] + names[:first]}


def compare(sittings):
    """The rows of the comparison; `sittings` has the tables of each sitting: [{key: {"title", "rows"}}].

    Returns [{"title", "column", "old", "new", "new / old", "old / old", "worse"}]. `old` and `new` are medians of all
    sittings; the ratios are lists with one of each sitting; `worse` says whether, at the median of the sittings, the
    new build is slower than the old one by more than that differs from itself, or by more than TOLERANCE.
    """
    found = []
    for key in dict.fromkeys(key for tables in sittings for key in tables):
        given = [tables[key] for tables in sittings if key in tables]
        columns = dict.fromkeys(column for one in given for column in one["rows"].get(NEW, {}))
        for column in columns:
            if column not in _LEFT_OUT and (row := _row(given, column)):
                found.append({"title": given[0]["title"], "column": column, **row})
    return found


def _row(given, column):
    """The figures of one column; None where a way has none."""
    taken = [[one["rows"].get(name, {}).get(column) for name in (OLD, AGAIN, NEW)] for one in given]
    taken = [values for values in taken if all(values)]  # a figure of 0 has no ratio
    if not taken:
        return None
    new = [after / before for before, _, after in taken]
    same = [again / before for before, again, _ in taken]
    slower = statistics.median(new)
    if any(word in column for word in _RATES):
        slower = 1 / slower
    is_median = not any(word in column for word in _TAILS)
    noise = statistics.median(max(ratio, 1 / ratio) for ratio in same)
    return {
        "old": statistics.median(values[0] for values in taken),
        "new": statistics.median(values[2] for values in taken),
        "new / old": new, "old / old": same, "worse": slower > noise or (slower > TOLERANCE and is_median),
    }  # fmt: skip


HEADER = ("", "old", "new", "new / old", "of each sitting", "old / old", "of each sitting", "")


def cells(rows):
    """The rows of `compare` as texts, one for each entry of HEADER; ranges are the extremes of the sittings."""
    return [
        [f"{row['title']}: {row['column']}", _figure(row["old"]), _figure(row["new"]), *_ratios(row["new / old"]),
         *_ratios(row["old / old"]), "worse" if row["worse"] else "as fast"]
        for row in rows
    ]  # fmt: skip


def _figure(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _ratios(values):
    return f"{statistics.median(values):.3f}", f"{min(values):.2f} to {max(values):.2f}"


def as_text(rows):
    return table(HEADER, cells(rows))


def as_markdown(rows):
    lines = [HEADER, ["---", *["---:"] * (len(HEADER) - 1)], *cells(rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
