"""Kernels that die, servers that go away, executors that are shut down or forgotten."""

import concurrent.futures
import contextlib
import gc
import os
import random
import signal
import threading

import pytest

from tests.client.helpers import PROMPT, takes
from tests.support.serving import gate  # noqa: F401 - a fixture
from tools.harness.waiting import wait_for
from wstpserver.client import EvaluationAborted, LinkError
from wstpserver.client.parallel import KernelDied, KernelsGone


def busy(served, number=1):
    """The kernels at work, once there are so many."""

    def found():
        kernels = [kernel for kernel in served.kernels().values() if kernel.busy]
        return kernels if len(kernels) == number else None

    return wait_for(found, PROMPT, "busy kernels", interval=0.02)


def kill(kernel):
    with contextlib.suppress(ProcessLookupError):
        os.kill(kernel.process, signal.SIGKILL)


# Kernels that die


def test_once_is_not_told(served, gate):  # noqa: F811
    with served.executor(1) as executor:
        future = executor.submit("BusyUntil", gate.path)
        (kernel,) = busy(served)
        assert (kernel.id,) == executor.kernels
        kill(kernel)
        wait_for(lambda: executor.kernels != (kernel.id,), PROMPT)
        busy(served)
        gate.open()
        assert future.result(PROMPT) == gate.path


def test_twice_is_told(served):
    with served.executor(2) as executor:
        kernels = executor.kernels
        with pytest.raises(KernelDied, match=r"evaluated Die\[3\], at attempt 2: .*the kernel died") as told:
            executor.submit("Die", 3).result(PROMPT)
        assert isinstance(told.value.__cause__, LinkError)
        assert executor.submit("Plus", 1, 1).result(PROMPT) == 2
        wait_for(lambda: len(set(executor.kernels) - set(kernels)) >= 1, PROMPT)


def test_without_a_second_try(served):
    with served.executor(1, retries=0) as executor:
        with pytest.raises(KernelDied, match=r"evaluated Die\[1\]: "):
            executor.submit("Die", 1).result(PROMPT)
        assert executor.submit("Plus", 1, 1).result(PROMPT) == 2


def test_only_the_one_that_kills_fails(served):
    with served.executor(2) as executor:
        heads = ["Plus"] * 3 + ["Die"] + ["Plus"] * 4
        items = [f"{head}[{number}]" for number, head in enumerate(heads)]
        results = list(executor.map("ToExpression", items, chunksize=8, return_exceptions=True))
        assert [result for result in results if isinstance(result, int)] == [0, 1, 2, 4, 5, 6, 7]
        assert [isinstance(result, KernelDied) for result in results] == [head == "Die" for head in heads]


def test_a_kernel_that_died_at_rest_counts_for_nothing(served):
    with served.executor(1, retries=0, initialisation="Set[z, 4]") as executor:
        (identifier,) = executor.kernels
        kill(served.kernels()[identifier])
        wait_for(lambda: identifier not in served.kernels(), PROMPT)
        assert executor.submit("Get[z]").result(PROMPT) == 4, "the new one is initialised, too"
        assert executor.kernels != (identifier,)


def test_kernels_killed_at_random_moments(served):
    seed = random.randrange(10**9)
    chance = random.Random(seed)
    print("seed", seed)
    done = threading.Event()

    def kill_some():
        for _ in range(8):
            done.wait(chance.uniform(0.0, 0.25))
            kernels = [kernel for kernel in served.kernels().values() if kernel.process and kernel.state == "bridged"]
            if kernels:
                kill(chance.choice(kernels))

    with served.executor(3, retries=20) as executor:
        killer = threading.Thread(target=kill_some)
        killer.start()
        numbers = list(range(200))
        found = executor.map("ToExpression", [f"CompoundExpression[Sleep[0.01], {number}]" for number in numbers])
        assert list(found) == numbers
        done.set()
        killer.join()


def test_with_the_server_everything_goes(serve, gate):  # noqa: F811
    with serve() as served, served.executor(2) as executor:
        futures = [executor.submit("BusyUntil", gate.path) for _ in range(5)]
        busy(served, 2)
        served.process.expect_exit(-9)
        served.process.stop(signal.SIGKILL)
        for future in futures:
            with pytest.raises((KernelsGone, KernelDied)):
                future.result(PROMPT)
        with pytest.raises(KernelsGone, match="no kernel is left: "):
            for _ in range(1000):
                executor.submit("Plus", 1, 1).result(PROMPT)


# Shutting down


def test_everything_is_done_before_the_end(served):
    with served.executor(2) as executor:
        futures = [executor.submit("Sleep", 0.02) for _ in range(20)]
    assert all(future.done() and future.result() is None for future in futures)
    with pytest.raises(RuntimeError, match="shut down"):
        executor.submit("Plus", 1, 1)
    executor.shutdown()


def test_what_was_not_begun_can_be_cancelled(served, gate):  # noqa: F811
    with served.executor(1) as executor:
        futures = [executor.submit("BusyUntil", gate.path) for _ in range(3)]
        busy(served)
        executor.shutdown(wait=False, cancel_futures=True)
        assert not concurrent.futures.wait(futures[:1], 0).done
        gate.open()
    assert [future.cancelled() for future in futures] == [False, True, True]
    assert futures[0].result(PROMPT) == gate.path


