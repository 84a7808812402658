"""Evaluations that the server itself wants from a kernel that nobody is bridged to; their output goes to the log."""

from __future__ import annotations

from wstpserver.server import replies
from wstpserver.server.connection import ConnectionClosed
from wstpserver.server.kernel import KernelServer
from wstpserver.server.log import Log, shorten
from wstpserver.server.relay.sinks import FunctionSink
from wstpserver.wire.decode import decode
from wstpserver.wire.errors import ProtocolError
from wstpserver.wire.packets import PacketHead
from wstpserver.wire.values import Expression, Function, Symbol


def came_to_nothing(answer: Expression | None) -> bool:
    """Whether a result is ``$Failed`` or ``$Aborted``."""
    return isinstance(answer, Symbol) and answer.name.removeprefix("System`") in ("$Failed", "$Aborted")


class Evaluator:
    """Evaluates one expression after the other and logs what the kernel writes meanwhile.

    From `listen` to `leave` everything that the kernel writes comes here.
    """

    def __init__(self, kernel: KernelServer, log: Log, what: str, quiet: str = "") -> None:
        """*what* is going on, in words for the log; what happens while that is *quiet* is of interest to
        developers only."""
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
        self._kernel.channel.switch(self._kernel.missed)

    def run(self, what: str, expression: Expression) -> Expression | None:
        """Evaluate and wait for the answer; it is None if the kernel has ended, or if the answer is too strange to
        be read. The caller sets the limit with a ``gevent.Timeout``."""
        self._what = what
        self._answer = None
        self._kernel.begin(PacketHead.EvaluatePacket)
        try:
            self._kernel.writer.write(self, replies.evaluate(expression), at_boundary=True)
        except ConnectionClosed:
            pass  # its pump notices, and the kernel counts as idle then
        if self._kernel.alive:
            self._kernel.idle.wait()
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
        elif head == "ReturnPacket" and isinstance(self._answer, Symbol) and came_to_nothing(self._answer):
            self._log.warning(f"{self._name()} returned {self._answer.name}")

    def _name(self) -> str:
        return f"Kernel {self._kernel.record.id} during {self._what}"
