"""Sessions for asyncio: side by side, cancelled, closed, with callbacks in the loop."""

import asyncio
import contextlib
import inspect
import threading

import pytest

from tests.support.packets import input_packet
from wstpserver.client import Callbacks, ConnectError, EvaluationAborted, EvaluationTimeout, LinkClosed
from wstpserver.client.aio import AsyncSession

from .expressions import call
from .helpers import PROMPT, Kernel, endless, peer


def with_session(kernel, test, **options):
    """Run the coroutine function `test` with a session whose other side is `kernel`."""

    async def run(name):
        async with AsyncSession(name, PROMPT, **options) as session:
            await asyncio.wait_for(test(session), PROMPT)

    with peer(kernel) as name:
        asyncio.run(run(name))


class Started:
    """A rule that sets `event` when the kernel has come to it, and then runs until it is aborted."""

    def __init__(self):
        self.event = threading.Event()

    def __call__(self, kernel):
        self.event.set()
        return kernel.until_aborted()

    async def wait(self):
        assert await asyncio.to_thread(self.event.wait, PROMPT)
        self.event.clear()


def test_all_methods():
    rules = {"1/3": call("Rational", 1, 3), call("Plus", 2, 2): 4, "GetKernelID": '{"result":"a806-2645-9651"}'}

    async def test(session):
        assert str(await session.evaluate("1/3")) == "1/3"
        assert await session.evaluate("1/3", results="expression") == call("Rational", 1, 3)
        assert await session.Plus(2, 2) == 4
        assert await session.function("Plus")(2, 2, timeout=PROMPT) == 4
        assert (await session.evaluate_text("1/3")).name == "Out[1]= "
        assert (await session.enter_expression(call("Plus", 2, 2))).value == 4
        assert await session.command("GetKernelID") == session.session.kernel_id == "a806-2645-9651"
        await session.synchronize()
        assert [value async for value in session.evaluate_many(range(30), window=7)] == list(range(30))
        assert session.abort() is False
        assert session.interrupt() is False

    with_session(Kernel(rules), test)


def test_the_loop_goes_on_while_a_kernel_works():
    started = Started()

    async def test(session):
        evaluation = asyncio.create_task(session.evaluate("endless"))
        await started.wait()
        assert not evaluation.done()
        assert session.abort()
        with pytest.raises(EvaluationAborted):
            await evaluation

    with_session(Kernel({"endless": started}), test)


def test_calls_take_turns_in_order():
    async def test(session):
        values = await asyncio.gather(*(session.evaluate(number) for number in range(50)))
        assert values == list(range(50))

    with_session(Kernel(), test)


def test_cancelling_aborts_the_evaluation():
    started = Started()
    kernel = Kernel({"endless": started})

    async def test(session):
        for _ in range(5):
            evaluation = asyncio.create_task(session.evaluate("endless"))
            following = asyncio.create_task(session.evaluate("following"))
            await started.wait()
            evaluation.cancel()
            with pytest.raises(asyncio.CancelledError):
                await evaluation
            assert await following == "following"
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(session.evaluate("endless"), 0.1)
        assert await session.evaluate("right") == "right"

    with_session(kernel, test)
    assert kernel.aborts == 6


def test_cancelling_at_any_moment():
    """Before it has begun, while it is sent, when it is over: the next one gets its own answer."""
    steps = 0

    async def test(session):
        nonlocal steps
        for delay in (0, 0, 0.0001, 0.0002, 0.0005, 0.001, 0.002) * 5:
            evaluation = asyncio.create_task(session.evaluate("quick"))
            await asyncio.sleep(delay)
            evaluation.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                assert await evaluation == "quick"
            assert await session.evaluate(steps) == steps
            steps += 1

    with_session(Kernel(), test)
    assert steps == 35


def test_cancelling_a_call_that_waits_for_its_turn():
    started = Started()

    async def test(session):
        first = asyncio.create_task(session.evaluate("endless"))
        await started.wait()
        second = asyncio.create_task(session.evaluate("never"))
        await asyncio.sleep(0)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        assert not first.done(), "the abort was not for this one"
        session.abort()
        with pytest.raises(EvaluationAborted):
            await first

    kernel = Kernel({"endless": started})
    with_session(kernel, test)
    assert "never" not in [content for _, content in kernel.seen]


def test_a_kernel_that_does_not_react_is_left_alone():
    release = threading.Event()

    def deaf(kernel):
        assert release.wait(PROMPT)
        return "late"

    async def test(session):
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(session.evaluate("deaf"), 0.1)
        release.set()
        assert await session.evaluate("right") == "right"

    with_session(Kernel({"deaf": deaf}), test)


def test_a_timeout_of_the_session_itself():
    async def test(session):
        with pytest.raises(EvaluationTimeout):
            await session.evaluate("endless", 0.1)
        assert await session.evaluate("right") == "right"

    with_session(Kernel({"endless": endless}), test)


