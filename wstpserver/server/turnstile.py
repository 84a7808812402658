"""Letting others run, and the sockets be looked at, before going on with work that never waits.

``gevent.sleep(0)`` is not enough: the hub runs up to fifty such callbacks before it polls again, so that one busy
greenlet that takes a millisecond each time holds up everybody's sockets for fifty. Whoever waits here comes back
after one poll, like those whose sockets have become ready.
"""

from __future__ import annotations

import os

from gevent import get_hub

#: Seconds after which whoever always finds something to do lets the others run. A frame may cost next to nothing or,
#: being a command, a tenth of a millisecond, so neither frames nor bytes are a measure.
TURN = 0.001

#: A pipe that always has something to read: waiting for it takes one round of the hub.
_always_ready, _other_end = os.pipe()
os.write(_other_end, b".")


def let_others_run() -> None:
    """Come back after the hub has polled once."""
    hub = get_hub()
    watcher = hub.loop.io(_always_ready, 1)
    try:
        hub.wait(watcher)
    finally:
        watcher.close()
