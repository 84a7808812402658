"""The names that a kernel knows, for completion."""

from __future__ import annotations

from typing import Final

from wstpserver.client import Session
from wstpserver.wire.errors import WSTPError
from wstpserver.wire.values import Function, Symbol

#: Seconds that a kernel has to answer: it is idle, and somebody waits at the keyboard.
_TIMEOUT: Final = 2.0
_MOST: Final = 500


def names_beginning(session: Session, beginning: str) -> list[str]:
    """The symbols whose names begin so, sorted; none if the kernel does not answer."""
    if any(character in '*@\\"' for character in beginning):
        return []
    try:
        value = session.evaluate(Function(Symbol("Names"), (beginning + "*",)), _TIMEOUT)
    except WSTPError:
        return []
    names = value.args if isinstance(value, Function) else ()
    return sorted({name for name in names if isinstance(name, str)})[:_MOST]
