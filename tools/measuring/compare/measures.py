"""What is measured. Each function takes the open legs by name and gives figures for each; the legs take turns in short
rounds, so that a change in the machine's load hits all of them."""
import contextlib
import statistics
import time

from tools.figures import summary
from tools.measuring.load.engine import Engine, Load, run_load


def round_trips(legs, clients, step="time", rounds=20, count=100, scale=1e3):
    """Durations of `rounds` * `count` evaluations on each leg, in microseconds."""
    durations = {name: [] for name in legs}
    for name in legs:
        clients[name].step(f"{step} {count}")  # for warmth
    for _ in range(rounds):
        for name in legs:
            durations[name] += clients[name].step(f"{step} {count}")
    return {name: summary(values, scale) for name, values in durations.items()}


def throughput(legs, clients, megabytes, rounds=5, each=None):
    """MB/s of packed Real64 to the kernel and from it: the median of the rounds, each with a whole second of data or
    one transfer."""
    numbers = int(megabytes * 1e6 / 8)
    each = each or max(1, int(64 / megabytes))
    rates = {name: {"up": [], "down": []} for name in legs}
    for way in ("up", "down"):
        for round_number in range(rounds + 1):
            for name in legs:
                seconds = sum(clients[name].step(f"{way} {numbers} {each}")) / 1e9
                if round_number:  # the first one is for warmth
                    rates[name][way].append(numbers * 8 * each / 1e6 / seconds)
    return {name: {way: statistics.median(values) for way, values in ways.items()} for name, ways in rates.items()}


def evaluations(legs, clients=100, seconds=1.0, rounds=3):
    """Evaluations per second of that many clients, and the processor time that the process in between takes for one.

    As many evaluations in each round as take about `seconds` on the direct way.
    """
    rates = {name: [] for name in legs}
    costs = {name: [] for name in legs}
    count = max(10, int(40000 * seconds / clients))
    for _ in range(rounds):
        for name, leg in legs.items():
            before = leg.processor()
            result = run_load(Load(port=leg.port, clients=clients, evaluations=count))
            used = leg.processor() - before
            check(result, name)
            rates[name].append(result.figures()["evaluations per second"])
            costs[name].append(used / result.answers * 1e6)
    return {
        name: {"per second": statistics.median(rates[name]), "processor us each": statistics.median(costs[name])}
        for name in legs
    }


def connections(legs, clients=500, rounds=3, opening=1):
    """Clients that connect, get their prompt, evaluate nothing and leave, `opening` of them at the same time: per
    second, and milliseconds to the first prompt."""
    rates = {name: [] for name in legs}
    prompts = {name: [] for name in legs}
    for _ in range(rounds):
        for name, leg in legs.items():
            load = Load(port=leg.port, clients=clients, evaluations=0, opening=opening, together=False)
            result = run_load(load)
            check(result, name)
            figures = result.figures()
            rates[name].append(figures["connections per second"])
            prompts[name].append(figures["milliseconds"]["first prompt"])
            time.sleep(0.2)  # what leaves is still being put in order
    return {
        name: {
            "per second": statistics.median(rates[name]),
            "prompt ms p50": statistics.median(prompt["p50"] for prompt in prompts[name]),
            "prompt ms p99": statistics.median(prompt["p99"] for prompt in prompts[name]),
        }
        for name in legs
    }


def idle_memory(leg, clients):
    """KiB of memory of the process in between for each of that many clients that are connected and do nothing.

    What a kernel alone needs, which is there before its client, is not in it.
    """
    before = leg.resident()
    with Engine(Load(port=leg.port, clients=clients, evaluations=0, hold=True, opening=100)) as engine:
        engine.wait_until(lambda result: result.prompted + sum(result.errors.values()) >= clients, 60 + clients / 50)
        check(engine.result, leg.name, finished=False)
        time.sleep(1.0)
        held = leg.resident()
        engine.stop()
        with contextlib.suppress(TimeoutError):
            engine.wait_until(lambda _: False, 5.0)
    return {"clients": clients, "KiB each": (held - before) / clients / 1024, "resident MB": held / 1e6}


def beside_bulk(legs, clients, numbers, rounds=3, count=300):
    """Round trips (microseconds) of a trivial evaluation while another client of the same leg gets bulk data."""
    durations = {name: [] for name in legs}
    for _ in range(rounds):
        for name, leg in legs.items():
            with leg.ends.client() as bulk:
                bulk.step(f"connect {leg.port}")
                bulk.send(f"down {numbers} 1000000")
                time.sleep(0.05)
                durations[name] += clients[name].step(f"time {count}")
                bulk.process.kill()
    return {name: summary(values, 1e3) for name, values in durations.items()}


def check(result, name, finished=True):
    """RuntimeError if anything went wrong."""
    if result.errors or (finished and not result.finished):
        raise RuntimeError(f"{name}: {result.figures()}")
