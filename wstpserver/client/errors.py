"""Exceptions of the client library. Each says what happened, where, and what to do about it.

What the peer sends against the protocol is a `RemoteProtocolError` of the wire layer; everything derives from
`WSTPError`.
"""

from __future__ import annotations

from concurrent.futures import BrokenExecutor

from wstpserver.wire.errors import WSTPError
from wstpserver.wire.values import Expression


class LinkError(WSTPError):
    """Something is wrong with a link.

    ``message``: what happened, as a sentence without a full stop. ``where``: the link or address, None if there is
    none yet. ``advice``: what the user can do, None if that is plain.
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
    """The time is over. The link is as good as before; what was received or sent in part is not lost."""


class LinkClosed(LinkError):
    """The link has ended, from the other side or from this one. Everything received before was delivered first."""


class ConnectError(LinkError):
    """No link came about: nobody listens there, the name does not resolve, or the peer does not speak WSTP."""


class ListenError(LinkError):
    """The address cannot be listened on."""


class LinkSyntaxError(LinkError, ValueError):
    """An address or a list of link options that means nothing."""


class EvaluationError(WSTPError):
    """An evaluation ended without a value. Base of the others; the session can be used on."""


class EvaluationAborted(EvaluationError):
    """`Session.abort()` ended the evaluation before it was done."""


class EvaluationTimeout(EvaluationAborted, TimeoutError):
    """The evaluation's time was over. The kernel was told to abort it; its late answer will be thrown away."""


class KernelLost(EvaluationError):
    """The kernel is gone, with all that it held: the server put a new one in its place, or a session that came back
    after its connection broke did not find it any more. Such a session has ended.
    """


class EvaluationLost(EvaluationError):
    """The connection broke while the evaluation was under way. The session is back at its kernel, which is idle, but
    the answer is not there: nobody knows whether the evaluation took place, so it was not repeated.

    ``missed``: the packets that the kernel wrote meanwhile; ``dropped``: how many more the server did not keep.
    """

    def __init__(self, message: str, missed: tuple[Expression, ...] = (), dropped: int = 0) -> None:
        super().__init__(message, missed, dropped)
        self.message = message
        self.missed = missed
        self.dropped = dropped

    def __str__(self) -> str:
        return self.message


class CommandError(EvaluationError):
    """A server command was not carried out; ``reply`` is the server's JSON as a dict."""

    def __init__(self, message: str, reply: dict[str, object] | None = None) -> None:
        super().__init__(message, reply)
        self.message = message
        self.reply = reply if reply is not None else {}

    def __str__(self) -> str:
        return self.message


class ParallelError(WSTPError):
    """No kernels to work with: the server has none to give, or they cannot be prepared. The text says what to do."""


class KernelDied(ParallelError):
    """The kernel ended while it evaluated this, each time that it was tried. ``__cause__`` is how its link ended."""


class KernelsGone(ParallelError, BrokenExecutor):
    """No kernel of the executor is left, and none can be had: nothing more will be evaluated."""