def test_leaving_a_batch():
    async def test(session):
        async for value in session.evaluate_many(iter(range(10**9))):
            if value == 5:
                break
        assert await session.evaluate("right") == "right"

    with_session(Kernel(), test)


def test_cancelling_a_batch():
    started = Started()

    async def test(session):
        seen = []

        async def consume():
            async for value in session.evaluate_many([1, 2, "endless", 3], window=1):
                seen.append(value)

        task = asyncio.create_task(consume())
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert seen == [1, 2]
        assert await session.evaluate("right") == "right"

    with_session(Kernel({"endless": started}), test)


# Callbacks


def chatty(kernel):
    kernel.print("one")
    kernel.message("f", "tag", "text")
    return kernel.ask(input_packet("? ")).arguments[0]


def test_callbacks_run_in_the_loop():
    threads = []
    heard = []

    def on_print(text):
        threads.append(threading.get_ident())
        asyncio.get_running_loop()
        heard.append(text)

    async def on_message(message):
        await asyncio.sleep(0.01)
        heard.append(message.tag)

    async def on_input(prompt):
        await asyncio.sleep(0)
        return "41"

    callbacks = Callbacks(on_print=on_print, on_message=on_message, on_input=on_input)

    async def test(session):
        assert await session.evaluate("chatty") == "41"
        assert heard == ["one", "tag"]
        assert await session.evaluate("chatty", callbacks=Callbacks(on_input=lambda prompt: "42")) == "42"

    with peer(Kernel({"chatty": chatty})) as name:

        async def run():
            async with AsyncSession(name, PROMPT, callbacks=callbacks) as session:
                await test(session)

        asyncio.run(run())
    assert set(threads) == {threading.get_ident()}


def test_an_exception_in_a_callback_goes_on_to_the_caller():
    async def failing(text):
        raise ValueError("on purpose")

    async def test(session):
        with pytest.raises(ValueError, match="on purpose"):
            await session.evaluate("chatty", callbacks=Callbacks(on_print=failing))
        assert await session.evaluate("right") == "right"

    def rule(kernel):
        kernel.print("text")
        return kernel.until_aborted()

    with_session(Kernel({"chatty": rule}), test)


def test_cancelling_while_a_callback_is_awaited():
    entered = asyncio.Event()

    async def on_input(prompt):
        entered.set()
        await asyncio.Event().wait()

    def asks(kernel):
        kernel.link.put(input_packet("? "))
        return kernel.until_aborted()

    async def test(session):
        evaluation = asyncio.create_task(session.evaluate("asks", callbacks=Callbacks(on_input=on_input)))
        await entered.wait()
        evaluation.cancel()
        with pytest.raises(asyncio.CancelledError):
            await evaluation
        assert await session.evaluate("right") == "right"

    with_session(Kernel({"asks": asks}), test)


# Opening and closing


def test_closing_while_an_evaluation_runs():
    started = Started()

    async def test(session):
        evaluation = asyncio.create_task(session.evaluate("endless"))
        await started.wait()
        await session.close()
        with pytest.raises(LinkClosed):
            await evaluation
        with pytest.raises(LinkClosed, match="not open"):
            await session.evaluate(1)
        await session.close()

    def until_the_end(kernel):
        started.event.set()
        while True:
            kernel.link.get(PROMPT)

    with_session(Kernel({"endless": until_the_end}), test)


def test_nobody_listens(closed_port):
    async def run():
        with pytest.raises(ConnectError, match="refused"):
            async with AsyncSession(f"{closed_port}@127.0.0.1", PROMPT):
                pass

    asyncio.run(run())


def test_before_it_is_open():
    async def run():
        session = AsyncSession("1@127.0.0.1")
        with pytest.raises(LinkClosed, match="Use async with"):
            await session.evaluate(1)
        with pytest.raises(AttributeError, match="begin with a capital"):
            _ = session.evalute
        await session.close()

    asyncio.run(run())


def test_two_sessions_side_by_side():
    """Each waits for the other's evaluation to begin."""
    barrier = threading.Barrier(2)

    def meets(kernel):
        barrier.wait(PROMPT)
        return 1

    async def run(first, second):
        async with AsyncSession(first, PROMPT) as one, AsyncSession(second, PROMPT) as other:
            assert await asyncio.gather(one.evaluate("meets"), other.evaluate("meets")) == [1, 1]

    with peer(Kernel({"meets": meets})) as first, peer(Kernel({"meets": meets})) as second:
        asyncio.run(run(first, second))


def test_it_has_every_method_of_a_session():
    from wstpserver.client import Session

    names = {name for name, _ in inspect.getmembers(Session, callable) if not name.startswith("_")}
    own = {"continue_with", "settle", "survive", "from_profile"}
    assert names - own <= set(dir(AsyncSession))
