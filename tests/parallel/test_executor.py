"""The executor on a real server with light kernels: values, order, back-pressure, errors."""

import concurrent.futures
import itertools
import threading

import pytest

from tests.client.helpers import PROMPT
from tests.parallel.conftest import POOL, STEADY
from tests.support.serving import Gate, gate  # noqa: F401 - a fixture
from wstpserver.client import Callbacks, ConnectError, EvaluationTimeout, Session
from wstpserver.client.parallel import KernelExecutor, ParallelError
from wstpserver.wire.values import Function, Symbol

PAIR = Function(Symbol("List"), (1, Symbol("x")))


@pytest.fixture
def executor(running):
    address = f"wstp://127.0.0.1:{running.process.port}/{STEADY}"
    with KernelExecutor(address, 2, keep_kernels=True) as executor:
        yield executor


def test_submit(executor):
    assert executor.submit("Plus", 2, 3).result(PROMPT) == 5
    assert executor.submit("2+3").result(PROMPT) == 5
    assert executor.submit(Symbol("StringReverse"), "abc").result(PROMPT) == "cba"
    assert executor.submit(Function(Symbol("Times"), (6, 7))).result(PROMPT) == 42
    assert executor.submit("Total", [1, 2, 3]).result(PROMPT) == 6
    assert len(set(executor.kernels)) == 2


def test_futures_are_those_of_the_standard_library(executor, gate):  # noqa: F811
    first, second = executor.submit("BusyUntil", gate.path), executor.submit("Plus", 1, 1)
    done = concurrent.futures.as_completed([first, second], PROMPT)
    assert next(done) is second
    gate.open()
    assert list(done) == [first]
    heard = threading.Event()
    executor.submit("Plus", 1, 1).add_done_callback(lambda future: future.result() == 2 and heard.set())
    assert heard.wait(PROMPT)


@pytest.mark.parametrize("chunksize", [None, 1, 7, 1000])
def test_map_keeps_the_order(executor, chunksize):
    numbers = range(600)
    assert list(executor.map("Plus", numbers, numbers, chunksize=chunksize)) == [2 * number for number in numbers]


def test_map_takes_many_at_a_time(served):
    with served.executor() as executor:
        list(executor.map("Plus", range(3000), range(3000)))
        evaluations = sum(executor.submit("Evaluations[]").result(PROMPT) for _ in range(2))
    assert evaluations < 1500, "chunks of about 50 ms"


def test_map_of_nothing_and_of_unequal_lengths(executor):
    assert list(executor.map("Plus", [])) == []
    assert list(executor.map("Plus", [1, 2, 3], itertools.count(10))) == [11, 13, 15]


def test_both_kernels_work(executor, tmp_path):
    """At the same time: each waits at a gate, and neither gate is opened before both have come there."""
    both = [Gate(tmp_path, name) for name in ("one", "other")]
    results = executor.map("BusyUntil", [each.path for each in both], chunksize=1)
    for each in both:
        each.wait_until_reached()
    for each in both:
        each.open()
    assert list(results) == [each.path for each in both]


@pytest.mark.parametrize("name", ["Packed", "MakeArray"])
def test_packed_values_of_a_chunk(executor, name):
    if name == "Packed":
        assert list(executor.map("Plus", [0.5] * 40, [1.0] * 40, chunksize=20)) == [1.5] * 40
    else:
        assert list(executor.map("MakeArray", [2, 0, 3], chunksize=3)) == [[0.0, 1.0], [], [0.0, 1.0, 2.0]]


def test_results_as_expressions(served):
    with served.executor(results="expression") as executor:
        assert executor.submit("List", 1, Symbol("x")).result(PROMPT) == PAIR
        assert list(executor.map("List", [1] * 4, [Symbol("x")] * 4, chunksize=2)) == [PAIR] * 4


def test_no_more_is_taken_than_there_is_room_for(executor):
    taken = itertools.count()
    source = (next(taken) for _ in itertools.count())
    results = executor.map("Plus", source, itertools.repeat(1), buffersize=50)
    assert next(taken) <= 51
    assert [next(results) for _ in range(100)] == list(range(1, 51)) + list(range(52, 102))
    assert next(taken) <= 153
    results.close()
    assert list(results) == []


def test_the_first_error_ends_a_map(executor):
    def numbers():
        yield from (1, 2)
        raise OSError("the disk is full")

    results = executor.map("Plus", numbers(), [1, 1, 1])
    assert [next(results), next(results)] == [2, 3]
    with pytest.raises(OSError, match="the disk is full"):
        next(results)
    assert list(results) == []


def test_nothing_is_lost_at_the_end_of_the_executor(served):
    with served.executor(2) as executor:
        results = executor.map("Plus", range(60), buffersize=50)
    for number in range(50):
        assert next(results) == number
    with pytest.raises(RuntimeError, match="shut down"):
        next(results)


