"""Connects many clients to a running server, lets each evaluate, checks every answer.

Interrupt it and it prints what it has so far. It speaks to this machine unless --host says otherwise.
"""
import argparse
import asyncio
import contextlib
import json
import resource
import signal
import sys

from tools.figures import table
from tools.loadtest.run import Load, Result, run_load
from tools.loadtest.usage import Usage

COLUMNS = ("count", "p50", "p90", "p99", "max")


def main(arguments=None):
    """Returns the exit code: 0 if every client got every answer."""
    options = read_arguments(arguments)
    allow_many_descriptors()
    load = Load(options.host, options.port, options.clients, options.evaluations, options.opening,
                not options.come_and_go, options.timeout, options.seconds)  # fmt: skip
    result = Result()
    usage = Usage(options.server_pid) if options.server_pid else None
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(run_and_watch(load, result, usage))
    figures = result.figures()
    if usage:
        figures["server"] = usage.figures()
    print(json.dumps(figures, indent=2) if options.json else as_text(figures))
    return 0 if result.finished and not result.errors else 1


def read_arguments(arguments):
    parser = argparse.ArgumentParser(prog="python -m tools.loadtest", description=__doc__.split("\n\n")[0])
    parser.add_argument("--host", default="127.0.0.1", help="where the server is (default: this machine)")
    parser.add_argument("--port", type=int, default=31415)
    parser.add_argument("--clients", type=int, default=100, help="at the same time (default 100)")
    parser.add_argument("--evaluations", type=int, default=100, help="of each client (default 100)")
    parser.add_argument("--opening", type=int, default=50, help="clients that connect at one moment (50)")
    parser.add_argument("--come-and-go", action="store_true",
                        help="clients evaluate as soon as they can and leave; default: all are in, then they begin")
    parser.add_argument("--timeout", type=float, default=30.0, help="seconds for each step of a client (30)")
    parser.add_argument("--seconds", type=float, default=120.0, help="stop after this time in any case (120)")
    parser.add_argument("--server-pid", type=int, help="the server's process, to tell what the run costs it")
    parser.add_argument("--json", action="store_true", help="print JSON, not a table")
    return parser.parse_args(arguments)


def allow_many_descriptors():
    """Each client has two connections: ask for as many descriptors as this process may have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def run_and_watch(load, result, usage):
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, asyncio.current_task().cancel)
    watching = asyncio.create_task(watch(load, result, usage))
    try:
        await run_load(load, result)
    finally:
        watching.cancel()


async def watch(load, result, usage):
    """Once a second: progress to stderr, a look at the server."""
    while True:
        await asyncio.sleep(1.0)
        if usage:
            usage.sample()
        print(f"{result.prompted} of {load.clients} clients, {result.answers} answers, "
              f"{sum(result.errors.values())} errors", file=sys.stderr)  # fmt: skip


def as_text(figures):
    lines = [] if figures["finished"] else ["NOT FINISHED: this is how far it came"]
    lines += [f"{key}: {_number(figures[key])}" for key in figures
              if key not in ("finished", "errors", "milliseconds", "server")]  # fmt: skip
    rows = [[name, *(values.get(column) for column in COLUMNS)] for name, values in figures["milliseconds"].items()]
    lines += ["", table(["milliseconds", *COLUMNS], rows), ""]
    lines += [f"server, {key}: {_number(value)}" for key, value in figures.get("server", {}).items()]
    lines += [f"error: {text} ({count} times)" for text, count in figures["errors"].items()] or ["no errors"]
    return "\n".join(lines)


def _number(value):
    return f"{value:,.1f}" if isinstance(value, float) else "-" if value is None else str(value)


if __name__ == "__main__":
    sys.exit(main())
