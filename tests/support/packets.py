"""The packets of docs/wire-protocol.md, section 6, that only a kernel sends, and that the package itself never makes."""

from wstpserver.wire.packets import PacketHead, packet
from wstpserver.wire.values import Expression, Function, Symbol

#: Name of a head as text travels on the wire, without a context -> its code.
HEAD_BY_NAME = {head.name: head for head in PacketHead if head is not PacketHead.OTHER}


def return_text_packet(text: str) -> Function:
    """The result of an EnterTextPacket."""
    return packet("ReturnTextPacket", text)


def return_expression_packet(expression: Expression) -> Function:
    """The result of an EnterExpressionPacket."""
    return packet("ReturnExpressionPacket", expression)


def input_name_packet(name: str) -> Function:
    """The prompt for the next line of input, `In[1]:= `: the kernel waits."""
    return packet("InputNamePacket", name)


def output_name_packet(name: str) -> Function:
    """The label of the result that follows, `Out[1]= `."""
    return packet("OutputNamePacket", name)


def message_packet(symbol: str, tag: str) -> Function:
    """`symbol::tag` was issued; its text follows in a TextPacket."""
    return packet("MessagePacket", Symbol(symbol), tag)


def syntax_packet(position: int) -> Function:
    """The input has a syntax error at this character."""
    return packet("SyntaxPacket", position)


def menu_packet(number: int, prompt: str) -> Function:
    """The kernel was interrupted and asks what to do; menu `number` is 1 for that."""
    return packet("MenuPacket", number, prompt)


def input_packet(prompt: str) -> Function:
    """The kernel asks for an expression as text."""
    return packet("InputPacket", prompt)


def input_string_packet(prompt: str) -> Function:
    """The kernel asks for a string."""
    return packet("InputStringPacket", prompt)


def display_packet(text: str) -> Function:
    """A piece of graphics; more may follow."""
    return packet("DisplayPacket", text)


def display_end_packet(text: str) -> Function:
    """The last piece of graphics."""
    return packet("DisplayEndPacket", text)


def suspend_packet() -> Function:
    """The kernel suspends itself."""
    return packet("SuspendPacket")


def resume_packet() -> Function:
    """The kernel goes on after a suspension."""
    return packet("ResumePacket")


def begin_dialog_packet(level: int) -> Function:
    """A dialog opens: evaluations are answered inside the one that is under way."""
    return packet("BeginDialogPacket", level)


def end_dialog_packet(level: int) -> Function:
    """The dialog of that level is over."""
    return packet("EndDialogPacket", level)


def call_packet(number: int, arguments: Expression) -> Function:
    """The kernel calls function `number` of an installed program; the answer is a ReturnPacket or an
    expression.
    """
    return packet("CallPacket", number, arguments)
