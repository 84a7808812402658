"""Brings a kernel from its first prompt to readiness: initialisation file and code, output to the log."""

from __future__ import annotations

import importlib.resources
from collections.abc import Iterator

import gevent

from wstpserver.model.states import Kernel
from wstpserver.server import replies
from wstpserver.server.kernel import KernelServer
from wstpserver.server.log import Log, shorten
from wstpserver.server.outlets import ToFunction
from wstpserver.server.process import describe_status
from wstpserver.server.stream import StreamClosed
from wstpserver.settings import PoolSettings, ServerSettings
from wstpserver.wire.decode import decode
from wstpserver.wire.errors import ProtocolError
from wstpserver.wire.packets import PacketHead
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
    reader = _Reader(kernel, log)
    kernel.pump.switch(ToFunction(reader.take))
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
            reader.run(what, expression)
    kernel.pump.switch(kernel.missed)


def server_functions() -> Iterator[tuple[str, Expression]]:
    """The definitions of the WSTPServer` functions: what to call them in the log, and expressions to evaluate."""
    text = importlib.resources.files("wstpserver.server").joinpath("functions.wl").read_text("utf-8")
    _comment, begin, rest = text.partition('Begin["')
    first, line_end, rest = (begin + rest).partition("\n")
    body, last, _ = rest.rpartition("End[];")
    for statement in (first, body, last):
        yield SERVER_FUNCTIONS, _to_expression(statement)


def _to_expression(code: str) -> Function:
    return Function(Symbol("ToExpression"), (code,))


def _steps(pool: PoolSettings | None) -> Iterator[tuple[str, Expression]]:
    if pool is None:
        return
    if pool.initialization_file:
        yield "InitializationFile", Function(Symbol("Get"), (pool.initialization_file,))
    if pool.initialization_code:
        yield "InitializationCode", _to_expression(pool.initialization_code)


def _check_alive(kernel: KernelServer) -> None:
    if not kernel.alive:
        kernel.process.exited.wait(1.0)
        status = kernel.process.exited.get() if kernel.process.exited.ready() else None
        how = f"ended with {describe_status(status)}" if status is not None else kernel.problem or "closed its link"
        words = kernel.process.last_words()
        told = f"; its last words:\n{words}" if words else ""
        raise InitialisationFailed(f"it {how} before it was ready{told}")


class _Reader:
    """Evaluates one expression after the other and logs what the kernel writes meanwhile."""

    def __init__(self, kernel: KernelServer, log: Log) -> None:
        self._kernel = kernel
        self._log = log
        self._what = "its start"

    def run(self, what: str, expression: Expression) -> None:
        """Evaluate and wait for the answer, which is not looked at but for ``$Failed``."""
        self._what = what
        self._kernel.begin(PacketHead.EvaluatePacket)
        try:
            self._kernel.writer.write(self, replies.evaluate(expression), True)
        except StreamClosed:
            pass  # the check below says more
        self._kernel.idle.wait()
        _check_alive(self._kernel)

    def take(self, frame: bytes) -> None:
        """One packet of the kernel."""
        try:
            packet = decode(frame)
        except ProtocolError as error:
            self._log.warning(f"{self._name()} wrote a packet that cannot be read: {error}")
            return
        if not isinstance(packet, Function) or not isinstance(packet.head, Symbol):
            return
        head = packet.head.name
        if self._what == SERVER_FUNCTIONS:
            self._log.debug(f"{self._name()} wrote: {shorten(repr(packet))}")
        elif head == "TextPacket" and packet.args:
            self._log.information(f"{self._name()} wrote: {shorten(str(packet.args[0]).rstrip(), 2000)}")
        elif head == "ReturnPacket" and packet.args == (Symbol("$Failed"),):
            self._log.warning(f"{self._name()} returned $Failed")

    def _name(self) -> str:
        return f"Kernel {self._kernel.record.id} during {self._what}"
