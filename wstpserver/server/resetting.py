"""ResetCode: what a pool evaluates in a kernel between two clients."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import gevent

from wstpserver.model.states import Kernel, KernelState
from wstpserver.server.evaluator import Evaluator, came_to_nothing
from wstpserver.server.initialisation import to_expression

if TYPE_CHECKING:
    from wstpserver.server.broker import Broker
    from wstpserver.server.kernel import KernelServer


class _ResetFailed(Exception):
    """The kernel must not be given to anybody; the text says why."""


def reset(broker: Broker, record: Kernel) -> None:
    """Run the ResetCode of its pool in an idle kernel that nobody is bridged to; returns when the registry knows
    how it went. A kernel that ends meanwhile is seen to by whoever notices that."""
    kernel = broker.kernels.get(record)
    if kernel is None or not _is_resetting(kernel):
        return
    began = time.monotonic()
    try:
        _evaluate(broker, kernel)
    except _ResetFailed as error:
        if _is_resetting(kernel):
            broker.log.warning(f"Kernel {record.id} is closed: {error}")
            broker.registry.close(record, str(error))
    else:
        if _is_resetting(kernel):
            broker.log.debug(f"Kernel {record.id} was reset in {time.monotonic() - began:.3f} s")
            broker.registry.reset_done(record)
    broker.carry_out()


def _is_resetting(kernel: KernelServer) -> bool:
    return kernel.alive and kernel.record.state is KernelState.RESETTING


def _evaluate(broker: Broker, kernel: KernelServer) -> None:
    pool = kernel.record.pool
    assert pool is not None
    limit = broker.settings.kernel_start_timeout
    evaluator = Evaluator(kernel, broker.log, "ResetCode")
    evaluator.listen()
    kernel.missed.drain()  # the next client has nothing to do with it
    with gevent.Timeout(limit, _ResetFailed(f"its ResetCode did not finish within {limit:g} s (KernelStartTimeout)")):
        answer = evaluator.run("ResetCode", to_expression(pool.settings.reset_code))
    if answer is None or came_to_nothing(answer):
        raise _ResetFailed("its ResetCode failed")
    evaluator.leave()
