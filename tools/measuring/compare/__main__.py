"""Compares ways to a kernel."""
import argparse
import contextlib
import json
import os
import sys
import tempfile
from pathlib import Path

from tools.figures import table
from tools.measuring.compare import measures
from tools.measuring.compare.legs import LEGS
from tools.measuring.ends import LightEnds, VendorEnds

MEASURES = ("latency", "vendor", "throughput", "bulk", "evaluations", "connections", "memory")


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="tools/compare", description=__doc__)
    parser.add_argument("--legs", default="direct,wstpserver,haproxy")
    parser.add_argument("--measures", default=",".join(MEASURES))
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    wanted = options.measures.split(",")
    q = options.quick
    out = {}
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="compare-")))
        if set(wanted) - {"vendor"}:
            light(stack, folder, options, wanted, q, out)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="compare-")))
        if "vendor" in wanted and os.environ.get("WSTP_LIBRARY"):
            legs, clients = open_legs(stack, VendorEnds(stack, os.environ["WSTP_LIBRARY"]), folder, options.legs, 2)
            out["vendor round trip, us"] = measures.round_trips(legs, clients, rounds=10 if q else 20)
            show("vendor round trip, us", out["vendor round trip, us"])
    if options.json:
        print(json.dumps(out, indent=2))


def light(stack, folder, options, wanted, q, out):
    legs, clients = open_legs(stack, LightEnds(stack), folder, options.legs, 200)

    def do(title, figures):
        out[title] = figures
        show(title, figures)

    if "latency" in wanted:
        do("round trip, us", measures.round_trips(legs, clients, rounds=10 if q else 30))
    if "throughput" in wanted:
        do("echo 100 KB, us", measures.round_trips(legs, clients, "echo 12500", 5 if q else 10, 20))
        for size in (1, 16, 256):
            do(f"packed {size} MB, MB/s", measures.throughput(legs, clients, size, 3 if q else 5))
    if "bulk" in wanted:
        do("round trip beside bulk, us", measures.beside_bulk(legs, clients, 2000000, 2 if q else 4))
    if "evaluations" in wanted:
        do("100 clients", measures.evaluations(legs, 100, 0.5 if q else 1.0, 2 if q else 4))
    if "connections" in wanted:
        do("connections one by one", measures.connections(legs, 200, 2 if q else 4))
        do("connections, 50 at once", measures.connections(legs, 1000, 2 if q else 4, 50))
    if "memory" in wanted:
        do("idle memory, 150 clients",
           {name: measures.idle_memory(leg, 150) for name, leg in legs.items() if leg.pid})


def open_legs(stack, ends, folder, names, kernels):
    legs, clients = {}, {}
    for name in names.split(","):
        if lacks := LEGS[name].missing():
            print(f"{name}: skipped, {lacks}", file=sys.stderr)
            continue
        own = folder / name
        own.mkdir()
        legs[name] = stack.enter_context(LEGS[name](ends, own, kernels))
        legs[name].open()
        clients[name] = stack.enter_context(ends.client())
        clients[name].step(f"connect {legs[name].port}")
    return legs, clients


def show(title, figures):
    columns = list(next(iter(figures.values())))
    print(table([title, *columns], [[name, *values.values()] for name, values in figures.items()]), end="\n\n",
          flush=True)


if __name__ == "__main__":
    main()
