"""The configuration file's format: JSON with comments, every value with its line and column.

A file is JSON in UTF-8 with these additions: `#` begins a comment that ends with the line, a comma may
follow the last member of an object or array, the file may begin with a byte order mark, any Unicode blank
counts as a blank outside strings (text copied from web pages holds U+00A0), and `Infinity` is a number.

`read_text` reads the file, `read_document` parses it. The parser does not recurse. Where the intention is
clear (a missing comma, a backslash that is not doubled) it records a `Problem` and continues, so that one
run reports as many problems as possible; at anything else it stops.
"""

from __future__ import annotations

import math
import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path

from wstpserver.wire.errors import WSTPError
from wstpserver.wire.text import without_surrogates

#: Size limit of a configuration file in bytes. The documented sample has 2 KiB; a thousand pools with every
#: key have less than this.
MAXIMUM_SIZE = 4 << 20

#: Nesting limit. The documented format is three levels deep.
MAXIMUM_DEPTH = 64

#: The parser stops after this many problems: such a file is not a configuration file.
_MAXIMUM_PROBLEMS = 100

#: More digits than any option needs, fewer than Python's own limit.
_MAXIMUM_DIGITS = 400

_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: where it is, and what was expected instead.

    Attributes:
        file: Name of the configuration file, None for a value from elsewhere (such as the environment).
        line: Line in the file, from 1; None when the problem has no place in a file (a file that is missing).
        column: Column in the line, from 1, in characters; None as `line`.
        key: The option, a pool's with its pool in front: `Pools.NAME.KernelPath`. None where no single
            option is concerned.
        message: What is wrong.
    """

    file: str | None
    line: int | None
    column: int | None
    key: str | None
    message: str

    def __str__(self) -> str:
        parts = []
        if self.file is not None:
            place = self.file
            if self.line is not None:
                place += f":{self.line}"
                if self.column is not None:
                    place += f":{self.column}"
            parts.append(place)
        if self.key is not None:
            parts.append(self.key)
        parts.append(self.message)
        return ": ".join(parts)


class ConfigurationError(WSTPError):
    """The configuration cannot be used.

    Attributes:
        problems: Every reason, in the order of the file.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems: tuple[Problem, ...] = tuple(problems)


# The file


def read_text(path: Path) -> str:
    """Read a configuration file.

    Never blocks (a pipe in the file's place is refused) and never reads more than `MAXIMUM_SIZE` bytes.

    Args:
        path: The file.

    Returns:
        Its text, without a byte order mark.

    Raises:
        ConfigurationError: The file cannot be read, or it is not text in UTF-8.
    """
    try:
        data = _read_bytes(path)
    except OSError as error:
        raise _failure(path, error.strerror or str(error)) from None
    except ValueError as error:
        # A NUL in the name.
        raise _failure(path, str(error)) from None
    return _decode(path, data)


