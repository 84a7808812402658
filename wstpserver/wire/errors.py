"""Exceptions of the wire layer, and the base class of every exception of the package.

As in h11, the name of a protocol error says who broke the rules: us (`LocalProtocolError`) or the peer
(`RemoteProtocolError`).
"""

from __future__ import annotations


class WSTPError(Exception):
    """Base of every exception this package raises on purpose."""


class ProtocolError(WSTPError):
    """Something is not the protocol of docs/wire-protocol.md.

    Attributes:
        message: What.
        offset: The number of bytes between the start of the stream and the offending one; None where there is no stream
            (an expression to encode, a sequence of calls).
    """

    def __init__(self, message: str, offset: int | None = None) -> None:
        super().__init__(message, offset)  # both, so that the exception survives pickling
        self.message = message
        self.offset = offset

    def __str__(self) -> str:
        if self.offset is None:
            return self.message
        return f"{self.message} (at byte {self.offset})"


class LocalProtocolError(ProtocolError):
    """We were asked to do something the protocol does not allow or cannot express."""


class RemoteProtocolError(ProtocolError):
    """The peer sent something that is not the protocol, or more than the limits allow."""
