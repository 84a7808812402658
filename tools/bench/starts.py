"""How long the start of a process takes: by the keeper, by C in the server without a fork, and by a fork.

The ways take turns in rounds of ten starts, in a process as large as a server with thousands of kernels. Each start is
measured from the call until the program has ended and is waited for.

    python -m tools.bench.starts --starts 1000 --megabytes 300
"""
import argparse
import os
import tempfile
import time
from pathlib import Path

from tools.bench.figures import summary, table
from wstpserver.server.kernels import spawn
from wstpserver.server.kernels.keeper_client import start_keeper

ROUND = 10
PROGRAM = ["/bin/true"]


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m tools.bench.starts", description=__doc__.split("\n\n")[0])
    parser.add_argument("--starts", type=int, default=1000, help="in each way (default 1000)")
    parser.add_argument("--megabytes", type=int, default=300, help="memory of the process that asks (default 300)")
    options = parser.parse_args(arguments)
    memory = bytearray(os.urandom(4096) * (256 * options.megabytes))  # noqa: F841 - it is to be there
    with tempfile.TemporaryDirectory(prefix="starts-") as folder:
        keeper = start_keeper(Path(folder), 0, print)
        keeper.say_hello(os.environ, 0.0)
        keeper.welcomed.wait()
        ways = {"keeper": (keeper, False), "C without fork": (None, True), "fork": (None, False)}
        taken = measure(ways, options.starts)
        keeper.goodbye()
    rows = [(name, *(1000 * summary(values)[key] for key in ("p50", "p90", "p99"))) for name, values in taken.items()]
    print(table(("milliseconds", "p50", "p90", "p99"), rows))


def measure(ways, starts):
    """Seconds of each start, by the names of the ways."""
    taken = {name: [] for name in ways}
    available = spawn.without_fork
    for _ in range(starts // ROUND):
        for name, (keeper, without_fork) in ways.items():
            spawn.without_fork = without_fork and available
            for _ in range(ROUND):
                begin = time.perf_counter()
                process = spawn.spawn(PROGRAM, print, keeper=keeper)
                process.exited.wait()
                taken[name].append(time.perf_counter() - begin)
                process.stop(0)
    spawn.without_fork = available
    return taken


if __name__ == "__main__":
    main()
