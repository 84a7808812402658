"""What the server measures while HTTP is on, and how Prometheus gets it.

Nothing is added to the path of the data. The registry tells its observers of starts, ends, waits and evaluations (of
those that pass in C, of numbers), and bytes are counted in C. What has to be looked at (peaks, memory, the loop) is
sampled once a second, a few kernels at a time.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate, islice
from typing import TYPE_CHECKING, Any, NamedTuple

import gevent

from wstpserver.pools.evaluation import BEGUN, IDLE, PASSED, EvaluationChange
from wstpserver.pools.registry import Registry
from wstpserver.pools.states import ENDING, READY, Kernel, KernelState, Pool, WaitingClient, WaitState
from wstpserver.server.kernels.process import resident_memory
from wstpserver.server.kernels.supervisor import Supervisor
from wstpserver.server.relay.directions import ClientChannel, KernelChannel
from wstpserver.version import VERSION

if TYPE_CHECKING:
    from prometheus_client import Metric

#: Seconds between two samples.
SAMPLE_INTERVAL = 1.0

#: Seconds that one point of the history stands for, and how many points are kept: an hour.
POINT_INTERVAL = 10.0
POINTS = 360

#: Points that make up a recent peak: a minute.
RECENT_POINTS = 6

#: Kernels whose memory is looked at in one sample; all kernels are looked at within `MEMORY_ROUND` seconds.
MEMORY_AT_LEAST = 10
MEMORY_ROUND = 60.0

#: Seconds that a call into C may take in which evaluations follow each other (cext/wstpepoll.c).
LONGEST_CALL = 0.01

#: Upper bounds of the buckets of histograms, in seconds.
EVALUATION_BOUNDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3600.0)
START_BOUNDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0)
WAIT_BOUNDS = (0.001, 0.01, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
LAG_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)

#: States that a kernel is counted in.
_STATES = [state for state in KernelState if state is not KernelState.GONE]

BRIDGED = KernelState.BRIDGED  # members of an enum are slow to look up
RESERVED = KernelState.RESERVED


class MetricsUnavailable(Exception):
    """There are no metrics for Prometheus; the text says why and what to do."""


class Histogram:
    """How many values lie between the bounds, and their sum."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float, number: int = 1) -> None:
        """Count *number* values of this size."""
        self.counts[bisect_left(self.bounds, value)] += number
        self.total += value * number

    def buckets(self) -> list[tuple[str, float]]:
        """Each upper bound with how many values do not exceed it."""
        bounds = [repr(bound) for bound in self.bounds] + ["+Inf"]
        return list(zip(bounds, accumulate(self.counts), strict=True))


class Point(NamedTuple):
    """Ten seconds in the life of a pool.

    Attributes:
        used: The most kernels that were in use: bridged, or reserved for a client.
        busy: How many kernels evaluated, on average.
        waiting: The most clients that waited.
        maximum: MaximumKernelNumber.
    """

    used: int
    busy: float
    waiting: int
    maximum: int


