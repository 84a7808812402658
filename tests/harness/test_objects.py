"""Objects are counted, and whoever makes some meanwhile does not notice."""
import gc
import sys
import threading

import pytest
from greenlet import getcurrent, greenlet

from tools.harness.objects import living_greenlets, number_of_objects


@pytest.fixture
def no_collector():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def test_objects_are_counted(no_collector):
    before = number_of_objects()
    kept = [[] for _ in range(1000)]
    assert number_of_objects() >= before + len(kept) - 100


def test_greenlets_that_have_begun_and_not_ended():
    begun, ended, waiting = (greenlet(lambda: getcurrent().parent.switch()) for _ in range(3))
    begun.switch()
    ended.switch()
    ended.switch()
    found = living_greenlets()
    assert begun in found and ended not in found and waiting not in found


@pytest.fixture
def hasty_threads():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.parametrize("count", [living_greenlets, number_of_objects])
def test_tuples_that_other_threads_build_are_left_alone(count, hasty_threads):
    done, counted = threading.Event(), []

    def counting():
        while not done.is_set():
            counted.append(count())

    thread = threading.Thread(target=counting)
    thread.start()
    try:
        while len(counted) < 20:
            assert len(tuple([] for _ in range(200))) == 200
    finally:
        done.set()
        thread.join()
