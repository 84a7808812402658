"""A running kernel: its process and link, the evaluations in it, and what it wrote without a client."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import gevent
from gevent.event import Event

from wstpserver._native import lib
from wstpserver.pools.evaluation import QUESTIONS, REPORTED_HEADS
from wstpserver.pools.states import Kernel, KernelState
from wstpserver.server import GracePeriods
from wstpserver.server.connection import MessageWatch, MessageWriter, run_messages
from wstpserver.server.handover import link_record, packed, unpacked
from wstpserver.server.handshake import OpenLink
from wstpserver.server.kernels.kernel_link import BorrowedStream
from wstpserver.server.kernels.notes import KernelNotes
from wstpserver.server.kernels.process import KernelProcess
from wstpserver.server.relay.channel import ChannelEvent, FrameState
from wstpserver.server.relay.directions import ClientChannel, KernelChannel
from wstpserver.server.relay.sinks import FrameJournal, FrameWriter, NullSink, OutputBacklog, Sink, ended
from wstpserver.wire.errors import LocalProtocolError, RemoteProtocolError
from wstpserver.wire.packets import MessageReader, PacketHead

#: Seconds that a kernel's children have to end after the kernel has.
LINK_END_GRACE = 0.3

#: A packet that its client left unfinished is completed with at most this many bytes; a kernel for which it takes more
#: is closed instead.
LARGEST_COMPLETION = 1 << 20

BRIDGED = KernelState.BRIDGED  # members of an enum are slow to look up
_WRITTEN = ChannelEvent.WRITTEN
_ANSWERED = ChannelEvent.ANSWERED
_ROUND_ENDED = ChannelEvent.ROUND_ENDED
_INPUT_NAME = PacketHead.InputNamePacket


def _ignore(_soon: object) -> None:
    pass


class KernelOwner(Protocol):
    """What hears of a kernel's life."""

    def kernel_link_ended(self, kernel: KernelSession) -> None:
        """The kernel's link has ended, by itself or because the server closes it."""

    def kernel_commanded(self, kernel: KernelSession, packet: bytes | None) -> None:
        """The kernel sent a WSCommandPacket, None for one that is too large. May wait; nothing is read meanwhile."""


class KernelPeer(Protocol):
    """The bridge that a kernel is the other end of."""

    def kernel_wrote(self, *, accepting: bool) -> None:
        """The kernel wrote something else than plain output; *accepting*: it can take an evaluation now and could not
        before. Must not wait.
        """

    def answered_in_c(self) -> None:
        """An answer passed in C. Called in the hub: must not wait."""

    def kernel_message(self, code: int, argument: int) -> None:
        """The kernel sent an out-of-band message."""


class _Discarding:
    """Takes the place of the bridge whose answer is thrown away, in the process that goes on with the kernel."""

    def __init__(self, kernel: KernelSession) -> None:
        self._kernel = kernel

    def kernel_wrote(self, *, accepting: bool) -> None:
        if not self._kernel.evaluation.busy:
            self._kernel.detach(self)

    def answered_in_c(self) -> None:
        self.kernel_wrote(accepting=True)

    def kernel_message(self, code: int, argument: int) -> None:
        """Nobody is there to hear of it."""


