"""What can go wrong with kernels that work in parallel."""

from __future__ import annotations

from concurrent.futures import BrokenExecutor

from wstpserver.wire.errors import WSTPError


class ParallelError(WSTPError):
    """No kernels to work with: the server has none to give, or they cannot be prepared. The text says what to do."""


class KernelDied(ParallelError):
    """The kernel ended while it evaluated this, each time that it was tried. ``__cause__`` is how its link ended."""


class KernelsGone(ParallelError, BrokenExecutor):
    """No kernel of the executor is left, and none can be had: nothing more will be evaluated."""
