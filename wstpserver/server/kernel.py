"""A running kernel: its process and link, whether it is busy, what it wrote while nobody listened."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import gevent
from gevent.event import Event

from wstpserver.model.activity import Activity
from wstpserver.model.states import Kernel
from wstpserver.server.downstream import Downstream
from wstpserver.server.frame_writer import FrameWriter, ended
from wstpserver.server.handshake import OpenLink
from wstpserver.server.kernels.process import KernelProcess
from wstpserver.server.message_pump import LINK_LOCAL, MessageWriter, run_messages
from wstpserver.server.message_watch import MessageWatch
from wstpserver.server.outlets import MissedOutput, Nowhere, ToClient
from wstpserver.server.pump import LARGEST_COMPLETION
from wstpserver.wire.errors import LocalProtocolError, RemoteProtocolError
from wstpserver.wire.frames import FrameScanner
from wstpserver.wire.packets import PacketHead

if TYPE_CHECKING:
    from wstpserver.server.broker import Broker
    from wstpserver.server.session import Session


#: Seconds that a kernel's children have to end after the kernel has.
LINK_END_GRACE = 0.3


class KernelServer:
    """The server's side of one kernel, from the moment its link is made until its process is gone."""

    def __init__(
        self, broker: Broker, record: Kernel, process: KernelProcess, link: OpenLink, missed_output_limit: int
    ) -> None:
        self._broker = broker
        self.record = record
        self.process = process
        self.link = link
        self.writer = FrameWriter(link.data)
        self._message_writer = MessageWriter(link.messages)
        self.activity = Activity()
        self.missed = MissedOutput(missed_output_limit)
        self.session: Session | None = None
        #: The kernel's latest InputNamePacket, as it came; b"" before the first.
        self.input_name = b""
        #: The question that the kernel waits for an answer to, as it came; b"" if it does not.
        self.question = b""
        #: Set when `input_name` came for the first time, or will never come.
        self.prompted = Event()
        #: Set while no evaluation is under way, and when the link has ended.
        self.idle = Event()
        #: False once the link has ended; then *problem* says why, if the kernel did something wrong.
        self.alive = True
        self.problem: str | None = None
        #: True while the answer to an evaluation that was broken off is thrown away.
        self._discarding = False
        self._closing_notice = False
        self.pump = Downstream(link.data, self)
        process.exited.rawlink(self._exited)
        self._messages = MessageWatch(link.messages, b"", self._run_messages, self._messages_ended)
        self._data = gevent.spawn(self._run)

    @property
    def busy(self) -> bool:
        """True while an evaluation is under way."""
        return self.activity.busy

    # -- bridge ------------------------------------------------------------------------------------------------

    def attach(self, session: Session) -> None:
        """From now on the kernel's frames go to this client."""
        self.session = session
        self.pump.switch(ToClient(session, self))

    def detach(self) -> None:
        """From now on the kernel's frames are kept."""
        self.session = None
        self.pump.switch(Nowhere() if self._discarding else self.missed)

    def begin(self, head: PacketHead) -> None:
        """An evaluation packet with this head goes to the kernel now."""
        activity, record = self.activity, self.record
        activity.begin(head)
        self.idle.clear()
        self._broker.evaluation_begun(self)
        if self.question or record.awaiting is not activity.awaiting:
            self._activity_changed()

    def evaluated(self, head: PacketHead, begun: int, answered: int) -> bool:
        """So many evaluations with this *head* went to the kernel, and so many answers to its client, in turn. True:
        one answer is to the evaluation that was under way before, and not accounted for yet (`answered_quickly`)."""
        if self.activity.accepting:  # in a dialog, a busy kernel does
            self._broker.evaluations_passed(self, answered)
            if begun > answered:
                self.begin(head)
            return False
        self._broker.evaluations_passed(self, begun)
        return answered > begun

    def answered(self) -> None:
        """A packet that is no evaluation goes to the kernel now, perhaps the answer to its question."""
        if self.activity.asking:
            self.activity.answered()
            self._activity_changed()

    def _activity_changed(self) -> None:
        if not self.activity.asking:
            self.question = b""
        if self.session is not None:
            self.session.refuse()
        if self.record.awaiting is not self.activity.awaiting:
            self._broker.kernel_awaiting(self, self.activity.awaiting)

    def break_off(self, source: object, scanner: FrameScanner) -> None:
        """Whoever was sending a frame is gone: complete the frame, and throw the answer away."""
        if not self.alive or not self.writer.in_frame(source):
            return
        if self.busy:
            self._discarding = True
            if self.session is None:
                self.pump.switch(Nowhere())
        try:
            self.writer.abandon(source, scanner.completion_in_parts(LARGEST_COMPLETION))
        except LocalProtocolError as error:
            self.problem = f"a client left it in the middle of a frame, and {error}"
            self.writer.abandon(source, None)
            self.link.end()

    def send_message(self, code: int, argument: int) -> None:
        """Send an out-of-band message to the kernel."""
        self._message_writer.send(code, argument)

    # -- what the pump tells -------------------------------------------------------------------------------------

    def named(self, packet: bytes) -> None:
        self.input_name = ended(packet)
        self.prompted.set()

    def asked(self, packet: bytes) -> None:
        self.question = ended(packet)

    def written(self, head: PacketHead) -> None:
        activity = self.activity
        accepting = activity.written(head)
        if self.question or self.record.awaiting is not activity.awaiting:
            self._activity_changed()
        if not activity.busy:
            if self._discarding:
                self._discarding = False
                if self.session is None:
                    self.pump.switch(self.missed)
            self.idle.set()
        if accepting:
            self._broker.kernel_accepting(self)

    def answered_quickly(self, head: PacketHead) -> bool:
        activity = self.activity
        if self._discarding or activity.in_dialog or activity.asking or not self._broker.only_counts(self):
            return False
        self.written(head)
        if self.session is not None:
            self.session.pair()
        return True

    def commanded(self, packet: bytes | None) -> None:
        self._broker.kernel_commanded(self, packet)

    # -- the two pumps -------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self.pump.run(self.link.leftover)
        except RemoteProtocolError as error:
            self.problem = f"it left the protocol: {error}"
        self.alive = False
        self.prompted.set()
        self.idle.set()
        self._broker.kernel_link_ended(self)

    def _exited(self, _event: object) -> None:
        # Something that the kernel started may have inherited its link and keep it open: it goes with the kernel.
        gevent.spawn_later(LINK_END_GRACE, self.process.kill_group, signal.SIGKILL)

    def _run_messages(self, first: bytes) -> None:
        self._closing_notice = run_messages(self.link.messages, self._message, first)

    def _messages_ended(self) -> None:
        """Without a message, not even the notice that the link closes."""

    def _message(self, code: int, argument: int) -> None:
        if self.session is not None and code not in LINK_LOCAL:
            self.session.send_message(code, argument)

    def ended_in_good_order(self) -> bool:
        """After the process is gone: whether it ended by itself, as ``Quit[]`` makes it, rather than died."""
        self._messages.join(0.5)
        return self._closing_notice or self.process.exited.get() == 0

    def stop(self) -> None:
        """Close the link and end the process; returns when that is gone. The last frames may still be on their way
        to a client that reads slowly; the link is given back after that."""
        self.link.end()
        self.process.stop()
        gevent.spawn(self._release)

    def _release(self) -> None:
        self._data.join()
        self._messages.stop()
        self.link.data.close()
        self.link.messages.close()
