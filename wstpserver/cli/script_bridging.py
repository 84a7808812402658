"""Asking the server for a kernel."""

from __future__ import annotations

from typing import Final

from wstpserver.client import CommandError, Session
from wstpserver.client.deadline import Deadline
from wstpserver.wire.values import Symbol

#: Seconds after which the user is told what is waited for.
SOON: Final = 2.0
#: Seconds for the server to answer after it has waited.
_ANSWER: Final = 10.0


def connects(session: Session, specifier: str, wait: float) -> bool:
    """Ask for a kernel; False if none came within `wait` seconds."""
    try:
        session.command("ConnectKernel", specifier, wait, timeout=wait + _ANSWER)
    except CommandError as error:
        if not error.reply:
            raise
        return False
    return True


def give_up_unused(session: Session) -> None:
    """A kernel of the default pool may have come by itself; unused as it is, it must not stay reserved."""
    try:
        session.command("SetKeepAlive", Symbol("False"))
    except CommandError as error:
        if not error.reply:
            raise
        # no kernel yet: the server has none to spare


def time_limit(deadline: Deadline, default: float) -> float:
    """Seconds that are left, `default` without a limit."""
    remaining = deadline.remaining()
    return default if remaining is None else remaining
