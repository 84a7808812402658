"""Tables of a comparison, as text and as Markdown. Where ways are compared, a last column has the ratio to HAProxy."""
from tools.figures import table

#: The column that a ratio is made of: the first of these that a table has.
_MAIN = ("p50", "up MB/s", "per second", "prompt p50 ms", "KiB each", "depth 1")
_REFERENCE = "haproxy"


def cells(found):
    """(header, rows) of a table of the document."""
    rows = found["rows"]
    columns = list(dict.fromkeys(column for values in rows.values() for column in values))
    main = next((column for column in _MAIN if column in columns), None)
    base = rows.get(_REFERENCE, {}).get(main)
    header = ["", *columns, *([f"{main} / {_REFERENCE}"] if base else [])]
    body = []
    for name, values in rows.items():
        ratio = [values[main] / base if main in values else None] if base else []
        body.append([name, *(values.get(column) for column in columns), *ratio])
    return header, [[row[0], *map(shown, row[1:])] for row in body]


def shown(value):
    """Three digits that count, thousands apart."""
    if value is None:
        return "-"
    if isinstance(value, int):
        return f"{value:,}"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f}"


def as_text(found):
    header, rows = cells(found)
    return table([found["title"], *header[1:]], rows)


def as_markdown(found):
    header, rows = cells(found)
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