def test_what_was_begun_can_be_aborted(served, gate):  # noqa: F811
    with served.executor(2) as executor:
        futures = [executor.submit("BusyUntil", gate.path) for _ in range(4)]
        busy(served, 2)
        executor.shutdown(abort=True)
    for future in futures[:2]:
        with pytest.raises(EvaluationAborted):
            future.result(0)
    assert [future.cancelled() for future in futures] == [False, False, True, True]


def test_a_chunk_can_be_aborted(served):
    with served.executor(1) as executor:
        results = executor.map("Sleep", [60, 60, 60], chunksize=3, return_exceptions=True)
        busy(served)
        executor.shutdown(abort=True)
        assert [type(result) for result in results] == [EvaluationAborted] * 3


def test_a_deaf_kernel_does_not_hold_us(served, monkeypatch):
    monkeypatch.setattr("wstpserver.client.parallel.executor._ABORT_TIME", 0.3)
    executor = served.executor(1)
    assert executor.submit("Plus", 1, 1).result(PROMPT) == 2  # its first prompt has been read
    future = executor.submit("Sleep", 600)
    (kernel,) = busy(served)
    os.kill(kernel.process, signal.SIGSTOP)
    with takes(0.3, PROMPT):
        executor.shutdown(abort=True)
    with pytest.raises(EvaluationAborted, match="shut down"):
        future.result(0)
    kill(kernel)


@pytest.mark.parametrize("abort", [False, True])
def test_a_callback_may_shut_it_down(served, abort):
    executor = served.executor(2)
    future = executor.submit("Sleep", 0.1)
    future.add_done_callback(lambda _: executor.shutdown(abort=abort))
    assert future.result(PROMPT) is None
    wait_for(lambda: not any(kernel.state == "bridged" for kernel in served.kernels().values()), PROMPT, interval=0.02)


def test_an_exception_ends_it_at_once(served):
    with pytest.raises(KeyError), takes(0.0, PROMPT), served.executor(1) as executor:
        future = executor.submit("Sleep", 600)
        busy(served)
        raise KeyError
    assert isinstance(future.exception(0), EvaluationAborted)


def test_interrupted_while_it_waits_for_kernels(served):
    """What Ctrl-C does: nothing is left of an executor that did not come about."""
    timer = threading.Timer(0.3, lambda: signal.pthread_kill(threading.main_thread().ident, signal.SIGINT))
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with served.executor(4), takes(0.0, PROMPT):
            timer.start()
            with pytest.raises(KeyboardInterrupt):
                served.executor(2, kernel_timeout=600)
    finally:
        signal.signal(signal.SIGINT, former)


def test_a_forgotten_executor_ends_by_itself(served):
    executor = served.executor(2)
    future = executor.submit("Plus", 1, 1)
    kernels = set(executor.kernels)
    del executor
    gc.collect()
    assert future.result(PROMPT) == 2, "what it was given is done"
    wait_for(lambda: not kernels & set(served.kernels()), PROMPT)


# What becomes of the kernels


@pytest.mark.parametrize("keep", [False, True])
def test_kernels_after_the_end(served, keep):
    with served.executor(2, keep_kernels=keep) as executor:
        assert executor.submit("Plus", 1, 1).result(PROMPT) == 2
        kernels = set(executor.kernels)

    def settled():
        there = served.kernels()
        if keep:
            return [there[kernel].state for kernel in kernels] == ["reserved"] * 2
        return not kernels & set(there) and [kernel.state for kernel in there.values()] == ["free"] * 2

    wait_for(settled, PROMPT, interval=0.02)


def test_kernels_used_again(serve):
    with serve(ReservePreviouslyConnectedKernels=False, MaximumKernelNumber=2) as served:
        used = []
        for _ in range(3):
            with served.executor(2, keep_kernels=True) as executor:
                used.append(set(executor.kernels))
            wait_for(lambda: all(kernel.available for kernel in served.kernels().values()), PROMPT)
        assert used[0] == used[1] == used[2]


def test_the_default_pool_is_left_alone(served):
    before = served.information().pools["Main"]
    with served.executor(4) as executor:
        assert list(executor.map("Plus", range(50))) == list(range(50))
    after = served.information().pools["Main"]
    assert [kernel.id for kernel in after.kernels] == [kernel.id for kernel in before.kernels]
    assert after.available == before.available == 2


def test_a_program_that_ends_without_shutdown(served, tmp_path):
    """Neither its threads nor its kernels stay."""
    import subprocess
    import sys

    from tools.harness.server import ROOT

    program = (
        "import sys; from wstpserver.client.parallel import KernelExecutor\n"
        "executor = KernelExecutor(sys.argv[1], 2); print(*executor.kernels, flush=True)\n"
        "executor.submit('Sleep', 600)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, served.address], capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    assert done.returncode == 0, done.stderr
    wait_for(lambda: not set(done.stdout.split()) & set(served.kernels()), PROMPT, interval=0.02)
