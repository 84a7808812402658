"""The mixed load of a soak: clients that do random things, clients that evaluate as fast as they can, a killer of
kernels. All of it goes on until it is told to stop."""
import contextlib
import itertools
import os
import random
import signal
import threading
import time

from tools.bench.chaos.client import RandomClient, WrongAnswer
from tools.bench.chaos.end import close_reserved, pool_kernels
from tools.bench.load.engine import Engine, Load
from tools.harness.fake_kernel.joining import LinkClosed

#: What evaluating clients may report when their kernel was killed; anything else is a fault of the server. The
#: evaluation that was under way is answered with $Aborted, no other answer may be wrong.
_EXPECTED = (
    "the server closed the link", "TextPacket instead of", "InputNamePacket instead of", "wrong answer: $Aborted",
)  # fmt: skip


def is_expected(error):
    """Whether an evaluating client may report this where kernels are killed."""
    return any(text in error for text in _EXPECTED)


class Work:
    """Threads that keep the server busy; `counts` tells how much they did, `faults` what must not be."""

    def __init__(self, server, clients, seed):
        self._server = server
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._known = []
        self._seeds = (f"{seed} {number}" for number in itertools.count())
        self.counts = {"answers": 0, "conversations": 0, "lost links": 0, "kernels killed": 0}
        self.faults = []
        jobs = [self._random_client] * clients + [self._evaluate, self._kill, self._tidy]
        self._threads = [threading.Thread(target=self._guarded, args=[job], daemon=True) for job in jobs]
        for thread in self._threads:
            thread.start()

    @property
    def failed(self):
        return bool(self.faults)

    def stop(self, seconds=120.0):
        """Let everybody finish what is under way."""
        self._stopping.set()
        end = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
            if thread.is_alive():
                self.faults.append("a client did not come to an end")
                return

    def _count(self, name, number=1):
        with self._lock:
            self.counts[name] += number

    def _guarded(self, job):
        with self._lock:
            rng = random.Random(next(self._seeds))
        try:
            while not self._stopping.is_set():
                job(rng)
        except Exception as error:
            self.faults.append(f"{type(error).__name__}: {error}")

    def _random_client(self, rng):
        """One conversation: commands, evaluations, aborts, breaking off at any moment."""
        try:
            client = RandomClient(self._server.connect(timeout=60), rng.random(), self._known)
            self._count("answers", client.run(rng.randint(1, 12)))
        except (LinkClosed, ConnectionError):
            self._count("lost links")
        except WrongAnswer:
            raise
        self._count("conversations")
        self._stopping.wait(rng.random() * 0.5)

    def _evaluate(self, rng):
        """Clients that evaluate: few with much, many with little, some that come and go."""
        load = Load(
            port=self._server.port, clients=rng.choice([1, 5, 10]), evaluations=rng.choice([5, 50, 200]),
            size=rng.choice([0, 100, 10_000, 300_000]), depth=rng.choice([1, 1, 4]), rate=rng.choice([0, 100]),
            together=rng.random() < 0.5, timeout=90.0, limit=100.0,
        )  # fmt: skip
        with Engine(load) as engine:
            while engine.read(0.2):
                pass
        self._count("answers", engine.result.answers)
        for error, number in engine.result.errors.items():
            if not is_expected(error):
                self.faults.append(f"{error} ({load})")
            self._count("lost links", number)
        self._stopping.wait(rng.random())

    def _kill(self, rng):
        if self._stopping.wait(rng.random() * 4):
            return
        with contextlib.suppress(LinkClosed, ConnectionError):
            pids = [kernel["ProcessID"] for kernel in pool_kernels(self._server) if kernel["ProcessID"]]
            with contextlib.suppress(ProcessLookupError):
                os.kill(rng.choice(pids), signal.SIGKILL)
            self._count("kernels killed")

    def _tidy(self, _rng):
        """Kernels that clients reserved for themselves and left: nobody comes back to them."""
        if not self._stopping.wait(5.0):
            close_reserved(self._server)
