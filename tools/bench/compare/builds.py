"""Compares two builds of the server: whether the new one has lost speed.

Three servers take turns in every round: the old build, the old build again, and the new build. Their ratios are taken
in each round, and of a sitting, which starts all of them anew, the median of these. How far the old build differs from
itself says what a difference is worth.
"""
import statistics
from pathlib import Path

from tools.bench.compare.legs import Server
from tools.bench.figures import median_interval, table

OLD, AGAIN, NEW = "old", "old again", "wstpserver"

#: A median or a rate may be worse by this factor at most, whatever the old build does.
TOLERANCE = 1.05

#: Words of the columns in which more is better; in all others less is.
_RATES = ("per second", "MB/s", "depth")

#: Words of the columns that a few slow events decide: TOLERANCE is not for them.
_TAILS = ("p90", "p99")

#: Columns that are not compared: numbers of repetitions, extremes that one event decides, and the memory of a whole
#: server, which the size of the program decides.
_LEFT_OUT = ("count", "clients", "max", "resident MB")


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
    """The rows of the comparison; `sittings` has what each of them has found: [{key: {"title", "rounds"}}], with
    [{name: {column: value}}] as rounds.

    Returns [{"title", "column", "old", "new", "new / old", "old / old", "worse"}]. `old` and `new` are medians of all
    rounds. The ratios are lists with one of each sitting, the median of the ratios of its rounds. `worse` says whether
    the new build is slower than the old one by more than that differs from itself, or by more than TOLERANCE (`_row`).
    """
    found = []
    for key in dict.fromkeys(key for tables in sittings for key in tables):
        given = [tables[key] for tables in sittings if key in tables]
        columns = dict.fromkeys(column for one in given for row in one["rounds"] for column in row.get(NEW, {}))
        for column in columns:
            if column not in _LEFT_OUT and (row := _row([one["rounds"] for one in given], column)):
                found.append({"title": given[0]["title"], "column": column, **row})
    return found


def _row(sittings, column):
    """The figures of one column; None where a way has none.

    How much slower the new build is: the median of the sittings, and the interval in which it lies (`median_interval`).
    The old build differs from itself by as much as the interval of its own ratio is away from 1, to either side. The
    new one is worse if its median is beyond that, and its whole interval beyond 1.
    """
    taken = [[[one.get(name, {}).get(column) for name in (OLD, AGAIN, NEW)] for one in rounds] for rounds in sittings]
    taken = [[values for values in rounds if all(values)] for rounds in taken]  # a figure of 0 has no ratio
    taken = [rounds for rounds in taken if rounds]
    if not taken:
        return None
    new = [statistics.median(after / before for before, _, after in rounds) for rounds in taken]
    same = [statistics.median(again / before for before, again, _ in rounds) for rounds in taken]
    more_is_better = any(word in column for word in _RATES)
    slower = [1 / ratio for ratio in new] if more_is_better else new
    is_median = not any(word in column for word in _TAILS)
    noise = max(max(ratio, 1 / ratio) for ratio in median_interval(same))
    middle = statistics.median(slower)
    beyond = middle > noise or (is_median and middle > TOLERANCE)
    return {
        "old": statistics.median(values[0] for rounds in taken for values in rounds),
        "new": statistics.median(values[2] for rounds in taken for values in rounds),
        "new / old": new, "old / old": same, "worse": beyond and median_interval(slower)[0] > 1,
    }  # fmt: skip


HEADER = ("", "old", "new", "new / old", "between", "old / old", "between", "")


def cells(rows):
    """The rows of `compare` as texts, one for each entry of HEADER, with the intervals of the ratios' medians."""
    return [
        [f"{row['title']}: {row['column']}", _figure(row["old"]), _figure(row["new"]), *_ratios(row["new / old"]),
         *_ratios(row["old / old"]), "worse" if row["worse"] else "as fast"]
        for row in rows
    ]  # fmt: skip


def _figure(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _ratios(values):
    low, high = median_interval(values)
    return f"{statistics.median(values):.3f}", f"{low:.3f} to {high:.3f}"


def as_text(rows):
    return table(HEADER, cells(rows))


def as_markdown(rows):
    lines = [HEADER, ["---", *["---:"] * (len(HEADER) - 1)], *cells(rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
