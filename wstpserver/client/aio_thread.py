"""The thread in which the session of an event loop works."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import fields
from typing import Any, Final, TypeVar

from wstpserver.client.errors import LinkClosed
from wstpserver.client.events import Callbacks

T = TypeVar("T")

#: Seconds that a kernel has to react to the abort of a cancelled evaluation. The session goes on without it then.
_PATIENCE: Final = 2.0
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
        """Have the thread do it. LinkClosed after `end`."""
        try:
            return asyncio.get_running_loop().run_in_executor(self._threads, work)
        except RuntimeError:
            raise LinkClosed("the session was closed by this program") from None

    async def run(self, work: Callable[[], T], abort: Callable[[float], bool]) -> T:
        """The result of a call in the thread. Whoever is cancelled here aborts it, and leaves when it is over."""
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
                aborted = aborted or abort(_PATIENCE)
                await _over(call, _AGAIN)
            call.exception()  # looked at, so that nobody complains
            raise

    def end(self) -> None:
        """No more calls. One that is under way is not waited for."""
        self._threads.shutdown(wait=False)

    def in_loop(self, callbacks: Callbacks | None) -> Callbacks | None:
        """The same callbacks, called in the event loop by whatever thread."""
        if callbacks is None:
            return None
        loop = asyncio.get_running_loop()

        def wait_for(coroutine: Coroutine[Any, Any, Any]) -> Any:
            self._asking = asyncio.run_coroutine_threadsafe(coroutine, loop)
            try:
                return self._asking.result()
            finally:
                self._asking = None

        return Callbacks(*(_called_by(wait_for, getattr(callbacks, field.name)) for field in fields(callbacks)))


async def _over(call: asyncio.Future[Any], patience: float) -> None:
    """Wait until `call` is done or the time is over; a second cancellation changes nothing."""
    try:
        await asyncio.wait({call}, timeout=patience)
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
