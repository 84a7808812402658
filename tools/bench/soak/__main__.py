"""Keeps a server busy for an hour with clients that do random things and kernels that are killed, and looks whether its
memory, descriptors and greenlets stay flat.

It starts a server of its own with the test suite's kernels, on the loopback interface. Every answer is compared with
what it must be. Ctrl-C ends it early and tells what there is so far.
"""
import argparse
import datetime
import json
import random
import re
import signal
import sys
import tempfile
import time
from pathlib import Path

from tools.bench.chaos.__main__ import configuration
from tools.bench.chaos.end import check_end
from tools.bench.cleanup import QuietStack, clear_away_on_sigterm
from tools.bench.figures import table
from tools.bench.plotting import PlotError
from tools.bench.soak.samples import Samples, judge
from tools.bench.soak.work import Work
from tools.harness.server import ROOT, ServerProcess
from tools.harness.waiting import wait_for

#: Where docs/performance.md has the result.
PLACE = re.compile(r"(<!-- soak -->\n).*?(<!-- end -->)", re.DOTALL)
SITE = Path(__file__).parent / "site"


def main(arguments=None):
    """Returns the exit code: 0 if everything stayed flat and every answer was right."""
    parser = argparse.ArgumentParser(prog="tools/soak", description=__doc__.split("\n\n")[0])
    parser.add_argument("--minutes", type=float, default=60.0, help="how long (60)")
    parser.add_argument("--clients", type=int, default=12, help="clients that do random things (12)")
    parser.add_argument("--ready", type=int, default=30, help="kernels that are always ready for clients (30)")
    parser.add_argument("--interval", type=float, default=5.0, help="seconds between two looks at the server (5)")
    parser.add_argument("--seed", type=int, default=None, help="the seed of an earlier run")
    parser.add_argument("--json", action="store_true", help="print JSON, not a table")
    parser.add_argument("--write", type=Path, metavar="FOLDER",
                        help="write soak.json and soak.png there, and the result into FOLDER.md")  # fmt: skip
    options = parser.parse_args(arguments)
    clear_away_on_sigterm()
    found = run(options, options.seed if options.seed is not None else random.randrange(10**9))
    if options.write:
        write(found, options.write)
    print(json.dumps(found) if options.json else as_text(found))
    return 0 if not found["faults"] and all(each["flat"] for each in found["verdicts"].values()) else 1


def run(options, seed):
    """What was found, ready for JSON."""
    with tempfile.TemporaryDirectory(prefix="soak-") as folder, QuietStack() as stack:
        folder = Path(folder)
        counts = folder / "counts"
        environment = {"PYTHONPATH": f"{SITE}:{ROOT}", "WSTP_SOAK_COUNTS": str(counts),
                       "WSTP_SOAK_INTERVAL": str(options.interval)}  # fmt: skip
        settings = configuration(folder, replacement=True, ready=options.ready)
        server = stack.enter_context(ServerProcess(folder, settings, environment=environment, stop_deadline=120))
        footprint = check_end(server)
        wait_for(counts.exists, what="the server to count what it has")
        samples = Samples(server.pid, counts)
        samples.take()
        work = Work(server, options.clients, seed)
        interrupted = _watch(options, samples, work)
        work.stop()
        faults = list(work.faults)
        if not faults:
            try:
                check_end(server, footprint)
            except AssertionError as error:
                faults.append(f"not in order at the end: {error}")
        samples.take(**work.counts)
        return {
            "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
            "seed": seed, "minutes": samples.rows[-1]["seconds"] / 60, "finished": not interrupted and not faults,
            "counts": work.counts, "faults": faults, "verdicts": judge(samples.rows[:-1]), "samples": samples.rows,
        }  # fmt: skip


def _watch(options, samples, work):
    """Take samples until time is over, something is wrong, or SIGINT or SIGTERM comes (True then)."""
    interrupted = []
    previous = {number: signal.signal(number, lambda *_: interrupted.append(True))
                for number in (signal.SIGINT, signal.SIGTERM)}  # fmt: skip
    end = time.monotonic() + 60 * options.minutes
    try:
        while time.monotonic() < end and not interrupted and not work.failed:
            pause = time.monotonic() + options.interval
            while time.monotonic() < min(pause, end) and not interrupted:
                time.sleep(0.1)
            samples.take(**work.counts)
            left = max(0.0, end - time.monotonic()) / 60
            row = samples.rows[-1]
            print(f"{left:.1f} minutes left, {row['resident MB']:.1f} MB, {row['descriptors']} descriptors, "
                  f"{row['greenlets']} greenlets, {work.counts}", file=sys.stderr)  # fmt: skip
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    return bool(interrupted)


def as_text(found):
    lines = [f"{found['minutes']:.1f} minutes, seed {found['seed']}" + ("" if found["finished"] else ", NOT FINISHED")]
    lines += [f"{name}: {number:,}" for name, number in found["counts"].items()]
    rows = [[name, each["second quarter"], each["last quarter"], "flat" if each["flat"] else "GROWS"]
            for name, each in found["verdicts"].items()]  # fmt: skip
    lines += ["", table(["median of the", "second quarter", "last quarter", ""], rows), ""]
    lines += [f"FAULT: {fault}" for fault in found["faults"]] or ["no faults"]
    return "\n".join(lines)


def write(found, folder):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "soak.json").write_text(json.dumps(found) + "\n")
    try:
        from tools.bench.soak.samples import draw

        draw(folder / "soak.png", found["samples"])
    except PlotError as error:
        print(f"tools/soak: no plot: {error}", file=sys.stderr)
    page = folder.with_suffix(".md")
    if page.exists():
        text = page.read_text(encoding="utf-8")
        page.write_text(PLACE.sub(lambda match: f"{match[1]}{as_markdown(found)}\n{match[2]}", text), encoding="utf-8")


def as_markdown(found):
    lines = [f"{found['date']}: {found['minutes']:.0f} minutes, "
             + ", ".join(f"{number:,} {name}" for name, number in found["counts"].items())
             + f"; faults: {'; '.join(found['faults']) or 'none'}.", "",
             "| median of the | second quarter | last quarter | |", "| --- | ---: | ---: | --- |"]  # fmt: skip
    for name, each in found["verdicts"].items():
        lines.append(f"| {name} | {each['second quarter']:,.1f} | {each['last quarter']:,.1f} | "
                     f"{'flat' if each['flat'] else 'grows'} |")  # fmt: skip
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
