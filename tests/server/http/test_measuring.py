"""What is measured of histories that are made up: durations, peaks, the history of a pool, memory, lag."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from tests.pools.scene import RecordingRegistry, Scene, begin, end
from wstpserver.pools.states import WaitState
from wstpserver.server.http.metrics import LAG_BOUNDS, POINT_INTERVAL, Histogram, Meter, Point, Sources
from wstpserver.server.kernels.process import KernelProcess
from wstpserver.server.kernels.process_info import resident_memory
from wstpserver.wire.packets import PacketHead


class Measured(Scene):
    """A scene that is measured from its beginning."""

    def __init__(self, **keys):
        super().__init__(**keys)
        self.supervisor = SimpleNamespace(sessions={})
        sources = Sources(self.registry, self.supervisor, lambda: 0, lambda: 0, dict)
        self.meter = Meter(sources, lambda: self.now)
        self.of_pool = self.meter.pools["P"]

    def pass_time(self, seconds):
        self.now += seconds

    def sample(self, times=1):
        for _ in range(times):
            self.pass_time(1)
            self.meter.sample()


def values(histogram):
    """How many values are at most as large as each bound."""
    return {bound: number for bound, number in histogram.buckets() if number}


def test_a_histogram_counts_a_value_in_the_bucket_whose_bound_it_reaches():
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 9.0):
        histogram.observe(value)
    histogram.observe(2.0, 3)
    assert histogram.buckets() == [("1.0", 2), ("2.0", 6), ("+Inf", 7)]
    assert histogram.total == 18


def test_the_duration_of_an_evaluation_is_that_of_the_outermost_one():
    scene = Measured()
    scene.bridged()
    begin(scene.kernel)
    assert scene.meter.busy_since(scene.kernel) == scene.now
    scene.pass_time(5)
    scene.kernel.evaluation.written(PacketHead.CallPacket)
    begin(scene.kernel)  # for the call
    scene.pass_time(2)
    end(scene.kernel)
    scene.pass_time(3)
    end(scene.kernel)
    assert scene.meter.busy_since(scene.kernel) is None
    assert scene.of_pool.evaluation_seconds.total == 10
    assert values(scene.of_pool.evaluation_seconds)["10.0"] == 1


def test_evaluations_that_pass_in_c_count_with_their_mean():
    scene = Measured()
    scene.bridged()
    scene.pass_time(100)  # nothing is known of this time
    scene.kernel.evaluation.passed(PacketHead.EvaluatePacket, 20, 20)
    assert scene.of_pool.evaluation_seconds.total == pytest.approx(0.01)
    assert values(scene.of_pool.evaluation_seconds) == dict.fromkeys(
        [bound for bound, _ in scene.of_pool.evaluation_seconds.buckets()], 20
    )
    begin(scene.kernel)
    scene.pass_time(50)  # a long one, and behind its answer some that pass
    assert scene.kernel.evaluation.passed(PacketHead.EvaluatePacket, 4, 5)
    end(scene.kernel)
    seconds = scene.of_pool.evaluation_seconds
    assert seconds.total == pytest.approx(50.01) and seconds.buckets()[-1] == ("+Inf", 25)
    assert values(seconds)["100.0"] - values(seconds)["30.0"] == 1


def test_what_the_server_itself_evaluates_does_not_count():
    scene = Measured()
    scene.evaluate(scene.kernel)
    scene.kernel.evaluation.passed(PacketHead.EvaluatePacket, 3, 3)
    assert values(scene.of_pool.evaluation_seconds) == {}


def test_a_kernel_that_ends_evaluates_no_more():
    scene = Measured()
    scene.bridged()
    begin(scene.kernel)
    scene.pass_time(4)
    scene.registry.close(scene.kernel, "test")
    scene.registry.gone(scene.kernel)
    scene.sample(int(POINT_INTERVAL))
    assert scene.of_pool.points[-1].busy == 0.0 and scene.of_pool.evaluations == 1


def test_a_point_has_the_peaks_and_the_mean_of_its_ten_seconds():
    scene = Measured(MaximumKernelNumber=3, MinimumKernelNumber=2)
    first = scene.bridged()
    second = scene.bridged()
    begin(first.kernel)
    scene.sample(5)
    end(first.kernel)
    scene.registry.disconnect(second)
    scene.sample(5)
    assert list(scene.of_pool.points) == [Point(2, 0.5, 0, 3)]
    scene.sample(10)
    assert scene.of_pool.points[-1] == Point(1, 0.0, 0, 3)
    assert scene.of_pool.recent() == (2, 0)
    scene.sample(60)
    assert scene.of_pool.recent() == (1, 0)


def test_a_long_evaluation_is_in_the_history_while_it_runs():
    scene = Measured()
    begin(scene.bridged().kernel)
    scene.sample(20)
    assert [point.busy for point in scene.of_pool.points] == [1.0, 1.0]


def test_the_peak_of_waiting_clients_has_those_who_waited_between_two_samples():
    scene = Measured()
    scene.bridged()
    waiting = [scene.registry.connect_to_pool(scene.client(), scene.pool) for _ in range(3)]
    scene.pass_time(0.5)
    for one in waiting:
        scene.registry.give_up(one.client, "test", state=WaitState.TIMED_OUT)
    assert scene.of_pool.recent() == (1, 3)
    assert scene.of_pool.waits == {WaitState.GRANTED: 1, WaitState.TIMED_OUT: 3}
    assert values(scene.of_pool.wait_seconds)["0.5"] - values(scene.of_pool.wait_seconds).get("0.1", 0) == 3


def test_starts_failures_and_deaths():
    scene = Measured()
    scene.registry.link_ended(scene.kernel)
    scene.registry.lost(scene.kernel, in_good_order=False)
    scene.registry.gone(scene.kernel)
    scene.pass_time(3)
    (kernel,) = scene.become_ready()
    scene.registry.link_ended(kernel)
    scene.registry.lost(kernel, in_good_order=True)
    scene.registry.gone(kernel)
    failing = next(iter(scene.pool.kernels.values()))
    scene.registry.start_failed(failing)
    meter = scene.of_pool
    assert (meter.starts, meter.failures, meter.deaths) == (2, 1, 1)
    assert values(meter.start_seconds)["5.0"] == 1 and meter.start_seconds.total == 3


def test_what_was_there_before_is_measured_as_well():
    scene = Scene()
    client = scene.bridged()
    begin(client.kernel)
    meter = Meter(Sources(scene.registry, SimpleNamespace(sessions={}), lambda: 0, lambda: 0, dict), lambda: scene.now)
    assert meter.pools["P"].complete and meter.pools["P"].recent() == (1, 0)
    end(client.kernel)
    begin(client.kernel)
    scene.now += 2
    end(client.kernel)
    assert meter.pools["P"].evaluation_seconds.total == 2


def test_kernels_that_a_restart_brings_are_measured():
    scene = Scene(MinimumKernelNumber=2, MaximumKernelNumber=4)
    owner = scene.bridged()
    registry = RecordingRegistry(scene.registry.settings, lambda: "ffff-0000-0000", lambda: scene.now)
    meter = Meter(Sources(registry, SimpleNamespace(sessions={}), lambda: 0, lambda: 0, dict), lambda: scene.now)
    (client,) = registry.restore(scene.registry.record([owner]))
    kernel = client.kernel
    meter.sample()
    assert meter.pools["P"].recent() == (1, 0) and meter.pools["P"].complete
    registry.disconnect(client)
    registry.connect_to_kernel(client, kernel)
    begin(kernel)
    scene.now += 3
    end(kernel)
    assert meter.pools["P"].evaluation_seconds.total == 3
    registry.close(kernel, "test")
    registry.gone(kernel)
    assert meter.pools["P"].evaluations == 1


def test_a_pool_that_is_gone_is_forgotten():
    scene = Measured()
    del scene.registry.pools["P"]
    scene.sample()
    assert set(scene.meter.pools) == {""}


def test_lag_is_how_late_a_sample_is():
    scene = Measured()
    scene.sample(3)
    scene.pass_time(1.3)
    scene.meter.sample()
    assert scene.meter.lag == pytest.approx(0.3) and scene.meter.recent_lag == pytest.approx(0.3)
    assert values(scene.meter.lag_seconds)[str(LAG_BOUNDS[0])] == 3
    scene.sample(61)
    assert scene.meter.recent_lag == 0


def test_the_memory_of_all_kernels_is_looked_at_in_turn():
    scene = Measured(MinimumKernelNumber=25, MaximumKernelNumber=25)
    scene.supervisor.sessions.update(
        (kernel, SimpleNamespace(record=kernel, process=KernelProcess(os.getpid()))) for kernel in scene.kernels
    )
    scene.sample()
    assert 0 < len(scene.meter.memory) < 25
    scene.sample(3)
    assert set(scene.meter.memory) == set(scene.kernels)
    assert scene.of_pool.memory == sum(scene.meter.memory.values()) > 25e6
    scene.registry.close(scene.kernel, "test")
    scene.registry.gone(scene.kernel)
    assert scene.of_pool.memory == sum(scene.meter.memory.values())


@pytest.mark.skipif(sys.platform != "linux", reason="children are known on Linux")
def test_the_memory_of_a_wrapper_is_that_of_the_kernel_which_it_starts():
    code = "x = b'x' * 50_000_000; print('here', flush=True); input()"
    command = ["sh", "-c", '"$0" -c "$1"; true', sys.executable, code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as wrapper:
        try:
            assert wrapper.stdout.readline() == "here\n"
            assert 50_000_000 < resident_memory(wrapper.pid) < 200_000_000
        finally:
            wrapper.stdin.close()
    assert resident_memory(wrapper.pid) == 0