def _read_bytes(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a device or a pipe"
            raise _failure(path, f"is {kind}, not a file")
        if status.st_size > MAXIMUM_SIZE:
            raise _too_large(path, status.st_size)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            data = file.read(MAXIMUM_SIZE + 1)
        if len(data) > MAXIMUM_SIZE:
            raise _too_large(path, len(data))
        return data
    finally:
        os.close(descriptor)


def _decode(path: Path, data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise _failure(path, "is written in UTF-16; save it as UTF-8")
    nul = data.find(b"\0")
    if nul >= 0:
        raise _at(path, data, nul, "is not text: it holds a NUL byte")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # The decoder removes a byte order mark before it counts bytes.
        start = error.start + (len(_BOM) if data.startswith(_BOM) else 0)
        raise _at(path, data, start, f"byte 0x{data[start]:02x} is not UTF-8") from None


def _at(path: Path, data: bytes, offset: int, message: str) -> ConfigurationError:
    """Make an error at a byte; the text before the byte is valid UTF-8."""
    before = data[:offset].decode("utf-8-sig", "replace")
    line = before.count("\n") + 1
    column = len(before) - (before.rfind("\n") + 1) + 1
    return ConfigurationError([Problem(str(path), line, column, None, message)])


def _too_large(path: Path, size: int) -> ConfigurationError:
    return _failure(path, f"has {size} bytes or more; a configuration file has at most {MAXIMUM_SIZE}")


def _failure(path: Path, message: str) -> ConfigurationError:
    return ConfigurationError([Problem(str(path), None, None, None, message)])


# Tokens


class _TokenKind(Enum):
    """Kinds of token; a WORD is `true`, `false`, `null` or `Infinity`."""

    PUNCTUATION = auto()
    STRING = auto()
    NUMBER = auto()
    WORD = auto()
    END = auto()


@dataclass(slots=True)
class _Token:
    """One token: `text` is the content of a string or the characters of anything else, `value` its meaning."""

    kind: _TokenKind
    text: str
    value: object
    line: int
    column: int

    @property
    def shown(self) -> str:
        """The token as an error message shows it."""
        if self.kind is _TokenKind.END:
            return "the end of the file"
        text = self.text if len(self.text) <= 40 else self.text[:37] + "..."
        return f'"{text}"'


class _Stop(Exception):
    """Parsing cannot continue."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


# Blanks are those of Unicode, and two characters that nobody can see: they come with text copied from web pages.
_BLANKS = re.compile(r"(?:[\s\u200b\ufeff]+|#[^\r\n]*)*")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_WORDLIKE = re.compile(r"[^\s\u200b\ufeff\[\]{},:\"#]+")
#: Punctuation, or a string without escape sequences and characters that need a look.
_USUAL = re.compile(r'[{}\[\]:,]|"([^"\\\x00-\x1f\ud800-\udfff]*)"')
_PUNCTUATION, _STRING = _TokenKind.PUNCTUATION, _TokenKind.STRING  # members of an enum are slow to look up
_PLAIN = re.compile(r'[^"\\\x00-\x1f]*')
_HEX4 = re.compile("[0-9a-fA-F]{4}")
_WORDS: dict[str, object] = {"true": True, "false": False, "null": None, "Infinity": math.inf}
_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


class _Scanner:
    """Splits a text into tokens. Records small mistakes in `problems` and raises `_Stop` at others."""

    def __init__(self, text: str, file: str, problems: list[Problem]) -> None:
        self._text = text.removeprefix("\ufeff")
        self._file = file
        self._problems = problems
        self._at = 0
        self._line = 1
        self._line_start = 0

    def problem(self, token: _Token, message: str) -> Problem:
        """Make a problem at the place of a token."""
        return Problem(self._file, token.line, token.column, None, message)

    def next(self) -> _Token:
        """Return the next token; at the end of the text an END token, again at each call."""
        self._skip_blanks()
        usual = _USUAL.match(self._text, self._at)
        if usual is not None:
            return self._usual(usual)
        if self._at >= len(self._text):
            return self._token(_TokenKind.END, "", None)
        return self._string() if self._text[self._at] == '"' else self._number_or_word()

    def _usual(self, match: re.Match[str]) -> _Token:
        """Take punctuation, or a string that is as it looks."""
        column, text = self._at - self._line_start + 1, match[1]
        self._at = match.end()
        if text is None:
            return _Token(_PUNCTUATION, match[0], None, self._line, column)
        return _Token(_STRING, text, text, self._line, column)

    def note(self, problem: Problem) -> None:
        """Record a problem and continue. Raises `_Stop` when there are too many."""
        if len(self._problems) >= _MAXIMUM_PROBLEMS:
            message = f"more than {_MAXIMUM_PROBLEMS} problems; reading stops here"
            raise _Stop(Problem(self._file, problem.line, problem.column, None, message))
        self._problems.append(problem)

    def _token(self, kind: _TokenKind, text: str, value: object) -> _Token:
        return _Token(kind, text, value, self._line, self._at - self._line_start + 1)

    def _skip_blanks(self) -> None:
        match = _BLANKS.match(self._text, self._at)
        assert match is not None
        end = match.end()
        if end > self._at:
            lines = self._text.count("\n", self._at, end)
            if lines:
                self._line += lines
                self._line_start = self._text.rindex("\n", self._at, end) + 1
            self._at = end

    def _number_or_word(self) -> _Token:
        match = _WORDLIKE.match(self._text, self._at)
        if match is None:
            raise self._stop_here(f"unexpected character {self._text[self._at]!r}")
        text = match.group()
        token = self._token(_TokenKind.WORD, text, None)
        self._at = match.end()
        if text in _WORDS:
            token.value = _WORDS[text]
            return token
        number = _NUMBER.fullmatch(text)
        if number is None or len(text) > _MAXIMUM_DIGITS:
            raise _Stop(self.problem(token, _about_word(token)))
        token.kind = _TokenKind.NUMBER
        token.value = float(text) if number.group(1) or number.group(2) else int(text)
        return token

    def _string(self) -> _Token:
        token = self._token(_TokenKind.STRING, "", "")
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
                raise _Stop(self.problem(token, "the string that begins here is not closed in its line"))
            if character == "\\":
                pieces.append(self._escape())
            else:
                self._note_here(f"the control character {character!r} must be written as an escape sequence")
                pieces.append(character)
                self._at += 1
        self._at += 1
        token.text = token.value = without_surrogates("".join(pieces))
        return token

    def _escape(self) -> str:
        """Read the escape sequence here; an invalid one is recorded and its backslash kept."""
        code = self._text[self._at + 1 : self._at + 2]
        if code in _ESCAPES and code:
            self._at += 2
            return _ESCAPES[code]
        match = _HEX4.match(self._text, self._at + 2) if code == "u" else None
        if match is not None:
            self._at = match.end()
            return chr(int(match.group(), 16))
        self._note_here(f'"\\{code}" is not an escape sequence; write a backslash as \\\\')
        self._at += 1
        return "\\"

    def _note_here(self, message: str) -> None:
        self.note(self.problem(self._token(_TokenKind.END, "", None), message))

    def _stop_here(self, message: str) -> _Stop:
        return _Stop(self.problem(self._token(_TokenKind.END, "", None), message))


def _about_word(token: _Token) -> str:
    """Say what is wrong with characters that are neither a number nor a word of the format."""
    word = next((word for word in _WORDS if word.lower() == token.text.lower()), None)
    if word is not None:
        return f'expected a value, got {token.shown}; write "{word}"'
    if token.text.startswith(("//", "/*")):
        return f"expected a value, got {token.shown}; comments begin with #"
    if _NUMBER.fullmatch(token.text):
        return f"the number {token.shown} is too long"
    return f"unexpected {token.shown}; keys and strings must be in double quotes"


# The tree


@dataclass(slots=True)
class Member:
    """One `"key": value` of an object, with the place of the key."""

    key: str
    line: int
    column: int
    value: Node


@dataclass(slots=True)
class Node:
    """A value and its place.

    Attributes:
        line: Line of the value's first character, from 1.
        column: Column of the value's first character, from 1.
        value: A str, int, float, bool or None; `Members` for an object, a list of Node for an array.
    """

    line: int
    column: int
    value: object

    @property
    def is_object(self) -> bool:
        """Whether the value is an object."""
        return isinstance(self.value, Members)

    @property
    def plain(self) -> object:
        """The value in plain Python."""
        if isinstance(self.value, Members):
            return {member.key: member.value.plain for member in self.value}
        if isinstance(self.value, list):
            return [item.plain if isinstance(item, Node) else item for item in self.value]
        return self.value


class Members(list[Member]):
    """The members of an object in the order of the file, each key once."""


@dataclass(slots=True)
class Document:
    """A parsed text: `root` is None when the text holds no complete value."""

    root: Node | None = None
    problems: list[Problem] = field(default_factory=list)


def read_document(text: str, file: str) -> Document:
    """Parse a whole configuration text.

    Args:
        text: The text.
        file: Name of the file in problems.

    Returns:
        The tree, and everything that is wrong with the text.
    """
    document = Document()
    scanner = _Scanner(text, file, document.problems)
    try:
        document.root = _Builder(scanner).read()
    except _Stop as stop:
        document.problems.append(stop.problem)
    return document


class _Expect(Enum):
    """What may come next."""

    VALUE = auto()
    KEY_OR_END = auto()
    VALUE_OR_END = auto()
    COMMA_OR_END = auto()


@dataclass(slots=True)
class _Open:
    """An object or array that is not closed yet; in an object also the key whose value comes next."""

    node: Node
    keys: dict[str, _Token]
    pending: _Token | None = None

    @property
    def closer(self) -> str:
        return "}" if self.node.is_object else "]"


class _Builder:
    """Builds the tree from tokens with an explicit stack of open containers."""

    def __init__(self, scanner: _Scanner) -> None:
        self._scanner = scanner
        self._stack: list[_Open] = []
        self._root: Node | None = None
        self._expect = _Expect.VALUE

    def read(self) -> Node:
        while True:
            token = self._scanner.next()
            if self._root is not None and not self._stack:
                if token.kind is not _TokenKind.END:
                    raise self._stop(token, f"expected the end of the file, got {token.shown}")
                return self._root
            if token.kind is _TokenKind.END:
                raise self._stop(token, self._unfinished())
            self._take(token)

    def _take(self, token: _Token) -> None:
        if self._expect is _Expect.COMMA_OR_END and self._take_comma_or_end(token):
            return
        if self._expect in (_Expect.KEY_OR_END, _Expect.VALUE_OR_END) and self._ends(token):
            self._close()
        elif self._expect is _Expect.KEY_OR_END:
            self._take_key(token)
        else:
            self._take_value(token)

    def _take_comma_or_end(self, token: _Token) -> bool:
        """Return False when the token begins the next member although the comma before it is missing."""
        top = self._stack[-1]
        if self._ends(token):
            self._close()
            return True
        following = _Expect.KEY_OR_END if top.node.is_object else _Expect.VALUE_OR_END
        if token.kind is _TokenKind.PUNCTUATION and token.text == ",":
            self._expect = following
            return True
        if top.node.is_object and token.kind is not _TokenKind.STRING:
            raise self._stop(token, f'expected a comma or "{top.closer}", got {token.shown}')
        if token.kind is _TokenKind.PUNCTUATION and token.text not in "{[":
            raise self._stop(token, f'expected a comma or "{top.closer}", got {token.shown}')
        self._scanner.note(self._scanner.problem(token, f"a comma is missing before {token.shown}"))
        self._expect = following
        return False

    def _take_key(self, token: _Token) -> None:
        top = self._stack[-1]
        if token.kind is not _TokenKind.STRING:
            raise self._stop(token, f'expected a key in quotes or "}}", got {token.shown}')
        earlier = top.keys.get(token.text)
        if earlier is not None:
            message = f"the key {token.shown} is given twice, first in line {earlier.line}"
            self._scanner.note(self._scanner.problem(token, message))
        else:
            top.keys[token.text] = token
        colon = self._scanner.next()
        if colon.kind is not _TokenKind.PUNCTUATION or colon.text != ":":
            raise self._stop(colon, f"expected a colon after the key {token.shown}, got {colon.shown}")
        top.pending = token
        self._expect = _Expect.VALUE

    def _take_value(self, token: _Token) -> None:
        if token.kind is not _TokenKind.PUNCTUATION:
            self._add(Node(token.line, token.column, token.value))
            return
        if token.text not in "{[":
            raise self._stop(token, f"expected a value, got {token.shown}")
        if len(self._stack) >= MAXIMUM_DEPTH:
            raise self._stop(token, f"nested more than {MAXIMUM_DEPTH} levels deep")
        node = Node(token.line, token.column, Members() if token.text == "{" else [])
        self._stack.append(_Open(node, {}))
        self._expect = _Expect.KEY_OR_END if node.is_object else _Expect.VALUE_OR_END

    def _ends(self, token: _Token) -> bool:
        return token.kind is _TokenKind.PUNCTUATION and token.text == self._stack[-1].closer

    def _close(self) -> None:
        self._add(self._stack.pop().node)

    def _add(self, node: Node) -> None:
        """Put a complete value into the container it belongs to."""
        if not self._stack:
            self._root = node
            return
        top = self._stack[-1]
        if top.pending is None:
            assert isinstance(top.node.value, list)
            top.node.value.append(node)
        else:
            key = top.pending
            top.pending = None
            # A key given twice keeps its first value; the problem is recorded.
            if top.keys[key.text] is key:
                assert isinstance(top.node.value, Members)
                top.node.value.append(Member(key.text, key.line, key.column, node))
        self._expect = _Expect.COMMA_OR_END

    def _unfinished(self) -> str:
        if not self._stack:
            return 'the file is empty; expected an object, beginning with "{"'
        top = self._stack[-1]
        return f'the file ends here, but the "{top.closer}" for line {top.node.line} is missing'

    def _stop(self, token: _Token, message: str) -> _Stop:
        return _Stop(self._scanner.problem(token, message))
