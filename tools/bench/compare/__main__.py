"""Compares the ways between a client and a kernel: direct, through wstpserver, through other relays.

In one run, with the same clients and the same kernels, taking turns. Everything is on the loopback interface and ends
with the run; Ctrl-C shows what there is so far. With WSTP_LIBRARY naming the vendor's library it is measured with that
at both ends too, and with a relay made of it in between.

With --other FOLDER, a checkout of another commit with its C module, two builds of the server are compared instead:
does the one here lose speed? Both take turns, the other one twice, so that it shows how far it differs from itself.
With --pin the servers have a processor that clients and kernels do not use.
"""
import argparse
import contextlib
import json
import os
import sys
import tempfile
from pathlib import Path

from tools.bench.cleanup import clear_away_on_sigterm
from tools.bench.compare import builds
from tools.bench.compare import report as documents
from tools.bench.compare.legs import LEGS
from tools.bench.compare.plan import Plan
from tools.bench.compare.report import as_text, judge, update
from tools.bench.ends import LightEnds, VendorEnds
from tools.bench.native.build import BuildError
from tools.bench.plotting import PlotError
from tools.harness.vendor import library_path as vendor_library

MEASURES = ("latency", "throughput", "bulk", "clients", "connections", "depth", "memory", "vendor", "growth")

#: One for the client that measures, one for a client beside it, and one that is being put in order.
KERNELS_OF_A_SITTING = 3


def main(arguments=None):
    """Returns the exit code."""
    options = read_arguments(arguments)
    clear_away_on_sigterm()
    run = BuildsRun(options) if options.other else Run(options)
    try:
        run.everything()
    except KeyboardInterrupt:
        print("\nINTERRUPTED: this is how far it came", file=sys.stderr)
        run.document["interrupted"] = True
    except BuildError as error:
        print(f"tools/compare: {error}", file=sys.stderr)
        return 1
    run.finish()
    return 0


def read_arguments(arguments):
    parser = argparse.ArgumentParser(prog="tools/compare", description=__doc__.split("\n\n")[0])
    parser.add_argument("--legs", default=",".join(LEGS), type=lambda text: text.split(","),
                        help=f"ways to compare, separated by commas ({', '.join(LEGS)})")  # fmt: skip
    parser.add_argument("--measures", default=[], type=lambda text: text.split(","),
                        help=f"what to measure: {', '.join(MEASURES)} (default: all but growth)")  # fmt: skip
    parser.add_argument("--all", action="store_true", help="growth too: up to 5,000 clients; takes about 25 minutes")
    parser.add_argument("--quick", action="store_true", help="a quarter of the repetitions, at most 100 clients")
    parser.add_argument("--trial", action="store_true",
                        help="the least of everything: whether all of it works here; the figures say nothing")
    parser.add_argument("--largest", type=int, metavar="BYTES", help="send no larger lists than these")
    parser.add_argument("--json", action="store_true", help="print JSON at the end, not tables as they come")
    parser.add_argument("--write", type=Path, metavar="FOLDER",
                        help="write compare.json and plots there, and the tables into FOLDER.md")  # fmt: skip
    parser.add_argument("--other", type=Path, metavar="FOLDER",
                        help="compare the server here with the build in FOLDER, in place of other ways")
    parser.add_argument("--pin", action="store_true",
                        help="keep what is in between on the last processor and everything else on the others")
    parser.add_argument("--sittings", type=int, metavar="N",
                        help="how often all starts anew for two builds (default: 8, with --quick 2)")  # fmt: skip
    options = parser.parse_args(arguments)
    for given, known in ((options.legs, LEGS), (options.measures, MEASURES)):
        if unknown := set(given) - set(known):
            parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    if options.pin:
        *others, options.processor_between = sorted(os.sched_getaffinity(0))
        if not others:
            parser.error("--pin needs two processors; this program may use one")
        os.sched_setaffinity(0, others)  # what it starts inherits that
    if not options.measures:
        options.measures = [name for name in MEASURES if options.all or name != "growth"]
    return _of_builds(options, parser) if options.other else options


def _of_builds(options, parser):
    """The same options, checked for the comparison of two builds."""
    options.measures = [name for name in options.measures if name != "growth"]
    options.sittings = options.sittings or (2 if options.quick else 8)
    try:
        options.ways = builds.legs(options.other)
    except ValueError as error:
        parser.error(str(error))
    return options


