"""Tokens of the configuration format, each with its line and column (from 1, in characters)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto

from wstpserver.settings.problems import Problem


class Kind(Enum):
    """Kinds of token; a WORD is ``true``, ``false`` or ``null``."""

    PUNCTUATION = auto()
    STRING = auto()
    NUMBER = auto()
    WORD = auto()
    END = auto()


@dataclass(slots=True)
class Token:
    """``text`` is the text of a string or the characters of anything else; ``value`` what it stands for."""

    kind: Kind
    text: str
    value: object
    line: int
    column: int

    @property
    def shown(self) -> str:
        """The token in an error message."""
        if self.kind is Kind.END:
            return "the end of the file"
        text = self.text if len(self.text) <= 40 else self.text[:37] + "..."
        return f'"{text}"'


class ScanStop(Exception):
    """Reading cannot go on."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


_BLANKS = re.compile(r"(?:[ \t\r\n]+|#[^\r\n]*)*")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_WORDLIKE = re.compile(r"[^\s\[\]{},:\"#]+")
_PLAIN = re.compile(r'[^"\\\x00-\x1f]*')
_HEX4 = re.compile("[0-9a-fA-F]{4}")
_WORDS: dict[str, object] = {"true": True, "false": False, "null": None}
_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
#: More digits than any option needs, fewer than Python's own limit.
_MAXIMUM_DIGITS = 400
#: A file with more problems than this is not what we take it for.
_MAXIMUM_PROBLEMS = 100


class Scanner:
    """Reads token after token; small mistakes are noted in ``problems``, others raise ScanStop."""

    def __init__(self, text: str, file: str, problems: list[Problem]) -> None:
        self._text = text.removeprefix("\ufeff")
        self._file = file
        self._problems = problems
        self._at = 0
        self._line = 1
        self._line_start = 0

    def problem(self, token: Token, message: str) -> Problem:
        """A problem at the place of a token."""
        return Problem(self._file, token.line, token.column, None, message)

    def next(self) -> Token:
        """The next token; Kind.END for ever at the end."""
        self._skip_blanks()
        if self._at >= len(self._text):
            return self._token(Kind.END, "", None)
        character = self._text[self._at]
        if character in "{}[]:,":
            token = self._token(Kind.PUNCTUATION, character, None)
            self._at += 1
            return token
        if character == '"':
            return self._string()
        return self._number_or_word()

    def _token(self, kind: Kind, text: str, value: object) -> Token:
        return Token(kind, text, value, self._line, self._at - self._line_start + 1)

    def _skip_blanks(self) -> None:
        match = _BLANKS.match(self._text, self._at)
        assert match is not None
        skipped = match.group()
        lines = skipped.count("\n")
        if lines:
            self._line += lines
            self._line_start = self._at + skipped.rindex("\n") + 1
        self._at = match.end()

    def _number_or_word(self) -> Token:
        match = _WORDLIKE.match(self._text, self._at)
        if match is None:
            raise self._stop_here(f"unexpected character {self._text[self._at]!r}")
        text = match.group()
        token = self._token(Kind.WORD, text, None)
        self._at = match.end()
        if text in _WORDS:
            token.value = _WORDS[text]
            return token
        number = _NUMBER.fullmatch(text)
        if number is None or len(text) > _MAXIMUM_DIGITS:
            raise ScanStop(self.problem(token, _about_word(token)))
        token.kind = Kind.NUMBER
        token.value = float(text) if number.group(1) or number.group(2) else int(text)
        return token

    def _string(self) -> Token:
        token = self._token(Kind.STRING, "", "")
        pieces: list[str] = []
        self._at += 1
        while True:
            match = _PLAIN.match(self._text, self._at)
            assert match is not None
            pieces.append(match.group())
            self._at = match.end()
            character = self._text[self._at] if self._at < len(self._text) else "\n"
            if character == '"':
                break
            if character in "\r\n":
                raise ScanStop(self.problem(token, "the string that begins here is not closed in its line"))
            if character == "\\":
                pieces.append(self._escape())
            else:
                self._note_here(f"the control character {character!r} must be written as an escape sequence")
                pieces.append(character)
                self._at += 1
        self._at += 1
        token.text = token.value = _join_surrogates("".join(pieces))
        return token

    def _escape(self) -> str:
        """The character of the escape sequence here; a wrong one is noted and taken as it stands."""
        code = self._text[self._at + 1 : self._at + 2]
        if code in _ESCAPES and code:
            self._at += 2
            return _ESCAPES[code]
        match = _HEX4.match(self._text, self._at + 2) if code == "u" else None
        if match is not None:
            self._at = match.end()
            return chr(int(match.group(), 16))
        self._note_here(f'"\\{code}" is no escape sequence; a backslash itself is written \\\\')
        self._at += 1
        return "\\"

    def note(self, problem: Problem) -> None:
        """Keep a problem and go on; raises ScanStop when there are too many."""
        if len(self._problems) >= _MAXIMUM_PROBLEMS:
            message = f"more than {_MAXIMUM_PROBLEMS} problems; reading stops here"
            raise ScanStop(Problem(self._file, problem.line, problem.column, None, message))
        self._problems.append(problem)

    def _note_here(self, message: str) -> None:
        self.note(self.problem(self._token(Kind.END, "", None), message))

    def _stop_here(self, message: str) -> ScanStop:
        return ScanStop(self.problem(self._token(Kind.END, "", None), message))


def _about_word(token: Token) -> str:
    """What to say about characters that are neither a number nor a word of the format."""
    if token.text.lower() in _WORDS:
        return f'expected a value, got {token.shown}; write "{token.text.lower()}" in small letters'
    if token.text.startswith(("//", "/*")):
        return f"expected a value, got {token.shown}; comments begin with #"
    if _NUMBER.fullmatch(token.text):
        return f"the number {token.shown} is too long"
    return f"unexpected {token.shown}; keys and strings stand in double quotes"


def _join_surrogates(text: str) -> str:
    """Pairs of ``\\uD8xx\\uDCxx`` escapes are one character; a half pair becomes U+FFFD."""
    if not any("\ud800" <= character <= "\udfff" for character in text):
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
