"""Restarts a server again and again while many clients evaluate without a pause, and checks that nothing is lost.

Every answer is compared with what it must be. Kernels, clients and the process of the server must be the same after
each restart as before. The longest pause is the longest time that an evaluation took, so it includes whatever else the
machine does. With --vendor the clients are programs on the vendor's library (WSTP_LIBRARY names it).
"""
import argparse
import contextlib
import json
import re
import signal
import sys
import threading
import time

from tools.bench.cleanup import clear_away_on_sigterm
from tools.bench.ends import ClientError, VendorEnds
from tools.bench.load.engine import Engine, Load
from tools.bench.load.target import OwnServer
from tools.harness.waiting import wait_for

#: What the log says of each restart: kernels, clients, seconds without service.
RESTARTED = re.compile(r"Restarted with (\d+) kernels? and (\d+) clients?: nobody was served for ([\d.]+) s")

#: Seconds for everything that must happen.
LIMIT = 120.0

#: Evaluations of a client on the vendor's library in one step.
IN_ONE_STEP = 20


def main(arguments=None):
    """Returns the exit code: 0 if nothing was lost and no pause was longer than --longest."""
    parser = argparse.ArgumentParser(prog="python -m tools.bench.restarts", description=__doc__.split("\n\n")[0])
    add = parser.add_argument
    add("--clients", type=int, default=300, help="at the same time (default 300)")
    add("--restarts", type=int, default=20, help="one after the other (default 20)")
    add("--size", type=int, default=0, help="bytes that an evaluation carries (0: it adds two numbers)")
    add("--rate", type=float, default=0.0,
        help="evaluations begun each second by all clients together (default: each when the one before is answered)")
    add("--vendor", action="store_true", help="clients on the vendor's library, each a process of its own")
    add("--longest", type=float, default=1.0, help="seconds that no pause may exceed (1)")
    options = parser.parse_args(arguments)
    clear_away_on_sigterm()
    make = VendorClients if options.vendor else LightClients
    found = run(options.restarts, lambda port: make(port, options.clients, options.size, options.rate))
    print(json.dumps(found, indent=2))
    lost = found["errors"] or found["clients lost"] or found["kernels lost or added"]
    return 0 if not lost and found["longest pause in seconds"] < options.longest else 1


class LightClients(contextlib.ExitStack):
    """Clients in one process, which compares every answer."""

    def __init__(self, port, clients, size=0, rate=0.0):
        super().__init__()
        self.clients = clients
        self._load = Load(port=port, clients=clients, evaluations=10**9, size=size, rate=rate, limit=3600.0)

    def __enter__(self):
        self._engine = self.enter_context(Engine(self._load))
        return self

    @property
    def answers(self):
        self._engine.read(0.02)
        return self._engine.result.answers

    def stop(self):
        self._engine.stop()
        end = time.monotonic() + LIMIT
        while self._engine.read(0.1) and time.monotonic() < end:
            pass

    @property
    def errors(self):
        return dict(self._engine.result.errors)

    @property
    def longest(self):
        """Nanoseconds."""
        return self._engine.result.evaluation.longest


class VendorClients(contextlib.ExitStack):
    """Clients on the vendor's library, each a process, which compares every answer."""

    def __init__(self, port, clients, *_):
        super().__init__()
        self.clients = clients
        self.answers, self.errors, self.longest = 0, {}, 0
        self._port = port
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._threads = []

    def __enter__(self):
        ends = VendorEnds(self)
        for _ in range(self.clients):
            client = self.enter_context(ends.client())
            client.step(f"connect {self._port}")
            self._threads.append(threading.Thread(target=self._evaluate, args=(client,)))
        self.callback(self.stop)
        for thread in self._threads:
            thread.start()
        return self

    def _evaluate(self, client):
        while not self._stopping.is_set():
            try:
                durations = client.step(f"time {IN_ONE_STEP}")
            except ClientError as error:
                with self._lock:
                    self.errors[str(error)] = self.errors.get(str(error), 0) + 1
                return
            with self._lock:
                self.answers += len(durations)
                self.longest = max(self.longest, *durations)

    def stop(self):
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        self._threads.clear()


def run(restarts, make):
    """Restart a server with light kernels.

    Args:
        restarts: How often.
        make: Returns the clients (`LightClients`) for the server on a port; one of them for each kernel.

    Returns:
        The figures.
    """
    with contextlib.ExitStack() as stack:
        clients = make(0).clients
        own = stack.enter_context(OwnServer(clients))
        before = sorted(own.server.processes())
        load = stack.enter_context(make(own.port))
        reported = []
        for number in range(1, restarts + 1):
            answers = load.answers  # each restart is to meet clients that are at work again
            _await(lambda least=answers + 2 * clients: load.answers > least, load, "answers")
            own.server.process.send_signal(signal.SIGUSR2)
            _await(lambda number=number: len(RESTARTED.findall(own.server.log)) == number, load, "a restart")
            reported.append(RESTARTED.findall(own.server.log)[-1])
        answers = load.answers
        _await(lambda: load.answers > answers + 2 * clients, load, "answers")
        load.stop()
        wait_for(lambda: sorted(own.server.processes()) == before, LIMIT, "the kernels to be those of the beginning")
        return {
            "clients": clients,
            "restarts": restarts,
            "correct answers": load.answers,
            "errors": load.errors,
            "clients lost": sum(clients != int(count) for _, count, _ in reported),
            "kernels lost or added": sum(clients != int(count) for count, _, _ in reported),
            "without service in seconds": sorted(float(seconds) for _, _, seconds in reported),
            "longest pause in seconds": load.longest / 1e9,
        }


def _await(condition, load, what):
    """Wait for something, unless a client fails before."""
    end = time.monotonic() + LIMIT
    while not condition():
        load.answers  # noqa: B018 - reads what the clients report
        if load.errors or time.monotonic() > end:
            raise TimeoutError(f"{what} did not come; errors of clients: {load.errors}")
        time.sleep(0.005)


if __name__ == "__main__":
    sys.exit(main())
