"""Whether a text of Wolfram Language goes on: a bracket, string or comment is open, or an operator ends it."""

from __future__ import annotations

import re
from typing import Final

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
    expected: list[str] = []
    code: list[str] = []  # a window on what has been read last, to find an operator at the end
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        assert match is not None, "the last alternative takes any character"
        position = match.end()
        if match["string"] is not None:
            if match["closed"] is None:
                return True
            code.append('"')
        elif match["comment"] is not None:
            end = _comment_end(text, position)
            if end is None:
                return True
            position = end
        elif match["open"] is not None:
            expected.append(_CLOSES[match["open"]])
            code.append("(")
        elif match["close"] == "|>" and expected[-1:] != ["|>"]:
            code.append("|>")  # two operators, or the end of an input that is wrong anyway
        elif match["close"] is not None:
            if not expected or expected.pop() != match["close"]:
                return False
            code.append(")")
        else:
            code.append(match[0][:1])
    if expected:
        return True
    return _OPERATOR.search("".join(code[-40:]).rstrip()) is not None


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
