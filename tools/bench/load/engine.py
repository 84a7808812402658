"""Runs load_client processes and adds up what they report."""
import contextlib
import json
import selectors
import subprocess
import time
from collections import Counter
from dataclasses import dataclass, field

from tools.bench.figures import Histogram
from tools.bench.native.build import program


@dataclass
class Load:
    """What to do; times are in seconds.

    size        characters in the string that each evaluation carries there and back; 0: it adds two numbers
    depth       evaluations of one client that may be under way at the same time
    rate        evaluations begun in a second by all clients together; 0: each as soon as the one before is answered.
                With a rate, durations count from the moment at which an evaluation was due
    opening     how many clients of a process may be connecting at the same moment
    together    evaluations begin when every client has its kernel, and no client leaves before the end;
                otherwise each evaluates as soon as it can, leaves, and its kernel may serve the next
    duration    no evaluation begins later than this after the first one; 0: no such bound
    hold        stay connected at the end, until `Engine.stop`
    processes   client processes; they share clients and rate
    """

    host: str = "127.0.0.1"
    port: int = 31415
    clients: int = 100
    evaluations: int = 100
    size: int = 0
    depth: int = 1
    rate: float = 0.0
    opening: int = 50
    together: bool = True
    hold: bool = False
    duration: float = 0.0
    timeout: float = 30.0
    limit: float = 120.0
    processes: int = 1


@dataclass
class Part:
    """What one process said last."""

    connected: int = 0
    prompted: int = 0
    answers: int = 0
    failed: int = 0
    connecting: float = 0.0
    evaluating: float = 0.0
    finished: bool = False
    errors: dict = field(default_factory=dict)


class Result:
    """What happened so far. `slots`: for each tenth of a second [seconds since the start, Histogram of the evaluations
    answered in it]."""

    SLOT = 0.1

    def __init__(self, processes=1):
        self.parts = [Part() for _ in range(processes)]
        self.connect, self.prompt, self.evaluation = Histogram(), Histogram(), Histogram()
        self.slots = {}

    def take(self, number, report):
        """Add the report of a process."""
        self.parts[number] = Part(**{name: report[name] for name in Part.__dataclass_fields__})
        for name in ("connect", "prompt", "evaluation"):
            getattr(self, name).add(report[name])
        slot = int(report["time"] / self.SLOT)
        self.slots.setdefault(slot, Histogram()).add(report["evaluation"])

    def _sum(self, name):
        return sum(getattr(part, name) for part in self.parts)

    connected = property(lambda self: self._sum("connected"))
    prompted = property(lambda self: self._sum("prompted"))
    answers = property(lambda self: self._sum("answers"))

    @property
    def finished(self):
        return all(part.finished for part in self.parts)

    @property
    def errors(self):
        """How often each error came."""
        errors = Counter()
        for part in self.parts:
            errors.update(part.errors)
        return errors

    def _rate(self, count, name):
        seconds = max(getattr(part, name) for part in self.parts)
        return count / seconds if seconds else None

    def figures(self):
        """Rates per second and times in milliseconds, ready for JSON."""
        return {
            "finished": self.finished,
            "clients connected": self.connected,
            "clients with a kernel": self.prompted,
            "correct answers": self.answers,
            "errors": dict(self.errors.most_common()),
            "connections per second": self._rate(self.prompted, "connecting"),
            "evaluations per second": self._rate(self.answers, "evaluating"),
            "milliseconds": {
                "connect": self.connect.summary(1e6),
                "first prompt": self.prompt.summary(1e6),
                "evaluation": self.evaluation.summary(1e6),
            },
        }


class Engine(contextlib.ExitStack):
    """The processes of a load, as context manager; they end with it."""

    def __init__(self, load):
        super().__init__()
        self.result = Result(load.processes)
        self._selector = self.enter_context(selectors.DefaultSelector())
        self._processes, self._received = [], [b""] * load.processes
        for number in range(load.processes):
            process = self.enter_context(subprocess.Popen(
                [program("load_client"), *_arguments(load, number)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
            ))  # fmt: skip
            self.callback(process.kill)
            self._processes.append(process)
            self._selector.register(process.stdout, selectors.EVENT_READ, number)

    def stop(self):
        """Tell the processes to end; what they say last is still to be read."""
        for process in self._processes:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()

    def read(self, seconds):
        """Take what is reported within that time; False when all processes have ended."""
        end = time.monotonic() + seconds
        while self._selector.get_map() and (left := end - time.monotonic()) > 0:
            self._take(left)
        return bool(self._selector.get_map())

    def _take(self, seconds):
        """Take what is reported next, if that is within so many seconds."""
        for key, _ in self._selector.select(seconds):
            data = key.fileobj.read1(1 << 20)
            if not data:
                self._selector.unregister(key.fileobj)
            *lines, self._received[key.data] = (self._received[key.data] + data).split(b"\n")
            for line in lines:
                self.result.take(key.data, json.loads(line))

    def wait_until(self, condition, seconds):
        """Read reports until `condition(result)`; TimeoutError if it does not come to that."""
        end = time.monotonic() + seconds
        while not condition(self.result):
            left = end - time.monotonic()
            if left <= 0 or not self._selector.get_map():
                raise TimeoutError(f"the clients did not come so far: {self.result.figures()}")
            self._take(left)


def _arguments(load, number):
    """The arguments of process `number`, with its share of the clients."""
    first, rest = divmod(load.clients, load.processes)
    values = {
        "host": load.host, "port": load.port, "clients": first + (number < rest), "evaluations": load.evaluations,
        "size": load.size, "depth": load.depth, "rate": load.rate / load.processes, "opening": load.opening,
        "together": int(load.together), "hold": int(load.hold), "duration": load.duration, "timeout": load.timeout,
        "limit": load.limit,
    }  # fmt: skip
    return [f"{name}={value}" for name, value in values.items()]


def run_load(load):
    """Run a load to its end; returns the Result."""
    with Engine(load) as engine:
        while engine.read(1.0):
            pass
        return engine.result