@dataclass(slots=True)
class PoolMeter:
    """What is counted for one pool, or for the kernels outside pools."""

    pool: Pool | None
    starts: int = 0
    failures: int = 0
    deaths: int = 0
    start_seconds: Histogram = field(default_factory=lambda: Histogram(START_BOUNDS))
    waits: Counter[WaitState] = field(default_factory=Counter)
    wait_seconds: Histogram = field(default_factory=lambda: Histogram(WAIT_BOUNDS))
    evaluation_seconds: Histogram = field(default_factory=lambda: Histogram(EVALUATION_BOUNDS))
    #: Evaluations of kernels that are gone.
    evaluations: int = 0
    #: Bytes of resident memory of the kernels, as far as they were looked at.
    memory: int = 0
    #: True once as many kernels were ready as MinimumKernelNumber asks for.
    complete: bool = False
    points: deque[Point] = field(default_factory=lambda: deque(maxlen=POINTS))
    #: The peaks since the last point.
    used: int = 0
    waiting: int = 0
    #: The kernels in which an evaluation of a client is open.
    evaluating: set[Kernel] = field(default_factory=set)
    #: What `busy_seconds` was at the last point, and when that was.
    busy_before: float = 0.0
    point_at: float = 0.0

    def notice(self) -> None:
        """Keep the peaks, after a change of the pool."""
        pool = self.pool
        if pool is None:
            return
        counts = pool.counts
        self.used = max(self.used, counts[BRIDGED] + counts[RESERVED])
        self.waiting = max(self.waiting, len(pool.waiting))
        if not self.complete:
            self.complete = sum(counts[state] for state in READY) >= pool.settings.minimum_kernel_number

    def busy_seconds(self, now: float) -> float:
        """Seconds that kernels have spent evaluating, added up over kernels."""
        return self.evaluation_seconds.total + sum([now - (kernel.busy_since or now) for kernel in self.evaluating])

    def evaluated(self, kernel: Kernel, change: EvaluationChange, number: int, since: float, now: float) -> None:
        """Count evaluations. Of those that were answered in one call into C each counts with their mean, because no
        more is known; the first of them may have begun long before.

        Args:
            kernel: The kernel.
            change: What has changed.
            number: How many evaluations were answered in turn.
            since: When the kernel had become busy, or idle, before that, in seconds.
            now: The time, in seconds.
        """
        if change is IDLE:
            if kernel in self.evaluating:
                self.evaluation_seconds.observe(now - since)
                self.evaluating.discard(kernel)
        elif kernel.state is not BRIDGED:  # what the server itself evaluates does not count
            return
        elif change is BEGUN:
            self.evaluating.add(kernel)
        elif change is PASSED:
            elapsed = now - since
            if kernel in self.evaluating and elapsed > LONGEST_CALL:
                self.evaluation_seconds.observe(elapsed - LONGEST_CALL)
                number -= 1
            if number:
                self.evaluation_seconds.observe(min(elapsed, LONGEST_CALL) / number, number)

    def end_point(self, now: float) -> None:
        """Note the last ten seconds in the history."""
        if self.pool is None:
            return
        busy_seconds = self.busy_seconds(now)
        busy = max(0.0, busy_seconds - self.busy_before) / max(now - self.point_at, 0.001)
        self.points.append(Point(self.used, round(busy, 2), self.waiting, self.pool.settings.maximum_kernel_number))
        self.busy_before, self.point_at = busy_seconds, now
        self.used = self.waiting = 0
        self.notice()

    def recent(self) -> tuple[int, int]:
        """The most kernels in use and the most waiting clients of about the last minute."""
        recent = list(self.points)[-RECENT_POINTS:]
        return (
            max([self.used, *(point.used for point in recent)]),
            max([self.waiting, *(point.waiting for point in recent)]),
        )


@dataclass(frozen=True, slots=True)
class Sources:
    """What the server knows by itself.

    Attributes:
        registry: All kernels, pools and clients.
        supervisor: The processes of the kernels.
        links: Returns how many links of clients were opened.
        unpaired: Returns how many connections are no link yet.
        refused: Returns how many connections and clients were refused, by reason.
    """

    registry: Registry
    supervisor: Supervisor
    links: Callable[[], int]
    unpaired: Callable[[], int]
    refused: Callable[[], dict[str, int]]


