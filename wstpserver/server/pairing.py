"""Brings the two connections of a link together, whichever comes first."""

from __future__ import annotations

from typing import Generic, TypeVar

Connection = TypeVar("Connection")


class Rejected(Exception):
    """A connection that becomes no link; the text says why."""


class Pairing(Generic[Connection]):
    """The connections that wait for the other one of their link, by UUID."""

    def __init__(self) -> None:
        self._data: dict[str, Connection] = {}
        self._messages: dict[str, Connection] = {}

    def take_messages(self, uuid: str, data: Connection) -> Connection | None:
        """The message connection of this data connection, which otherwise waits for it from now on. Raises `Rejected`
        if another one does so."""
        if uuid in self._data:
            raise Rejected(f"a second data connection says that it is {uuid}")
        messages = self._messages.pop(uuid, None)
        if messages is None:
            self._data[uuid] = data
        return messages

    def take_data(self, uuid: str, messages: Connection) -> Connection | None:
        """The data connection of this message connection, which otherwise waits for it from now on. Raises `Rejected`
        if another one does so."""
        if uuid in self._messages:
            raise Rejected(f"a second message connection says that it is {uuid}")
        data = self._data.pop(uuid, None)
        if data is None:
            self._messages[uuid] = messages
        return data

    def forget(self, uuid: str, connection: Connection) -> None:
        """This connection does not wait any more."""
        for waiting in (self._data, self._messages):
            if waiting.get(uuid) is connection:
                del waiting[uuid]
