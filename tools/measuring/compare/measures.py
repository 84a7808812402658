"""What is measured. Each function takes the open legs by name and gives a row of figures for each of them; the legs
take turns in short rounds, so that a change in the machine's load hits all of them."""
import contextlib
import statistics
import sys
import time

from tools.figures import summary
from tools.measuring.ends import ClientError
from tools.measuring.load.engine import Engine, Load, run_load

MICROSECONDS, MILLISECONDS = 1e3, 1e6


def round_trips(legs, clients, step, rounds, count, unit=MICROSECONDS):
    """Durations of `rounds` * `count` evaluations, one after the other."""
    durations = {name: [] for name in legs}
    for name in legs:
        clients[name].step(f"{step} {count}")  # for warmth
    for _ in range(rounds):
        for name in legs:
            durations[name] += clients[name].step(f"{step} {count}")
    return {name: summary(values, unit) for name, values in durations.items()}


def throughput(legs, clients, size, rounds, amount=64_000_000):
    """Packed Real64 to the kernel ("up") and from it ("down"): MB/s, the median of the rounds, and the most resident MB
    of what is in between meanwhile. `size` of a list, and the `amount` of one round, are in bytes."""
    numbers = size // 8
    counts = {name: max(1, min(leg.most_transfers, amount // size)) for name, leg in legs.items()}
    rates = {name: {"up": [], "down": []} for name in legs if size <= legs[name].most_megabytes * 1e6}
    peaks = {}
    for way in ("up", "down"):
        for number in range(rounds + 1):
            for name in rates:
                legs[name].forget_peak()
                seconds = sum(clients[name].step(f"{way} {numbers} {counts[name]}", 600)) / 1e9
                peaks[name] = max(peaks.get(name, 0), legs[name].peak())
                if number or rounds == 1:  # the first one is for warmth
                    rates[name][way].append(numbers * 8 * counts[name] / 1e6 / seconds)
    return {
        name: {"up MB/s": statistics.median(ways["up"]), "down MB/s": statistics.median(ways["down"]),
               "resident MB": peaks[name] / 1e6}
        for name, ways in rates.items()
    }  # fmt: skip


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


def vendor_connections(legs, count):
    """The library's own clients, one after the other: milliseconds until the link is activated, and to the prompt."""
    rows = {name: ([], []) for name in legs}
    for name, leg in legs.items():
        with leg.ends.client() as client:
            for _ in range(count):
                for values, nanoseconds in zip(rows[name], client.step(f"connect {leg.port}"), strict=True):
                    values.append(nanoseconds)
                client.step("close")
    return {name: {"activated p50 ms": summary(activated, MILLISECONDS)["p50"],
                   "prompt p50 ms": summary(prompt, MILLISECONDS)["p50"],
                   "prompt p99 ms": summary(prompt, MILLISECONDS)["p99"]}
            for name, (activated, prompt) in rows.items()}  # fmt: skip


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


def beside_bulk(legs, clients, numbers, rounds, count):
    """Microseconds of a trivial evaluation while another client of the same leg sends or gets lists of that many
    numbers without a pause."""
    durations = {name: [] for name in legs}
    for number in range(rounds):
        for name, leg in legs.items():
            with leg.ends.client() as bulk:
                bulk.step(f"connect {leg.port}")
                bulk.send(f"{('down', 'up')[number % 2]} {numbers} 1000000")
                clients[name].step(f"time {count // 10}")
                durations[name] += clients[name].step(f"time {count}")
                if bulk.process.poll() is not None or bulk.ready():
                    raise ClientError(f"{name}: the bulk transfer ended: {bulk.receive()}")
                bulk.process.kill()
    return {name: summary(values, MICROSECONDS) for name, values in durations.items()}


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
