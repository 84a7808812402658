"""Where expressions begin and end: tokens of the protocol notes, section 3, and a framer made of them."""

NUMBER_WIDTHS = {
    0xA1: 1, 0xE2: 2, 0xE4: 4, 0xE6: 8, 0xF4: 4, 0xF6: 8, 0xF8: 16,
    0xA2: 2, 0xA4: 4, 0xA6: 8, 0xB4: 4, 0xB6: 8, 0xB8: 16,
}  # fmt: skip


class Incomplete(Exception):
    """The buffer ends inside the token."""


class Malformed(Exception):
    """No token of the protocol begins here."""


def encode_size(size):
    """A size: one byte up to 63, decimal digits and a space above."""
    return bytes([0x40 + size]) if size < 64 else b"%d " % size


def read_size(buffer, position):
    """(size, position after it) of the size that begins at `position`; raises Incomplete or Malformed."""
    if position >= len(buffer):
        raise Incomplete
    first = buffer[position]
    if 0x40 <= first <= 0x7F:
        return first - 0x40, position + 1
    end = buffer.find(b" ", position, position + 21)
    if end < 0:
        if len(buffer) - position > 20:
            raise Malformed(f"no size at {position}: {bytes(buffer[position:position + 20])!r}")
        raise Incomplete
    return int(buffer[position:end]), end + 1


def read_token(buffer, position):
    """(kind, count, body start, end); `count` of arguments or numbers, the body ends one LF before `end`."""
    if position >= len(buffer):
        raise Incomplete
    kind = buffer[position]
    if kind in b"F":
        count, end = read_size(buffer, position + 1)
        return kind, count, end, end
    if kind in b'#"+*':
        size, body = read_size(buffer, position + 1)
        return _whole(buffer, kind, size, body, body + size + 1)
    if kind in NUMBER_WIDTHS:
        return _whole(buffer, kind, 1, position + 1, position + 2 + NUMBER_WIDTHS[kind])
    if kind in b"P":
        count, body = read_size(buffer, position + 1)
        if body >= len(buffer):
            raise Incomplete
        return _whole(buffer, kind, count, body, body + 2 + count * NUMBER_WIDTHS[buffer[body]])
    if kind in b"A":
        leaves, header = read_size(buffer, position + 1)
        size, body = read_size(buffer, header + 1)
        return _whole(buffer, kind, leaves, body, body + size + 1)
    raise Malformed(f"no token at {position}: {bytes(buffer[position:position + 20])!r}")


def _whole(buffer, kind, count, body, end):
    if end > len(buffer):
        raise Incomplete
    return kind, count, body, end


def leaves_added(kind, count):
    """By how much a token changes the number of leaves that an expression still lacks."""
    if kind in b"F":
        return count  # its own place goes to its head
    if kind in b"A":
        return count - 1
    return -count if kind in b"P" else -1


class Framer:
    """Cuts a byte stream into whole top-level expressions."""

    def __init__(self):
        self._buffer = bytearray()
        self._position = 0
        self._missing = 1  # leaves that the expression begun still lacks

    def feed(self, data):
        self._buffer += data

    @property
    def pending(self):
        """Bytes received which make no whole expression yet."""
        return bytes(self._buffer)

    def next_frame(self):
        """The next whole expression as bytes (with its end-of-packet byte if that is here), or None."""
        if self._position == 0 and self._buffer[:1] == b"]":  # it belongs to the expression before
            del self._buffer[:1]
        try:
            while self._missing:
                kind, count, _, self._position = read_token(self._buffer, self._position)
                self._missing += leaves_added(kind, count)
        except Incomplete:
            return None
        end = self._position + (self._buffer[self._position : self._position + 1] == b"]")
        frame = bytes(self._buffer[:end])
        del self._buffer[:end]
        self._position, self._missing = 0, 1
        return frame
