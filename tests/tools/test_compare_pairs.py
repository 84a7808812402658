"""What several sittings have measured counts together, whatever each of them has."""
import os

import pytest

from tools.bench.compare import pairs
from tools.bench.compare.pairs import RoundTrips, Throughput, Turns, VendorConnections, in_turn, wait_until_quiet


class Leg:
    most_megabytes = 100
    most_transfers = 3
    port = 1

    def __init__(self, peak=0, ends=None):
        self._peak, self.ends = peak, ends

    def forget_peak(self):
        pass

    def peak(self):
        return self._peak


class Client:
    """Answers each step with so many of the same duration, in nanoseconds."""

    def __init__(self, duration, each=1):
        self.duration, self.each, self.steps = duration, each, []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def step(self, line, _timeout=None):
        self.steps.append(line)
        return [self.duration] * self.each


def sit(measurement, *durations, each=1, **leg):
    """One sitting for each duration; returns the clients."""
    clients = [Client(duration, each) for duration in durations]
    for client in clients:
        measurement.sit({"way": Leg(**leg)}, {"way": client})
    return clients


def test_durations_of_all_sittings_are_one_distribution():
    trips = RoundTrips("echo 10", 2, 5)
    (first, _) = sit(trips, 1000, 3000)
    assert first.steps == ["echo 10 5"] * 3
    row = trips.rows()["way"]
    assert (row["count"], row["p50"], row["max"]) == (4, 1.0, 3.0)
    assert [one["way"]["p50"] for one in trips.rounds()] == [1.0, 1.0, 3.0, 3.0]


def test_rates_are_what_was_moved_in_the_time_it_took():
    lists = Throughput(8_000_000, 1, amount=16_000_000)
    (client, _) = sit(lists, 1_000_000, 3_000_000, each=2, peak=5_000_000)  # nanoseconds for one list
    assert client.steps == ["up 1000000 1", "up 1000000 2", "down 1000000 1", "down 1000000 2"]
    assert lists.rows() == {"way": {"up MB/s": 4000.0, "down MB/s": 4000.0, "resident MB": 5.0}}
    assert [one["way"]["up MB/s"] for one in lists.rounds()] == [8000.0, pytest.approx(8000 / 3)]


def test_ways_that_cannot_bear_a_size_are_left_out():
    lists = Throughput(200_000_000, 1)
    sit(lists, 1000)
    assert lists.rows() == {}


def test_a_sitting_that_was_interrupted_gives_no_half_rows():
    class Interrupted(Client):
        def step(self, line, _timeout=None):
            if line.startswith("down"):
                raise KeyboardInterrupt
            return super().step(line)

    lists = Throughput(8_000_000, 1)
    with pytest.raises(KeyboardInterrupt):
        lists.sit({"way": Leg()}, {"way": Interrupted(1000)})
    assert lists.rows() == {}


def test_connections_of_all_sittings():
    class Ends:
        def __init__(self, duration):
            self.client = lambda: Client(duration, each=2)

    connections = VendorConnections(3)
    for duration in (1_000_000, 1_000_000, 5_000_000):
        connections.sit({"way": Leg(ends=Ends(duration))}, {})
    row = connections.rows()["way"]
    assert (row["activated p50 ms"], row["prompt p50 ms"], row["prompt p99 ms"]) == (1.0, 1.0, 5.0)


def test_each_round_has_another_order_and_its_reverse():
    legs = dict.fromkeys("abc")
    orders = ["".join(in_turn(legs, number)) for number in range(7)]
    assert orders == ["abc", "cba", "bca", "acb", "cab", "bac", "abc"]
    assert in_turn({}, 1) == []


def test_a_way_that_gives_up_is_left_out_from_then_on():
    asked = []

    def measure(name):
        asked.append(name)
        return None if name == "b" and asked.count("b") == 2 else {"per second": asked.count(name)}

    turns = Turns("ab", 3, measure)
    assert asked == ["a", "b", "b", "a", "a"]
    assert turns.rows() == {"a": {"per second": 2}}
    assert [set(one) for one in turns.rounds()] == [{"a", "b"}, {"a"}, {"a"}]


def test_quiet_is_when_nobody_works(monkeypatch):
    used, looks = iter([1.0, 1.01, 1.02, 1.02]), []
    monkeypatch.setattr(pairs.processes, "processor_seconds", lambda _: next(used))
    monkeypatch.setattr("time.sleep", looks.append)
    wait_until_quiet([os.getpid()], look=0.3)
    assert looks == [0.3] * 3 and not list(used)


def test_there_is_an_end_to_the_rest(monkeypatch):
    monkeypatch.setattr(pairs, "LONGEST_REST", 0.0)
    monkeypatch.setattr("time.sleep", lambda _: pytest.fail("there is no time left"))
    wait_until_quiet([os.getpid()])
