"""Measures round trips of EvaluatePacket[Plus[2, n]]: direct, through wstpserver, through other relays.

The ways take turns in short rounds within one run, so that a change in the machine's load hits all of them. With
WSTP_LIBRARY naming the vendor's library both ends use it; otherwise they are the test suite's, in Python. Loopback
only.
"""
import argparse
import contextlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from tools.figures import summary, table
from tools.latency.endpoints import LightEnds, best_ends
from tools.latency.legs import LEGS

COLUMNS = ("count", "p50", "p90", "p99", "max")


def main(arguments=None):
    options = read_arguments(arguments)
    with tempfile.TemporaryDirectory(prefix="latency-") as folder, contextlib.ExitStack() as stack:
        folder = Path(folder)
        ends = LightEnds(folder) if options.light else best_ends(os.environ.get("WSTP_LIBRARY"), folder)
        legs, missing = open_legs(options.legs, ends, folder, stack)
        durations = {name: [] for name in legs}
        with contextlib.suppress(KeyboardInterrupt):
            measure(legs, durations, options)
    report(ends.name, durations, missing, options.json)


def read_arguments(arguments):
    parser = argparse.ArgumentParser(prog="python -m tools.latency", description=__doc__.split("\n\n")[0])
    parser.add_argument("--count", type=int, default=2000, help="evaluations for each way (default 2000)")
    parser.add_argument("--round", type=int, default=100, help="evaluations before the next way's turn (100)")
    parser.add_argument("--warm-up", type=int, default=100, help="first evaluations that do not count (100)")
    parser.add_argument("--seconds", type=float, default=120.0, help="stop after this time in any case (120)")
    parser.add_argument("--legs", default=",".join(LEGS), type=lambda text: text.split(","),
                        help=f"ways to compare, separated by commas ({','.join(LEGS)})")  # fmt: skip
    parser.add_argument("--light", action="store_true", help="do not use the vendor's library")
    parser.add_argument("--json", action="store_true", help="print JSON (times in microseconds), not a table")
    options = parser.parse_args(arguments)
    if unknown := set(options.legs) - set(LEGS):
        parser.error(f"no such way: {', '.join(sorted(unknown))}")
    return options


def open_legs(names, ends, folder, stack):
    """(legs that can be had on this machine by name, {name: what is missing})."""
    legs, missing = {}, {}
    for name in names:
        if lacks := LEGS[name].missing():
            missing[name] = lacks
            continue
        own = folder / name
        own.mkdir()
        legs[name] = stack.enter_context(LEGS[name](ends, own))
        legs[name].open()
    return legs, missing


def measure(legs, durations, options):
    """Fill `durations` (nanoseconds by leg) in turns until each has its count or the time is over."""
    end = time.monotonic() + options.seconds
    for leg in legs.values():
        leg.time(options.warm_up)
    while time.monotonic() < end:
        missing = {name: options.count - len(done) for name, done in durations.items()}
        if max(missing.values(), default=0) <= 0:
            return
        for name, leg in legs.items():
            durations[name] += leg.time(min(options.round, missing[name]))
        if sys.stderr.isatty():
            print(f"\r{min(map(len, durations.values()))} of {options.count} ", end="", file=sys.stderr)


def report(ends, durations, missing, as_json):
    figures = {name: summary(values, 1000.0) for name, values in durations.items()}
    if as_json:
        document = {"ends": ends, "unit": "microseconds", "load average": os.getloadavg()[0], "legs": figures}
        print(json.dumps(document | {"missing": missing}, indent=2))
        return
    print(f"round trips of a trivial evaluation, microseconds ({ends}; load average {os.getloadavg()[0]:.1f})")
    rows = [[name, *(values.get(column) for column in COLUMNS)] for name, values in figures.items()]
    print(table(["", *COLUMNS], rows))
    for name, lacks in missing.items():
        print(f"{name}: not measured, {lacks} is not installed")


if __name__ == "__main__":
    main()
