"""The way back to a kernel after the connection to it broke: connect again, and ask the server for it by its ID."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from wstpserver.client.commands import missed_packets, reply_of
from wstpserver.client.connecting import connect
from wstpserver.client.deadline import Deadline
from wstpserver.client.errors import ConnectError, KernelLost, LinkClosed, LinkTimeout
from wstpserver.client.evaluation import QUESTIONS
from wstpserver.client.link import Link, Packet, packet_of
from wstpserver.client.options import Address
from wstpserver.wire.packets import command_packet
from wstpserver.wire.values import Expression

#: Seconds to try for, where nothing else is said.
PATIENCE: Final = 30.0
#: Seconds between two attempts, doubled each time up to the second number.
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 1.0
#: Seconds between two looks whether the caller has changed its mind.
_LOOK: Final = 0.5
#: Seconds that the server may let us wait for a kernel at work, where nothing else is said.
_BUSY_WAIT: Final = 7 * 24 * 3600.0
#: Seconds for the server to answer what it need not wait for.
_ANSWER: Final = 10.0


@dataclass
class Settings:
    """What the server is to do with a session's kernel; they hold for one connection only. None: as its pool says."""

    keep_alive: bool | None = None
    reserve: bool | None = None

    def commands(self) -> list[tuple[str, bool]]:
        """The commands that say so."""
        wanted = (("SetKeepAlive", self.keep_alive), ("SetReserveKernel", self.reserve))
        return [(name, value) for name, value in wanted if value is not None]


@dataclass
class Returned:
    """A link that has the kernel again.

    `dropped`, `missed`: what the kernel wrote while nobody was there, and how many packets more the server did not
    keep. `busy`: whether the kernel is still in an evaluation; then it waits for an answer to `question`.
    """

    link: Link
    prompt: str | None = None
    dropped: int = 0
    missed: tuple[Packet, ...] = ()
    question: Packet | None = None
    busy: bool = False


def come_back(
    address: Address,
    kernel: str,
    settings: Settings,
    patience: Deadline,
    deadline: Deadline,
    check: Callable[[], None] = lambda: None,
) -> Returned:
    """Connect to the server at `address` and take the kernel with that ID.

    It is tried again until `patience` is over, for the network may be down; a kernel at work is waited for until
    `deadline`. `check` is called while waiting; what it raises ends it.
    Raises ConnectError or LinkTimeout when there is no getting there, KernelLost when the kernel is gone.
    """
    pause = _FIRST_PAUSE
    while True:
        check()
        try:
            link = connect(address, patience.at_most(_ANSWER).remaining(), without_kernel=True)
            return _Attempt(Returned(link), check).take(kernel, settings, patience, deadline)
        except (ConnectError, LinkClosed, LinkTimeout) as error:
            if deadline.expired:
                raise LinkTimeout(f"not back at kernel {kernel} {deadline}: {error.message}", error.where) from error
            remaining = patience.remaining()
            # Not once more at the very last moment: that would only tell that there was no time for it.
            if remaining is not None and remaining <= pause:
                time.sleep(remaining)
                raise
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


class _Attempt:
    """One new link, on its way to the kernel."""

    def __init__(self, returned: Returned, check: Callable[[], None]) -> None:
        self._returned = returned
        self._link = returned.link
        self._check = check

    def take(self, kernel: str, settings: Settings, patience: Deadline, deadline: Deadline) -> Returned:
        """The kernel, or whatever `come_back` raises; then the link is closed."""
        returned = self._returned
        try:
            # A server may have given us a kernel of its default pool nevertheless: unused, it must not stay reserved.
            self._command("SetKeepAlive", False, within=patience.at_most(_ANSWER))
            self._take(kernel, patience, deadline)
            for name, value in settings.commands():
                # Refused for a kernel outside all pools: that stays alive, and nobody else is given it.
                self._command(name, value, within=Deadline(_ANSWER))
            returned.dropped, packets = missed_packets(self._command("GetMissedOutput", within=Deadline(_ANSWER)))
            returned.missed = tuple(map(packet_of, packets))
            returned.busy = _result(self._command("GetKernelBusyStatus", within=Deadline(_ANSWER))) == "True"
        except BaseException:
            self._link.close(0)
            raise
        return returned

    def _take(self, kernel: str, patience: Deadline, deadline: Deadline) -> None:
        """ConnectKernel, until it succeeds. A server that has not noticed our end yet may refuse it for a while."""
        while True:
            remaining = deadline.remaining()
            wait = _BUSY_WAIT if remaining is None else remaining
            if _succeeded(self._command("ConnectKernel", kernel, wait, within=Deadline(wait + _ANSWER))):
                return
            if _result(self._command("GetKernelBusyStatus", kernel, within=Deadline(_ANSWER))) is None:
                raise KernelLost(f"the kernel {kernel} is gone")
            if patience.expired or deadline.expired:
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
                self._returned.prompt = prompt if isinstance(prompt, str) else None
            elif packet.name in QUESTIONS:
                self._returned.question = packet


def _succeeded(packet: Packet) -> bool:
    return reply_of(packet).get("status") == "ExecutionSuccess"


def _result(packet: Packet) -> object:
    """The "result" of an answer, None if it has none."""
    return reply_of(packet).get("result")
