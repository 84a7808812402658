"""Exceptions of the client library, and its log. Each says what happened, where, and what to do about it.

Bytes of the peer that are not WSTP are a `RemoteProtocolError` of the wire layer. All derive from `WSTPError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wstpserver.wire.errors import WSTPError
from wstpserver.wire.values import Expression

if TYPE_CHECKING:
    import logging


class LinkError(WSTPError):
    """Something is wrong with a link.

    Attributes:
        message: What happened, as a sentence without a full stop.
        where: The link or address; None if there is none yet.
        advice: What the user can do; None if that is plain.
    """

    def __init__(self, message: str, where: str | None = None, advice: str | None = None) -> None:
        super().__init__(message, where, advice)  # all of them, so that the exception survives pickling
        self.message = message
        self.where = where
        self.advice = advice

    def __str__(self) -> str:
        text = self.message if self.where is None else f"{self.where}: {self.message}"
        return text if self.advice is None else f"{text}. {self.advice}"


class LinkTimeout(LinkError, TimeoutError):
    """The time-out expired. The link is as good as before; what was received or sent in part is not lost."""


class LinkClosed(LinkError):
    """The link has ended, from the other side or from this one. Everything received before was delivered first."""


class ConnectError(LinkError):
    """No link was made: nobody listens there, the name does not resolve, or the peer does not speak WSTP."""


class AccessDenied(LinkError):
    """A WSTPServer does not accept the access token."""


class ListenError(LinkError):
    """The address cannot be listened on."""


class LinkSyntaxError(LinkError, ValueError):
    """The text is no valid address, or no valid list of link options."""


class EvaluationError(WSTPError):
    """An evaluation ended without a value. Base class of the others; the session can still be used."""


class EvaluationAborted(EvaluationError):
    """`Session.abort()` ended the evaluation before it was done."""


class EvaluationTimeout(EvaluationAborted, TimeoutError):
    """The evaluation's time-out expired. A late answer is thrown away."""


class EvaluationFailed(EvaluationError):
    """With ``check=True``: the evaluation gave messages, or its value is ``$Failed``.

    Attributes:
        message: What happened.
        messages: The kernel's messages, each a `KernelMessage`.
        value: The value, in the form of results that was asked for.
    """

    def __init__(self, message: str, messages: tuple[object, ...] = (), value: object = None) -> None:
        super().__init__(message, messages, value)
        self.message = message
        self.messages = messages
        self.value = value

    def __str__(self) -> str:
        return self.message


class KernelLost(EvaluationError):
    """The kernel is gone, or belongs to another client, with everything that was defined in it.

    The server put a new kernel in its place, another client took it by its ID, or a session that reconnected after its
    connection broke did not find it. Nothing is evaluated in another kernel before this was raised.
    """


class EvaluationLost(EvaluationError):
    """The connection broke during the evaluation. The session is connected to its kernel again, which is idle, but the
    answer is not there: it is not known whether the evaluation took place, so it was not repeated.

    Attributes:
        message: What happened.
        missed: The packets that the kernel wrote meanwhile.
        dropped: The number of packets that the server did not keep.
    """

    def __init__(self, message: str, missed: tuple[Expression, ...] = (), dropped: int = 0) -> None:
        super().__init__(message, missed, dropped)
        self.message = message
        self.missed = missed
        self.dropped = dropped

    def __str__(self) -> str:
        return self.message


class CommandError(EvaluationError):
    """The server did not carry out a command.

    Attributes:
        message: What happened.
        reply: The server's JSON as a dict; empty if the answer was none.
    """

    def __init__(self, message: str, reply: dict[str, object] | None = None) -> None:
        super().__init__(message, reply)
        self.message = message
        self.reply = reply if reply is not None else {}

    def __str__(self) -> str:
        return self.message


class ProfileError(WSTPError):
    """A profile cannot be read, written or understood; the text names it and says why."""


class ParallelError(WSTPError):
    """There are no kernels for parallel work: the server has none to give, or they cannot be prepared."""


class KernelDied(ParallelError):
    """The kernel ended while it evaluated this, at each attempt. ``__cause__`` is how its link ended."""


class KernelWarning(UserWarning):
    """A message of the kernel, where there is no `Callbacks.on_message`."""


def logger(name: str) -> logging.Logger:
    """What a module logs to. Few programs log anything, and `logging` takes a while to import."""
    import logging

    return logging.getLogger(name)
