"""Coming to a kernel: reconnecting by its ID after the connection broke, and the reason why none comes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from wstpserver.client.address import Address
from wstpserver.client.commands import (
    ServerInformation,
    describe_refusal,
    is_kernel_id,
    missed_packets,
    read_information,
    reply_of,
    result_of,
)
from wstpserver.client.connecting import connect
from wstpserver.client.deadline import Deadline
from wstpserver.client.errors import ConnectError, KernelLost, LinkClosed, LinkError, LinkTimeout
from wstpserver.client.evaluation import QUESTIONS, Callbacks, log_notice
from wstpserver.client.link import Link, Packet, packet_of
from wstpserver.client.resync import RequestStream
from wstpserver.wire.errors import WSTPError
from wstpserver.wire.packets import command_packet
from wstpserver.wire.values import Expression, Symbol

#: Seconds to try for, where nothing else is said.
RECONNECT_TIME: Final = 30.0
#: Seconds between two attempts, doubled each time up to the second number.
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 1.0
#: Seconds between two looks whether the caller has changed its mind.
_LOOK: Final = 0.5
#: Seconds that the server may let us wait for a kernel at work, where nothing else is said.
_BUSY_WAIT: Final = 7 * 24 * 3600.0
#: Seconds for the server to answer what it need not wait for.
_ANSWER: Final = 10.0


#: Seconds for the server to say why no kernel comes, and between two such questions.
_EXPLANATION: Final = 1.0
_NEXT_EXPLANATION: Final = 10.0


def reconnect_time(reconnect: float) -> float | None:
    """Return the seconds that the argument `reconnect` of a session means; None for False."""
    return RECONNECT_TIME if reconnect is True else float(reconnect) if reconnect else None


class KernelSettings:
    """What the server is told about a session's kernel. It holds for one connection only.

    Attributes:
        keep_alive: Whether the kernel outlives the link; None for what its pool says.
        reserve: Whether only clients that name its ID get it afterwards; None for what its pool says.
    """

    def __init__(self, *, keep_alive: bool | None = None, reserve: bool | None = None) -> None:
        self.keep_alive = keep_alive
        self.reserve = reserve

    def commands(self) -> list[tuple[str, bool]]:
        """Return the commands that say so, and their settings."""
        wanted = (("SetKeepAlive", self.keep_alive), ("SetReserveKernel", self.reserve))
        return [(name, value) for name, value in wanted if value is not None]


class Restored:
    """A link that has the kernel again.

    Attributes:
        link: The link.
        prompt: The kernel's prompt; None if none came.
        dropped: The number of packets that the server did not keep of what the kernel wrote meanwhile.
        missed: The packets that it kept.
        question: What the kernel waits for an answer to; None if it asked nothing.
        busy: Whether the kernel is in the middle of an evaluation.
    """

    def __init__(self, link: Link) -> None:
        self.link = link
        self.prompt: str | None = None
        self.dropped = 0
        self.missed: tuple[Packet, ...] = ()
        self.question: Packet | None = None
        self.busy = False


def restore(
    address: Address,
    kernel: str,
    settings: KernelSettings,
    retry_until: Deadline,
    deadline: Deadline,
    check: Callable[[], None] = lambda: None,
) -> Restored:
    """Connect to a server and take a kernel by its ID.

    Args:
        address: Where the server is.
        kernel: The kernel's ID.
        settings: What the server is told about the kernel.
        retry_until: Until when to try again, since the network may be down.
        deadline: Until when to wait for a kernel at work.
        check: Called again and again; what it raises ends the waiting.

    Returns:
        The link, and what the kernel wrote meanwhile.

    Raises:
        ConnectError: The server was not reached.
        LinkTimeout: The server was not reached, or the kernel was not given away, in time.
        KernelLost: The kernel is gone.
    """
    pause = _FIRST_PAUSE
    reason: LinkError | None = None
    while True:
        check()
        try:
            link = connect(address, retry_until.at_most(_ANSWER).remaining(), without_kernel=True)
            return _Attempt(Restored(link), check).take(kernel, settings, retry_until, deadline)
        except (ConnectError, LinkClosed, LinkTimeout) as error:
            if reason is None or not (isinstance(error, LinkTimeout) and retry_until.expired):
                reason = error  # an attempt that began at the very last moment only tells that there was no time for it
            if deadline.expired and deadline is not retry_until:
                raise LinkTimeout(f"not back at kernel {kernel} {deadline}: {reason.message}", reason.where) from reason
            remaining = retry_until.remaining()
            if remaining is not None and remaining <= pause:
                time.sleep(remaining)
                raise reason from None
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


class _Attempt:
    """One new link, on its way to the kernel."""

    def __init__(self, restored: Restored, check: Callable[[], None]) -> None:
        self._restored = restored
        self._link = restored.link
        self._check = check

    def take(self, kernel: str, settings: KernelSettings, retry_until: Deadline, deadline: Deadline) -> Restored:
        """The kernel, or whatever `restore` raises; then the link is closed."""
        restored = self._restored
        try:
            # A server may have given us a kernel of its default pool nevertheless: unused, it must not stay reserved.
            self._command("SetKeepAlive", Symbol("False"), within=retry_until.at_most(_ANSWER))
            self._take(kernel, retry_until, deadline)
            for name, value in settings.commands():
                # Refused for a kernel outside all pools: that stays alive, and nobody else is given it.
                self._command(name, value, within=Deadline(_ANSWER))
            restored.dropped, packets = missed_packets(self._command("GetMissedOutput", within=Deadline(_ANSWER)))
            restored.missed = tuple(map(packet_of, packets))
            restored.busy = _result(self._command("GetKernelBusyStatus", within=Deadline(_ANSWER))) == "True"
        except BaseException:
            self._link.close(0)
            raise
        return restored

    def _take(self, kernel: str, retry_until: Deadline, deadline: Deadline) -> None:
        """ConnectKernel, until it succeeds. A server that has not noticed our end yet may refuse it for a while."""
        while True:
            remaining = deadline.remaining()
            wait = _BUSY_WAIT if remaining is None else remaining
            if _succeeded(self._command("ConnectKernel", kernel, wait, within=Deadline(wait + _ANSWER))):
                return
            if _result(self._command("GetKernelBusyStatus", kernel, within=Deadline(_ANSWER))) is None:
                raise KernelLost(f"the kernel {kernel} is gone")
            if retry_until.expired or deadline.expired:
                raise LinkTimeout(f"kernel {kernel} is in use, or still at work, {deadline}", self._link.name)
            self._check()
            time.sleep(_FIRST_PAUSE)

    def _command(self, name: str, *arguments: Expression, within: Deadline) -> Packet:
        """The server's answer to a command. What comes before it is kept."""
        self._link.put(command_packet(name, *arguments), within.remaining())
        while True:
            try:
                packet = self._link.get_packet(within.at_most(_LOOK).remaining())
            except LinkTimeout:
                if within.expired:
                    raise
                self._check()
                continue
            if packet.name == "ReturnPacket":
                return packet
            if packet.name == "InputNamePacket":
                prompt = packet.arguments[0] if packet.arguments else None
                self._restored.prompt = prompt if isinstance(prompt, str) else None
            elif packet.name in QUESTIONS:
                self._restored.question = packet


