"""The listening end of a kernel's link: two ports to which only the process that was started may connect."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gevent import get_hub
from gevent.event import AsyncResult

from wstpserver.server.connection import ConnectionClosed, peer_name
from wstpserver.server.handshake import LinkHandshakes, OpenLink, PendingConnection
from wstpserver.server.kernels.remote import ExpectedLink
from wstpserver.server.peers import belongs_to
from wstpserver.wire.handshake import LOWER_VERSION, OUR_VERSION
from wstpserver.wire.pairing import Dropped

LOOPBACK = "127.0.0.1"

#: Seconds of silence after which a kernel is greeted that waits for us. The kernels of the vendor do not wait, but may
#: be slow while many of them start, and must not hear a lower version than they offer.
KERNEL_SILENCE = 1.0

#: Connections to one port that the system keeps until they are accepted.
BACKLOG = 4


class KernelLinkError(Exception):
    """The kernel did not make a link; the text says how far it came."""


class KernelListener:
    """Waits for the two connections of one kernel after the other."""

    def __init__(self) -> None:
        """Open two ports. Raises OSError."""
        self._data = socket.create_server((LOOPBACK, 0), backlog=BACKLOG)
        self._messages = socket.create_server((LOOPBACK, 0), backlog=BACKLOG)
        for listener in (self._data, self._messages):
            listener.setblocking(False)

    def arguments(self) -> list[str]:
        """The link arguments that the vendor's library gives to a child that it launches."""
        ports = (self._data.getsockname()[1], self._messages.getsockname()[1])
        name = ",".join(f"{port}@{LOOPBACK}" for port in ports)
        return ["-linkprotocol", "TCPIP", "-linkconnect", "-linkname", name]

    @contextmanager
    def expect(
        self, pid: int, warn: Callable[[str], None], *, embedded: bool = False, elsewhere: ExpectedLink | None = None
    ) -> Iterator[AsyncResult]:
        """Accept the link that process *pid* makes, while the block runs.

        Args:
            pid: the process. Connections of others, except its descendants, are closed and reported.
            warn: gets these reports.
            embedded: whether it is the embedded kernel, which waits for our greeting before it sends its own.
            elsewhere: gives connections from another machine, whose maker is known.

        Yields:
            what becomes the `OpenLink`, or raises `KernelLinkError` if the kernel ends its connection or does not speak
            WSTP.
        """
        made: AsyncResult = AsyncResult()

        def opened(link: OpenLink) -> None:
            try:
                link.data.try_send(link.unsent)  # nothing of ours follows at once that it could go together with
                link.unsent = b""
            except ConnectionClosed as error:
                fail(KernelLinkError(f"it closed its link during the greeting ({error})"))
            if made.ready():
                link.close()
            else:
                made.set(link)

        def dropped(event: Dropped[PendingConnection]) -> None:
            if event.ended:
                fail(KernelLinkError("it closed its link during the greeting"))
            else:
                fail(KernelLinkError(f"it does not speak WSTP: {event.reason}"))

        def fail(error: Exception) -> None:
            if not made.ready():
                made.set_exception(error)

        handshakes = LinkHandshakes(
            opened,
            dropped,
            message_port=self._messages.getsockname()[1],
            speak_after=0.0 if embedded else KERNEL_SILENCE,
            speak_version=OUR_VERSION if embedded else LOWER_VERSION,
        )
        ways = ((self._data, handshakes.accept), (self._messages, handshakes.accept_message))
        watchers = [get_hub().loop.io(listener.fileno(), 1) for listener, _ in ways]
        for watcher, (listener, take) in zip(watchers, ways, strict=True):
            watcher.start(_accept, listener, pid, warn, take, fail)
        if elsewhere is not None:
            elsewhere.take_with(handshakes.accept, handshakes.accept_message)
        try:
            yield made
        except BaseException:
            if made.successful():
                made.get().close()
            raise
        finally:
            for watcher in watchers:
                watcher.stop()
                watcher.close()
            handshakes.close()

    def close(self) -> None:
        """Stop listening."""
        self._data.close()
        self._messages.close()


def _accept(
    listener: socket.socket,
    pid: int,
    warn: Callable[[str], None],
    take: Callable[[socket.socket, str], None],
    fail: Callable[[Exception], None],
) -> None:
    """Accept one connection, in the hub."""
    try:
        connected, _ = listener.accept()
    except (BlockingIOError, InterruptedError, ConnectionError):  # the peer is gone already
        return
    except OSError as error:  # most likely no descriptor is left
        fail(error)
        return
    name = peer_name(connected)
    try:
        belongs = belongs_to(connected, pid)
    except OSError:  # gone already
        belongs = False
    if belongs:
        take(connected, name)
        return
    warn(
        f"Turned away a connection from {name} to the port of kernel process {pid}: it does not come from that process"
    )
    connected.close()
