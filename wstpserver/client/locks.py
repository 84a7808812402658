"""Locks that are waited for no longer than a deadline."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from wstpserver.client.deadline import Deadline
from wstpserver.client.errors import LinkTimeout


class OwnedLock:
    """A lock on one half of a link. `where` and `otherwise` are what LinkTimeout says while another thread holds it."""

    def __init__(self, where: str, otherwise: str) -> None:
        self._lock = threading.Lock()
        self._where = where
        self._otherwise = otherwise

    def locked(self) -> bool:
        """Whether a thread holds it."""
        return self._lock.locked()

    @contextmanager
    def within(self, deadline: Deadline) -> Iterator[None]:
        """Hold it; LinkTimeout if it cannot be had in time."""
        remaining = deadline.remaining()
        if not self._lock.acquire(timeout=-1 if remaining is None else remaining):
            raise LinkTimeout(f"{self._otherwise}, {deadline}", self._where)
        try:
            yield
        finally:
            self._lock.release()

    @contextmanager
    def if_free(self, patience: float = 0.0) -> Iterator[bool]:
        """Hold it if it can be had within `patience` seconds; whether it is held."""
        owned = self._lock.acquire(timeout=patience)
        try:
            yield owned
        finally:
            if owned:
                self._lock.release()
