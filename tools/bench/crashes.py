"""Sessions whose server is killed with SIGKILL at random moments under load, each of which must be found again by its
kernel's ID, with its value and its answer. A third computes, a third is idle, a third is reserved.

    tools/crashes --sessions 1000 --kills 50
"""
import argparse
import random
import resource
import sys
import tempfile
from pathlib import Path

from tools.bench.cleanup import clear_away_on_sigterm
from tools.harness.crashing import run
from tools.harness.kernels import make_kernel


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="tools/crashes", description=__doc__.split("\n\n")[0])
    parser.add_argument("--sessions", type=int, default=60, help="how many sessions (default 60)")
    parser.add_argument("--kills", type=int, default=10, help="how often the server is killed (default 10)")
    parser.add_argument("--threads", type=int, default=8, help="threads that play clients (default 8)")
    parser.add_argument("--rest", type=float, default=1.0, help="most seconds between two kills (default 1)")
    parser.add_argument("--seed", type=int, default=None, help="the seed of an earlier run")
    options = parser.parse_args(arguments)
    clear_away_on_sigterm()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 65536), hard), hard))
    seed = options.seed if options.seed is not None else random.randrange(10**9)
    print(f"seed {seed}")
    with tempfile.TemporaryDirectory(prefix="crashes-") as folder:
        report = run(
            Path(folder), make_kernel(folder), sessions=options.sessions, kills=options.kills, threads=options.threads,
            rest=options.rest, seed=seed, told=lambda text: print(text, flush=True),
        )  # fmt: skip
    for lost in report.lost:
        print(lost)
    return int(len(report.lost) > 0.001 * (report.found + len(report.lost)))


if __name__ == "__main__":
    sys.exit(main())