class Meter:
    """Measures a server. It is an observer of the registry.

    Args:
        sources: What the server knows.
        clock: Returns the time in seconds, as the registry's.
    """

    def __init__(self, sources: Sources, clock: Callable[[], float] = time.monotonic) -> None:
        self.sources = sources
        self._clock = clock
        self.pools: dict[str, PoolMeter] = {}
        #: Bytes of resident memory of each kernel, as far as it was looked at.
        self.memory: dict[Kernel, int] = {}
        #: How late the loop is: all samples, the last one, and the worst of about the last minute.
        self.lag_seconds = Histogram(LAG_BOUNDS)
        self.lag = 0.0
        self._lags: deque[float] = deque([0.0], maxlen=int(RECENT_POINTS * POINT_INTERVAL / SAMPLE_INTERVAL))
        #: When the last point of the history ended, by the clock of the computer, and by the monotonic one.
        self.points_until = time.time()
        self._due = clock() + SAMPLE_INTERVAL
        self._next_point = clock() + POINT_INTERVAL
        self._unmeasured: Iterator[Kernel] = iter(())
        self._of(None)
        for pool in sources.registry.pools.values():
            self._of(pool).notice()
        sources.registry.observe(
            moved=self._moved, evaluated=self._evaluated, lost=self._lost, wait_ended=self._wait_ended
        )
        self._greenlet: gevent.Greenlet | None = None

    def start(self) -> None:
        """Take a sample every second from now on."""
        self._greenlet = gevent.spawn(self._run)

    def stop(self) -> None:
        """Sample no more."""
        if self._greenlet is not None:
            self._greenlet.kill()

    @property
    def recent_lag(self) -> float:
        """The worst lag of about the last minute, in seconds."""
        return max(self._lags)

    def busy_since(self, kernel: Kernel) -> float | None:
        """When the evaluation of a client in *kernel* began, by the monotonic clock, in seconds; None without one."""
        return kernel.busy_since if kernel in self._of(kernel.pool).evaluating else None

    def _of(self, pool: Pool | None) -> PoolMeter:
        name = pool.name if pool is not None else ""
        meter = self.pools.get(name)
        if meter is None or meter.pool is not pool:
            meter = self.pools[name] = PoolMeter(pool, point_at=self._clock())
        return meter

    # -- what the registry tells (`Registry.observe`) ----------------------------------------------------------

    def _moved(self, kernel: Kernel, before: KernelState | None, since: float) -> None:
        meter = self._of(kernel.pool)
        state = kernel.state
        if before is None:
            meter.starts += 1
            return
        if before is KernelState.STARTING:
            if state is KernelState.FREE:
                meter.start_seconds.observe(kernel.since - since)
            elif state is KernelState.GONE:
                meter.failures += 1
        if state in ENDING:
            meter.evaluating.discard(kernel)
        if state is KernelState.GONE:
            meter.evaluations += kernel.evaluations
            meter.memory -= self.memory.pop(kernel, 0)
        meter.notice()

    def _evaluated(self, kernel: Kernel, change: EvaluationChange, number: int, since: float) -> None:
        self._of(kernel.pool).evaluated(kernel, change, number, since, self._clock())

    def _lost(self, kernel: Kernel, *, in_good_order: bool) -> None:
        if not in_good_order:
            self._of(kernel.pool).deaths += 1

    def _wait_ended(self, waiting: WaitingClient) -> None:
        meter = self._of(waiting.target if isinstance(waiting.target, Pool) else waiting.target.pool)
        if waiting.waited:
            meter.waiting = max(meter.waiting, len(waiting.line) + 1)
        meter.waits[waiting.state] += 1
        meter.wait_seconds.observe(max(0.0, self._clock() - waiting.since))

    # -- samples -----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        self._due = self._clock() + SAMPLE_INTERVAL
        while True:
            gevent.sleep(max(0.0, self._due - self._clock()))
            self.sample()

    def sample(self) -> None:
        """Take the sample that is due now, and note how late that is."""
        now = self._clock()
        self.lag = max(0.0, now - self._due)
        self.lag_seconds.observe(self.lag)
        self._lags.append(self.lag)
        self._due = now + SAMPLE_INTERVAL
        self._look_at_pools(now)
        self._look_at_memory()

    def _look_at_pools(self, now: float) -> None:
        for name, meter in tuple(self.pools.items()):
            if meter.pool is not None and self.sources.registry.pools.get(name) is not meter.pool:
                del self.pools[name]  # it is not configured any more, and its last kernel is gone
        for pool in self.sources.registry.pools.values():
            self._of(pool).notice()
        if now >= self._next_point:
            self._next_point += POINT_INTERVAL * (1 + (now - self._next_point) // POINT_INTERVAL)
            self.points_until = time.time()
            for meter in self.pools.values():
                meter.end_point(now)

    def _look_at_memory(self) -> None:
        sessions = self.sources.supervisor.sessions
        count = max(MEMORY_AT_LEAST, int(len(sessions) * SAMPLE_INTERVAL / MEMORY_ROUND) + 1)
        looked_at = list(islice(self._unmeasured, count))
        if len(looked_at) < count:
            self._unmeasured = iter(tuple(sessions))
            looked_at += islice(self._unmeasured, min(count - len(looked_at), len(sessions)))
        processes = {sessions[kernel].process: kernel for kernel in looked_at if kernel in sessions}
        unknown: list[Exception] = []
        sizes = resident_memory(processes, unknown.append)
        for process, kernel in processes.items():
            if kernel.state is not KernelState.GONE and (process in sizes or not unknown):
                size = sizes.get(process, 0)
                self._of(kernel.pool).memory += size - self.memory.get(kernel, 0)
                self.memory[kernel] = size


# -- for Prometheus --------------------------------------------------------------------------------------------------


class Exposition:
    """The metrics as Prometheus reads them.

    Args:
        meter: What was measured.

    Raises:
        MetricsUnavailable: The package that writes the format is not installed.
    """

    def __init__(self, meter: Meter) -> None:
        try:
            from prometheus_client import CollectorRegistry, ProcessCollector, core, exposition
        except ImportError:
            raise MetricsUnavailable(
                "the package prometheus_client is not installed; install it with: pip install 'wstpserver[http]'"
            ) from None
        self._meter = meter
        self._core = core
        self._choose = exposition.choose_encoder
        self._collectors = CollectorRegistry(auto_describe=False)
        self._collectors.register(self)
        ProcessCollector(registry=self._collectors)

    def text(self, accept: str = "") -> tuple[bytes, str]:
        """The metrics now.

        Args:
            accept: The Accept header of the request.

        Returns:
            The text, and its content type.
        """
        encode, content_type = self._choose(accept)
        return encode(self._collectors), content_type

    def describe(self) -> list[Metric]:
        """Nothing: names are not checked against other collectors."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All metrics of the server, one family after the other."""
        yield from self._server()
        yield from self._kernels()
        yield from self._rates()

    def _meters(self) -> list[tuple[str, PoolMeter]]:
        """What is reported by pool; what is outside pools only if there was anything."""
        return [(name, one) for name, one in self._meter.pools.items() if one.pool is not None or one.starts]

    def _kernels_of(self, meter: PoolMeter) -> list[Kernel]:
        if meter.pool is not None:
            return list(meter.pool.kernels.values())
        return [kernel for kernel in self._meter.sources.registry.kernels.values() if kernel.pool is None]

    def _gauge(self, name: str, text: str, values: Iterable[tuple[tuple[str, ...], float]], *labels: str) -> Metric:
        family = self._core.GaugeMetricFamily(f"wstpserver_{name}", text, labels=labels)
        for label, value in values:
            family.add_metric(label, value)
        return family

    def _counter(self, name: str, text: str, values: Iterable[tuple[tuple[str, ...], float]], *labels: str) -> Metric:
        family = self._core.CounterMetricFamily(f"wstpserver_{name}", text, labels=labels)
        for label, value in values:
            family.add_metric(label, value)
        return family

    def _histogram(
        self, name: str, text: str, values: Iterable[tuple[tuple[str, ...], Histogram]], *labels: str
    ) -> Metric:
        family = self._core.HistogramMetricFamily(f"wstpserver_{name}", text, labels=labels)
        for label, histogram in values:
            family.add_metric(label, buckets=histogram.buckets(), sum_value=histogram.total)
        return family

    def _server(self) -> Iterator[Metric]:
        meter, sources = self._meter, self._meter.sources
        yield self._gauge("info", "The server.", [((VERSION,), 1)], "version")
        yield self._gauge("clients", "Clients with an open link.", [((), len(sources.registry.clients))])
        yield self._counter("links", "Links of clients that were opened.", [((), sources.links())])
        yield self._gauge("unpaired_connections", "Connections that are no link yet.", [((), sources.unpaired())])
        refused = [((reason,), number) for reason, number in sorted(sources.refused().items())]
        yield self._counter("refused_connections", "Connections that were refused.", refused, "reason")
        received = [(("clients",), ClientChannel.bytes_received[0]), (("kernels",), KernelChannel.bytes_received[0])]
        yield self._counter("received_bytes", "Bytes of expressions that were received.", received, "source")
        yield self._histogram("loop_lag_seconds", "How late the event loop is.", [((), meter.lag_seconds)])
        yield self._gauge("loop_lag_recent_peak_seconds", "The same, its worst in a minute.", [((), meter.recent_lag)])

    def _kernels(self) -> Iterator[Metric]:
        meter, registry = self._meter, self._meter.sources.registry
        states, busy, memory = [], {}, {}
        for name, one in self._meters():
            kernels = self._kernels_of(one)
            counts = one.pool.counts if one.pool is not None else Counter(kernel.state for kernel in kernels)
            states += [((name, state.value), counts[state]) for state in _STATES]
            busy[name] = sum([kernel.evaluation.busy for kernel in kernels])
            memory[name] = one.memory
        yield self._gauge("kernels", "Kernels by state.", states, "pool", "state")
        yield self._gauge("busy_kernels", "Kernels that evaluate.", _labelled(busy), "pool")
        yield self._gauge("kernel_resident_memory_bytes", "Resident memory of the kernels.", _labelled(memory), "pool")
        pools = list(registry.pools.items())
        sizes = [
            (("minimum", name), pool.settings.minimum_kernel_number) for name, pool in pools
        ] + [(("maximum", name), pool.settings.maximum_kernel_number) for name, pool in pools]
        yield self._gauge(
            "pool_size", "Kernels that a pool may have: its minimum and its maximum.", sizes, "bound", "pool"
        )
        waiting = [((name,), len(pool.waiting)) for name, pool in pools]
        yield self._gauge("waiting_clients", "Clients that wait for a kernel of the pool.", waiting, "pool")
        recent = {name: meter.pools[name].recent() for name, _ in pools if name in meter.pools}
        yield self._gauge(
            "pool_recent_peak_used_kernels",
            "The most kernels that were bridged or reserved at the same time within a minute.",
            [((name,), used) for name, (used, _) in recent.items()],
            "pool",
        )
        yield self._gauge(
            "pool_recent_peak_use_ratio",
            "The same as a part of the pool's maximum.",
            [
                ((name,), used / registry.pools[name].settings.maximum_kernel_number)
                for name, (used, _) in recent.items()
            ],
            "pool",
        )
        yield self._gauge(
            "pool_recent_peak_waiting_clients",
            "The most clients that waited for a kernel at the same time within a minute.",
            [((name,), queue) for name, (_, queue) in recent.items()],
            "pool",
        )

    def _rates(self) -> Iterator[Metric]:
        meters = [((name,), meter) for name, meter in self._meters()]

        def each(value: Callable[[PoolMeter], Any]) -> list[tuple[tuple[str, ...], Any]]:
            return [(label, value(meter)) for label, meter in meters]

        evaluations = {
            name: one.evaluations + sum([kernel.evaluations for kernel in self._kernels_of(one)])
            for (name,), one in meters
        }
        yield self._counter("kernel_starts", "Kernels that were started.", each(lambda m: m.starts), "pool")
        yield self._counter(
            "kernel_start_failures", "Kernels that did not become ready.", each(lambda m: m.failures), "pool"
        )
        yield self._counter(
            "kernel_deaths", "Kernels that ended by themselves and not in good order.", each(lambda m: m.deaths), "pool"
        )
        yield self._histogram(
            "kernel_start_duration_seconds",
            "From the decision to start a kernel until it is ready.",
            each(lambda m: m.start_seconds),
            "pool",
        )
        outcomes = [state for state in WaitState if state is not WaitState.WAITING]
        waits = [((*label, state.value), meter.waits[state]) for label, meter in meters for state in outcomes]
        yield self._counter("waits", "Requests for a kernel, by how they ended.", waits, "pool", "outcome")
        yield self._histogram(
            "wait_duration_seconds", "How long requests for a kernel took.", each(lambda m: m.wait_seconds), "pool"
        )
        yield self._counter("evaluations", "Evaluations that clients began.", _labelled(evaluations), "pool")
        yield self._histogram(
            "evaluation_duration_seconds",
            "How long evaluations of clients took; those of less than 10 ms by estimate.",
            each(lambda m: m.evaluation_seconds),
            "pool",
        )


def _labelled(values: dict[str, int]) -> list[tuple[tuple[str, ...], float]]:
    return [((name,), value) for name, value in values.items()]
