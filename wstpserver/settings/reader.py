"""A reader of the configuration format that knows where everything stands.

The format is JSON with ``#`` comments to the end of the line, trailing commas and a byte order mark.
Nothing here recurses. Where it is clear what was meant (a comma that is missing, a backslash that is not
doubled) the reader notes the problem and goes on, so that one look at the file finds as much as possible;
at anything else it stops.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto

from wstpserver.settings.problems import Problem
from wstpserver.settings.scanner import Kind, Scanner, ScanStop, Token

#: The documented format is three levels deep.
MAXIMUM_DEPTH = 64


@dataclass(slots=True)
class Member:
    """One ``"key": value`` of an object, with the place of the key."""

    key: str
    line: int
    column: int
    value: Node


@dataclass(slots=True)
class Node:
    """A value and its place.

    ``value`` is a str, int, float, bool or None; for an object a list of Member, for an array a
    list of Node.
    """

    line: int
    column: int
    value: object

    @property
    def is_object(self) -> bool:
        return isinstance(self.value, Members)


class Members(list[Member]):
    """The members of an object in the order of the file, each key once."""


@dataclass(slots=True)
class Document:
    """What was read: ``root`` is None when the text holds no whole value."""

    root: Node | None = None
    problems: list[Problem] = field(default_factory=list)


def read_document(text: str, file: str) -> Document:
    """Read a whole configuration text; ``file`` is the name used in problems. Raises nothing."""
    document = Document()
    scanner = Scanner(text, file, document.problems)
    try:
        document.root = _Builder(scanner).read()
    except ScanStop as stop:
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
    """An object or array that is not closed yet, and in an object the key whose value is being read."""

    node: Node
    keys: dict[str, Token]
    pending: Token | None = None

    @property
    def closer(self) -> str:
        return "}" if self.node.is_object else "]"


class _Builder:
    """Builds the tree from tokens with an explicit stack of open containers."""

    def __init__(self, scanner: Scanner) -> None:
        self._scanner = scanner
        self._stack: list[_Open] = []
        self._root: Node | None = None
        self._expect = _Expect.VALUE

    def read(self) -> Node:
        while True:
            token = self._scanner.next()
            if self._root is not None and not self._stack:
                if token.kind is not Kind.END:
                    raise self._stop(token, f"expected the end of the file, got {token.shown}")
                return self._root
            if token.kind is Kind.END:
                raise self._stop(token, self._unfinished())
            self._take(token)

    def _take(self, token: Token) -> None:
        if self._expect is _Expect.COMMA_OR_END and self._take_comma_or_end(token):
            return
        if self._expect in (_Expect.KEY_OR_END, _Expect.VALUE_OR_END) and self._ends(token):
            self._close()
        elif self._expect is _Expect.KEY_OR_END:
            self._take_key(token)
        else:
            self._take_value(token)

    def _take_comma_or_end(self, token: Token) -> bool:
        """False when the token begins the next member although a comma is missing before it."""
        top = self._stack[-1]
        if self._ends(token):
            self._close()
            return True
        following = _Expect.KEY_OR_END if top.node.is_object else _Expect.VALUE_OR_END
        if token.kind is Kind.PUNCTUATION and token.text == ",":
            self._expect = following
            return True
        if top.node.is_object and token.kind is not Kind.STRING:
            raise self._stop(token, f'expected a comma or "{top.closer}", got {token.shown}')
        if token.kind is Kind.PUNCTUATION and token.text not in "{[":
            raise self._stop(token, f'expected a comma or "{top.closer}", got {token.shown}')
        self._scanner.note(self._scanner.problem(token, f"a comma is missing before {token.shown}"))
        self._expect = following
        return False

    def _take_key(self, token: Token) -> None:
        top = self._stack[-1]
        if token.kind is not Kind.STRING:
            raise self._stop(token, f'expected a key in quotes or "}}", got {token.shown}')
        earlier = top.keys.get(token.text)
        if earlier is not None:
            message = f"the key {token.shown} is given twice, first in line {earlier.line}"
            self._scanner.note(self._scanner.problem(token, message))
        else:
            top.keys[token.text] = token
        colon = self._scanner.next()
        if colon.kind is not Kind.PUNCTUATION or colon.text != ":":
            raise self._stop(colon, f"expected a colon after the key {token.shown}, got {colon.shown}")
        top.pending = token
        self._expect = _Expect.VALUE

    def _take_value(self, token: Token) -> None:
        if token.kind is not Kind.PUNCTUATION:
            self._add(Node(token.line, token.column, token.value))
            return
        if token.text not in "{[":
            raise self._stop(token, f"expected a value, got {token.shown}")
        if len(self._stack) >= MAXIMUM_DEPTH:
            raise self._stop(token, f"nested more than {MAXIMUM_DEPTH} levels deep")
        node = Node(token.line, token.column, Members() if token.text == "{" else [])
        self._stack.append(_Open(node, {}))
        self._expect = _Expect.KEY_OR_END if node.is_object else _Expect.VALUE_OR_END

    def _ends(self, token: Token) -> bool:
        return token.kind is Kind.PUNCTUATION and token.text == self._stack[-1].closer

    def _close(self) -> None:
        self._add(self._stack.pop().node)

    def _add(self, node: Node) -> None:
        """Put a finished value where it belongs."""
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
            # A key given twice keeps its first value; the problem is noted.
            if top.keys[key.text] is key:
                assert isinstance(top.node.value, Members)
                top.node.value.append(Member(key.text, key.line, key.column, node))
        self._expect = _Expect.COMMA_OR_END

    def _unfinished(self) -> str:
        if not self._stack:
            return 'the file is empty; expected an object, beginning with "{"'
        top = self._stack[-1]
        return f'the file ends here, but the "{top.closer}" for line {top.node.line} is missing'

    def _stop(self, token: Token, message: str) -> ScanStop:
        return ScanStop(self._scanner.problem(token, message))
