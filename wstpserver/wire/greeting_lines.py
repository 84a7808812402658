"""The greeting lines: ours, and how the peer's are read (docs/wire-protocol.md, section 2)."""
from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType

from .errors import RemoteProtocolError

#: The version we speak. With 4 no dictionaries are in play: every symbol travels as text.
OUR_VERSION = 4
#: The lowest version we talk to, as the library does; it has no -envid line.
LOWEST_VERSION = 3

#: The lines every version calls for. -textid is a free date; -numericsid must be a name the library
#: knows, and all of today's little-endian platforms send the same tokens.
COMMON_LINES = (
    b"Math Link %d\n" % OUR_VERSION
    + b"-libraryid '!&*' -decoders 0\n"
    + b"-numericsid boxer -tokens 33,98,100,102,116,118,120 -textid 'Jan 01 2026, 00:00:00'"
    + b" -formats 1,2,3,4,5,6,7\n"
)
#: The same from a client that wants no kernel of a WSTPServer until it asks for one. Link servers on the libraries of
#: 2015 and 2023 pass words over that they do not know.
LINES_WITHOUT_KERNEL = COMMON_LINES[:-1] + b" -kernel none\n"
#: The line that goes out only if both sides said 4 or more.
ENVIRONMENT_LINE = b"-envid ''\n"
#: All we say to a peer of version 4 or more.
GREETING_V4 = COMMON_LINES + ENVIRONMENT_LINE

#: Longest line taken; the longest seen has 150 bytes.
LINE_LIMIT = 4096


@dataclass(frozen=True)
class PeerGreeting:
    """What the peer said: its version and its words, `-key value` as {"key": "value"}; a word alone has
    value "".
    """

    version: int
    words: dict[str, str] = field(default_factory=dict)

    @property
    def formats(self) -> tuple[int, ...]:
        """The text formats it reads, 1 for A to 7 for G; (1,) if it does not say."""
        numbers = self.words.get("formats", "1").split(",")
        return tuple(int(number) for number in numbers if number.isdecimal() and len(number) < 4) or (1,)

    @property
    def without_kernel(self) -> bool:
        """It wants no kernel until it asks for one (`LINES_WITHOUT_KERNEL`)."""
        return self.words.get("kernel") == "none"

    @property
    def seven_bit(self) -> bool:
        """Whether text must be sent to it in format A alone: it does not read UTF-8 (format D)."""
        return 4 not in self.formats


_VERSION_LINE = re.compile(rb"Math Link ([0-9]{1,4})")


def read_version(line: bytes, offset: int) -> int:
    """The number in `Math Link <number>`; RemoteProtocolError for another line or a version we do not
    talk to.
    """
    match = _VERSION_LINE.fullmatch(line)
    if match is None:
        raise RemoteProtocolError(f"a greeting begins with `Math Link` and a version, not {line[:60]!r}", offset)
    version = int(match[1])
    if version < LOWEST_VERSION:
        raise RemoteProtocolError(
            f"the peer greets with version {version}; {LOWEST_VERSION} is the lowest there is support for", offset
        )
    return version


def lines_after(version: int) -> int:
    """How many lines a peer of that version sends us after its version line: the lower version of both
    counts.
    """
    return 3 if min(version, OUR_VERSION) >= 4 else 2


_WORD = re.compile(r"(?:'[^']*'|[^' ])+")
_LINE = re.compile(rb"[ -~]*")
_KEY = re.compile(r"-[A-Za-z]\w*")
_WORD_ALONE = re.compile(r"[A-Za-z]\w*")


def read_words(line: bytes, offset: int) -> Mapping[str, str]:
    """The words of one further line, in any order, known or not.

    RemoteProtocolError if it is no line of words: that keeps a peer that sends too few lines from losing the
    beginning of its first expression in here.
    """
    words = _words(line)
    if words is None:
        raise RemoteProtocolError(f"a greeting line holds {line[:60]!r}", offset)
    return words


@lru_cache(maxsize=64)  # all clients of one version on one platform send the same lines
def _words(line: bytes) -> Mapping[str, str] | None:
    if not _LINE.fullmatch(line):
        return None
    words: dict[str, str] = {}
    key = None
    for match in _WORD.finditer(line.decode()):
        word = match[0]
        if _KEY.fullmatch(word):
            key = word[1:]
            words[key] = ""
        elif key is not None:
            words[key] = word.replace("'", "")
            key = None
        elif _WORD_ALONE.fullmatch(word):
            words[word] = ""
        else:
            return None
    return MappingProxyType(words)
