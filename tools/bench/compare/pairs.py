"""What one client and its kernel measure, in several sittings.

Where the scheduler puts three processes on a few processors stays the same for seconds, and how large the buffers of a
connection have grown for as long as it lives: both decide more about a figure than what is in between. So kernels, what
is in between and clients start anew for each sitting, and a row has what was measured in all of them together. Within a
sitting the legs take turns in short rounds, so that a change in the machine's load hits all of them. Each round begins
with another leg: what came before leaves its traces in caches and in the scheduler.
"""
import time

from tools.bench.ends import ClientError
from tools.bench.figures import summary
from tools.harness import processes

MICROSECONDS, MILLISECONDS = 1e3, 1e6

#: Seconds that what is left of a bulk transfer may take.
LONGEST_REST = 20.0


class RoundTrips:
    """Durations of `rounds` * `count` evaluations in each sitting, one after the other."""

    def __init__(self, step, rounds, count, unit=MICROSECONDS):
        self._step, self._rounds, self._unit = f"{step} {count}", rounds, unit
        self._durations = {}

    def sit(self, legs, clients):
        for name in legs:
            clients[name].step(self._step)  # for warmth
        for number in range(self._rounds):
            for name in in_turn(legs, number):
                self._durations.setdefault(name, []).extend(clients[name].step(self._step))

    def rows(self):
        return {name: summary(values, self._unit) for name, values in self._durations.items()}


class Throughput:
    """Packed Real64 to the kernel ("up") and from it ("down"): MB/s, and the most resident MB of what is in between
    meanwhile. `size` of a list, and the `amount` of one of the `rounds` of a sitting, are in bytes."""

    def __init__(self, size, rounds, amount=32_000_000):
        self._size, self._rounds, self._amount = size, rounds, amount
        self._bytes, self._seconds, self._peaks = {}, {}, {}

    def sit(self, legs, clients):
        legs = {name: leg for name, leg in legs.items() if self._size <= leg.most_megabytes * 1e6}
        for way in ("up", "down"):
            for number in range(self._rounds + 1):
                for name in in_turn(legs, number):
                    self._round(name, legs[name], clients[name], way, counts=number > 0)

    def _round(self, name, leg, client, way, counts):
        count = max(1, min(leg.most_transfers, self._amount // self._size)) if counts else 1  # for warmth
        leg.forget_peak()
        seconds = sum(client.step(f"{way} {self._size // 8} {count}", 600)) / 1e9
        if counts:
            key = name, way
            self._bytes[key] = self._bytes.get(key, 0) + self._size // 8 * 8 * count
            self._seconds[key] = self._seconds.get(key, 0.0) + seconds
            self._peaks[name] = max(self._peaks.get(name, 0), leg.peak())

    def rows(self):
        rows = {}
        for (name, way), amount in self._bytes.items():
            rows.setdefault(name, {})[f"{way} MB/s"] = amount / 1e6 / self._seconds[name, way]
        return {name: {**row, "resident MB": self._peaks[name] / 1e6} for name, row in rows.items() if len(row) == 2}


class BesideBulk:
    """Microseconds of an evaluation while another client of the same leg sends or gets lists of that many numbers
    without a pause: `rounds` * `count` of them in each sitting."""

    def __init__(self, numbers, rounds, count):
        self._numbers, self._rounds, self._count = numbers, rounds, count
        self._durations = {}

    def sit(self, legs, clients):
        for number in range(self._rounds):
            way = ("down", "up")[number % 2]
            for name in in_turn(legs, number):
                self._durations.setdefault(name, []).extend(self._round(name, legs[name], clients[name], way))

    def _round(self, name, leg, client, way):
        with leg.ends.client() as bulk:
            bulk.step(f"connect {leg.port}")
            bulk.send(f"{way} {self._numbers} 1000000")
            client.step(f"time {self._count // 10}")
            durations = client.step(f"time {self._count}")
            if bulk.process.poll() is not None or bulk.ready():
                raise ClientError(f"{name}: the bulk transfer ended: {bulk.receive()}")
            bulk.process.kill()
        wait_until_quiet([leg.ends.pid, *leg.pids()])
        return durations

    def rows(self):
        return {name: summary(values, MICROSECONDS) for name, values in self._durations.items()}


class VendorConnections:
    """The library's own clients, `count` of them in each sitting, one after the other: milliseconds until the link is
    activated, and to the prompt."""

    def __init__(self, count):
        self._count = count
        self._activated, self._prompt = {}, {}

    def sit(self, legs, _clients):
        for name, leg in legs.items():
            with leg.ends.client() as client:
                for _ in range(self._count):
                    activated, prompt = client.step(f"connect {leg.port}")
                    self._activated.setdefault(name, []).append(activated)
                    self._prompt.setdefault(name, []).append(prompt)
                    client.step("close")

    def rows(self):
        rows = {}
        for name, prompt in self._prompt.items():
            prompts = summary(prompt, MILLISECONDS)
            rows[name] = {"activated p50 ms": summary(self._activated[name], MILLISECONDS)["p50"],
                          "prompt p50 ms": prompts["p50"], "prompt p99 ms": prompts["p99"]}  # fmt: skip
        return rows


def in_turn(legs, number):
    """The names of the legs, another one first in each round."""
    names = list(legs)
    first = number % len(names) if names else 0
    return names[first:] + names[:first]


def wait_until_quiet(pids, look=0.05):
    """Until these processes have done what was left to do, so that it does not disturb the next one; or for
    LONGEST_REST seconds."""
    end = time.monotonic() + LONGEST_REST
    before = None
    while time.monotonic() < end:
        used = [processes.processor_seconds(pid) for pid in pids]
        if used == before:
            return
        before = used
        time.sleep(look)
