"""Sessions for asyncio.

    async with AsyncSession("31415@localhost") as session:
        await session.evaluate("Prime[1000]")
        await asyncio.wait_for(session.evaluate("Pause[60]"), 2)    # the evaluation is aborted, the session goes on
        await session.StringReverse("hello")
        async for value in session.evaluate_many(range(10)):
            ...

Each session has one thread, in which a `Session` works; several sessions evaluate at the same time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from wstpserver.client.address import Address
from wstpserver.client.base_session import COMMAND_TIMEOUT
from wstpserver.client.connecting import CONNECT_TIMEOUT
from wstpserver.client.errors import LinkClosed
from wstpserver.client.evaluation import Callbacks, ExpressionOutput, TextOutput
from wstpserver.client.link import Packet
from wstpserver.client.reconnect import RECONNECT_TIME
from wstpserver.client.session import KernelFunction, Session, function_name
from wstpserver.wire.values import Expression

if TYPE_CHECKING:
    from typing_extensions import Self


T = TypeVar("T")


class AsyncSession:
    """A `Session` with the same methods as coroutines. It is opened by ``async with``, or by `open`.

    One evaluation runs at a time, in the order of the calls. A call that is cancelled aborts its evaluation; the
    cancellation is complete when the kernel has reacted, or after 2 to 3 seconds, and the session can still be used. It
    belongs to the event loop in which it was opened.

    Args:
        address: As for `Session`.
        timeout: As for `Session`.
        profile: A profile, as for `Session.from_profile`; None for a session without one.
        callbacks: As for `Session`. They run in the event loop and may be coroutine functions; the evaluation waits for
            them.
        **options: The other arguments of `Session`, or of `Session.from_profile`.
    """

    def __init__(
        self,
        address: str | int | Address = "",
        timeout: float | None = CONNECT_TIMEOUT,
        *,
        profile: Any = None,
        callbacks: Callbacks | None = None,
        **options: Any,
    ) -> None:
        self._make: Callable[..., Session] = partial(Session, address, timeout, **options)
        if profile is not None:
            self._make = partial(Session.from_profile, profile, address, timeout, **options)
        self._callbacks = callbacks
        self._session: Session | None = None
        self._thread = SessionThread()

    async def open(self) -> Self:
        """Connect.

        Returns:
            The session itself.

        Raises:
            LinkError: As `Session`.
            CommandError: As `Session`.
        """
        async with self._thread.turn:
            if self._session is None:
                making = self._thread.submit(partial(self._make, callbacks=self._thread.in_loop(self._callbacks)))
                try:
                    self._session = await asyncio.shield(making)
                except asyncio.CancelledError:
                    making.add_done_callback(_close_late)
                    raise
        return self

    async def close(self) -> None:
        """Close the session, as `Session.close`. A call that is under way ends with LinkClosed."""
        session, self._session = self._session, None
        if session is not None:
            # Not in the session's thread: that may be waiting for the kernel.
            await asyncio.get_running_loop().run_in_executor(None, session.close)
        self._thread.end()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def session(self) -> Session:
        """The underlying session, for what does not wait: `prompt`, `kernel_id`, `abort`, `interrupt`.

        Raises:
            LinkClosed: It is not open.
        """
        if self._session is None:
            raise LinkClosed("the session is not open", None, "Use async with, or await session.open()")
        return self._session

    # Calls

    async def evaluate(
        self, expression: Any, timeout: float | None = None, *, callbacks: Callbacks | None = None, **options: Any
    ) -> Any:
        """See `Session.evaluate`."""
        return await self._call(
            self.session.evaluate, expression, timeout, callbacks=self._thread.in_loop(callbacks), **options
        )

    async def evaluate_text(
        self, text: str, timeout: float | None = None, *, callbacks: Callbacks | None = None, **options: Any
    ) -> TextOutput:
        """See `Session.evaluate_text`."""
        return await self._call(
            self.session.evaluate_text, text, timeout, callbacks=self._thread.in_loop(callbacks), **options
        )

    async def enter_expression(
        self, expression: Any, timeout: float | None = None, *, callbacks: Callbacks | None = None, **options: Any
    ) -> ExpressionOutput:
        """See `Session.enter_expression`."""
        return await self._call(
            self.session.enter_expression, expression, timeout, callbacks=self._thread.in_loop(callbacks), **options
        )

    async def evaluate_many(
        self,
        expressions: Iterable[Any],
        timeout: float | None = None,
        *,
        callbacks: Callbacks | None = None,
        **options: Any,
    ) -> AsyncIterator[Any]:
        """See `Session.evaluate_many`; `expressions` is iterated over in the session's thread."""
        session = self.session
        heard = self._thread.in_loop(callbacks)
        async with self._thread.turn:
            make = partial(session.evaluate_many, expressions, timeout, callbacks=heard, **options)
            values: Any = await self._thread.run(make, session.abort)
            try:
                while (value := await self._thread.run(partial(next, values, _END), session.abort)) is not _END:
                    yield value
            finally:
                try:
                    await self._thread.run(values.close, session.abort)
                except LinkClosed:
                    pass  # together with everything else

    async def synchronize(self, timeout: float | None = None) -> None:
        """See `Session.synchronize`."""
        await self._call(self.session.synchronize, timeout)

    async def command(self, name: str, *arguments: Expression, timeout: float | None = COMMAND_TIMEOUT) -> Any:
        """See `Session.command`."""
        return await self._call(self.session.command, name, *arguments, timeout=timeout)

    async def missed_output(self, timeout: float | None = COMMAND_TIMEOUT) -> tuple[int, tuple[Expression, ...]]:
        """See `Session.missed_output`."""
        return await self._call(self.session.missed_output, timeout)

    async def send_command(self, name: str, *arguments: Expression) -> None:
        """See `Session.send_command`."""
        await self._call(self.session.send_command, name, *arguments)

    async def svg(self, expression: Any) -> str | None:
        """See `Session.svg`."""
        return await self._call(self.session.svg, expression)

    async def latex(self, expression: Any) -> str | None:
        """See `Session.latex`."""
        return await self._call(self.session.latex, expression)

    async def reconnect(self, timeout: float | None = RECONNECT_TIME) -> tuple[int, tuple[Packet, ...]]:
        """See `Session.reconnect`."""
        return await self._call(self.session.reconnect, timeout)

    def abort(self, grace: float | None = None) -> bool:
        """See `Session.abort`."""
        return self.session.abort(grace)

    def interrupt(self) -> bool:
        """See `Session.interrupt`."""
        return self.session.interrupt()

    def function(self, name: str) -> KernelFunction:
        """See `Session.function`; a call of the function is a coroutine."""
        return KernelFunction(name, self.evaluate)

    def __getattr__(self, name: str) -> KernelFunction:
        return KernelFunction(function_name(name), self.evaluate)

    async def _call(self, function: Callable[..., T], *arguments: Any, **options: Any) -> T:
        session = self.session
        async with self._thread.turn:
            return await self._thread.run(partial(function, *arguments, **options), session.abort)


