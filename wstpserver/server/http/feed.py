"""What the status page shows: a snapshot for a page that is opened, and then, once a second, what has changed.

All pages that are open share one look at the server. A page that does not take its events is dropped, and as long as no
page is open nothing is done but to keep the last entries of the log.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import Any, NamedTuple

import gevent
import ujson
from gevent.queue import Empty, Full, Queue

from wstpserver.pools.states import Kernel
from wstpserver.server.commands.information import describe_kernel, describe_pool, describe_waiting, pool_trouble
from wstpserver.server.http.metrics import POINT_INTERVAL, Meter
from wstpserver.server.log import SEVERITIES, Log, escape
from wstpserver.settings import ServerSettings

#: Seconds between two looks, and the largest part of a processor that they take together.
INTERVAL = 1.0
SHARE = 1 / 200

#: Pages that may be open at the same time.
MOST_PAGES = 16

#: Events that wait for one page before it is dropped.
MOST_EVENTS = 8

#: Entries of the log that are kept, and characters of one.
LOG_ENTRIES = 200
LOG_TEXT = 2000

#: Waiting clients that are listed; the number of all is told beside them.
MOST_WAITING = 100

#: Told to administrators only.
_PRIVATE = frozenset({"Address", "Log", "ConfigurationFile", "ProcessID", "Listening"})

#: Of a pool's and a kernel's description, what the page does not show: much text, or what changes all the time.
_POOL_HIDDEN = frozenset({"InitializationCode", "InitializationFile", "KernelPath", "PreferFreshKernel"})
_KERNEL_HIDDEN = frozenset({"ID", "SecondsInState", "SecondsBusy", "Age", "Client", "Memory"})


class Audience(Enum):
    """Who reads a page."""

    EVERYBODY = "everybody"
    #: The user that the server runs as, root, or who has the token.
    ADMINISTRATOR = "administrator"


class LogEntry(NamedTuple):
    """One entry of the log."""

    number: int
    time: float
    level: str
    text: str


class LogTail(logging.Handler):
    """The last entries of a log.

    Args:
        log: The log.
    """

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log
        self._numbers = itertools.count(1)
        self._entries: deque[LogEntry] = deque(maxlen=LOG_ENTRIES)
        log.follow(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep an entry."""
        text = escape(record.getMessage())
        if len(text) > LOG_TEXT:
            text = text[:LOG_TEXT] + " ..."
        level = SEVERITIES.get(record.levelno, record.levelname)
        self._entries.append(LogEntry(next(self._numbers), record.created, level, text))

    def since(self, number: int) -> list[LogEntry]:
        """The entries behind that with this number, oldest first."""
        return [entry for entry in tuple(self._entries) if entry.number > number]

    def close(self) -> None:
        """Keep no more."""
        self._log.unfollow(self)
        super().close()


class Page:
    """One open page: the events that it has not taken yet."""

    def __init__(self, audience: Audience) -> None:
        self.audience = audience
        self.queue: Queue[bytes | None] = Queue(MOST_EVENTS)
        #: False once it was dropped.
        self.open = True
        #: Called then: whoever sends its events may be in the middle of one.
        self.on_drop: Callable[[], object] = lambda: None

    def events(self, heartbeat: float) -> Iterator[bytes]:
        """The events as they come; ends when the page is dropped.

        Args:
            heartbeat: Seconds without an event after which a comment is sent, so that a page that is gone is noticed.
        """
        while self.open:
            try:
                event = self.queue.get(timeout=heartbeat)
            except Empty:
                yield b":\n\n"
                continue
            if event is None:
                return
            yield event

    def put(self, event: bytes) -> None:
        """Send an event, or drop a page that has too many waiting."""
        try:
            self.queue.put_nowait(event)
        except Full:
            self.drop()

    def drop(self) -> None:
        """Send no more events."""
        if not self.open:
            return
        self.open = False
        while not self.queue.empty():
            self.queue.get_nowait()
        self.queue.put_nowait(None)
        self.on_drop()

    def finish(self) -> None:
        """The same, after the events that wait."""
        try:
            self.queue.put_nowait(None)
        except Full:
            self.drop()


