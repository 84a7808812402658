"""Connects many clients at once, lets each evaluate, and compares every answer with what it must be.

Without --server it starts a wstpserver of its own with light kernels, of which thousands fit on one machine. Ctrl-C
ends the run and shows what there is so far. It speaks to this machine unless --server names another one.
"""
import argparse
import contextlib
import json
import signal
import sys

from tools.bench.cleanup import clear_away_on_sigterm
from tools.bench.load.engine import Engine, Load
from tools.bench.load.report import Progress, Usage, as_text
from tools.bench.load.target import OwnServer, parse_address
from tools.bench.native.build import BuildError


def main(arguments=None):
    """Returns the exit code: 0 if every client got every answer."""
    options = read_arguments(arguments)
    clear_away_on_sigterm()
    try:
        with contextlib.ExitStack() as stack:
            (host, port), pid = _server(options, stack)
            load = Load(
                host, port, options.clients, options.evaluations, options.size, options.depth, options.rate,
                options.opening, not options.come_and_go, timeout=options.timeout, limit=options.seconds,
                processes=options.processes,
            )  # fmt: skip
            return _report(*_run(load, Usage(pid) if pid else None), options)
    except KeyboardInterrupt:  # before there was anything to show
        return 128 + signal.SIGINT
    except BuildError as error:
        print(f"tools/loadtest: {error}", file=sys.stderr)
        return 1


def read_arguments(arguments):
    parser = argparse.ArgumentParser(prog="tools/loadtest", description=__doc__.split("\n\n")[0])
    add = parser.add_argument
    add("--server", type=parse_address, metavar="PORT@HOST", help="a running server; default: one of its own")
    add("--clients", type=int, default=100, help="at the same time (default 100)")
    add("--evaluations", type=int, default=100, help="of each client (default 100)")
    add("--size", type=int, default=0, help="bytes that an evaluation carries there and back (0: it adds two numbers)")
    add("--rate", type=float, default=0.0,
        help="evaluations begun each second by all clients together (default: each when the one before is answered)")
    add("--depth", type=int, default=1, help="evaluations of one client under way at the same time (1)")
    add("--opening", type=int, default=50, help="clients that connect at one moment (50)")
    add("--come-and-go", action="store_true",
        help="clients evaluate as soon as they can and leave; default: all are in, then they begin")
    add("--processes", type=int, default=1, help="client processes, if one is not fast enough (1)")
    add("--kernels", type=int, help="light kernels of its own server (default: one for each client)")
    add("--timeout", type=float, default=30.0, help="seconds for each step of a client (30)")
    add("--seconds", type=float, default=120.0, help="stop after this time in any case (120)")
    add("--server-pid", type=int, help="the process of the server that --server names, to tell what the run costs it")
    add("--json", action="store_true", help="print JSON, not a table")
    add("--plot", metavar="FILE", help="draw latencies into a PNG file")
    options = parser.parse_args(arguments)
    if min(options.clients, options.depth, options.opening, options.processes) < 1 or options.evaluations < 0:
        parser.error("the number of clients, depth, opening and processes must be at least 1")
    return options


def _server(options, stack):
    """((host, port), process id or None)."""
    if options.server:
        return options.server, options.server_pid
    print("starting a server with light kernels ...", file=sys.stderr)
    server = stack.enter_context(OwnServer(options.kernels or options.clients))
    return ("127.0.0.1", server.port), server.pid


def _run(load, usage):
    """The result and the usage, complete or as far as it came when SIGINT or SIGTERM arrived."""
    progress = Progress(load)
    interrupted = []
    with contextlib.ExitStack() as stack:
        for number in (signal.SIGINT, signal.SIGTERM):
            stack.callback(signal.signal, number, signal.signal(number, lambda *_: interrupted.append(True)))
        with Engine(load) as engine:
            while engine.read(0.1):
                progress.show(engine.result)
                if usage:
                    usage.sample()
                if interrupted:
                    engine.stop()
        progress.end()
    return engine.result, usage


def _report(result, usage, options):
    figures = result.figures()
    if usage:
        figures["server"] = usage.figures()
    if options.plot:
        from tools.bench.load.report import draw

        draw(options.plot, result, usage)
    print(json.dumps(figures, indent=2) if options.json else as_text(figures))
    return 0 if result.finished and not result.errors else 1


if __name__ == "__main__":
    sys.exit(main())
