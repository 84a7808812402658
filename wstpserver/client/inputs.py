"""What a user types for a kernel: whether it is a whole input yet, and the names that may complete it."""

from __future__ import annotations

import re
from typing import Final, Literal, TypeAlias

from wstpserver.client.display import Evaluates
from wstpserver.client.events import Callbacks
from wstpserver.wire.errors import WSTPError
from wstpserver.wire.values import Function, Symbol

#: "invalid": a bracket closes what is not open.
Completeness: TypeAlias = Literal["complete", "incomplete", "invalid"]


_TOKEN = re.compile(
    r'(?P<string>"(?:[^"\\]|\\.)*(?P<closed>")?)'
    r"|(?P<comment>\(\*)"
    r"|(?P<open><\||[(\[{])"
    r"|(?P<close>\|>|[)\]}])"
    r"|(?P<space>\s+)"
    r"|(?P<other>.)",
    re.DOTALL,
)
_COMMENT_MARK = re.compile(r"\(\*|\*\)")
_CLOSES: Final = {"(": ")", "[": "]", "{": "}", "<|": "|>"}
#: Operators that want something on their right. What may also end an expression (++, &, ;, !, .., =.) is none of them.
_OPERATOR = re.compile(r"(?:(?<!\+)\+|(?<!-)-|[*/^,=<>|~@]|:|&&|/\.|/;|<>)$")


def is_incomplete(text: str) -> bool:
    """Whether `text` cannot be a whole input yet. What is wrong in itself counts as complete: the kernel says why."""
    return completeness(text) == "incomplete"


def completeness(text: str) -> Completeness:
    """Look at the brackets, strings, comments and the last operator of an input.

    Args:
        text: The input so far.

    Returns:
        What it is. A question such as ``?String*`` is complete with its line.
    """
    if text.lstrip().startswith("?"):
        return "complete"
    expected: list[str] = []
    code: list[str] = []  # a window on what has been read last, to find an operator at the end
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        assert match is not None, "the last alternative takes any character"
        position = match.end()
        if match["string"] is not None:
            if match["closed"] is None:
                return "incomplete"
            code.append('"')
        elif match["comment"] is not None:
            end = _comment_end(text, position)
            if end is None:
                return "incomplete"
            position = end
        elif match["open"] is not None:
            expected.append(_CLOSES[match["open"]])
            code.append("(")
        elif match["close"] == "|>" and expected[-1:] != ["|>"]:
            code.append("|>")  # two operators, or the end of an input that is wrong anyway
        elif match["close"] is not None:
            if not expected or expected.pop() != match["close"]:
                return "invalid"
            code.append(")")
        else:
            code.append(match[0][:1])
    if expected or _OPERATOR.search("".join(code[-40:]).rstrip()) is not None:
        return "incomplete"
    return "complete"


def _comment_end(text: str, position: int) -> int | None:
    """Where the comment ends whose text begins at `position`; comments nest."""
    depth = 1
    while depth:
        mark = _COMMENT_MARK.search(text, position)
        if mark is None:
            return None
        depth += 1 if mark[0] == "(*" else -1
        position = mark.end()
    return position


#: Seconds that a kernel has to answer: it is idle, and somebody waits at the keyboard.
_NAMES_TIMEOUT: Final = 2.0
_MOST_NAMES: Final = 500
_LIST_HEADS: Final = (Symbol("List"), Symbol("System`List"))


def names_beginning(session: Evaluates, beginning: str) -> list[str]:
    """Ask a kernel for names.

    Args:
        session: The session with the kernel.
        beginning: The beginning of a symbol's name.

    Returns:
        The symbols whose names begin so, sorted, 500 at most; none if the kernel does not answer in 2 s.
    """
    if any(character in '*@\\"' for character in beginning):
        return []
    try:
        question = Function(Symbol("Names"), (beginning + "*",))
        value = session.evaluate(question, _NAMES_TIMEOUT, callbacks=Callbacks.quiet(), results="expression")
    except WSTPError:
        return []
    if not isinstance(value, Function) or value.head not in _LIST_HEADS:
        return []
    return sorted({name for name in value.args if isinstance(name, str)})[:_MOST_NAMES]
