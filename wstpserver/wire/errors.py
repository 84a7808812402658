"""Errors of the package. Everything it raises on purpose derives from ``WSTPError``."""

from __future__ import annotations


class WSTPError(Exception):
    """Base of every error of the package."""


class ProtocolError(WSTPError):
    """Something that the WSTP protocol does not allow; ``offset`` counts bytes since the start of the stream."""

    def __init__(self, message: str, offset: int | None = None) -> None:
        super().__init__(message)
        self.offset = offset


class LocalProtocolError(ProtocolError):
    """We were asked to do something that the protocol does not allow or cannot encode."""


class RemoteProtocolError(ProtocolError):
    """The peer sent something that is not the protocol."""
