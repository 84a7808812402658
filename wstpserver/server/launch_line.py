"""Who may start a kernel now: so many at the same time, the others in order."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from wstpserver.pools.states import Kernel


class LaunchLine:
    """The kernels that are to be launched. Those that wait need no greenlet: a pool may have thousands of them.

    *most* bounds how many are launched at the same time, so that a large pool does not slow each of them down until
    none is ready in time.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting: OrderedDict[Kernel, Callable[[Kernel], None]] = OrderedDict()
        self._under_way: set[Kernel] = set()

    def set_most(self, most: int) -> None:
        """Change the bound; what is under way goes on."""
        self._most = most
        self._go_on()

    @property
    def waiting(self) -> bool:
        """True if somebody waits for his turn."""
        return bool(self._waiting)

    def join(self, kernel: Kernel, begin: Callable[[Kernel], None]) -> None:
        """Have *begin* called when it is this kernel's turn, perhaps at once; it must not wait. The turn lasts until
        the kernel leaves."""
        self._waiting[kernel] = begin
        self._go_on()

    def leave(self, kernel: Kernel) -> None:
        """The kernel is launched, or does not wait any longer."""
        self._waiting.pop(kernel, None)
        self._under_way.discard(kernel)
        self._go_on()

    def _go_on(self) -> None:
        while self._waiting and len(self._under_way) < self._most:
            kernel, begin = self._waiting.popitem(last=False)
            self._under_way.add(kernel)
            begin(kernel)
