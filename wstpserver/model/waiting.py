"""Who waits for a kernel, in order."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wstpserver.model.states import Request


class WaitingLine:
    """A line that anybody can leave, as quickly as he has joined it: thousands of clients may wait for a pool."""

    # A plain dict would keep the places of those who have left, and look through them for the first who has not.
    __slots__ = ("_requests",)

    def __init__(self) -> None:
        #: None while nobody has ever waited, as with most kernels.
        self._requests: OrderedDict[Request, None] | None = None

    def join(self, request: Request) -> None:
        """Stand behind all others."""
        if self._requests is None:
            self._requests = OrderedDict()
        self._requests[request] = None

    def leave(self, request: Request) -> None:
        """Wait no longer. Raises KeyError for one who is not in the line."""
        if self._requests is None:
            raise KeyError(request)
        del self._requests[request]

    @property
    def first(self) -> Request:
        """Who has waited longest. Raises StopIteration if nobody waits."""
        return next(iter(self))

    def __iter__(self) -> Iterator[Request]:
        return iter(self._requests or ())

    def __len__(self) -> int:
        return len(self._requests or ())
