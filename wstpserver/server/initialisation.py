"""Brings a kernel from its first prompt to readiness: initialisation file and code, output to the log."""

from __future__ import annotations

import importlib.resources
from collections.abc import Iterator

import gevent

from wstpserver.model.states import Kernel
from wstpserver.server.evaluator import Evaluator
from wstpserver.server.kernel import KernelServer
from wstpserver.server.kernels.process import describe_status
from wstpserver.server.log import Log
from wstpserver.settings import PoolSettings, ServerSettings
from wstpserver.wire.values import Expression, Function, Symbol

#: What the log calls the definition of the server's functions.
SERVER_FUNCTIONS = "the definition of the WSTPServer functions"


class InitialisationFailed(Exception):
    """A kernel that made its link did not become ready; the text says why."""


def initialise(
    kernel: KernelServer, record: Kernel, embedded: bool, settings: ServerSettings, log: Log
) -> None:
    """Wait for the first prompt and run the pool's initialisation, each step within KernelStartTimeout seconds.

    A kernel that is not the *embedded* one, which has them, is given the WSTPServer functions first. Raises
    `InitialisationFailed`. Returns with the kernel idle and listening to nobody.
    """
    timeout = settings.kernel_start_timeout
    evaluator = Evaluator(kernel, log, "its start", quiet=SERVER_FUNCTIONS)
    evaluator.listen()
    with gevent.Timeout(timeout, InitialisationFailed(f"its first prompt did not come within {timeout:g} seconds")):
        kernel.prompted.wait()
    _check_alive(kernel)
    pool = record.pool.settings if record.pool else None
    steps = [*(() if embedded else server_functions()), *_steps(pool)]
    for what, expression in steps:
        late = InitialisationFailed(
            f"{what} did not finish within {timeout:g} seconds (KernelStartTimeout can allow for more)"
        )
        with gevent.Timeout(timeout, late):
            evaluator.run(what, expression)
        _check_alive(kernel)
    evaluator.leave()


def server_functions() -> Iterator[tuple[str, Expression]]:
    """The definitions of the WSTPServer` functions: what to call them in the log, and expressions to evaluate."""
    text = importlib.resources.files("wstpserver.server").joinpath("functions.wl").read_text("utf-8")
    _comment, begin, rest = text.partition('Begin["')
    first, line_end, rest = (begin + rest).partition("\n")
    body, last, _ = rest.rpartition("End[];")
    for statement in (first, body, last):
        yield SERVER_FUNCTIONS, to_expression(statement)


def to_expression(code: str) -> Function:
    """``ToExpression["code"]``: what evaluates a text in a kernel."""
    return Function(Symbol("ToExpression"), (code,))


def _steps(pool: PoolSettings | None) -> Iterator[tuple[str, Expression]]:
    if pool is None:
        return
    if pool.initialization_file:
        yield "InitializationFile", Function(Symbol("Get"), (pool.initialization_file,))
    if pool.initialization_code:
        yield "InitializationCode", to_expression(pool.initialization_code)


def _check_alive(kernel: KernelServer) -> None:
    if not kernel.alive:
        how = kernel.problem
        if how is None:
            exited = kernel.process.exited
            exited.wait(1.0)
            how = f"it ended with {describe_status(exited.get())}" if exited.ready() else "it closed its link"
        words = kernel.process.last_words()
        told = f"; its last words:\n{words}" if words else ""
        raise InitialisationFailed(f"{how} before it was ready{told}")