def test_an_element_that_is_no_expression(executor):
    results = executor.map("Plus", [1, object(), 3])
    assert next(results) == 1
    with pytest.raises(TypeError):
        next(results)


def test_time_limit_of_each(served):
    with served.executor(task_timeout=1.0) as executor:
        kernels = executor.kernels
        results = list(executor.map("Sleep", [0, 60, 0, 0.01], chunksize=4, return_exceptions=True))
        assert [type(result) for result in results] == [type(None), EvaluationTimeout, type(None), type(None)]
        assert executor.kernels == kernels, "they are still there"


def test_a_deaf_kernel_is_given_up(serve, monkeypatch):
    monkeypatch.setattr("wstpserver.client.parallel.worker._IDLE_ANSWER", 0.2)
    with serve(MinimumKernelNumber=1) as served, served.executor(1, task_timeout=1.0) as executor:
        (deaf,) = executor.kernels
        with pytest.raises(EvaluationTimeout):
            executor.submit("Deaf", 600).result(PROMPT)
        assert executor.submit("Plus", 1, 1).result(PROMPT) == 2
        assert executor.kernels != (deaf,)


def test_map_has_a_deadline(executor):
    results = executor.map("Sleep", [0, 60], timeout=0.5)
    assert next(results) is None
    with pytest.raises(concurrent.futures.TimeoutError):
        next(results)
    executor.shutdown(abort=True)


def test_what_is_no_argument(executor):
    with pytest.raises(TypeError, match="Python functions"):
        executor.submit(len, [1])
    with pytest.raises(TypeError, match="Python functions"):
        executor.map(len, [[1]])
    with pytest.raises(TypeError):
        executor.submit("f", object())
    with pytest.raises(ValueError, match="at least one iterable"):
        executor.map("f")
    with pytest.raises(ValueError, match="chunksize must be 1 or more, not 0"):
        executor.map("f", [1], chunksize=0)
    with pytest.raises(ValueError, match="buffersize"):
        executor.map("f", [1], buffersize=0)


def test_output_is_heard(served):
    heard = []
    with served.executor(callbacks=Callbacks(on_print=heard.append)) as executor:
        list(executor.map("Print", ["a", "b"]))
    assert sorted(heard) == ["a\n", "b\n"]


def test_an_exception_of_a_callback_is_that_of_the_item(served):
    def refuse(text):
        raise ValueError(text)

    with served.executor(callbacks=Callbacks(on_print=refuse)) as executor:
        results = list(executor.map("Print", ["a"] * 4, chunksize=4, return_exceptions=True))
        assert [(type(error), str(error)) for error in results] == [(ValueError, "a\n")] * 4
        assert executor.submit("Plus", 1, 1).result(PROMPT) == 2


# Which kernels


def test_all_free_kernels_by_default(served):
    with Session(f"wstp://127.0.0.1:{served.process.port}/{POOL}", PROMPT) as other, served.executor(None) as executor:
        assert len(executor.kernels) == 1
        assert other.command("GetKernelID") not in executor.kernels
        with pytest.raises(ParallelError, match="no kernel is free: pool Parallel has 2 of at most 4.*kernels=N"):
            served.executor(None)


def test_more_than_the_pool_keeps_ready(served):
    with served.executor(4) as executor:
        assert set(executor.kernels) == set(served.kernels())
        with pytest.raises(ParallelError, match=r"no kernel came within 0.2 s: .*\(4 bridged\).*MaximumKernelNumber"):
            served.executor(1, kernel_timeout=0.2)


def test_more_than_the_pool_may_have(served):
    with pytest.raises(ParallelError, match="5 kernels are too many: pool Parallel has 2 of at most 4 .*fewer"):
        served.executor(5)


@pytest.mark.parametrize(("kernels", "error"), [(0, ValueError), (-1, ValueError), (True, TypeError), (1.5, TypeError)])
def test_no_number_of_kernels(served, kernels, error):
    with pytest.raises(error):
        served.executor(kernels)


def test_a_pool_by_its_name(served):
    with KernelExecutor(f"wstp://127.0.0.1:{served.process.port}/Main", 2) as executor:
        assert not set(executor.kernels) & set(served.kernels())
    with pytest.raises(ParallelError, match="the server has no pool Foo"):
        KernelExecutor(f"wstp://127.0.0.1:{served.process.port}/Foo", 2)


def test_no_parallel_pool(serve):
    with serve(ParallelKernels=False) as served, pytest.raises(ParallelError, match='"ParallelKernels":true'):
        served.executor(1)


def test_no_server():
    with pytest.raises(ConnectError):
        KernelExecutor("1@127.0.0.1", 1)


def test_initialisation(served):
    with served.executor(initialisation="Set[z, 4]") as executor:
        assert {executor.submit("Get[z]").result(PROMPT) for _ in range(10)} == {4}


def test_an_initialisation_that_fails(served):
    with pytest.raises(ParallelError, match=r"the initialisation gave \$Failed: "):
        served.executor(initialisation="f[")
