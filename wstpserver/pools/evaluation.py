"""Which evaluations are open in a kernel, and whether it can take another one.

A kernel is busy from the moment an evaluation packet goes to it until it has answered. `EvaluatePacket` is answered by
`ReturnPacket`; `EnterTextPacket` and `EnterExpressionPacket` are answered by the next `InputNamePacket`
(docs/wire-protocol.md, section 6). Open evaluations are a stack, because kernel and client may nest evaluations, calls
and dialogs in any depth.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum, IntEnum
from typing import Any

from wstpserver.wire.packets import PacketHead

#: Packets that start an evaluation, with the packet that ends it.
ANSWERED_BY = {
    PacketHead.EvaluatePacket: PacketHead.ReturnPacket,
    PacketHead.EnterTextPacket: PacketHead.InputNamePacket,
    PacketHead.EnterExpressionPacket: PacketHead.InputNamePacket,
}

#: Packets by which a kernel asks its client for input.
QUESTIONS = frozenset({PacketHead.InputPacket, PacketHead.InputStringPacket, PacketHead.MenuPacket})

#: Packets that a kernel writes while it computes and that ask nothing of its client.
PLAIN_OUTPUT = frozenset(
    {
        PacketHead.TextPacket,
        PacketHead.MessagePacket,
        PacketHead.SyntaxPacket,
        PacketHead.DisplayPacket,
        PacketHead.DisplayEndPacket,
        PacketHead.OutputNamePacket,
        PacketHead.SuspendPacket,
        PacketHead.ResumePacket,
    }
)

#: Packets from a kernel that `EvaluationStack.written` has to hear of: all that are not plain output, unknown heads
#: included. A command to the server is no packet for the client.
REPORTED_HEADS = frozenset(PacketHead) - PLAIN_OUTPUT - {PacketHead.WSCommandPacket}

# Members of an enum are looked up by a function in Python, which is too slow for what is asked for each packet.
_EVALUATE = PacketHead.EvaluatePacket
_RETURN = PacketHead.ReturnPacket
_INPUT_NAME = PacketHead.InputNamePacket
_BEGIN_DIALOG = PacketHead.BeginDialogPacket
_END_DIALOG = PacketHead.EndDialogPacket
_RESULTS = frozenset({PacketHead.ReturnTextPacket, PacketHead.ReturnExpressionPacket})


class EvaluationState(Enum):
    """What a kernel does, as far as its packets tell."""

    IDLE = "idle"
    EVALUATING = "evaluating"
    ASKING = "asking"
    DIALOG = "in a dialog"


class EvaluationChange(IntEnum):
    """What subscribers are told."""

    #: An evaluation goes to the kernel; it may be inside another one.
    BEGUN = 0
    #: So many evaluations were answered in turn; the kernel is as busy as it was before.
    PASSED = 1
    #: The last open evaluation is answered.
    IDLE = 2
    #: The kernel waits for its client, or no longer does.
    AWAITING = 3


BEGUN, PASSED, IDLE, AWAITING = EvaluationChange

#: Called with the change and, for PASSED, the number of evaluations.
Subscriber = Callable[[EvaluationChange, int], None]


class _Open:
    """One open evaluation: the packet that began it, and the dialog level on which it did."""

    __slots__ = ("has_result", "head", "level")

    def __init__(self, head: PacketHead, level: int) -> None:
        self.head = head
        self.level = level
        #: True once its result came, which the InputNamePacket that answers it follows.
        self.has_result = False


class EvaluationStack:
    """The open evaluations of one kernel.

    The answers are kept as attributes, to be read only: they are asked for more often than they change.

    Attributes:
        busy: An evaluation is open.
        accepting: A further evaluation may go to the kernel: it is idle, at the prompt of a dialog, or has written
            something else than plain output since it last heard from its client.
        asking: The kernel waits for input.
        awaiting: The kernel is busy, but does nothing until its client says something: it waits for input, or is in a
            dialog with nothing to evaluate.
        counted: Evaluations and their answers may be counted in pairs: there is no dialog, question or request.
        begun: How many evaluations have ever gone to the kernel.
    """

    __slots__ = (
        "_depth_of_question", "_dialogs", "_doubtful", "_open", "_question", "_requested", "_subscribers",
        "accepting", "asking", "awaiting", "begun", "busy", "counted",
    )  # fmt: skip

    def __init__(self) -> None:
        self._open: list[_Open] = []
        #: For each dialog, outermost first, whether its prompt has come.
        self._dialogs: list[bool] = []
        self._question: PacketHead | None = None
        #: How many evaluations were open when the question came.
        self._depth_of_question = 0
        #: The question to which an input counts as the answer, while it may still turn out to be an evaluation.
        self._doubtful: PacketHead | None = None
        #: True if the kernel wrote something else than plain output since it last heard from its client.
        self._requested = False
        self._subscribers: tuple[Subscriber, ...] = ()  # one place in memory, where a list has two
        self.busy = False
        self.accepting = True
        self.asking = False
        self.awaiting = False
        self.counted = True
        self.begun = 0

    def record(self) -> dict[str, Any]:
        """What is needed to go on in another process, as values of JSON; {} for a stack in which nothing is open."""
        record: dict[str, Any] = {}
        if self._open:
            record["open"] = [[one.head.name, one.level, one.has_result] for one in self._open]
        if self._dialogs:
            record["dialogs"] = self._dialogs
        if self._question is not None:
            record["question"] = self._question.name
            record["depth_of_question"] = self._depth_of_question
        if self._doubtful is not None:
            record["doubtful"] = self._doubtful.name
            record["depth_of_question"] = self._depth_of_question
        if self._requested:
            record["requested"] = True
        return record

    def restore(self, record: Mapping[str, Any]) -> None:
        """Take over what `record` returned in another process, before anybody subscribes.

        Raises:
            KeyError: It names a packet that is not known here.
        """
        self._open = []
        for head, level, has_result in record.get("open", ()):
            one = _Open(PacketHead[head], level)
            one.has_result = has_result
            self._open.append(one)
        self._dialogs = list(record.get("dialogs", ()))
        question = record.get("question")
        self._question = None if question is None else PacketHead[question]
        self._depth_of_question = record.get("depth_of_question", 0)
        doubtful = record.get("doubtful")
        self._doubtful = None if doubtful is None else PacketHead[doubtful]
        self._requested = record.get("requested", False)
        self._conclude()

    def subscribe(self, subscriber: Subscriber) -> None:
        """Call *subscriber* after each change, behind those that subscribed before."""
        self._subscribers = (*self._subscribers, subscriber)

    @property
    def state(self) -> EvaluationState:
        """What the kernel does now."""
        if self.asking:
            return EvaluationState.ASKING
        if self._dialogs and self.accepting:
            return EvaluationState.DIALOG
        return EvaluationState.EVALUATING if self.busy else EvaluationState.IDLE

    @property
    def open_heads(self) -> tuple[PacketHead, ...]:
        """The heads of the packets that began what is open now, the innermost first."""
        return tuple(one.head for one in reversed(self._open))

    @property
    def simple(self) -> bool:
        """Whether the head of the last evaluation says all about what is open."""
        if self._dialogs or self._question is not None or len(self._open) > 1:
            return False
        return self.counted or (len(self._open) == 1 and self._open[0].head != _EVALUATE)

    def is_answer(self, head: PacketHead) -> bool:
        """Tell whether a packet with this *head* begins no evaluation now: because it never does, or because the
        kernel has asked for input, which front ends answer with what they send at a prompt.
        """
        return head not in ANSWERED_BY or (self._question is not None and head != _EVALUATE)

    def may_go(self, head: PacketHead) -> bool:
        """Tell whether a packet with this *head* may go to the kernel now."""
        return self.accepting or self.is_answer(head)

    # -- what goes to the kernel -------------------------------------------------------------------------------

    def sent(self, head: PacketHead) -> None:
        """Note that a packet with this *head* goes to the kernel."""
        if head in ANSWERED_BY and (self._question is None or head == _EVALUATE):
            self._begin(head)
        elif self.busy or self._question is not None:
            self._doubtful = self._question if self.busy and head in ANSWERED_BY else None
            self._question, self._requested = None, False
            self._conclude()

    def _begin(self, head: PacketHead) -> None:
        self.begun += 1
        nested = self.busy or self._dialogs
        self._open.append(_Open(head, len(self._dialogs)))
        self._requested = False
        if nested or self._question is not None:
            self._conclude()
        else:
            self.busy, self.accepting, self.counted = True, False, head == _EVALUATE
        for subscriber in self._subscribers:
            subscriber(BEGUN, 1)

    def passed(self, head: PacketHead, begun: int, answered: int) -> bool:
        """Note that *begun* evaluations with this *head* went to the kernel and *answered* answers came, in turn.

        Returns:
            True if one of the answers is to the evaluation that was open before and is not noted yet: `written` has
            to be called for it.
        """
        if self.accepting:
            self._count(answered)
            if begun > answered:
                self._begin(head)
            return False
        self._count(begun)
        return answered > begun

    def _count(self, number: int) -> None:
        if number:
            self.begun += number
            for subscriber in self._subscribers:
                subscriber(PASSED, number)

    # -- what the kernel writes --------------------------------------------------------------------------------

    def written(self, head: PacketHead) -> bool:
        """Note that the kernel wrote a packet with this *head*, one of `REPORTED_HEADS`.

        Returns:
            True if the kernel can take an evaluation now and could not before.
        """
        if head == _RETURN and self.counted and self._open:  # the usual case: the answer to the only evaluation
            self._open.clear()
            self.busy, self.accepting = False, True
            for subscriber in self._subscribers:
                subscriber(IDLE, 0)
            return True
        was_busy, was_accepting = self.busy, self.accepting
        question, self._question = self._question, None
        doubtful, self._doubtful = self._doubtful, None
        # behind the result of an input the kernel writes its InputNamePacket before it reads, and behind a dialog it
        # goes on with what the dialog interrupted
        if head in _RESULTS:
            if not self._mark_result():
                self._requested, self._doubtful = True, doubtful
        elif head != _END_DIALOG:
            self._requested = True
        if head == _RETURN:
            closed = self._close_innermost_evaluate()
            if question is not None and self._open and closed >= self._depth_of_question:
                self._question = question  # the evaluation was nested in the question
        elif head == _INPUT_NAME and doubtful is not None and not self._is_input_open():
            self._question = doubtful  # what seemed to be its answer was an evaluation, and this is the end of it
        elif head == _INPUT_NAME:
            self._prompt()
        elif head in QUESTIONS:
            self._question, self._depth_of_question = head, len(self._open)
        elif head == _BEGIN_DIALOG:
            self._dialogs.append(False)
        elif head == _END_DIALOG and self._dialogs:
            self._dialogs.pop()
            self._open = [one for one in self._open if one.level <= len(self._dialogs)]
        self._conclude()
        if was_busy and not self.busy:
            for subscriber in self._subscribers:
                subscriber(IDLE, 0)
        return self.accepting and not was_accepting

    def _close_innermost_evaluate(self) -> int:
        """Close the innermost evaluation that a ReturnPacket answers; its place in the stack, or -1."""
        for index in range(len(self._open) - 1, -1, -1):
            if self._open[index].head == _EVALUATE:
                del self._open[index]
                return index
        return -1

    def _prompt(self) -> None:
        """An InputNamePacket came. The first one of a dialog is its prompt, later ones answer what was entered on its
        level. Outside dialogs it answers everything that was sent before the result before it.
        """
        level = len(self._dialogs)
        if level and not self._dialogs[-1]:
            self._dialogs[-1] = True
            return
        results = [index for index, one in enumerate(self._open) if one.has_result and one.level == level]
        if not level:
            self._open = self._open[results[-1] + 1 :] if results else []
            return
        entered = [index for index, one in enumerate(self._open) if one.head != _EVALUATE and one.level == level]
        if entered:
            del self._open[results[-1] if results else entered[-1]]

    def _is_input_open(self) -> bool:
        """Whether an evaluation is open on this level that an InputNamePacket answers."""
        return any(one.head != _EVALUATE and one.level == len(self._dialogs) for one in self._open)

    def _mark_result(self) -> bool:
        """A result came: the InputNamePacket behind it answers the innermost evaluation that is answered by one.

        Returns:
            False if no open evaluation is answered so.
        """
        for one in reversed(self._open):
            if one.head != _EVALUATE:
                one.has_result = True
                return True
        return False

    def _conclude(self) -> None:
        opened, level = self._open, len(self._dialogs)
        at_prompt = level > 0 and not any(one.level >= level for one in opened)
        was_awaiting = self.awaiting
        self.busy = bool(opened)
        if not opened:
            self._requested = False
        self.accepting = not opened or self._requested or at_prompt
        self.asking = self._question is not None
        self.awaiting = self.busy and (self.asking or at_prompt)
        self.counted = not (level or self.asking or self._requested or len(opened) > 1) and (
            not opened or opened[0].head == _EVALUATE
        )
        if self.awaiting is not was_awaiting:
            for subscriber in self._subscribers:
                subscriber(AWAITING, 0)