class Feed:
    """The events of all open pages.

    Args:
        meter: What was measured, and the sources of everything else.
        log: The log.
        settings: Returns the configuration.
        server: Returns what is told of the server as a whole.
    """

    def __init__(
        self,
        meter: Meter,
        log: Log,
        settings: Callable[[], ServerSettings],
        server: Callable[[], dict[str, Any]],
    ) -> None:
        self._meter = meter
        self._registry = meter.sources.registry
        self._supervisor = meter.sources.supervisor
        self._settings = settings
        self._server = server
        self._log_tail = LogTail(log)
        self._pages: list[Page] = []
        self._greenlet: gevent.Greenlet | None = None
        #: What pages have been told: the state as a whole, and of each kernel what it was made from.
        self._state: dict[str, Any] = {}
        self._signatures: dict[Kernel, tuple[object, ...]] = {}
        self._logged = 0
        self._points_until = 0.0

    def close(self) -> None:
        """End all pages, and keep no more entries of the log."""
        if self._greenlet is not None:
            self._greenlet.kill()
        self.drop_pages()
        self._log_tail.close()

    def drop_pages(self) -> None:
        """End all pages that are open now, after what they have not taken yet."""
        for page in self._pages:
            page.finish()
        self._pages.clear()

    def open_page(self, audience: Audience) -> Page | None:
        """A new page, whose first event is a snapshot; None if there are too many."""
        if len(self._pages) >= MOST_PAGES:
            return None
        self._tell(self._look())
        page = Page(audience)
        page.put(_event("state", self._visible(self._snapshot(), audience)))
        self._pages.append(page)
        if self._greenlet is None:
            self._greenlet = gevent.spawn(self._run)
        return page

    def close_page(self, page: Page) -> None:
        """The page is gone."""
        page.open = False
        if page in self._pages:
            self._pages.remove(page)

    def look_now(self) -> None:
        """Tell all pages at once what has changed: somebody has just done something and looks for its effect."""
        self._tell(self._look())

    def _run(self) -> None:
        while self._pages:
            began = time.perf_counter()
            self._tell(self._look())
            gevent.sleep(max(INTERVAL, (time.perf_counter() - began) / SHARE))
        self._greenlet = None
        self._state, self._signatures = {}, {}

    def _tell(self, change: dict[str, Any]) -> None:
        texts: dict[Audience, bytes] = {}
        for page in tuple(self._pages):
            if page.audience not in texts:
                texts[page.audience] = _event("change", self._visible(change, page.audience))
            page.put(texts[page.audience])
            if not page.open:
                self._pages.remove(page)

    # -- what there is -------------------------------------------------------------------------------------------

    def _snapshot(self) -> dict[str, Any]:
        points = {name: list(meter.points) for name, meter in self._meter.pools.items() if meter.pool is not None}
        return self._state | {
            "Now": time.time(),
            "PointInterval": POINT_INTERVAL,
            "PointsUntil": self._meter.points_until,
            "Points": points,
            "Log": [entry._asdict() for entry in self._log_tail.since(0) if entry.number <= self._logged],
        }

    def _look(self) -> dict[str, Any]:
        """Bring the state up to date; returns what is different."""
        before = self._state
        offset = time.time() - time.monotonic()
        waiting = self._waiting(offset)
        state = {
            "Server": self._server() | {"Lag": round(self._meter.lag, 3), "Clients": len(self._registry.clients)},
            "Pools": self._pools(),
            "Kernels": before.get("Kernels", {}),
            "Waiting": waiting[:MOST_WAITING],
            "WaitingNumber": len(waiting),
        }
        change: dict[str, Any] = {"Now": time.time(), "Kernels": self._kernels(state["Kernels"], offset)}
        change["Server"] = _difference(before.get("Server", {}), state["Server"])
        change["Pools"] = _difference(before.get("Pools", {}), state["Pools"])
        for key in ("Waiting", "WaitingNumber"):
            if before.get(key) != state[key]:
                change[key] = state[key]
        entries = self._log_tail.since(self._logged)
        if entries:
            self._logged = entries[-1].number
            change["Log"] = [entry._asdict() for entry in entries]
        if self._points_until != self._meter.points_until:
            self._points_until = change["PointsUntil"] = self._meter.points_until
            change["Points"] = {
                name: list(meter.points)[-1:] for name, meter in self._meter.pools.items() if meter.pool is not None
            }
        self._state = state
        return {key: value for key, value in change.items() if value or key == "Now" or key.startswith("Waiting")}

    def _pools(self) -> dict[str, dict[str, Any]]:
        settings = self._settings()
        return {
            pool.name: {key: value for key, value in describe_pool(settings, pool).items() if key not in _POOL_HIDDEN}
            | {
                "Trouble": pool_trouble(self._supervisor, pool),
                "Retired": pool.retired,
            }
            for pool in self._registry.pools.values()
        }

    def _kernels(self, known: dict[str, Any], offset: float) -> dict[str, Any]:
        """Bring what is known of the kernels up to date; returns what is different, None for one that is gone."""
        changed: dict[str, Any] = {}
        kernels, signatures, memory = self._registry.kernels, self._signatures, self._meter.memory
        busy_since = self._meter.busy_since
        for kernel in kernels.values():
            size, busy = memory.get(kernel, 0), busy_since(kernel)
            signature = (kernel.state, kernel.busy, busy, kernel.client, kernel.evaluations, kernel.since, size >> 20)
            if signatures.get(kernel) == signature:
                continue
            signatures[kernel] = signature
            described = self._kernel(kernel, busy, size, offset)
            difference = _difference(known.get(kernel.id, {}), described)
            if difference:
                changed[kernel.id] = difference
                known[kernel.id] = described
        for kernel in [kernel for kernel in signatures if kernel.id not in kernels]:
            del signatures[kernel]
            known.pop(kernel.id, None)
            changed[kernel.id] = None
        return changed

    def _kernel(self, kernel: Kernel, busy: float | None, size: int, offset: float) -> dict[str, Any]:
        told, client = describe_kernel(self._supervisor, {}, kernel, addresses=False), kernel.client
        return {key: value for key, value in told.items() if key not in _KERNEL_HIDDEN} | {
            "Pool": kernel.pool.name if kernel.pool is not None else "",
            "Since": round(kernel.since + offset, 1),
            "BusySince": round(busy + offset, 1) if busy is not None else None,
            "Client": client.short_name if client is not None else "",
            "Address": client.address if client is not None else "",
            "Memory": size or None,
        }

    def _waiting(self, offset: float) -> list[dict[str, Any]]:
        found = []
        for pool in self._registry.pools.values():
            trouble = self._supervisor.trouble(pool) if pool.waiting else ""
            found += [(waiting, trouble) for waiting in pool.waiting]
        found += [(waiting, "") for kernel in self._registry.kernels.values() for waiting in kernel.waiting]
        listed: list[dict[str, Any]] = []
        for waiting, trouble in sorted(found, key=lambda one: one[0].since):
            told = describe_waiting(waiting, trouble) if len(listed) < MOST_WAITING else {}
            client, since = waiting.client, round(waiting.since + offset, 1)
            listed.append(told | {"Client": client.short_name, "Address": client.address, "Since": since})
        return listed

    @staticmethod
    def _visible(message: dict[str, Any], audience: Audience) -> dict[str, Any]:
        """What this audience may see of a message."""
        if audience is Audience.ADMINISTRATOR:
            return message | {"Administrator": True}
        visible = {key: value for key, value in message.items() if key not in _PRIVATE}
        for key in ("Kernels", "Pools"):
            if key in visible:
                visible[key] = {name: value and _public(value) for name, value in visible[key].items()}
        if "Server" in visible:
            visible["Server"] = _public(visible["Server"])
        if "Waiting" in visible:
            visible["Waiting"] = [_public(one) for one in visible["Waiting"]]
        return visible | {"Administrator": False}


def _public(told: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in told.items() if key not in _PRIVATE}


def _difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """The members of *after* that are new or different, and None for those that are gone."""
    missing = object()
    changed = {key: value for key, value in after.items() if before.get(key, missing) != value}
    return changed | {key: None for key in before if key not in after}


def _event(name: str, message: Mapping[str, Any]) -> bytes:
    """A server-sent event; JSON texts have no line ends."""
    return f"event: {name}\ndata: {ujson.dumps(message, escape_forward_slashes=False)}\n\n".encode()
