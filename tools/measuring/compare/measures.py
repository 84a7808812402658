"""What many clients measure. Each function takes the open legs by name and gives a row of figures for each of them; the
legs take turns in short rounds, so that a change in the machine's load hits all of them."""
import contextlib
import statistics
import sys
import time

from tools.measuring.compare.pairs import MILLISECONDS
from tools.measuring.load.engine import Engine, Load, run_load


def active_clients(legs, clients, seconds, rounds):
    """That many clients that evaluate at the same time: evaluations per second (median of the rounds), the latency of
    each in milliseconds, and the processor time that what is in between takes for one."""
    rows = {name: [] for name, leg in legs.items() if clients <= leg.most_clients}
    for _ in range(rounds):
        for name in tuple(rows):
            load = Load(port=legs[name].port, clients=clients, evaluations=10**9, duration=seconds)
            result, used = evaluating(load, legs[name].processor)
            if gave_up(result, name, clients):
                del rows[name]
                continue
            milliseconds = result.evaluation.summary(MILLISECONDS)
            rows[name].append({
                "per second": result.figures()["evaluations per second"], "p50 ms": milliseconds["p50"],
                "p99 ms": milliseconds["p99"], "processor us": used / result.answers * 1e6,
            })  # fmt: skip
    return {name: _medians(values) for name, values in rows.items()}


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
    in a second, and milliseconds to the first prompt."""
    rows = {name: [] for name in legs}
    for _ in range(rounds):
        for name in tuple(rows):
            leg = legs[name]
            number = min(clients, leg.most_connections)
            result = run_load(Load(port=leg.port, clients=number, evaluations=0, opening=opening, together=False))
            if gave_up(result, name, number):
                del rows[name]
                continue
            figures = result.figures()
            prompt = figures["milliseconds"]["first prompt"]
            rows[name].append({
                "per second": figures["connections per second"], "prompt p50 ms": prompt["p50"],
                "prompt p99 ms": prompt["p99"],
            })  # fmt: skip
            time.sleep(0.1)  # what leaves is still being put in order
    return {name: _medians(values) for name, values in rows.items()}


def held_clients(legs, clients):
    """KiB that what is in between needs for each of that many clients which have a kernel and do nothing.

    What a kernel alone needs, which is there before its client, is not in it.
    """
    return {name: _held(leg, clients) for name, leg in legs.items() if leg.pid and clients <= leg.most_clients}


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


def check(result, name, finished=True):
    """RuntimeError if anything went wrong."""
    if result.errors or (finished and not result.finished):
        raise RuntimeError(f"{name}: {result.figures()}")


def _medians(rows):
    return {key: statistics.median(row[key] for row in rows) for key in rows[0]}
