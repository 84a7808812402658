"""Cost as work grows: clients and kernels of one server, evaluations of one client under way at the same time."""
import contextlib
import resource
import statistics
import time

from tests.support import processes
from tools.measuring.compare.measures import check, evaluating, gave_up
from tools.measuring.load.engine import Engine, Load, run_load
from tools.measuring.load.target import OwnServer

DEPTHS = (1, 4, 16, 64, 256)

#: Descriptors that the server needs for a client and its kernel: four connections. A light kernel closes its output.
DESCRIPTORS_EACH = 4

#: Descriptors that the server needs beside those.
DESCRIPTORS_OF_ITS_OWN = 40


def counts():
    """1 to 5,000 clients, or as many as the limit of descriptors allows."""
    most = (resource.getrlimit(resource.RLIMIT_NOFILE)[1] - DESCRIPTORS_OF_ITS_OWN) // DESCRIPTORS_EACH
    return sorted({min(count, most) for count in (1, 10, 100, 500, 1000, 2000, 3000, 5000)})


def pipelining(legs, rounds):
    """Evaluations per second of one client with 1 to 256 of them under way."""
    rows = {name: {} for name in legs}
    for depth in DEPTHS:
        rates = {name: [] for name in rows}
        for _ in range(rounds):
            for name in list(rows):
                load = Load(port=legs[name].port, clients=1, evaluations=10**9, depth=depth, duration=0.4)
                result = run_load(load)
                if gave_up(result, name, 1):
                    del rows[name]
                else:
                    rates[name].append(result.figures()["evaluations per second"])
        for name in rows:
            rows[name][f"depth {depth}"] = statistics.median(rates[name])
    return rows


def pools(numbers, progress):
    """A row for each number: a server with so many kernels, and as many clients."""
    rows = {}
    for number in numbers:
        progress(f"a server with {number} kernels and clients")
        empty = next(iter(rows.values()))["kernels MB"] if rows else None
        rows[str(number)] = _pool(number, empty)
    return rows


def _pool(number, empty):
    """The row of a server with so many kernels; one with hardly any has *empty* MB."""
    begin = time.monotonic()
    with OwnServer(number) as server:
        started = time.monotonic() - begin
        megabytes = processes.resident_bytes(server.pid) / 1e6
        row = {"kernels started s": started, "kernels MB": megabytes}
        row["KiB a kernel"] = 0.0 if empty is None else (megabytes - empty) * 1e6 / number / 1024
        row |= _choosing(server)
        row |= _holding(server, number)
        row |= _working(server, number)
    return row


def _choosing(server):
    """One client after the other, with all kernels but one free."""
    result = run_load(Load(port=server.port, clients=200, evaluations=0, opening=1, together=False))
    check(result, "wstpserver")
    return {"first prompt p50 ms": result.prompt.summary(1e6)["p50"]}


def _holding(server, number):
    """All clients are there and do nothing."""
    before = processes.resident_bytes(server.pid)
    load = Load(port=server.port, clients=number, evaluations=0, hold=True, opening=50)
    with Engine(load) as engine:
        engine.wait_until(lambda result: result.prompted + sum(result.errors.values()) >= number, 60 + number / 20)
        check(engine.result, "wstpserver", finished=False)
        rate = engine.result.figures()["connections per second"]
        time.sleep(0.5)
        held = processes.resident_bytes(server.pid)
        idle = processes.processor_seconds(server.pid)
        time.sleep(1.0)
        idle = processes.processor_seconds(server.pid) - idle
        engine.stop()
        with contextlib.suppress(TimeoutError):
            engine.wait_until(lambda _: False, 10.0)
    return {"connected per s": rate, "KiB each": (held - before) / number / 1024, "idle processor %": 100 * idle}


def _working(server, number):
    """All clients evaluate."""
    load = Load(port=server.port, clients=number, evaluations=10**9, duration=1.0, timeout=60.0)
    result, used = evaluating(load, lambda: processes.processor_seconds(server.pid))
    check(result, "wstpserver")
    return {
        "evaluations per s": result.figures()["evaluations per second"],
        "processor us": used / result.answers * 1e6,
        "p99 ms": result.evaluation.summary(1e6)["p99"],
    }
