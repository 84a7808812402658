"""The threads of an executor: begun together, ended together."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, wait
from typing import Final

from wstpserver.client.parallel_tasks import TaskQueue
from wstpserver.client.parallel_worker import Worker

#: Seconds for kernels to obey an abort; then their links are closed.
_OBEDIENCE: Final = 5.0
#: An abort that comes just before an evaluation has no effect: it is repeated.
_REPEAT: Final = 0.2


class Crew:
    """`number` workers with a kernel each. Raises what the first of them raises that gets none."""

    def __init__(self, number: int, make_worker: Callable[[TaskQueue], Worker]) -> None:
        self.queue = TaskQueue(number)
        self._workers = [make_worker(self.queue) for _ in range(number)]
        self._threads = [
            threading.Thread(target=worker.run, name=f"KernelExecutor-{index}", daemon=True)
            for index, worker in enumerate(self._workers, 1)
        ]
        for thread in self._threads:
            thread.start()
        try:
            done, _ = wait([worker.started for worker in self._workers], return_when=FIRST_EXCEPTION)
            for started in done:
                started.result()
        except BaseException:
            self.stop(join=True, abort=True)
            raise

    @property
    def kernels(self) -> tuple[str, ...]:
        """The IDs of the kernels that are there."""
        return tuple(worker.kernel for worker in self._workers if worker.kernel is not None)

    def stop(self, *, join: bool, abort: bool) -> None:
        """End when everything in the queue is done, with `abort` at once; `join` waits for the threads."""
        self.queue.close()
        if abort:
            self.queue.cancel()
            for worker in self._workers:
                worker.abort()
        if not join:
            return
        if abort:
            self._insist()
        for thread in self._threads:
            if thread is not threading.current_thread():  # where a future's callback shuts everything down
                thread.join()

    def _insist(self) -> None:
        """Wait until all have given up; those that do not are cut off."""
        end = time.monotonic() + _OBEDIENCE
        for worker, thread in zip(self._workers, self._threads, strict=True):
            if thread is threading.current_thread():
                continue
            while thread.is_alive() and time.monotonic() < end:
                thread.join(_REPEAT)
                if thread.is_alive():
                    worker.abort()
            if thread.is_alive():
                worker.cut()
