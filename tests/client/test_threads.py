"""One session used by several threads, and by greenlets."""

import subprocess
import sys
import textwrap
import threading

import pytest

from wstpserver.client import EvaluationAborted, LinkClosed, Session

from .expressions import call
from .helpers import PROMPT, Kernel, Worker, endless, peer, session_with


def test_every_method_from_several_threads_at_once():
    """They take turns, and each gets its own answers."""
    rules = {"GetKernelID": '{"result":"a806-2645-9651"}'}
    with session_with(Kernel(rules)) as session:

        def use(number):
            for step in range(10):
                own = f"{number}.{step}"
                assert session.evaluate(own, PROMPT) == own
                assert session.evaluate_text(own, PROMPT).text == own
                assert session.enter_expression([own], PROMPT).value == [own]
                assert list(session.evaluate_many([own] * 3, PROMPT)) == [own] * 3
                assert session.Identity(own) == call("Identity", own)
                assert session.command("GetKernelID") == "a806-2645-9651"

        for worker in [Worker(use, number) for number in range(4)]:
            worker.finish(3 * PROMPT)


def test_an_abort_that_nobody_waits_for():
    """The kernel ignores it; with a grace period the evaluation ends all the same, and its answer goes nowhere."""
    release = threading.Event()

    def deaf(kernel):
        assert release.wait(PROMPT)
        return "late"

    with session_with(Kernel({"deaf": deaf})) as session:
        session.synchronize(PROMPT)  # an abort before there is a kernel ends the evaluation at once
        worker = Worker(session.evaluate, "deaf", PROMPT)
        while not session.abort(grace=0.1):
            threading.Event().wait(0.001)
        with pytest.raises(EvaluationAborted, match="did not react"):
            worker.finish()
        release.set()
        assert session.evaluate("right", PROMPT) == "right"


def test_many_aborts_at_once():
    """From several threads, at any moment: each evaluation ends with its own value or as aborted."""
    stop = threading.Event()
    with session_with(Kernel({"endless": endless})) as session:

        def abort():
            while not stop.is_set():
                session.abort()
                threading.Event().wait(0.003)

        workers = [Worker(abort) for _ in range(2)]
        for number in range(30):
            with pytest.raises(EvaluationAborted):
                session.evaluate("endless", PROMPT)
            try:
                assert session.evaluate(number, PROMPT) == number
            except EvaluationAborted:
                pass
        stop.set()
        for worker in workers:
            worker.finish()
        assert session.evaluate("right", PROMPT) == "right"


def test_aborting_a_closed_session():
    with session_with(Kernel()) as session:
        session.evaluate(1, PROMPT)
        session.close()
        assert session.abort() is False
        with pytest.raises(LinkClosed):
            session.evaluate(1, PROMPT)


def test_sessions_in_threads_of_their_own():
    def use(number):
        with peer(Kernel()) as name, Session(name, PROMPT) as session:
            assert list(session.evaluate_many(range(number, number + 50), PROMPT)) == list(range(number, number + 50))

    for worker in [Worker(use, 100 * number) for number in range(4)]:
        worker.finish()


def test_gevent(running):
    """With everything patched: greenlets wait side by side, and one aborts what another evaluates."""
    program = """
        from gevent import monkey
        monkey.patch_all()
        import sys, time
        import gevent
        from wstpserver.client import EvaluationAborted, EvaluationTimeout, Session

        address = sys.argv[1]
        first, second = Session(address, 20), Session(address, 20)
        for session in (first, second):
            session.synchronize(20)
        seconds = []
        while not seconds or (min(seconds) >= 3.9 and len(seconds) < 3):  # the machine may be busy
            start = time.monotonic()
            waiting = [gevent.spawn(session.evaluate, "Pause[2]; 5", 20) for session in (first, second)]
            shared = [gevent.spawn(first.evaluate, number, 20) for number in range(10)]
            assert [one.get() for one in waiting] == [5, 5]
            assert [one.get() for one in shared] == list(range(10))
            seconds.append(time.monotonic() - start)
        assert min(seconds) < 3.9, "one after the other"

        def aborted():
            try:
                first.evaluate("Pause[60]", 20)
            except EvaluationAborted:
                return "aborted"

        endless = gevent.spawn(aborted)
        while not first.abort():
            gevent.sleep(0.01)
        assert endless.get() == "aborted"
        try:
            first.evaluate("Pause[60]", 0.2)
        except EvaluationTimeout:
            pass
        assert list(first.evaluate_many(range(100), 20)) == list(range(100))

        with gevent.Timeout(0.3, False):
            second.evaluate("Pause[60]", 20)
        assert second.evaluate("right", 20).name == "right"
        first.close(), second.close()
        print("done")
        """
    address = f"{running.port}@127.0.0.1"
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), address], capture_output=True, text=True, timeout=3 * PROMPT
    )
    assert (done.stdout, done.stderr) == ("done\n", "")
