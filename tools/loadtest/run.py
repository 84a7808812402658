"""A run: N clients, all together or as they come and go; everything is counted."""
import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass, field

from tools.figures import summary
from tools.loadtest.client import Client, ClientError
from wstpserver.wire.errors import ProtocolError


@dataclass
class Load:
    """What to do; times are in seconds.

    opening     how many clients may be connecting at the same moment
    together    evaluations begin when every client has its kernel, and no client leaves before the end;
                otherwise each evaluates as soon as it can, leaves, and its kernel may serve the next
    """

    host: str = "127.0.0.1"
    port: int = 31415
    clients: int = 100
    evaluations: int = 100
    opening: int = 50
    together: bool = True
    timeout: float = 30.0
    limit: float = 120.0


@dataclass
class Result:
    """What happened so far; complete when `finished`."""

    connected: int = 0
    prompted: int = 0
    answers: int = 0
    finished: bool = False
    errors: Counter = field(default_factory=Counter)
    connect_seconds: float = 0.0
    evaluate_seconds: float = 0.0
    connect_times: list = field(default_factory=list)
    prompt_times: list = field(default_factory=list)
    evaluation_times: list = field(default_factory=list)

    def figures(self):
        """Rates per second and times in milliseconds, ready for JSON."""
        return {
            "finished": self.finished,
            "clients connected": self.connected,
            "clients with a kernel": self.prompted,
            "correct answers": self.answers,
            "errors": dict(self.errors.most_common()),
            "connections per second": self.connected / self.connect_seconds if self.connect_seconds else None,
            "evaluations per second": self.answers / self.evaluate_seconds if self.evaluate_seconds else None,
            "milliseconds": {
                "connect": summary(self.connect_times, 1e-3),
                "first prompt": summary(self.prompt_times, 1e-3),
                "evaluation": summary(self.evaluation_times, 1e-3),
            },
        }


async def run_load(load, result):
    """Fill `result`; leaves it as far as it came when cancelled or when `load.limit` seconds are over."""
    run = _Run(load, result)
    try:
        await asyncio.wait_for(run.everything(), load.limit)
        result.finished = True
    except (asyncio.TimeoutError, TimeoutError):
        result.errors["the time limit of the run"] += 1
    finally:
        run.stop_clocks()
        await run.close()


class _Run:
    def __init__(self, load, result):
        self._load, self._result = load, result
        self._opening = asyncio.Semaphore(load.opening)
        self._clients = []
        self._begin = time.perf_counter()
        self._evaluations_began = None

    async def everything(self):
        if not self._load.together:
            await asyncio.gather(*[self._come_and_go() for _ in range(self._load.clients)])
            return
        ready = await asyncio.gather(*[self._connect() for _ in range(self._load.clients)])
        await asyncio.gather(*[self._evaluate(client) for client in ready if client is not None])

    async def _come_and_go(self):
        client = await self._connect()
        if client is not None:
            await self._evaluate(client)
            client.close()

    async def _connect(self):
        """A client with its first prompt, or None and a counted error."""
        client = Client(self._load.host, self._load.port, self._load.timeout)
        self._clients.append(client)
        try:
            async with self._opening:
                begin = time.perf_counter()
                await client.connect()
            now = time.perf_counter()
            self._result.connected += 1
            self._result.connect_times.append(now - begin)
            self._result.connect_seconds = now - self._begin
            await client.first_prompt()
            self._result.prompted += 1
            self._result.prompt_times.append(time.perf_counter() - begin)
        except (ClientError, OSError, ProtocolError) as error:
            self._count(error, "connecting")
            return None
        return client

    async def _evaluate(self, client):
        if self._evaluations_began is None:
            self._evaluations_began = time.perf_counter()
        numbers = random.Random()
        try:
            for _ in range(self._load.evaluations):
                left, right = numbers.randrange(10**9), numbers.randrange(10**9)
                self._result.evaluation_times.append(await client.evaluate(left, right))
                self._result.answers += 1
        except (ClientError, OSError, ProtocolError) as error:
            self._count(error, "evaluating")

    def _count(self, error, what):
        self._result.errors[f"{what}: {error}"] += 1

    def stop_clocks(self):
        if self._evaluations_began is not None:
            self._result.evaluate_seconds = time.perf_counter() - self._evaluations_began

    async def close(self):
        for client in self._clients:
            client.close()
        await asyncio.sleep(0)  # one turn of the loop, in which the transports send what they hold