_END: Final = object()


def _close_late(making: asyncio.Future[Session]) -> None:
    """Close a session that was cancelled while it was opened."""
    if not making.cancelled() and making.exception() is None:
        making.get_loop().run_in_executor(None, making.result().close)


#: Seconds that a kernel has to react to the abort of a cancelled evaluation. The session goes on without it then.
_GRACE: Final = 2.0
#: Seconds between two aborts of a call that may not have come to its evaluation yet.
_AGAIN: Final = 0.02


class SessionThread:
    """Runs the calls of one session in a thread of its own, and their callbacks in the event loop."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(1, "wstp-session")
        self._asking: Future[Any] | None = None  # a callback that the thread waits for
        #: Held during a call: nothing else runs in the thread, so that an abort cannot hit another evaluation.
        self.turn = asyncio.Lock()

    def submit(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Have the thread do some work; raises LinkClosed after `end`."""
        try:
            return asyncio.get_running_loop().run_in_executor(self._threads, work)
        except RuntimeError:
            raise LinkClosed("the session was closed by this program") from None

    async def run(self, work: Callable[[], T], abort: Callable[[float], bool]) -> T:
        """Wait for a call in the thread. A cancellation aborts the call, and is complete when the call has ended."""
        call = self.submit(work)
        try:
            return await asyncio.shield(call)
        except asyncio.CancelledError:
            if call.cancelled():
                raise
            aborted = False
            while not call.done():
                if self._asking is not None:
                    self._asking.cancel()  # the evaluation waits for a callback
                aborted = aborted or abort(_GRACE)
                await _over(call, _AGAIN)
            call.exception()  # looked at, so that nobody complains
            raise

    def end(self) -> None:
        """Take no more calls. One that is under way is not waited for."""
        self._threads.shutdown(wait=False)

    def in_loop(self, callbacks: Callbacks | None) -> Callbacks | None:
        """Return callbacks that call these in the event loop, from any thread."""
        if callbacks is None:
            return None
        loop = asyncio.get_running_loop()

        def wait_for(coroutine: Coroutine[Any, Any, Any]) -> Any:
            self._asking = asyncio.run_coroutine_threadsafe(coroutine, loop)
            try:
                return self._asking.result()
            finally:
                self._asking = None

        return Callbacks._make(_called_by(wait_for, callback) for callback in callbacks)


async def _over(call: asyncio.Future[Any], timeout: float) -> None:
    """Wait until `call` is done, or for the time; a second cancellation changes nothing."""
    try:
        await asyncio.wait({call}, timeout=timeout)
    except asyncio.CancelledError:
        pass


def _called_by(
    wait_for: Callable[[Coroutine[Any, Any, Any]], Any], callback: Callable[..., Any] | None
) -> Callable[..., Any] | None:
    if callback is None:
        return None

    async def call(*arguments: Any) -> Any:
        result = callback(*arguments)
        return await result if isinstance(result, Coroutine) else result

    return lambda *arguments: wait_for(call(*arguments))