class KernelSession:
    """The server's side of one kernel, from the moment its link is made until its process is gone.

    Args:
        owner: Hears of the end of the link and of commands.
        record: What the registry knows of the kernel.
        process: The process.
        link: Its greeted link.
        backlog_limit: Bytes of output that are kept while no client is bridged to it.
    """

    def __init__(
        self, owner: KernelOwner, record: Kernel, process: KernelProcess, link: OpenLink, backlog_limit: int
    ) -> None:
        self._owner = owner
        self.record = record
        self.evaluation = record.evaluation
        self.process = process
        self.link = link
        self.greeting_version = link.greeting_version
        self.writer = FrameWriter(link.data)
        self._message_writer = MessageWriter(link.messages)
        self.backlog = OutputBacklog(backlog_limit)
        self.peer: KernelPeer | None = None
        #: The kernel's latest InputNamePacket, as it came; b"" before the first.
        self.input_name = b""
        self._question = b""
        #: Set when `input_name` came for the first time, or will never come.
        self.prompted = Event()
        #: Set when no evaluation is open; made by the first `wait_until_idle`.
        self._idle: Event | None = None
        #: False once the link has ended; then *problem* says why, if the kernel did something wrong.
        self.alive = True
        self.problem: str | None = None
        self._closing_notice = False
        #: True while the answer to a packet that its client left unfinished is thrown away.
        self.discards = False
        #: A command of the kernel that cannot be carried out before another one is.
        self.waiting_command: bytes | None = None
        self.channel = KernelChannel(link.data, self._handle)
        #: What survives the process of it; None: nothing.
        self.notes: KernelNotes | None = None
        self._changed: Callable[[bool], None] = _ignore
        process.exited.rawlink(self._exited)
        self._reader = MessageReader()
        self._messages = MessageWatch(link.messages, link.messages_leftover, self._run_messages, self._messages_ended)
        self._data = gevent.spawn(self._run)
        #: The stream to the agent of a kernel elsewhere, and the greenlet that asks for it.
        self._stream: BorrowedStream | None = None
        self._asking = gevent.spawn(self._borrow) if process.remote is not None else None

    # -- the bridge --------------------------------------------------------------------------------------------

    @property
    def question(self) -> bytes:
        """The question that the kernel waits for an answer to, as it came; b"" if it does not."""
        return self._question if self.evaluation.asking else b""

    def attach(self, peer: KernelPeer, sink: Sink) -> None:
        """From now on *peer* hears of what the kernel writes, and its frames go to *sink*."""
        self.peer = peer
        self.channel.switch(sink)

    def detach(self, peer: KernelPeer) -> None:
        """From now on the kernel's frames are kept, unless it has another peer already."""
        if self.peer is peer:
            self.peer = None
            self.discards = False
            self.channel.switch(self.backlog)
        if self._idle is not None:
            self._idle.set()

    def break_off(self, source: object, channel: ClientChannel) -> bool:
        """Complete the packet that *source* was sending, because its client is gone.

        Args:
            source: The source of the packet, for the kernel's writer.
            channel: The client's channel, which stands in that packet.

        Returns:
            True if the answer to it has to be thrown away.
        """
        if not self.alive or not self.writer.in_frame(source):
            return False
        try:
            self.writer.abandon(source, channel.completion(LARGEST_COMPLETION))
        except LocalProtocolError as error:
            self.problem = f"a client left it in the middle of a frame, and {error}"
            self.writer.abandon(source, None)
            self.link.end()
        if self.evaluation.busy:
            self.discards = True
            self._changed(True)
            self.channel.switch(NullSink())
            return True
        return False

    def send_message(self, code: int, argument: int) -> None:
        """Send an out-of-band message to the kernel."""
        self._message_writer.send(code, argument)

    # -- from one process to the next --------------------------------------------------------------------------

    def halt(self) -> bool:
        """Receive nothing more, and wait for nothing that is to be sent. To be called until it returns True: then the
        kernel can be handed over.
        """
        lib.wstpcopy_give_back(self.link.data.handle)
        self.link.data.keep_unsent()
        if self.channel.halt():
            return True
        return self.waiting_command is not None and self.channel.in_hand is not None

    def resume(self) -> None:
        """The opposite of `halt`."""
        self.writer.resume()
        self.channel.go_on()

    def take_notes(
        self,
        notes: KernelNotes,
        journal: FrameJournal,
        changed: Callable[[bool], None],
        position: int = 0,
        scan: bytes = b"",
    ) -> None:
        """Note in memory that survives the process where the conversation stands, before anything is received.

        Args:
            notes: Where; how many evaluations have begun is known there.
            journal: The same for the output backlog.
            changed: Called when something is to be noted that this object does not note itself; True: soon.
            position: Bytes of the kernel's stream that another process has handed on.
            scan: The state of its scanner, in the middle of a frame.
        """
        self.notes, self._changed, self.backlog.journal = notes, changed, journal
        self.evaluation.begun = notes.stands_at()[0]
        self.channel.take_notes(notes, self.evaluation, position, scan)
        self.writer.noted = self._noted

    def _noted(self) -> None:
        """A frame was written to the kernel past C."""
        if self.notes is not None:
            evaluation = self.evaluation
            head = evaluation.open_heads[0] if evaluation.busy else PacketHead.OTHER
            lent = self.link.data.handle.lent.sent
            lib.wstpkeep_complete(self.notes.state, self.link.data.socket.fileno(), lent, evaluation.begun, head)
            self.notes.state.plain = evaluation.counted
            if not evaluation.simple:
                self._changed(True)

    def held(self) -> tuple[dict[str, Any], list[int]]:
        """What the keeper holds of it: a record for `hand_over` in another process, which gets the descriptors with it:
        of the data connection, of the message connection, and of the output if that has not ended.
        """
        process = self.process.hand_over()
        descriptors = [self.link.data.socket.fileno(), self.link.messages.socket.fileno()]
        if "output" in process:
            descriptors.append(process.pop("output")["descriptor"])
        session = {"process": process, "link": {"version": self.greeting_version, "address": self.link.address}}
        return {"processes": [self.process.parent or self.process.pid], "session": session}, descriptors

    def hand_over(self, received: bytes = b"") -> dict[str, Any]:
        """What another process needs to go on with it (`handover`), once it is halted.

        Args:
            received: A command that is to be carried out anew.
        """
        link = link_record(
            self.link.data,
            self.link.messages,
            self.greeting_version,
            self.link.address,
            received=received + (self.waiting_command or b"") + (self.channel.in_hand or b""),
            messages_received=self._reader.pending,
            messages_unsent=self._message_writer.unsent,
            open_tail=self.writer.has_open_tail,
        )
        record: dict[str, Any] = {"process": self.process.hand_over(), "link": link}
        if self.notes is not None:
            record["notes"] = self.notes.index
        for name, packet in (("input_name", self.input_name), ("question", self.question)):
            if packet:
                record[name] = packed(packet)
        if self.backlog.frames:
            record["backlog"] = [packed(frame) for frame in self.backlog.frames]
        if self.backlog.dropped:
            record["dropped"] = self.backlog.dropped
        if self.discards:
            record["discards"] = True
        return record

    def go_on(self, record: Mapping[str, Any]) -> None:
        """Go on where another process has stopped, before anything is received.

        Args:
            record: What `hand_over` returned there. The process, the link and what was received of that are those that
                this object was made with.
        """
        self.input_name = unpacked(record.get("input_name", ""))
        self._question = unpacked(record.get("question", ""))
        self.prompted.set()
        for frame in record.get("backlog", ()):
            self.backlog.take(unpacked(frame))
        self.backlog.dropped += record.get("dropped", 0)
        link = record["link"]
        self.writer.go_on(unpacked(link.get("unsent", "")), object() if link.get("open_tail") else None)
        self._message_writer.go_on(unpacked(link.get("messages_unsent", "")))
        if record.get("discards") and self.evaluation.busy:
            self.discards = True
            self.attach(_Discarding(self), NullSink())
        else:
            self.channel.switch(self.backlog)

    # -- evaluations -------------------------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """True while an evaluation is open in it."""
        return self.evaluation.busy

    def wait_until_idle(self, timeout: float | None = None) -> None:
        """Wait until no evaluation is open, the bridge or the link has ended, or *timeout* seconds are over."""
        if self.evaluation.busy and self.alive:
            if self._idle is None:
                self._idle = Event()
            self._idle.clear()
            self._idle.wait(timeout)

    # -- what the channel reports ------------------------------------------------------------------------------

    def _handle(self, event: ChannelEvent, head: PacketHead, data: memoryview | bytes | None) -> bool:
        if event is _WRITTEN:
            if data is not None:
                self._keep(head, bytes(data))
            accepting = self._account_for(head)
            if self.notes is not None:
                self.channel.note()  # before the next evaluation goes out: its answer must not be taken for this one
                if not self.evaluation.simple:
                    self._changed(True)
            if self.peer is not None:
                self.peer.kernel_wrote(accepting=accepting)
        elif event is _ANSWERED:
            record = self.record
            if not self.evaluation.counted or record.state is not BRIDGED or record.deferred:
                return False  # what follows from it may have to wait
            self._account_for(head)
            if self.peer is not None:
                self.peer.answered_in_c()
        elif event is _ROUND_ENDED:
            # An idle kernel has nothing more to send until its client sends something. A busy one may have.
            if self.evaluation.busy:
                self.link.data.acknowledge()
        else:
            assert data is None or isinstance(data, bytes)
            self._owner.kernel_commanded(self, data)
        return True

    def _keep(self, head: PacketHead, packet: bytes) -> None:
        if head == _INPUT_NAME:
            self.input_name = ended(packet)
            self.prompted.set()
            self._changed(False)
        elif head in QUESTIONS:
            self._question = ended(packet)

    def _account_for(self, head: PacketHead) -> bool:
        """Note what the kernel wrote; True if it can take an evaluation now and could not before."""
        accepting = self.evaluation.written(head)
        if self._idle is not None and not self.evaluation.busy:
            self._idle.set()
        return accepting

    # -- the two connections -----------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self.channel.run(self.link.leftover)
        except RemoteProtocolError as error:
            self.problem = f"it left the protocol: {error}"
        self.alive = False
        self.prompted.set()
        if self._idle is not None:
            self._idle.set()
        self._owner.kernel_link_ended(self)

    def _borrow(self) -> None:
        try:
            stream = BorrowedStream(self.process.pid)
        except OSError:  # it does not lend its stream, or has ended
            return
        if self.alive and self.channel.borrow(stream.lend):
            self._stream = stream
        else:
            stream.close()

    def _exited(self, _event: object) -> None:
        # Something that the kernel started may have inherited its link and keep it open: it goes with the kernel.
        gevent.spawn_later(LINK_END_GRACE, self.process.kill_group, signal.SIGKILL)

    def _run_messages(self, first: bytes) -> None:
        self._closing_notice = run_messages(self.link.messages, self._message, first, self._reader)

    def _messages_ended(self) -> None:
        """Without a message, not even the notice that the link closes."""

    def _message(self, code: int, argument: int) -> None:
        if self.peer is not None:
            self.peer.kernel_message(code, argument)

    # -- the end -----------------------------------------------------------------------------------------------

    def ended_in_good_order(self) -> bool:
        """After the process is gone: whether it ended by itself, as `Quit[]` makes it, rather than died."""
        self._messages.join(0.5)
        return self.problem is None and (self._closing_notice or self.process.exited.get() == 0)

    def complete_last_packet(self) -> bool:
        """After the link has ended: see to the packet that it has ended in.

        What is completed counts as written: an answer of which the client has seen the beginning is its answer.

        Returns:
            False if its client has the beginning of a packet that nothing can complete.
        """
        channel = self.channel
        if channel.frame is not FrameState.STREAMING:
            return True
        if channel.completion() is None:
            return False
        if channel.scanner.head in REPORTED_HEADS:
            self.evaluation.written(channel.scanner.head)
        return True

    def stop(self, grace: GracePeriods) -> None:
        """Close the link and end the process; returns when that is gone. The last frames may still be on their way
        to a client that reads slowly; the link is given back after that.
        """
        self.link.end()
        self.process.stop(grace)
        gevent.spawn(self._release)

    def _release(self) -> None:
        self._data.join()
        if self._asking is not None:
            self._asking.kill()
        if self._stream is not None:
            self.channel.end_borrowing()
            self._stream.close()
            self._stream = None
        if self.notes is not None:
            self.channel.drop_notes()
            if self.backlog.journal is not None:
                self.backlog.journal.clear()
            self.writer.noted = self.backlog.journal = None
            self.notes.forget()
            self.notes = None
        self._messages.stop()
        self.link.data.close()
        self.link.messages.close()
