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


# Members of an enum are looked up by a function in Python, which is too slow for what is asked for each packet.
_BEGIN_DIALOG = PacketHead.BeginDialogPacket
_END_DIALOG = PacketHead.EndDialogPacket


class Activity:
    """The evaluation under way in a kernel, one slot for each dialog level.

    The answers are kept as attributes, to be read only: they are asked for more often than they change.
    """

    __slots__ = ("_levels", "_question", "accepting", "asking", "awaiting", "busy", "evaluations")

    def __init__(self) -> None:
        self._levels: list[PacketHead | None] = [None]
        #: The question that the kernel waits for the answer to.
        self._question: PacketHead | None = None
        #: Evaluations begun so far.
        self.evaluations = 0
        #: True while any level has an evaluation that is not answered.
        self.busy = False
        #: True when the innermost level is ready for an evaluation.
        self.accepting = True
        #: True while the kernel waits for the answer to a question.
        self.asking = False
        #: True while the kernel is busy but does nothing until its client says something: it has asked a question,
        #: or is in a dialog with nothing to evaluate.
        self.awaiting = False

    def _conclude(self) -> None:
        levels = self._levels
        self.accepting = levels[-1] is None
        self.busy = not self.accepting or (len(levels) > 1 and any(level is not None for level in levels))
        self.asking = self._question is not None
        self.awaiting = self.busy and (self.asking or (self.accepting and len(levels) > 1))

    def is_answer(self, head: PacketHead) -> bool:
        """Whether a packet with this *head* begins no evaluation now: because it never does, or because the kernel
        has asked for input, which front ends answer with what they send at a prompt."""
        return head not in ANSWERED_BY or (head in _INPUTS and self._question in _INPUTS_ASKED)

    @property
    def only_evaluates(self) -> bool:
        """True outside dialogs if the only open evaluation, if any, is an EvaluatePacket."""
        return len(self._levels) == 1 and self._levels[0] in (None, PacketHead.ReturnPacket)

    @property
    def in_dialog(self) -> bool:
        """True inside a dialog."""
        return len(self._levels) > 1

    def answered(self) -> None:
        """Note that a packet which is no evaluation goes to the kernel."""
        self._question = None
        self._conclude()

    def begin(self, head: PacketHead) -> None:
        """Note that an evaluation packet with this *head* goes to the kernel."""
        self._levels[-1] = ANSWERED_BY[head]
        self.evaluations += 1
        self.busy, self.accepting = True, False
        self.awaiting = self.asking

    def written(self, head: PacketHead) -> bool:
        """Note that the kernel wrote a packet with this *head*; True if the kernel can take an evaluation now
        and could not before."""
        levels, was_accepting = self._levels, self.accepting
        self._question = head if head in QUESTIONS else None
        if head == levels[-1]:
            levels[-1] = None
        elif head == _BEGIN_DIALOG:
            levels.append(None)
            was_accepting = False
        elif head == _END_DIALOG and len(levels) > 1:
            levels.pop()
        self._conclude()
        return self.accepting and not was_accepting
