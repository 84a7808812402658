"""What one client and its kernel measure, in several sittings.

Where the scheduler puts three processes on a few processors stays the same for seconds, and how large the buffers of a
connection have grown for as long as it lives: both decide more about a figure than what is in between. So kernels, what
is in between and clients start anew for each sitting, and a row has what was measured in all of them together. Within a
sitting the legs take turns in short rounds, so that a change in the machine's load hits all of them. Each round has
another order: what came before leaves its traces in caches and in the scheduler.

`rows` has what all sittings have found together, and `rounds` what each round has found: [{name: row}].
"""
import statistics
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
        self._taken = []

    def sit(self, legs, clients):
        for name in legs:
            clients[name].step(self._step)  # for warmth
        for number in range(self._rounds):
            self._taken.append({})
            for name in in_turn(legs, number):
                self._taken[-1][name] = clients[name].step(self._step)

    def rows(self):
        return {name: summary(values, self._unit) for name, values in _together(self._taken).items()}

    def rounds(self):
        return [{name: summary(values, self._unit) for name, values in one.items()} for one in self._taken]


class Throughput:
    """Packed Real64 to the kernel ("up") and from it ("down"): MB/s, and the most resident MB of what is in between
    meanwhile. `size` of a list, and the `amount` of one of the `rounds` of a sitting, are in bytes."""

    def __init__(self, size, rounds, amount=32_000_000):
        self._size, self._rounds, self._amount = size, rounds, amount
        #: (name, way) -> (bytes, seconds, peak) of each round.
        self._taken = {}

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
            taken = self._size // 8 * 8 * count, seconds, leg.peak()
            self._taken.setdefault((name, way), []).append(taken)

    def rows(self):
        return self._rows(slice(None))

    def rounds(self):
        most = max(map(len, self._taken.values()), default=0)
        return [rows for number in range(most) if (rows := self._rows(slice(number, number + 1)))]

    def _rows(self, which):
        """The rows of these rounds; without legs that have not been measured both ways."""
        rows = {}
        for name in dict.fromkeys(name for name, _ in self._taken):
            up, down = (self._taken.get((name, way), [])[which] for way in ("up", "down"))
            if up and down:
                row = rows[name] = {}
                for way, taken in (("up", up), ("down", down)):
                    row[f"{way} MB/s"] = sum(one[0] for one in taken) / 1e6 / sum(one[1] for one in taken)
                row["resident MB"] = max(one[2] for one in up + down) / 1e6
        return rows


class BesideBulk:
    """Microseconds of an evaluation while another client of the same leg sends or gets lists of that many numbers
    without a pause: `rounds` * `count` of them in each sitting."""

    def __init__(self, numbers, rounds, count):
        self._numbers, self._rounds, self._count = numbers, rounds, count
        self._taken = []

    def sit(self, legs, clients):
        for number in range(self._rounds):
            way = ("down", "up")[number // 2 % 2]  # each way in one order and in the reverse
            self._taken.append({})
            for name in in_turn(legs, number):
                self._taken[-1][name] = self._round(name, legs[name], clients[name], way)

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
        return {name: summary(values, MICROSECONDS) for name, values in _together(self._taken).items()}

    def rounds(self):
        return [{name: summary(values, MICROSECONDS) for name, values in one.items()} for one in self._taken]


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

    def rounds(self):
        """All sittings as one round."""
        return [self.rows()]

    def rows(self):
        rows = {}
        for name, prompt in self._prompt.items():
            prompts = summary(prompt, MILLISECONDS)
            rows[name] = {"activated p50 ms": summary(self._activated[name], MILLISECONDS)["p50"],
                          "prompt p50 ms": prompts["p50"], "prompt p99 ms": prompts["p99"]}  # fmt: skip
        return rows


class Turns:
    """What `measure(name)` finds for each of the names in so many rounds: a row, or None for one that has given up and
    is left out."""

    def __init__(self, names, rounds, measure):
        self._taken, left = [], list(names)
        for number in range(rounds):
            self._taken.append({})
            for name in in_turn(left, number):
                row = measure(name)
                if row is None:
                    left.remove(name)
                else:
                    self._taken[-1][name] = row
        self._left = left

    def rounds(self):
        return self._taken

    def rows(self):
        """The medians of the rounds."""
        return {name: _medians([one[name] for one in self._taken]) for name in self._left}


def _medians(rows):
    return {key: statistics.median(row[key] for row in rows) for key in rows[0]}


def _together(rounds):
    """{name: all values} of [{name: values}]."""
    found = {}
    for one in rounds:
        for name, values in one.items():
            found.setdefault(name, []).extend(values)
    return found


def in_turn(legs, number):
    """The names of the legs in the order of that round.

    Every second round has the order of the one before in reverse, and each two rounds begin with another leg: so each
    leg comes as often before each other one as behind it.
    """
    names = list(legs)
    first = number // 2 % len(names) if names else 0
    names = names[first:] + names[:first]
    return names[::-1] if number % 2 else names


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
