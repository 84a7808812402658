"""Which connections belong to one link: by UUID, or in classic mode by turns."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import suppress

from wstpserver.client.arrival import Arrival, Refused
from wstpserver.client.connection import Connection


class Pairing:
    """The halves of links that a listener holds.

    A classic message connection says nothing about itself, so only one classic link at a time is told where to
    connect; the next has its answer when that one is complete or gone.
    """

    def __init__(self) -> None:
        self._data: dict[str, Arrival] = {}
        self._messages: dict[str, Arrival] = {}
        self._classic: deque[Arrival] = deque()
        self._classic_message: Connection | None = None

    def add(self, arrival: Arrival) -> None:
        """An arrival that has just said what it is. Refused if there is such a half already."""
        identity = arrival.identity
        assert identity is not None
        if arrival.is_classic:
            self._classic.append(arrival)
            self._give_turn()
            return
        assert identity.uuid is not None, "a link in UUID mode has a UUID"
        halves = self._messages if arrival.is_message else self._data
        if identity.uuid in halves:
            raise Refused(f"there is a {identity.channel} connection with the same UUID already")
        halves[identity.uuid] = arrival

    def _give_turn(self) -> None:
        """Let the first classic link have its answer."""
        if self._classic and self._classic[0].on_hold:
            self._classic[0].on_hold = False
            with suppress(Refused):  # a dead connection is heard of by the listener
                self._classic[0].answer()

    def add_classic_message(self, connection: Connection) -> bool:
        """A connection to the message port; False if no classic link waits for one."""
        if not self._classic or self._classic_message is not None:
            return False
        self._classic_message = connection
        return True

    def complete(self) -> Iterator[tuple[Arrival, Arrival | Connection, bytes]]:
        """Take out what is complete: data, messages, and bytes received ahead on the message connection."""
        for uuid in [uuid for uuid in self._data if uuid in self._messages and self._data[uuid].greeted]:
            messages = self._messages.pop(uuid)
            yield self._data.pop(uuid), messages, messages.leftover()
        while self._classic and self._classic[0].greeted and self._classic_message is not None:
            connection, self._classic_message = self._classic_message, None
            yield self._classic.popleft(), connection, b""
            self._give_turn()

    def remove(self, arrival: Arrival) -> list[Connection]:
        """Forget `arrival`; connections that are of no use without it, to be closed."""
        orphans: list[Connection] = []
        if arrival in self._classic:
            if self._classic[0] is arrival and self._classic_message is not None:
                orphans.append(self._classic_message)
                self._classic_message = None
            self._classic.remove(arrival)
            self._give_turn()
        elif arrival.identity is not None and arrival.identity.uuid is not None:
            halves = self._messages if arrival.is_message else self._data
            if halves.get(arrival.identity.uuid) is arrival:
                del halves[arrival.identity.uuid]
        return orphans
