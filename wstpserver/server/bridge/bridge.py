"""A bridge: one client and one kernel, from the moment the client gets the kernel until they are parted."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from wstpserver.pools import commands as replies
from wstpserver.pools.evaluation import ANSWERED_BY
from wstpserver.pools.states import BRIDGE_TRANSITIONS, BridgeState, TransitionError
from wstpserver.server.bridge.client_session import ClientSession
from wstpserver.server.bridge.kernel_session import KernelSession
from wstpserver.server.handover import packed, unpacked
from wstpserver.server.relay import directions
from wstpserver.server.relay.sinks import FrameSink, FrameWriter, PeerSink
from wstpserver.wire.frames import FrameScanner
from wstpserver.wire.packets import PacketHead

#: The version of the greeting with which a character above U+FFFF may come as one escape (docs/wire-protocol.md,
#: section 2); a peer below it does not read that.
ESCAPES_SINCE = 6

# members of an enum are slow to look up
_OPEN = BridgeState.OPEN
_DISCARDING = BridgeState.DISCARDING
_INPUT_NAME = PacketHead.InputNamePacket

#: The characters of a prompt in an InputNamePacket: "In[3]:= " is followed by "Out[3]= " in an OutputNamePacket.
_PROMPT = re.compile(rb"In\[(\d+)\]:=")


class PromptSink(FrameSink):
    """To the client, without the prompt that comes last: the client gets the one of the kernel that comes next.

    Args:
        writer: The writing side of the client's data connection.
        source: The source of the frames, for the writer.
    """

    def __init__(self, writer: FrameWriter, source: object) -> None:
        super().__init__()
        self._sink = PeerSink(writer, source)
        #: The prompt that is kept.
        self.prompt = b""

    def take(self, frame: bytes) -> None:
        """Keep a prompt, and write every other frame behind the prompt that is kept."""
        self.release()
        scanner = FrameScanner()
        scanner.scan_bytes(frame)
        if scanner.head == _INPUT_NAME:
            self.prompt = frame + b"]"
        else:
            self._sink.write(frame + b"]", at_boundary=True)

    def release(self) -> None:
        """Write the prompt that is kept."""
        prompt, self.prompt = self.prompt, b""
        if prompt:
            self._sink.write(prompt, at_boundary=True)


class Bridge:
    """Joins the session of a client and that of a kernel.

    It begins in the state WELCOMING, in which packets of the client wait until `welcome`. It tells C what may pass
    without Python, derived from its state, the evaluations of the kernel and the queue of the client.

    Args:
        client: The client.
        kernel: The kernel, which no other bridge has, unless that discards an answer.
        shows_prompt: Returns whether a client that asked for a kernel by a command gets the kernel's prompt
            (SendInputNamePacketUponKernelConnection).
    """

    __slots__ = ("_prompt_sink", "_rewrites", "_shows_prompt", "_welcomed", "client", "kernel", "state")

    def __init__(self, client: ClientSession, kernel: KernelSession, shows_prompt: Callable[[], bool]) -> None:
        self.client = client
        self.kernel = kernel
        self.state = BridgeState.WELCOMING
        self._shows_prompt = shows_prompt
        self._welcomed = False
        self._prompt_sink: PromptSink | None = None
        # Between a link at version 6 and one below that, the one below gets other escapes.
        of_client, of_kernel = client.greeting_version, kernel.greeting_version
        to_kernel = kernel.writer.rewrites = of_client >= ESCAPES_SINCE > of_kernel
        to_client = client.writer.rewrites = of_kernel >= ESCAPES_SINCE > of_client
        self._rewrites = to_kernel or to_client
        client.peer = self
        client.channel.attach(PeerSink(kernel.writer, client.queue, direct=not to_kernel))
        client.queue.attach(self)
        kernel.attach(self, PeerSink(client.writer, kernel, client.is_closing, direct=not to_client))

    def _move(self, state: BridgeState) -> None:
        if state not in BRIDGE_TRANSITIONS[self.state]:
            raise TransitionError(f"bridge of {self.client.name}: {self.state.value} -> {state.value}")
        self.state = state

    @property
    def is_open(self) -> bool:
        """Whether packets of the client may go to the kernel."""
        return self.state is _OPEN

    # -- its beginning and end ---------------------------------------------------------------------------------

    def welcome(self, greeting: bytes = b"", *, prompt: bool = False) -> None:
        """Tell the client that it has the kernel, and let its packets through. Does nothing the second time.

        Args:
            greeting: The end of the link's greeting, which goes out first.
            prompt: Send the kernel's prompt whatever the configuration says.
        """
        if self._welcomed or self.state is not BridgeState.WELCOMING:
            return
        self._welcomed = True
        client, kernel = self.client, self.kernel
        packets = kernel.question
        if prompt or self._shows_prompt():
            packets = kernel.input_name + packets
        client.awaits_replacement = False
        client.welcome(greeting, packets)
        if self.state is BridgeState.WELCOMING:
            self._move(_OPEN)
            client.queue.release()
            self.update_fastpath()

    def hand_over(self) -> dict[str, Any]:
        """What another process needs to go on with it (`handover`), beside its client and its kernel."""
        record: dict[str, Any] = {"welcomed": self._welcomed}
        if self._prompt_sink is not None:
            record["withheld"] = packed(self._prompt_sink.prompt)
        return record

    def go_on(self, record: Mapping[str, Any]) -> None:
        """Go on where another process has stopped; *record* is what `hand_over` returned there."""
        if "withheld" in record:
            self.withhold_prompt()
            if self._prompt_sink is not None:
                self._prompt_sink.prompt = unpacked(record["withheld"])
        if record["welcomed"]:
            self._welcomed = True
            self._move(_OPEN)
            self.client.queue.release()
            self.update_fastpath()
        else:
            self.welcome()

    def hold(self) -> None:
        """Keep packets of the client back: the link of the kernel has ended, and another kernel may take its place."""
        if self.state is _OPEN:
            self._move(BridgeState.HELD)
            self.update_fastpath()

    def end(self, *, keep_queue: bool) -> tuple[PacketHead, ...]:
        """Part client and kernel.

        Args:
            keep_queue: What the client has sent and the kernel has not got is meant for the next kernel.

        Returns:
            The heads of the client's packets that are dropped.
        """
        client, kernel = self.client, self.kernel
        client.peer = None
        directions.apply(client.channel, None, directions.NOTHING)
        broken = client.channel.detach()
        heads = client.queue.detach(keep=keep_queue)
        if broken and kernel.break_off(client.queue, client.channel):
            self._move(_DISCARDING)
        else:
            self._move(BridgeState.ENDED)
            kernel.detach(self)
        return heads

    def end_of_evaluations(self, dropped: Iterable[PacketHead] = ()) -> bytes:
        """The packets that end for the client what was under way in the kernel, the innermost evaluation first, and
        then what it had sent behind that and is *dropped*.
        """
        kernel = self.kernel
        heads = [*kernel.evaluation.open_heads, *(head for head in dropped if head in ANSWERED_BY)]
        found = _PROMPT.search(kernel.input_name)
        name = f"Out[{found[1].decode()}]= " if found else "Out[]= "
        return b"".join(replies.aborted(head, name) for head in heads)

    # -- what its ends report ----------------------------------------------------------------------------------

    def kernel_wrote(self, *, accepting: bool) -> None:
        """The kernel wrote something else than plain output."""
        if self.state is _DISCARDING:
            if not self.kernel.evaluation.busy:
                self._move(BridgeState.ENDED)
                self.kernel.detach(self)
            return
        if self._prompt_sink is not None:
            self._prompt_sink.release()  # the kernel goes on with this client
        if accepting:
            self.client.queue.release()
        self.update_fastpath()

    def answered_in_c(self) -> None:
        """An answer passed in C and is accounted for."""
        if not self.client.channel.is_counted:  # else C has permitted the next evaluation by itself
            self.kernel_wrote(accepting=True)

    def kernel_message(self, code: int, argument: int) -> None:
        """The kernel sent an out-of-band message."""
        if self.state not in (_DISCARDING, BridgeState.ENDED):
            self.client.send_message(code, argument)

    def client_passed(self, head: PacketHead, begun: int, answered: int) -> bool:
        """Evaluations and their answers passed in C."""
        evaluation = self.kernel.evaluation
        answer_left = evaluation.passed(head, begun, answered)
        if not evaluation.counted:
            self.update_fastpath()
        return answer_left

    def withhold_prompt(self) -> None:
        """The client gets another kernel when the evaluation is answered: it is to see that one's prompt only."""
        if self._prompt_sink is None and self._shows_prompt():
            self._prompt_sink = PromptSink(self.client.writer, self.kernel)
            self.kernel.channel.switch(self._prompt_sink)

    # -- the fast path -----------------------------------------------------------------------------------------

    def update_fastpath(self) -> None:
        """Tell C what may pass by itself. To be called after each change of what decides that."""
        client, kernel = self.client, self.kernel
        if client.peer is not self:
            return
        evaluation = kernel.evaluation
        allowed = directions.permissions(
            self.state,
            accepting=evaluation.accepting and not evaluation.asking,
            plain=evaluation.counted,
            queue_empty=client.queue.is_empty,
            closing=client.closing,
            deferred=kernel.record.deferred,
            rewrites=self._rewrites,
        )
        directions.apply(client.channel, kernel.channel, allowed)
