"""Acknowledging what a client has sent when the answer that would do it takes its time.

The vendor's library has Nagle's algorithm on: what it writes after an evaluation packet, a command for example, leaves
only when that packet is acknowledged, and Linux puts an acknowledgement off for 40 ms unless there is something to
send. To ask for one costs a packet; most evaluations are answered sooner, and the answer carries it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gevent import get_hub

if TYPE_CHECKING:
    from wstpserver.server.delivery import Delivery
    from wstpserver.server.stream import Stream

#: Seconds that an acknowledgement waits for an answer to go with; at most twice as many.
PUT_OFF = 0.004


class LateAcknowledgements:
    """The streams whose last bytes are perhaps not acknowledged yet, all looked after by one timer."""

    def __init__(self) -> None:
        self._owed: dict[Stream, Delivery] = {}
        self._older: dict[Stream, Delivery] = {}
        self._timer: Any = None

    def owe(self, stream: Stream, delivery: Delivery) -> None:
        """Acknowledge soon what *stream* has received, unless the kernel of *delivery* is idle by then."""
        if not self._owed and not self._older:
            self._start()
        self._owed[stream] = delivery

    def _start(self) -> None:
        if self._timer is None:
            self._timer = get_hub().loop.timer(PUT_OFF, PUT_OFF)
        self._timer.start(self._look, update=True)

    def _look(self) -> None:
        for stream, delivery in self._older.items():
            if delivery.kernel is not None and delivery.kernel.busy and not stream.ended:
                stream.acknowledge()
        self._older, self._owed = self._owed, {}
        if not self._older:
            self._timer.stop()

    def close(self) -> None:
        """Give the timer back."""
        if self._timer is not None:
            self._timer.stop()
            self._timer.close()
            self._timer = None
