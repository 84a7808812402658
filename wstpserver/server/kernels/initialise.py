"""What the server itself evaluates in kernels: their initialisation, and ResetCode between two clients. The output
goes to the log.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import gevent

from wstpserver.pools import commands as replies
from wstpserver.pools.limits import start_timeout
from wstpserver.server.bridge.kernel_session import KernelSession
from wstpserver.server.connection import ConnectionClosed
from wstpserver.server.log import Log, shorten
from wstpserver.server.relay.sinks import FunctionSink
from wstpserver.settings import PoolSettings, ServerSettings
from wstpserver.wire.decode import decode
from wstpserver.wire.errors import ProtocolError
from wstpserver.wire.packets import PacketHead
from wstpserver.wire.values import Expression, Function, Symbol

#: What the log calls the definition of the server's functions.
SERVER_FUNCTIONS = "the definition of the WSTPServer functions"


class InitialisationFailed(Exception):
    """A kernel that made its link did not become ready; the text says why."""


class ResetFailed(Exception):
    """A kernel must not be given to anybody; the text says why."""


def initialise(kernel: KernelSession, *, embedded: bool, settings: ServerSettings, log: Log) -> None:
    """Wait for the first prompt and run the pool's initialisation, each step within KernelStartTimeout seconds.

    Returns with the kernel idle; what it writes from then on is kept for its client.

    Args:
        kernel: The kernel.
        embedded: It is the embedded one, which has the WSTPServer functions; others are given them first.
        settings: The configuration.
        log: Gets the output.

    Raises:
        InitialisationFailed: It did not become ready.
    """
    timeout = start_timeout(kernel.record, settings)
    evaluator = _Evaluator(kernel, log, "its start", quiet=SERVER_FUNCTIONS)
    evaluator.listen()
    with gevent.Timeout(timeout, InitialisationFailed(f"its first prompt did not come within {timeout:g} seconds")):
        kernel.prompted.wait()
    _check_alive(kernel)
    pool = kernel.record.pool.settings if kernel.record.pool else None
    steps = [*(() if embedded else server_functions()), *_steps(pool)]
    for what, expression in steps:
        late = InitialisationFailed(
            f"{what} did not finish within {timeout:g} seconds (KernelStartTimeout can allow for more)"
        )
        with gevent.Timeout(timeout, late):
            evaluator.run(what, expression)
        _check_alive(kernel)
    evaluator.leave()


def reset(kernel: KernelSession, log: Log, limit: float) -> None:
    """Run the ResetCode of its pool in an idle kernel that no client is bridged to.

    Args:
        kernel: The kernel.
        log: Gets the output.
        limit: Seconds that it may take.

    Raises:
        ResetFailed: The kernel must be closed.
    """
    pool = kernel.record.pool
    assert pool is not None
    evaluator = _Evaluator(kernel, log, "ResetCode")
    evaluator.listen()
    kernel.backlog.drain()  # the next client has nothing to do with it
    with gevent.Timeout(limit, ResetFailed(f"its ResetCode did not finish within {limit:g} s (KernelStartTimeout)")):
        answer = evaluator.run("ResetCode", to_expression(pool.settings.reset_code))
    if answer is None or _came_to_nothing(answer):
        raise ResetFailed("its ResetCode failed")
    evaluator.leave()


def server_functions() -> Iterator[tuple[str, Expression]]:
    """The definitions of the WSTPServer` functions: what to call them in the log, and expressions to evaluate."""
    text = Path(__file__).with_name("functions.wl").read_text("utf-8")
    _comment, begin, rest = text.partition('Begin["')
    first, line_end, rest = (begin + rest).partition("\n")
    body, last, _ = rest.rpartition("End[];")
    for statement in (first, body, last):
        yield SERVER_FUNCTIONS, to_expression(statement)


def to_expression(code: str) -> Function:
    """`ToExpression["code"]`: what evaluates a text in a kernel."""
    return Function(Symbol("ToExpression"), (code,))


def _steps(pool: PoolSettings | None) -> Iterator[tuple[str, Expression]]:
    if pool is None:
        return
    if pool.initialization_file:
        yield "InitializationFile", Function(Symbol("Get"), (pool.initialization_file,))
    if pool.initialization_code:
        yield "InitializationCode", to_expression(pool.initialization_code)


def _check_alive(kernel: KernelSession) -> None:
    if not kernel.alive:
        how = kernel.problem
        if how is None:
            exited = kernel.process.exited
            exited.wait(1.0)
            how = f"it ended with {kernel.process.how_it_ended()}" if exited.ready() else "it closed its link"
        words = kernel.process.last_output()
        told = f"; its last output lines:\n{words}" if words else ""
        raise InitialisationFailed(f"{how} before it was ready{told}")


class _Evaluator:
    """Evaluates one expression after the other and logs what the kernel writes meanwhile.

    From `listen` to `leave` everything that the kernel writes comes here.

    Args:
        kernel: The kernel, which no client is bridged to.
        log: Gets the output.
        what: What is going on, in words for the log.
        quiet: What happens while *what* is this is of interest to developers only.
    """

    def __init__(self, kernel: KernelSession, log: Log, what: str, *, quiet: str = "") -> None:
        self._kernel = kernel
        self._log = log
        self._what = what
        self._quiet = quiet
        self._answer: Expression | None = None

    def listen(self) -> None:
        """Take what the kernel writes from now on."""
        self._kernel.channel.switch(FunctionSink(self._take))

    def leave(self) -> None:
        """What the kernel writes from now on is kept for its next client."""
        self._kernel.channel.switch(self._kernel.backlog)

    def run(self, what: str, expression: Expression) -> Expression | None:
        """Evaluate and wait for the answer; it is None if the kernel has ended, or if the answer is too strange to
        be read. The caller sets the limit with a `gevent.Timeout`.
        """
        self._what = what
        self._answer = None
        self._kernel.evaluation.sent(PacketHead.EvaluatePacket)
        try:
            self._kernel.writer.write(self, replies.evaluate(expression), at_boundary=True)
        except ConnectionClosed:
            pass  # its channel notices, and the kernel counts as idle then
        self._kernel.wait_until_idle()
        return self._answer

    def _take(self, frame: bytes) -> None:
        """One packet of the kernel."""
        try:
            packet = decode(frame)
        except ProtocolError as error:
            self._log.warning(f"{self._name()} wrote a packet that cannot be read: {error}")
            return
        if not isinstance(packet, Function) or not isinstance(packet.head, Symbol):
            return
        head = packet.head.name
        if head == "ReturnPacket" and packet.args:
            self._answer = packet.args[0]
        if self._what == self._quiet:
            self._log.debug(f"{self._name()} wrote: {shorten(repr(packet))}")
        elif head == "TextPacket" and packet.args:
            self._log.information(f"{self._name()} wrote: {shorten(str(packet.args[0]).rstrip(), 2000)}")
        elif head == "ReturnPacket" and isinstance(self._answer, Symbol) and _came_to_nothing(self._answer):
            self._log.warning(f"{self._name()} returned {self._answer.name}")

    def _name(self) -> str:
        return f"Kernel {self._kernel.record.id} during {self._what}"


def _came_to_nothing(answer: Expression | None) -> bool:
    """Whether a result is `$Failed` or `$Aborted`."""
    return isinstance(answer, Symbol) and answer.name.removeprefix("System`") in ("$Failed", "$Aborted")
