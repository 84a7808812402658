"""Entered text, fed to Mathics' parser line by line, and where in it a syntax error is."""

from __future__ import annotations

from typing import Any

from mathics.core.parser import MathicsMultiLineFeeder
from mathics.core.parser.util import parser


class TextFeeder(MathicsMultiLineFeeder):
    """Feeds `text`; `name` is what messages call it ("line 1 of ...").

    The parser asks for lines until an expression is complete, and is called again for the next one.
    """

    def __init__(self, text: str, name: str) -> None:
        super().__init__(text, name)
        self._start = 0
        self._rest: str | None = None

    def begin_expression(self) -> None:
        """The parser is about to be called."""
        self._start = sum(map(len, self.lines[: self.lineno]))
        self._rest = None

    def message(self, symbol_name: str, tag: str, *args: Any) -> None:
        """Called by the tokeniser. The last argument of these two messages is the text that could not be understood."""
        if symbol_name == "Syntax" and tag in ("sntxf", "sntxb") and args:
            self._rest = str(args[-1])
        elif symbol_name == "Syntax" and tag == "sntxi":
            self._rest = ""
        super().message(symbol_name, tag, *args)

    def error_position(self) -> int:
        """How many characters of the whole text come before the one that could not be understood."""
        tokeniser = getattr(parser, "tokeniser", None)
        if tokeniser is None:
            return self._start
        if self._rest is None:
            return self._start + int(tokeniser.pos)
        return self._start + len(tokeniser.source_text.rstrip()) - len(self._rest)