def _succeeded(packet: Packet) -> bool:
    return reply_of(packet).get("status") == "ExecutionSuccess"


def _result(packet: Packet) -> object:
    """The "result" of an answer, None if it has none."""
    return reply_of(packet).get("result")


class WaitExplanation:
    """Says what a session waits for, while the server has no kernel for it.

    Args:
        address: Where the server is; None if it is not known.
        pool: The pool or the kernel that was asked for; None for the default pool.
        callbacks: Told what is waited for.

    Attributes:
        text: What is waited for, as far as it is known.
    """

    def __init__(self, address: Address | None, pool: str | None, callbacks: Callbacks) -> None:
        self._address = address
        self._pool = pool
        self._tell = callbacks.on_notice or log_notice
        self._next = Deadline(0)
        what = "a kernel" if pool is None else f"kernel {pool}" if is_kernel_id(pool) else f"a kernel of pool {pool}"
        self.text = f"waiting for {what}" + (f" of {address}" if address is not None else "")

    def tell(self) -> None:
        """Called again and again while it waits: tell the callbacks what has changed."""
        if not self._next.expired:
            return
        self._next = Deadline(_NEXT_EXPLANATION)
        text = self.text.partition(": ")[0]
        information = self._information()
        if information is not None:
            text += f": {describe_refusal(information, self._pool)}"
        if text != self.text or information is None:
            self.text = text
            self._tell(text)

    def _information(self) -> ServerInformation | None:
        """What the server says on a second link; the first one is waiting. None if it says nothing."""
        if self._address is None:
            return None
        deadline = Deadline(_EXPLANATION)
        try:
            with connect(self._address, deadline.remaining(), without_kernel=True) as link:
                packet = RequestStream(link, Callbacks.quiet()).command("GetServerInformation", (), deadline)
                return read_information(result_of("GetServerInformation", packet))
        except WSTPError:
            return None


def not_reached(error: LinkError) -> LinkClosed:
    """Return the error of a session whose connection broke and could not be restored."""
    return LinkClosed(f"the connection broke, and reconnecting failed: {error.message}", error.where, error.advice)
