"""Where channels wait: one epoll set, and one call into C that does the rounds of all channels that have something to
do.

A channel's greenlet waits here until there is something that it must process. What is usual, an evaluation on its way
to an idle kernel or the answer to it, passes in C and is accounted for in the hub without waking a greenlet: a
wake-up costs as much as everything else that the server does for a packet.

Only Linux has this; elsewhere each connection is waited for by itself.
"""

from __future__ import annotations

import mmap
import threading
from collections.abc import Callable, Iterable, Mapping
from time import monotonic
from typing import Any, Protocol

from gevent import get_hub, getcurrent

from wstpserver._native import ffi, lib
from wstpserver.server.connection import TURN
from wstpserver.wire.frames import HEADS
from wstpserver.wire.packets import PacketHead

#: Bytes of one receive buffer. It takes what was received of a long block and cannot be sent on at once.
BUFFER_SIZE = 1024 * 1024

#: Bytes that are received at a time. Several frames of the common sizes fit, and bulk data needs few calls.
PORTION = 256 * 1024

#: Receive buffers that are kept for the next reader; more than these are freed.
KEPT_BUFFERS = 8

#: Channels that are accounted for together, at most.
MOST_EVENTS = 256


class Buffer:
    """A block of memory as the socket, Python and the scanner want to see it. A link that has nothing to read holds
    none.

    Args:
        shared: the memory and where it is (``uint8_t *``), both for as long as the program runs; None is some of its
            own.
    """

    __slots__ = ("pointer", "shared", "view")

    def __init__(self, shared: tuple[memoryview, Any] | None = None) -> None:
        self.shared = shared is not None
        if shared is not None:
            self.view, self.pointer = shared
        else:
            # What is never used of it takes no memory; and no other process has it.
            memory = mmap.mmap(-1, BUFFER_SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            self.view = memoryview(memory)
            #: ``const uint8_t *``; making it for each call would cost more than the call. Not of the view: the
            #: collector of Python 3.11 destroys a view in a cycle, also while something else holds it.
            self.pointer = ffi.from_buffer("uint8_t[]", memory)


_buffers: list[Buffer] = []


def take_buffer() -> Buffer:
    """Return a buffer with arbitrary content."""
    return _buffers.pop() if _buffers else Buffer()


def give_buffer(buffer: Buffer) -> None:
    """Hand back a buffer that is not used any more."""
    if len(_buffers) < KEPT_BUFFERS or buffer.shared:
        _buffers.append(buffer)


def share_buffers(memory: Iterable[tuple[memoryview, Any]]) -> None:
    """Take these buffers before all others: what is received into them can be read when this process is gone.

    That is true of channels that begin to receive after this.
    """
    _buffers[:] = [Buffer(one) for one in memory]
    loop: EpollLoop | None = getattr(_local, "loop", None)
    if loop is not None:
        loop.renew_buffer()


class WaitingChannel(Protocol):
    """What the loop needs of a channel. All methods are called in the hub, where nothing may wait."""

    #: cffi ``struct wstpcopy *`` (cext/wstpcopy.h).
    state: Any
    #: The greenlet that waits in the loop.
    greenlet: Any
    #: What the loop woke it for: the buffer and the verdict.
    arrival: tuple[Buffer, int] | None
    #: The head of an answer that passed in C before that, and could not be accounted for in the hub.
    late_answer: PacketHead | None

    @property
    def asks(self) -> bool:
        """True if its frames are evaluations, False if they are the answers."""

    def passed(self, head: PacketHead, begun: int, answered: int) -> WaitingChannel | None:
        """Of a channel that asks: so many evaluations with this head passed in C, and so many answers, in turn.

        Returns:
            The channel, if any, that still has to account for the last of these answers.
        """

    def account_for(self, head: PacketHead) -> bool:
        """Of a channel that does not ask: an answer with this head passed in C. False: nothing was done, and the
        greenlet has to do it.
        """

    def frame_begun(self) -> None:
        """A part of a large frame passed in C, and more may; called before any greenlet runs."""

    def wake(self) -> None:
        """Let the greenlet that waits go on."""


class EpollLoop:
    """The waiting channels of one hub.

    Args:
        descriptor: from ``wstpepoll_open()``.
    """

    def __init__(self, descriptor: int) -> None:
        self._hub = get_hub()
        loop = self._hub.loop
        self._channels: dict[int, WaitingChannel] = {}
        self._next_number = 0
        self._buffer = take_buffer()
        self._events = ffi.new("struct wstpepoll_event[]", MOST_EVENTS)
        state = self._state = ffi.new("struct wstpepoll *")
        state.descriptor, state.others = descriptor, loop.fileno()
        state.most, state.size, state.portion = MOST_EVENTS, BUFFER_SIZE, PORTION
        state.buffer, state.events = self._buffer.pointer, self._events
        lib.wstpcopy_make_pipe(state.pipe)
        # The first of all that is ready after a poll: what others schedule in their turn is not there yet, so that the
        # number of those that are pending tells whether the hub has anything else to do.
        self._watcher = loop.io(descriptor, 1, priority=getattr(loop, "MAXPRI", None))

    def enter(self, channel: WaitingChannel) -> int:
        """Return a number for this channel, which names it until it leaves."""
        self._next_number = self._next_number + 1 & 0x7FFFFFFF
        while self._next_number in self._channels:
            self._next_number = self._next_number + 1 & 0x7FFFFFFF
        if not self._channels:
            self._watcher.start(self._ready)
        self._channels[self._next_number] = channel
        return self._next_number

    def leave(self, channel: WaitingChannel) -> None:
        """Forget a channel, before its connection is closed."""
        lib.wstpepoll_unwatch(self._state.descriptor, channel.state)
        self.end_borrowing(channel)
        self._channels.pop(channel.state.number, None)
        if not self._channels:
            self._watcher.stop()

    def pause(self, channel: WaitingChannel) -> None:
        """Receive nothing for a channel that waits, until it is woken."""
        if channel.state.watched:
            lib.wstpepoll_unwatch(self._state.descriptor, channel.state)

    def borrow(self, channel: WaitingChannel, lend: Any) -> bool:
        """Whenever it is offered, take a stream in the place of a channel's connection: cffi `struct wstplend *`
        (cext/wstplend.h). False if that is not possible.
        """
        return bool(lib.wstpepoll_borrow(self._state.descriptor, channel.state, lend) == 0)

    @staticmethod
    def end_borrowing(channel: WaitingChannel) -> None:
        """The opposite, before the stream is closed."""
        if channel.state.source.lend:
            lib.wstpepoll_return(channel.state)

    def wait(self, channel: WaitingChannel) -> bool:
        """Wait in the channel's greenlet until there is something that it must process, which it finds in its
        `arrival`, or until it has to look by itself. Returns False at once if its connection cannot be waited for
        here.
        """
        state = channel.state
        if not state.watched:
            # Something was received while the channel did not wait, or it has never waited. It looks by itself now, or
            # channels whose turn came later would be first: a kernel's answer before the end of the client that left.
            return bool(lib.wstpepoll_watch(self._state.descriptor, state) == 0)
        channel.greenlet = getcurrent()
        state.waiting = 1
        try:
            self._hub.switch()
        finally:
            state.waiting = 0
            channel.greenlet = None
        return True

    def _ready(self) -> None:
        """Rounds for the channels that have something to do; called in the hub, where nothing may wait for long."""
        # A channel that has something to process ends a call, and many may have: of clients that come and go, all
        # that go.
        if self._run(alone=not getattr(self._hub.loop, "pendingcnt", 1)):
            ends = monotonic() + TURN
            while self._run(alone=False) and monotonic() < ends:
                pass

    def _run(self, *, alone: bool) -> bool:
        """One call into C, and the accounting for what passed in it; True if it woke a greenlet."""
        count = lib.wstpepoll_run(self._state, alone)
        return account_for([self._events[index] for index in range(count)], self._channels, self._hand_over)

    def _hand_over(self, channel: WaitingChannel, verdict: int) -> None:
        """The channel gets the buffer, the loop another one."""
        channel.arrival = (self._buffer, verdict)
        self.renew_buffer()

    def renew_buffer(self) -> None:
        """Take another buffer in the place of the present one, which is somebody else's or not needed any more."""
        self._buffer = take_buffer()
        self._state.buffer = self._buffer.pointer


def account_for(
    events: Iterable[Any],
    channels: Mapping[int, WaitingChannel],
    hand_over: Callable[[WaitingChannel, int], None],
) -> bool:
    """Account for what passed in one call into C, in the order in which it passed, and wake the channels that have to
    process something.

    Args:
        events: ``struct wstpepoll_event`` (cext/wstpepoll.h), in order.
        channels: the channels by their numbers.
        hand_over: gives a channel the buffer and the verdict in it.

    Returns:
        True if a channel was woken.
    """
    woken: list[WaitingChannel] = []
    answers: dict[WaitingChannel, tuple[WaitingChannel, PacketHead]] = {}
    for event in events:
        if not event.number:
            continue
        channel = channels[event.number]
        if not event.still_waiting:
            hand_over(channel, event.verdict)
            woken.append(channel)  # and the first to be woken: it may have bytes in hand that its frame lacks
        elif channel.asks:
            if channel in answers:  # an answer that came before this
                _account_for_answer(*answers.pop(channel), woken)
            answering = channel.passed(HEADS[event.head], event.begun, event.answered)
            if answering is not None:
                answers[channel] = (answering, HEADS[answering.state.paired])
            if event.large:
                channel.frame_begun()
        elif event.large:
            channel.frame_begun()
        else:
            answers[channel] = (channel, HEADS[event.head])
    # Evaluations come first: an answer may be what another client has waited for to take a kernel over.
    for answering, head in answers.values():
        _account_for_answer(answering, head, woken)
    for channel in woken:  # everything that has passed is accounted for by now
        channel.wake()
    return bool(woken)


def _account_for_answer(answering: WaitingChannel, head: PacketHead, woken: list[WaitingChannel]) -> None:
    if not answering.account_for(head):
        answering.late_answer = head
        if answering not in woken:
            woken.append(answering)


_local = threading.local()


def current() -> EpollLoop | None:
    """The loop of this thread's hub; None if the system has no epoll."""
    loop: EpollLoop | None = getattr(_local, "loop", None)
    if loop is None and not getattr(_local, "missing", False):
        descriptor = lib.wstpepoll_open()
        if descriptor < 0:
            _local.missing = True
            return None
        loop = _local.loop = EpollLoop(descriptor)
    return loop
