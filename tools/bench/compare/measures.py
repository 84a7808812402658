"""What many clients measure. Each function takes the open legs by name and gives a row of figures for each of them, or
`Turns` with these; the legs take turns in short rounds, so that a change in the machine's load hits all of them.
"""
import contextlib
import resource
import sys
import time

from tools.bench.compare.pairs import MILLISECONDS, Turns
from tools.bench.load.engine import Engine, Load, run_load
from tools.bench.load.target import OwnServer
from tools.harness import processes


def active_clients(legs, clients, seconds, rounds):
    """That many clients that evaluate at the same time: evaluations per second (median of the rounds), the latency of
    each in milliseconds, and the processor time that what is in between takes for one."""

    def measure(name):
        load = Load(port=legs[name].port, clients=clients, evaluations=10**9, duration=seconds)
        result, used = evaluating(load, legs[name].processor)
        if gave_up(result, name, clients):
            return None
        milliseconds = result.evaluation.summary(MILLISECONDS)
        return {
            "per second": result.figures()["evaluations per second"], "p50 ms": milliseconds["p50"],
            "p99 ms": milliseconds["p99"], "processor us": used / result.answers * 1e6,
        }  # fmt: skip

    return Turns([name for name, leg in legs.items() if clients <= leg.most_clients], rounds, measure)


def evaluating(load, processor):
    """(result, processor seconds that were used from the moment when all clients were there to the last answer)."""
    with Engine(load) as engine:
        engine.wait_until(lambda result: result.prompted + sum(result.errors.values()) >= load.clients,
                          60 + load.clients / 20)  # fmt: skip
        before = processor()
        engine.wait_until(lambda result: result.finished or result.errors, load.duration + load.limit)
        return engine.result, processor() - before


def connections(legs, clients, opening, rounds):
    """Clients that connect, get their prompt, evaluate nothing and leave, `opening` of them at the same time: how many
    in a second, milliseconds to the first prompt, and the processor time that what is in between takes for one, from
    its first connection until nothing is left of it."""

    def measure(name):
        leg = legs[name]
        number = min(clients, leg.most_connections)
        before = leg.processor()
        result = run_load(Load(port=leg.port, clients=number, evaluations=0, opening=opening, together=False))
        if gave_up(result, name, number):
            return None
        time.sleep(0.1)  # what leaves is still being put in order
        figures = result.figures()
        prompt = figures["milliseconds"]["first prompt"]
        return {
            "per second": figures["connections per second"], "prompt p50 ms": prompt["p50"],
            "prompt p99 ms": prompt["p99"], "processor us": (leg.processor() - before) / number * 1e6,
        }  # fmt: skip

    return Turns(legs, rounds, measure)


def held_clients(legs, clients):
    """KiB that what is in between needs for each of that many clients which have a kernel and do nothing.

    What a kernel alone needs, which is there before its client, is not in it.
    """
    names = [name for name, leg in legs.items() if leg.pid and clients <= leg.most_clients]
    return Turns(names, 1, lambda name: _held(legs[name], clients))


def _held(leg, clients):
    before = leg.resident()
    with Engine(Load(port=leg.port, clients=clients, evaluations=0, hold=True, opening=100)) as engine:
        engine.wait_until(lambda result: result.prompted + sum(result.errors.values()) >= clients, 60 + clients / 50)
        check(engine.result, leg.name, finished=False)
        time.sleep(0.5)
        held = leg.resident()
        engine.stop()
        with contextlib.suppress(TimeoutError):
            engine.wait_until(lambda _: False, 5.0)
    return {"clients": clients, "KiB each": (held - before) / clients / 1024, "resident MB": held / 1e6}


def gave_up(result, name, clients):
    """True if another relay did not manage what was asked of it, which leaves it out of a table; RuntimeError if
    wstpserver did not."""
    if name == "wstpserver" or (result.finished and not result.errors):
        check(result, name)
        return False
    print(f"... {name} does not manage {clients} clients: {dict(result.errors)}", file=sys.stderr, flush=True)
    return True


def check(result, name, *, finished=True):
    """RuntimeError if anything went wrong."""
    if result.errors or (finished and not result.finished):
        raise RuntimeError(f"{name}: {result.figures()}")


DEPTHS = (1, 4, 16, 64, 256)

#: Descriptors that the server needs for a client and its kernel: four connections. A light kernel closes its output.
DESCRIPTORS_EACH = 4

#: Descriptors that the server needs beside those.
DESCRIPTORS_OF_ITS_OWN = 40


def counts():
    """1 to 5,000 clients, or as many as the limit of descriptors allows."""
    most = (resource.getrlimit(resource.RLIMIT_NOFILE)[1] - DESCRIPTORS_OF_ITS_OWN) // DESCRIPTORS_EACH
    return sorted({min(count, most) for count in (1, 10, 100, 500, 1000, 2000, 3000, 5000)})


def pipelining(legs, rounds, seconds):
    """Evaluations per second of one client with 1 to 256 of them under way."""

    def measure(name):
        row = {}
        for depth in DEPTHS:
            result = run_load(Load(port=legs[name].port, clients=1, evaluations=10**9, depth=depth, duration=seconds))
            if gave_up(result, name, 1):
                return None
            row[f"depth {depth}"] = result.figures()["evaluations per second"]
        return row

    return Turns(legs, rounds, measure)


def pools(numbers, progress, *, choosing, seconds):
    """A row for each number: a server with so many kernels, and as many clients.

    `choosing` clients get a kernel one after the other; all clients evaluate for so many seconds.
    """
    rows = {}
    for number in numbers:
        progress(f"a server with {number} kernels and clients")
        empty = next(iter(rows.values()))["kernels MB"] if rows else None
        rows[str(number)] = _pool(number, empty, choosing, seconds)
    return rows


def _pool(number, empty, choosing, seconds):
    """The row of a server with so many kernels; one with hardly any has *empty* MB."""
    begin = time.monotonic()
    with OwnServer(number) as server:
        started = time.monotonic() - begin
        megabytes = processes.resident_bytes(server.pid) / 1e6
        row = {"kernels started s": started, "kernels MB": megabytes}
        row["KiB a kernel"] = 0.0 if empty is None else (megabytes - empty) * 1e6 / number / 1024
        row |= _choosing(server, choosing)
        row |= _holding(server, number)
        row |= _working(server, number, seconds)
    return row


def _choosing(server, clients):
    """One client after the other, with all kernels but one free."""
    result = run_load(Load(port=server.port, clients=clients, evaluations=0, opening=1, together=False))
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


def _working(server, number, seconds):
    """All clients evaluate."""
    load = Load(port=server.port, clients=number, evaluations=10**9, duration=seconds, timeout=60.0)
    result, used = evaluating(load, lambda: processes.processor_seconds(server.pid))
    check(result, "wstpserver")
    return {
        "evaluations per s": result.figures()["evaluations per second"],
        "processor us": used / result.answers * 1e6,
        "p99 ms": result.evaluation.summary(1e6)["p99"],
    }
