"""Expressions of the test kernel: reading and writing, from the protocol notes, section 3.

Values: int, float, str, Symbol, Function, Packed (machine numbers as bytes), Raw (bytes to send unchanged).
"""
import struct

from tools.harness.fake_kernel.framing import NUMBER_WIDTHS, encode_size, read_size, read_token

NUMBER_FORMATS = {
    0xA1: "<B", 0xE2: "<h", 0xE4: "<i", 0xE6: "<q", 0xF4: "<f", 0xF6: "<d",
    0xA2: ">h", 0xA4: ">i", 0xA6: ">q", 0xB4: ">f", 0xB6: ">d",
}  # fmt: skip
TEXT_CODECS = {"B": "latin-1", "C": "utf-16-be", "D": "utf-8", "E": "utf-16-le", "F": "utf-32-be"}


class Symbol:
    """A symbol; `short` is its name without System` or Global`."""

    __slots__ = ("name",)

    def __init__(self, name):
        self.name = name

    @property
    def short(self):
        context, _, name = self.name.rpartition("`")
        return name if context in ("", "System", "Global") else self.name

    def __eq__(self, other):
        return isinstance(other, Symbol) and other.short == self.short

    def __hash__(self):
        return hash(self.short)

    def __repr__(self):
        return f"Symbol({self.name!r})"


class Function:
    """head[args...]; `raw` holds the wire bytes of each argument if the function was read from a link."""

    __slots__ = ("head", "args", "_frame", "_spans")

    def __init__(self, head, *args):
        self.head = Symbol(head) if isinstance(head, str) else head
        self.args = list(args)
        self._frame = self._spans = None

    @classmethod
    def _read(cls, frame, head):
        """A function of a frame, whose arguments are attached to it later."""
        node = cls(head)
        node._frame, node._spans = frame, []
        return node

    @property
    def raw(self):
        """Made when somebody asks: copies of everything in everything would take long for deep expressions."""
        return None if self._spans is None else [Raw(self._frame[start:end]) for start, end in self._spans]

    def is_head(self, name):
        return isinstance(self.head, Symbol) and self.head.short == name

    def __eq__(self, other):
        return isinstance(other, Function) and (self.head, self.args) == (other.head, other.args)

    def __hash__(self):
        return hash((self.head, len(self.args)))

    def __repr__(self):
        return f"Function({self.head!r}, {self.args!r})"


class Packed:
    """A run of `count` machine numbers of one kind, standing for that many arguments."""

    __slots__ = ("token", "count", "data")

    def __init__(self, token, count, data):
        self.token, self.count, self.data = token, count, data

    def numbers(self):
        code = NUMBER_FORMATS[self.token]
        return struct.unpack(f"{code[0]}{self.count}{code[1]}", self.data)


class Raw(bytes):
    """Wire bytes of one expression, to be written as they are."""


def decode(frame):
    """The value of one whole expression; no recursion, so that any depth is fine."""
    root = Function._read(frame, Symbol("Root"))
    stack = [[root, 1, 0]]  # node, leaves it lacks, where it begins
    position = 0
    while stack[0][1]:
        start = position
        kind, count, body, position = read_token(frame, position)
        if kind in b"FA":
            node = Function._read(frame, Raw(frame[start:position]) if kind in b"A" else None)
            stack.append([node, count + (kind in b"F"), start])
        elif kind in b"P":
            packed = Packed(frame[body], count, frame[body + 1 : position - 1])
            _attach(stack[-1], packed, start, position, count)
        else:
            _attach(stack[-1], _leaf(kind, frame[body : position - 1]), start, position, 1)
        while len(stack) > 1 and not stack[-1][1]:
            node, _, start = stack.pop()
            _attach(stack[-1], node, start, position, 1)
    return root.args[0]


def _attach(entry, value, start, end, leaves):
    node = entry[0]
    if node.head is None:
        node.head = value
    else:
        node.args.append(value)
        node._spans.append((start, end))
    entry[1] -= leaves


def _leaf(kind, body):
    if kind in NUMBER_FORMATS:
        return struct.unpack(NUMBER_FORMATS[kind], body)[0]
    if kind in NUMBER_WIDTHS:
        return Raw(bytes([kind]) + body + b"\n")
    text = decode_text(body)
    if kind in b"+":
        return int(text)
    if kind in b"*":  # a real of any precision is only passed on, never calculated with
        return Raw(b"*" + encode_size(len(body)) + body + b"\n")
    return Symbol(text) if kind in b"#" else text


def decode_text(body):
    """The characters of a text block `<letter>~<size><characters>`."""
    letter = chr(body[0])
    _, start = read_size(body, 2)
    if letter == "A":
        text = _unescape(body[start:].decode("ascii"))
    else:
        text = body[start:].decode(TEXT_CODECS[letter], "surrogatepass")
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")  # joins halves of a pair


def _unescape(text):
    if "\\" not in text:
        return text
    pieces, position = [], 0
    while position < len(text):
        at = text.find("\\", position)
        if at < 0:
            at = len(text)
        pieces.append(text[position:at])
        if text[at + 1 : at + 2] == "\\":
            pieces.append("\\")
            position = at + 2
        elif text[at + 1 : at + 2] == ":":
            pieces.append(chr(int(text[at + 2 : at + 6], 16)))
            position = at + 6
        elif at < len(text):
            pieces.append(chr(int(text[at + 1 : at + 4], 8)))
            position = at + 4
        else:
            position = at
    return "".join(pieces)


def _text(mark, text):
    characters = text.encode("utf-8", "surrogatepass")
    body = b"D~" + encode_size(len(text)) + characters
    return mark + encode_size(len(body)) + body + b"\n"


def encode(value):
    """Wire bytes of `value`, without an end of packet; text in format D, as a kernel of today sends it."""
    pieces, todo = [], [value]
    while todo:
        item = todo.pop()
        if isinstance(item, Function):
            arguments = sum(argument.count if isinstance(argument, Packed) else 1 for argument in item.args)
            pieces.append(item.head if isinstance(item.head, Raw) else b"F" + encode_size(arguments))
            todo += reversed(item.args)
            if not isinstance(item.head, Raw):
                todo.append(item.head)
        else:
            pieces.append(_encode_leaf(item))
    return b"".join(pieces)


def _encode_leaf(value):
    if isinstance(value, Raw):
        return value
    if isinstance(value, Packed):
        return b"P" + encode_size(value.count) + bytes([value.token]) + value.data + b"\n"
    if isinstance(value, Symbol):
        return _text(b"#", value.name)
    if isinstance(value, str):
        return _text(b'"', value)
    if isinstance(value, float):
        return b"\xf6" + struct.pack("<d", value) + b"\n"
    if -(2**31) <= value < 2**31:
        return b"\xe4" + struct.pack("<i", value) + b"\n"
    if -(2**63) <= value < 2**63:
        return b"\xe6" + struct.pack("<q", value) + b"\n"
    return _text(b"+", str(value))
