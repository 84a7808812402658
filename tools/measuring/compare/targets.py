"""What the server is to reach, and whether it did."""


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
