"""The packets of docs/wire-protocol.md, section 6, as expressions ready for `encode`."""
from __future__ import annotations

from .values import Expression, Function, Symbol


def packet(name: str, *arguments: Expression) -> Function:
    """A packet by the name of its head."""
    return Function(Symbol(name), arguments)


# From a client to a kernel.


def evaluate_packet(expression: Expression) -> Function:
    """Evaluate; the answer is a ReturnPacket."""
    return packet("EvaluatePacket", expression)


def enter_text_packet(text: str) -> Function:
    """A line of input as text; the answers end with the next InputNamePacket."""
    return packet("EnterTextPacket", text)


def enter_expression_packet(expression: Expression) -> Function:
    """A line of input as expression."""
    return packet("EnterExpressionPacket", expression)


def command_packet(command: str, *arguments: Expression) -> Function:
    """A command to the server itself, `WSCommandPacket[command[arguments...]]`."""
    return packet("WSCommandPacket", packet(command, *arguments))


# From a kernel to a client.


def return_packet(expression: Expression) -> Function:
    """The result of an EvaluatePacket, a CallPacket or a command."""
    return packet("ReturnPacket", expression)


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


def text_packet(text: str) -> Function:
    """Printed output, the text of a message, or the client's answer to an input packet."""
    return packet("TextPacket", text)


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
