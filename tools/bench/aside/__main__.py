"""Measures what access rules, refused connections and monitoring cost the clients of a server.

    python -m tools.bench.aside users          set-up of a connection with AllowedUsers ["self"] and without
    python -m tools.bench.aside refused        evaluations while connections are refused, 10,000 a second
    python -m tools.bench.aside monitoring     processor and evaluations with /metrics read and the page open
    python -m tools.bench.aside missed         evaluations while another client fetches 16 MiB of small missed packets

Each compares one server with itself: what is measured is switched on and off again and again, so that the load of the
machine and the place that the scheduler gave to the processes hit both alike. The exit code is 1 beyond a bound.
"""
import argparse
import contextlib
import gzip
import http.client
import json
import os
import signal
import socket
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

from tools.bench.cleanup import clear_away_on_sigterm
from tools.bench.ends import Program
from tools.bench.figures import Histogram, percentile, table
from tools.bench.load.engine import Engine, Load
from tools.bench.load.target import OwnServer
from tools.bench.native.build import program
from tools.harness import rawlink
from tools.harness.fake_kernel.codec import Function, encode
from tools.harness.kernels import make_kernel
from tools.harness.processes import exact_processor_seconds
from tools.harness.server import pool
from tools.harness.waiting import wait_for

#: Where refused connections come from.
STRANGER = "127.0.0.2"


def main(arguments=None):
    """Returns the exit code: 0 if no bound is exceeded."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.bench.aside", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=MEASURES)
    add = parser.add_argument
    add("--rounds", type=int, default=20, help="how often it is switched on and off (20)")
    add("--count", type=int, help="connections, evaluations or missed packets in each half of a round")
    add("--rate", type=int, default=10_000, help="refused: connections a second (10000)")
    add("--kernels", type=int, default=1000, help="monitoring: kernels, each with a client (1000)")
    add("--evaluations", type=float, default=500.0, help="monitoring: evaluations a second, of all clients (500)")
    options = parser.parse_args(arguments)
    clear_away_on_sigterm()
    figures, kept = MEASURES[options.what](options)
    print(json.dumps(figures, indent=2))
    return 0 if kept else 1


class Server(OwnServer):
    """A server with light kernels, whose configuration can be changed."""

    def __init__(self, kernels, **keys):
        super().__init__(kernels, **keys)
        self._reloads = 0

    def reload(self, **keys):
        """Put other values in force, and wait until they are."""
        path = next(self.server.folder.glob("*.conf"))
        path.write_text(json.dumps({**self.configuration, **keys}))
        self.server.process.send_signal(signal.SIGHUP)
        self._reloads += 1
        wait_for(
            lambda: self.server.log.count("The configuration was reloaded") >= self._reloads, 30.0, "a reload"
        )

    def http_port(self):
        """The port for HTTP, once the log names it."""
        return int(self.server.wait_for_log(r"Status page and metrics on .*: http://\S+:(\d+)/")[1])


def alternate(rounds, measure, switch):
    """{False: values, True: values} of `measure(is_on)` with what is compared switched off and on, in turn."""
    values = {False: [], True: []}
    for number in range(rounds):
        for is_on in ((False, True), (True, False))[number % 2]:
            with switch(is_on):
                values[is_on].append(measure(is_on))
    return values


def compared(values):
    """p50 and p99 of durations in microseconds without and with, and their ratios, over all rounds; of each ratio the
    middle of those of the rounds as well, which a single bad moment of the machine does not change.
    """
    rows, figures = [], {}
    for percent in (50, 99):
        off, on = ([percentile(sorted(one), percent) for one in values[is_on]] for is_on in (False, True))
        everything = {
            is_on: percentile(sorted(value for one in values[is_on] for value in one), percent) / 1e3
            for is_on in (False, True)
        }
        ratios = [one / other for one, other in zip(on, off, strict=True)]
        figures[f"p{percent}"] = {
            "without": round(everything[False], 1),
            "with": round(everything[True], 1),
            "ratio": round(everything[True] / everything[False], 3),
            "ratio of rounds": round(statistics.median(ratios), 3),
        }
        rows.append((f"p{percent}", *figures[f"p{percent}"].values()))
    print(table(("µs", "without", "with", "ratio", "ratio of rounds"), [
        (*row[:3], *(f"{value:.3f}" for value in row[3:])) for row in rows
    ]), file=sys.stderr)  # fmt: skip
    return figures


# access rules


def users(options):
    """The time from a client's first connection to its first prompt."""
    costs = []
    with Server(8) as server, server.ends.client() as client:

        def measure(_is_on):
            durations, count, before = [], options.count or 100, exact_processor_seconds(server.pid)
            for _ in range(count):
                durations.append(client.step(f"connect {server.port}")[1])
                client.step("close")
                time.sleep(0.001)  # the server ends what is left of the last client
            costs.append((exact_processor_seconds(server.pid) - before) / count * 1e6)
            return durations

        @contextlib.contextmanager
        def switch(is_on):
            server.reload(AllowedUsers=["self"] if is_on else ["any"])
            measure_warm(client, server.port)
            yield

        figures = compared(alternate(options.rounds, measure, switch))
    figures["microseconds of the server's processor for a client"] = {
        "with" if state else "without": round(statistics.median(values), 1)
        for state, values in by_state(costs).items()
    }  # fmt: skip
    return figures, figures["p50"]["ratio of rounds"] <= 1.05


