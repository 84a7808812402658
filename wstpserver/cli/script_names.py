"""The names that a kernel knows, for completion."""

from __future__ import annotations

from typing import Final

from wstpserver.client import Session
from wstpserver.wire.errors import WSTPError
from wstpserver.wire.values import Function, Symbol

#: Seconds that a kernel has to answer: it is idle, and somebody waits at the keyboard.
_TIMEOUT: Final = 2.0
_MOST: Final = 500
_LIST: Final = (Symbol("List"), Symbol("System`List"))


def names_beginning(session: Session, beginning: str) -> list[str]:
    """The symbols whose names begin so, sorted; none if the kernel does not answer."""
    if any(character in '*@\\"' for character in beginning):
        return []
    try:
        value = session.evaluate(Function(Symbol("Names"), (beginning + "*",)), _TIMEOUT)
    except WSTPError:
        return []
    if not isinstance(value, Function) or value.head not in _LIST:
        return []
    return sorted({name for name in value.args if isinstance(name, str)})[:_MOST]