class Run:
    """One comparison; `document` has what was found so far."""

    def __init__(self, options):
        self._options = options
        self._plan = Plan(options.measures, quick=options.quick, trial=options.trial, largest=options.largest)
        self._ways = {name: LEGS[name] for name in options.legs}
        self.document = documents.new()

    def everything(self):
        if pairs := self._plan.light_pairs():
            self._sit(LightEnds, pairs)
        if self._plan.needs_crowd():
            with contextlib.ExitStack() as stack:
                if legs := self._open(stack, LightEnds, self._plan.most_clients + 10):
                    self._plan.crowd(legs, self._found)
        if pairs := self._plan.vendor_pairs():
            if vendor_library():
                self._sit(VendorEnds, pairs)
            else:
                self._skip("vendor's library", "WSTP_LIBRARY does not name it")
        if self._plan.wants("growth"):
            self._plan.growth(self._add, self._progress)

    def _sit(self, make_ends, pairs):
        """Take these measurements with such ends, in several sittings."""
        try:
            for number in range(self._plan.sittings):
                self._progress(f"sitting {number + 1} of {self._plan.sittings}")
                with contextlib.ExitStack() as stack:
                    legs = self._open(stack, make_ends, KERNELS_OF_A_SITTING)
                    clients = {name: stack.enter_context(leg.ends.client()) for name, leg in legs.items()}
                    for name, leg in legs.items():
                        clients[name].step(f"connect {leg.port}")
                    for _, _, measurement in pairs:
                        measurement.sit(legs, clients)
        finally:
            for key, title, measurement in pairs:
                self._found(key, title, measurement)

    def _open(self, stack, make_ends, kernels):
        """All legs to such ends, by name."""
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="compare-")))
        ends = make_ends(stack)
        self.document["ends"][make_ends.__name__] = ends.name
        legs = {}
        for name, leg in self._ways.items():
            if make_ends not in leg.between:
                continue
            if lacks := leg.missing():
                self._skip(name, lacks)
                continue
            self._progress(f"starting {name} ({ends.name})")
            own = folder / name.replace(" ", "-")
            own.mkdir()
            legs[name] = stack.enter_context(leg(ends, own, kernels))
            legs[name].open()
            if self._options.pin:
                legs[name].pin(self._options.processor_between)
        return legs

    def _skip(self, name, why):
        if name not in self.document["skipped"]:
            self.document["skipped"][name] = why
            print(f"{name}: skipped, {why}", file=sys.stderr)

    def _found(self, key, title, measurement):
        if rows := measurement.rows():
            self._add(key, title, rows)

    def _add(self, key, title, rows):
        documents.add_table(self.document, key, title, rows)
        if not self._options.json:
            print(as_text(self.document["tables"][key]), end="\n\n", flush=True)

    @staticmethod
    def _progress(text):
        print(f"... {text}", file=sys.stderr, flush=True)

    def finish(self):
        """Say what is left to be said, and write the files."""
        self.document["load average"].append(os.getloadavg()[0])
        self.document["targets"] = [list(target) for target in judge(self.document)]
        if self._options.json:
            print(json.dumps(self.document, indent=1, ensure_ascii=False))
        else:
            for target, measured, reached in self.document["targets"]:
                print(f"{'reached' if reached else 'MISSED '}  {target}: {measured}")
        if self._options.write:
            self._write(self._options.write)

    def _write(self, folder):
        self._write_json(folder / "compare.json")
        try:
            from tools.bench.compare.plots import draw_all

            draw_all(self.document, folder)
        except PlotError as error:
            print(f"tools/compare: no plots: {error}", file=sys.stderr)
        self._write_page(folder)

    def _write_json(self, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.document, indent=1, ensure_ascii=False) + "\n")

    def _write_page(self, folder):
        page = folder.with_suffix(".md")
        if page.exists():
            update(page, self.document)


class BuildsRun(Run):
    """A comparison of two builds: every sitting is a short run of its own, and gives ratios round by round."""

    def __init__(self, options):
        super().__init__(options)
        self._plan = Plan(
            options.measures, quick=options.quick, trial=options.trial, of_builds=True, largest=options.largest
        )
        self._sittings, self._sitting = [], {}

    def everything(self):
        for number in range(self._options.sittings):
            self._progress(f"sitting {number + 1} of {self._options.sittings}")
            self._ways = builds.in_order(self._options.ways, number)
            self._sitting = {}
            super().everything()
            self._sittings.append(self._sitting)

    def _found(self, key, title, measurement):
        if rounds := measurement.rounds():
            self._sitting[key] = {"title": title, "rounds": rounds}

    def finish(self):
        """The sittings that came to their end count."""
        self.document["load average"].append(os.getloadavg()[0])
        self.document["builds"] = builds.compare(self._sittings)
        self.document["sittings"] = len(self._sittings)
        if self._options.json:
            print(json.dumps(self.document, indent=1, ensure_ascii=False))
        else:
            print(builds.as_text(self.document["builds"]))
            worse = sum(row["worse"] for row in self.document["builds"])
            print(f"{worse} of {len(self.document['builds'])} figures are worse in {len(self._sittings)} sittings")
        if self._options.write:
            self._write_json(self._options.write / "builds.json")
            self._write_page(self._options.write)


if __name__ == "__main__":
    sys.exit(main())