def by_state(values):
    """{False: values, True: values} of values in the order in which `alternate` measures."""
    states = [state for number in range(len(values) // 2) for state in ((False, True), (True, False))[number % 2]]
    return {one: [value for value, state in zip(values, states, strict=True) if state is one] for one in (False, True)}


def measure_warm(client, port):
    """A few connections that do not count: what a reload has touched comes back into the caches."""
    for _ in range(5):
        client.step(f"connect {port}")
        client.step("close")


def refused(options):
    """Evaluations of one client while connections from one address are refused."""
    reports = []
    with Server(2, AllowedAddresses=["127.0.0.1"]) as server, server.ends.client() as client:
        client.step(f"connect {server.port}")

        @contextlib.contextmanager
        def switch(is_on):
            if not is_on:
                yield
                return
            with Program([program("refused_client"), STRANGER, str(server.port), str(options.rate)]) as strangers:
                time.sleep(0.1)  # until the rate is steady
                began, before = time.monotonic(), exact_processor_seconds(server.pid)
                yield
                busy, measured = exact_processor_seconds(server.pid) - before, time.monotonic() - began
                strangers.process.stdin.close()
                reports.append({**json.loads(strangers.receive()), "processor": busy, "measured": measured})

        figures = compared(
            alternate(options.rounds, lambda _is_on: client.step(f"time {options.count or 5000}"), switch)
        )
    ends = Histogram()
    for report in reports:
        ends.add(report["ends"])
    seconds = sum(report["seconds"] for report in reports)
    figures["connections a second"] = round(sum(report["connections"] for report in reports) / seconds)
    busy = sum(report["processor"] for report in reports) / sum(report["measured"] for report in reports)
    figures["processor of the server while it refuses"] = round(busy, 3)
    figures["not refused"] = sum(report["connections"] - report["refused"] for report in reports)
    figures["refused after a second or more"] = sum(report["late"] for report in reports)
    figures["milliseconds until refused"] = {k: round(v, 3) for k, v in ends.summary(1e6).items()}
    reached = figures["connections a second"] >= 0.95 * options.rate
    return figures, reached and figures["p99"]["ratio"] < 2.0


# monitoring


class Page(threading.Thread):
    """A browser with the page open: reads the events until it is closed."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self._connection = socket.create_connection(("127.0.0.1", port), 60)
        self._connection.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n\r\n")
        self.received = 0
        self.start()

    def run(self):
        with contextlib.suppress(OSError):
            while data := self._connection.recv(1 << 18):
                self.received += len(data)

    def close(self):
        self._connection.shutdown(socket.SHUT_RDWR)
        self.join()
        self._connection.close()


class Scraper(threading.Thread):
    """Reads /metrics every second, as Prometheus does: over one connection, compressed."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self._port = port
        self._ended = threading.Event()
        self.scrapes = self.size = 0
        self.start()

    def run(self):
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        while not self._ended.wait(1.0):
            connection.request("GET", "/metrics", headers={"Accept-Encoding": "gzip"})
            response = connection.getresponse()
            body = response.read()
            assert response.status == 200, response.status
            packed = response.headers.get("Content-Encoding") == "gzip"
            self.size = len(gzip.decompress(body) if packed else body)
            self.scrapes += 1
        connection.close()

    def close(self):
        self._ended.set()
        self.join()


def monitoring(options):
    """Evaluations of one client, and the server's processor time, while others evaluate and somebody looks."""
    others = Load(
        clients=options.kernels - 1, evaluations=10**9, rate=options.evaluations, limit=7200.0, timeout=60.0
    )
    with Server(options.kernels, HTTPPort=0) as server:
        others.port = server.port
        with Engine(others) as engine, server.ends.client() as client:
            engine.wait_until(lambda result: result.prompted == others.clients, 120.0)
            client.step(f"connect {server.port}")
            port = server.http_port()

            @contextlib.contextmanager
            def switch(is_on):
                with contextlib.ExitStack() as stack:
                    if is_on:
                        for watching in (Page(port), Scraper(port)):
                            stack.callback(watching.close)
                        time.sleep(2.0)  # the first event holds everything
                    yield

            def measure(_is_on):
                """Evaluations a millisecond apart, so that the processor is not the bound, for some seconds."""
                began, before = time.monotonic(), exact_processor_seconds(server.pid)
                durations = []
                while len(durations) < (options.count or 4000):
                    durations += client.step("time 1")
                    time.sleep(0.001)
                    engine.read(0.0)
                seconds = time.monotonic() - began
                shares.append((exact_processor_seconds(server.pid) - before) / seconds)
                return durations

            shares = []
            values = alternate(options.rounds, measure, switch)
            engine.stop()
    figures = compared(values)
    found = by_state(shares)
    means = {state: statistics.mean(found[state]) for state in found}
    differences = [on - off for on, off in zip(found[True], found[False], strict=True)]
    error = statistics.stdev(differences) / len(differences) ** 0.5 if len(differences) > 1 else 0.0
    figures["percent of a processor"] = {
        "without": round(100 * means[False], 2), "with": round(100 * means[True], 2),
        "difference": round(100 * statistics.mean(differences), 2), "error": round(100 * error, 2),
    }  # fmt: skip
    return figures, statistics.mean(differences) < 0.01


# missed output

#: Packets of about 20 bytes, more than MissedOutputLimit keeps.
PACKETS = 400_000


class Fetching(threading.Thread):
    """Reads the reply to GetMissedOutput[], which it asks for; it ends with the answer to the evaluation that wrote the
    packets, *count*. `began` and `ended` are times, `size` the bytes.
    """

    def __init__(self, link, count):
        super().__init__(daemon=True)
        self._data = link.data
        self._reply_ends = encode(count) + b"]"
        self.size, self.ended = 0, None
        self.began = time.monotonic()
        link.put("WSCommandPacket", Function("GetMissedOutput"))
        self.start()

    def run(self):
        buffer, last, length = bytearray(1 << 20), b"", len(self._reply_ends)
        while last != self._reply_ends:
            size = self._data.recv_into(buffer)
            assert size, "the server has closed the link"
            self.size += size
            last = (last + buffer[max(0, size - length) : size])[-length:]
        self.ended = time.monotonic()


def missed(options):
    """Evaluations of one client while another fetches all that a kernel has written without a client."""
    fetches, count = [], options.count or PACKETS
    with tempfile.TemporaryDirectory(prefix="kernels-") as folder, Server(1) as server:
        gate = Path(folder, "gate")
        os.mkfifo(gate)
        flooding = pool(make_kernel(Path(folder)), MinimumKernelNumber=1, MaximumKernelNumber=1, Default=False)
        server.reload(Pools={**server.configuration["Pools"], "Flooding": flooding})
        with server.ends.client() as client, rawlink.connect(server.port, without_kernel=True, timeout=60.0) as other:
            client.step(f"connect {server.port}")
            assert "Success" in other.command("ConnectKernel", "Flooding", 30)
            other.get_packet()
            kernel = json.loads(other.command("GetKernelID"))["result"]

            @contextlib.contextmanager
            def switch(is_on):
                if is_on:
                    steps = Function("BusyUntil", str(gate)), Function("Flood", count, 1)
                    other.put("EvaluatePacket", Function("CompoundExpression", *steps))
                    assert "Success" in other.command("DisconnectKernel")
                    gate.write_bytes(b".")
                    wait_for(lambda: "False" in other.command("GetKernelBusyStatus", kernel), 120.0, "the packets")
                    assert "Success" in other.command("ConnectKernel", kernel, 30)
                    other.get_packet()
                yield

            def measure(is_on):
                """The evaluations between the command and the end of its reply, or in a third of a second."""
                fetching = Fetching(other, count) if is_on else None
                durations, ends = [], time.monotonic() + 0.3
                while not durations or (time.monotonic() < ends if fetching is None else fetching.ended is None):
                    durations += client.step("time 20")
                if fetching is not None:
                    fetching.join()
                    fetches.append(fetching)
                return durations

            figures = compared(alternate(options.rounds, measure, switch))
    figures["milliseconds of a fetch"] = round(
        1e3 * statistics.median(one.ended - one.began for one in fetches), 1
    )
    figures["bytes of a reply"] = statistics.median(one.size for one in fetches)
    return figures, figures["p99"]["with"] < 5000


MEASURES = {"users": users, "refused": refused, "monitoring": monitoring, "missed": missed}


if __name__ == "__main__":
    sys.exit(main())
