"""Whether a kernel is busy: evaluations begun and answered, level by level of its dialogs.

A kernel is busy from the moment an evaluation packet goes to it until it has answered. ``EvaluatePacket`` is
answered by ``ReturnPacket``; ``EnterTextPacket`` and ``EnterExpressionPacket`` by the next ``InputNamePacket``
(docs/wire-protocol.md, section 6). A dialog opens one more level in which an evaluation is accepted.
"""

from __future__ import annotations

from wstpserver.wire.packets import PacketHead

#: Packets that start an evaluation, with the packet that ends it.
ANSWERED_BY = {
    PacketHead.EvaluatePacket: PacketHead.ReturnPacket,
    PacketHead.EnterTextPacket: PacketHead.InputNamePacket,
    PacketHead.EnterExpressionPacket: PacketHead.InputNamePacket,
}

#: Packets by which a kernel asks its client something and waits for the answer.
QUESTIONS = frozenset({PacketHead.InputPacket, PacketHead.InputStringPacket, PacketHead.MenuPacket})

#: Questions that are answered with an input, as at a prompt; front ends send these packets then.
_INPUTS_ASKED = frozenset({PacketHead.InputPacket, PacketHead.InputStringPacket})
_INPUTS = frozenset({PacketHead.EnterTextPacket, PacketHead.EnterExpressionPacket})

#: Packets from a kernel that can change what `Activity` says.
ACTIVITY_HEADS = (
    frozenset(ANSWERED_BY.values()) | {PacketHead.BeginDialogPacket, PacketHead.EndDialogPacket} | QUESTIONS
)


class Activity:
    """The evaluation under way in a kernel, one slot for each dialog level."""

    __slots__ = ("_levels", "_question", "evaluations")

    def __init__(self) -> None:
        self._levels: list[PacketHead | None] = [None]
        #: Evaluations begun so far.
        self.evaluations = 0
        #: The question that the kernel waits for the answer to.
        self._question: PacketHead | None = None

    @property
    def busy(self) -> bool:
        """True while any level has an evaluation that is not answered."""
        return any(level is not None for level in self._levels)

    @property
    def accepting(self) -> bool:
        """True when the innermost level is ready for an evaluation."""
        return self._levels[-1] is None

    @property
    def asking(self) -> bool:
        """True while the kernel waits for the answer to a question."""
        return self._question is not None

    def is_answer(self, head: PacketHead) -> bool:
        """Whether a packet with this *head* begins no evaluation now: because it never does, or because the kernel
        has asked for input, which front ends answer with what they send at a prompt."""
        return head not in ANSWERED_BY or (head in _INPUTS and self._question in _INPUTS_ASKED)

    @property
    def in_dialog(self) -> bool:
        """True inside a dialog."""
        return len(self._levels) > 1

    @property
    def awaiting(self) -> bool:
        """True while the kernel is busy but does nothing until its client says something: it has asked a question,
        or is in a dialog with nothing to evaluate."""
        return self.busy and (self.asking or (self.in_dialog and self.accepting))

    def answered(self) -> None:
        """Note that a packet which is no evaluation goes to the kernel."""
        self._question = None

    def begin(self, head: PacketHead) -> None:
        """Note that an evaluation packet with this *head* goes to the kernel."""
        self._levels[-1] = ANSWERED_BY[head]
        self.evaluations += 1

    def written(self, head: PacketHead) -> bool:
        """Note that the kernel wrote a packet with this *head*; True if the kernel can take an evaluation now
        and could not before."""
        self._question = head if head in QUESTIONS else None
        if head == PacketHead.BeginDialogPacket:
            self._levels.append(None)
            return True
        was_accepting = self.accepting
        if head == PacketHead.EndDialogPacket:
            if len(self._levels) > 1:
                self._levels.pop()
        elif head == self._levels[-1]:
            self._levels[-1] = None
        return self.accepting and not was_accepting
