"""What a comparison found: a JSON document, tables as text and Markdown, targets, and the page docs/performance.md."""
import contextlib
import datetime
import os
import platform
import re
import subprocess

from tools.bench.compare import builds
from tools.bench.compare.legs import executable
from tools.bench.figures import table
from wstpserver.version import VERSION


def new():
    """A document without tables."""
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": machine(), "versions": versions(), "load average": [os.getloadavg()[0]], "ends": {}, "skipped": {},
        "tables": {},
    }  # fmt: skip


def machine():
    """Processor, number of processors, memory, system."""
    facts = {"processor": platform.processor() or platform.machine(), "processors": os.cpu_count()}
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as info:
        names = [line.partition(":")[2].strip() for line in info if line.startswith("model name")]
        facts["processor"] = names[0] if names else facts["processor"]
    facts["memory GB"] = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9)
    facts["system"] = f"{platform.system()} {platform.release()}"
    return facts


def versions():
    """The programs that are compared."""
    found = {"wstpserver": VERSION, "Python": platform.python_version()}
    for name, option in (("haproxy", "-v"), ("nginx", "-v"), ("socat", "-V")):
        if path := executable(name):
            done = subprocess.run([path, option], capture_output=True, text=True)
            match = re.search(r"(?:version |nginx/)(\d[\w.+-]*)", done.stdout + done.stderr)
            found[name] = match[1] if match else "?"
    return found


def add_table(document, key, title, rows):
    """`rows`: {leg: {column: value}}."""
    document["tables"][key] = {"title": title, "rows": rows}


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


def judge(document):
    """[(target, measured as text, True or False)], for the targets that were measured."""
    tables = {key: found["rows"] for key, found in document["tables"].items()}
    found = []
    for check in (_added, _vendor_tail, _throughput, _busy, _beside, _set_up, _memory):
        try:
            found += check(tables)
        except KeyError:  # not measured, or not with this way
            pass
    return found


def _added(tables):
    p50 = {name: row["p50"] for name, row in tables["light trivial"].items()}
    ours, theirs = (p50[name] - p50["direct"] for name in ("wstpserver", "haproxy"))
    measured = f"{ours:.1f} µs, HAProxy {theirs:.1f} µs"
    yield "added p50 of a trivial evaluation at most HAProxy's", measured, ours <= theirs


def _vendor_tail(tables):
    rows = tables["vendor trivial"]
    p99 = rows["wstpserver"]["p99"]
    measured = f"{p99:.0f} µs"
    if best := rows.get("direct without Nagle"):
        measured += f", nothing in between {best['p99']:.0f} µs at best"
    yield "p99 between the vendor's endpoints at most 150 µs", measured, p99 <= 150


def _throughput(tables):
    ratios = []
    for key, rows in tables.items():
        if key.startswith("packed ") and int(key.split()[1]) >= 1_000_000:
            for way in ("up MB/s", "down MB/s"):
                ratios.append((rows["wstpserver"][way] / rows["haproxy"][way], f"{key.split()[1]} B {way.split()[0]}"))
    if ratios:
        worst, where = min(ratios)
        yield "packed throughput from 1 MB on at least HAProxy's", f"{worst:.2f} of it at worst ({where})", worst >= 1


def _busy(tables):
    rows = tables["active 100"]
    ratio = rows["wstpserver"]["per second"] / rows["haproxy"]["per second"]
    yield "evaluations/s of 100 active clients at least 0.8 of HAProxy's", f"{ratio:.2f}", ratio >= 0.8


def _beside(tables):
    p99 = tables["beside bulk"]["wstpserver"]["p99"] / 1e3
    yield "p99 beside a bulk transfer below 3 ms", f"{p99:.2f} ms", p99 < 3


def _set_up(tables):
    p50 = tables["connections 1"]["wstpserver"]["prompt p50 ms"]
    rate = max(rows["wstpserver"]["per second"] for key, rows in tables.items() if key.startswith("connections "))
    yield "first InputNamePacket from a warm pool p50 below 1 ms", f"{p50:.2f} ms", p50 < 1
    yield "2,000 connections per second", f"{rate:,.0f}", rate >= 2000


def _memory(tables):
    number, row = max(((int(number), row) for number, row in tables["growth"].items()))
    both = row["KiB each"] + row["KiB a kernel"]
    measured = f"{both:.1f} KiB, {row['KiB a kernel']:.1f} of them for the kernel"
    yield f"at most 40 KiB for an idle client and its kernel, {number:,} held", measured, both <= 40


#: <!-- table: KEY --> ... <!-- end -->
_PLACE = re.compile(r"(<!-- (table|machine|targets|builds)(?:: ([\w ]+))? -->\n).*?(<!-- end -->)", re.DOTALL)


def update(path, document):
    """Put what the document has into its places; places for what it has not stay as they are."""

    def replace(match):
        begin, kind, key, end = match.groups()
        if ("builds" in document) != (kind == "builds"):
            return match[0]
        if kind == "builds":
            table_of_builds = builds.as_markdown(document["builds"])
            return f"{begin}{document['sittings']} sittings. {_machine(document)}\n\n{table_of_builds}\n{end}"
        if kind == "machine":
            return f"{begin}{_machine(document)}\n{end}"
        if kind == "targets":
            return f"{begin}{_targets(document)}\n{end}"
        if key in document["tables"]:
            return f"{begin}{as_markdown(document['tables'][key])}\n{end}"
        return match[0]

    text = path.read_text(encoding="utf-8")
    path.write_text(_PLACE.sub(replace, text), encoding="utf-8")


def _machine(document):
    machine, versions = document["machine"], document["versions"]
    lines = [
        f"{document['date']}: {machine['processor']}, {machine['processors']} processors, {machine['memory GB']} GB, "
        f"{machine['system']}; " + ", ".join(f"{name} {version}" for name, version in versions.items())
        + f"; load average {document['load average'][0]:.1f} at the beginning.",
        *(f"Not measured: {name}, {why}." for name, why in document["skipped"].items()),
    ]  # fmt: skip
    return "\n".join(lines)


def _targets(document):
    lines = ["| target | measured | reached |", "| --- | --- | --- |"]
    for target, measured, reached in judge(document):
        lines.append(f"| {target} | {measured} | {'yes' if reached else 'no'} |")
    return "\n".join(lines)
