"""The states of a kernel, the one table of allowed transitions, and the records the model keeps."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from wstpserver.model.waiting import WaitingLine

if TYPE_CHECKING:
    from wstpserver.settings import PoolSettings


class KernelState(Enum):
    """Where a kernel is in its life."""

    STARTING = "starting"
    FREE = "free"
    RESERVED = "reserved"
    BRIDGED = "bridged"
    RESETTING = "resetting"
    CLOSING = "closing"
    GONE = "gone"


#: Every transition there is. Whatever is not listed is a defect of the caller.
TRANSITIONS: dict[KernelState, frozenset[KernelState]] = {
    KernelState.STARTING: frozenset({KernelState.FREE, KernelState.CLOSING, KernelState.GONE}),
    KernelState.FREE: frozenset(
        {KernelState.BRIDGED, KernelState.RESETTING, KernelState.CLOSING, KernelState.GONE}
    ),
    KernelState.RESERVED: frozenset({KernelState.BRIDGED, KernelState.CLOSING, KernelState.GONE}),
    KernelState.BRIDGED: frozenset(
        {KernelState.FREE, KernelState.RESERVED, KernelState.CLOSING, KernelState.GONE}
    ),
    KernelState.RESETTING: frozenset({KernelState.FREE, KernelState.CLOSING, KernelState.GONE}),
    KernelState.CLOSING: frozenset({KernelState.GONE}),
    KernelState.GONE: frozenset(),
}

#: States that count towards a pool's minimum.
LIVING = frozenset(KernelState) - {KernelState.CLOSING, KernelState.GONE}

#: States of a kernel that comes back to its pool by itself, so that a client can wait for it.
COMING = frozenset({KernelState.STARTING, KernelState.RESETTING})


class TransitionError(AssertionError):
    """A transition that the table does not have was asked for."""


@dataclass(eq=False, slots=True)
class Kernel:
    """What the model knows of one kernel."""

    id: str
    pool: Pool | None
    command_line: str | None = None
    state: KernelState = KernelState.STARTING
    #: When it came into its state, by the registry's clock.
    since: float = 0.0
    #: When it became ready, and when its last evaluation ended.
    ready_at: float = 0.0
    idle_since: float = 0.0
    client: Client | None = None
    busy: bool = False
    #: Busy, but waiting for its client to say something: whoever names its ID may take its place.
    awaiting: bool = False
    #: The setting of SetReserveKernel; None leaves it to the pool.
    reserve: bool | None = None
    #: How often it was bridged.
    uses: int = 0
    #: How many evaluations its clients have begun in it.
    evaluations: int = 0
    #: True from its first bridge on, until ResetCode has run after the last one.
    needs_reset: bool = False
    #: Who waits for this very kernel to become idle.
    waiting: WaitingLine = field(default_factory=WaitingLine)

    def move(self, state: KernelState) -> None:
        """Go to *state*, or raise TransitionError. The registry keeps the pool's lists in step with it."""
        if state not in TRANSITIONS[self.state]:
            raise TransitionError(f"kernel {self.id}: {self.state.value} -> {state.value}")
        self.state = state

    @property
    def reserved_when_unbridged(self) -> bool:
        """Whether it is kept for clients that name its ID once its bridge ends."""
        if self.reserve is not None:
            return self.reserve
        return self.pool is not None and self.pool.settings.reserve_previously_connected_kernels


@dataclass(eq=False, slots=True)
class Client:
    """What the model knows of one client link."""

    name: str
    kernel: Kernel | None = None
    #: What SetKeepAlive and SetAllowSilentKernelReplacement said for the present bridge; None leaves it to the
    #: configuration.
    keep_alive: bool | None = None
    allow_replacement: bool | None = None
    request: Request | None = None
    #: How many evaluations had been begun in its kernel when the bridge began.
    evaluations_before: int = 0

    @property
    def has_not_used_it(self) -> bool:
        """Whether it has evaluated nothing in its kernel, and said nothing about its future."""
        kernel = self.kernel
        return kernel is not None and kernel.evaluations == self.evaluations_before and self.keep_alive is None


@dataclass(eq=False, slots=True)
class Request:
    """A client that waits for a kernel of a pool, or for one kernel to become idle."""

    client: Client
    pool: Pool | None
    kernel: Kernel | None


@dataclass(eq=False, slots=True)
class Pool:
    """What the model knows of one pool.

    Choosing passes over busy kernels only, so it is O(1) while the free kernels are idle.
    """

    settings: PoolSettings
    kernels: dict[str, Kernel] = field(default_factory=dict)
    #: Free kernels that were never bridged, oldest first.
    fresh: OrderedDict[str, Kernel] = field(default_factory=OrderedDict)
    #: Free kernels that were bridged before, in the order in which they were unbridged; some may be busy still.
    used: OrderedDict[str, Kernel] = field(default_factory=OrderedDict)
    waiting: WaitingLine = field(default_factory=WaitingLine)
    #: How many kernels are in each state.
    counts: dict[KernelState, int] = field(default_factory=lambda: dict.fromkeys(KernelState, 0))
    #: True between a failed start and the end of the pause that follows it.
    holding_off: bool = False
    #: True once the pool has gone from the configuration; it lasts as long as its kernels.
    retired: bool = False

    @property
    def name(self) -> str:
        """The pool's name in the configuration."""
        return self.settings.name

    @property
    def living(self) -> int:
        """Kernels that count towards MinimumKernelNumber."""
        return sum(self.counts[state] for state in LIVING)

    @property
    def running(self) -> int:
        """Kernels that count towards MaximumKernelNumber: the living ones and those that are still closing,
        because a closing kernel still holds its memory and its licence seat."""
        return self.living + self.counts[KernelState.CLOSING]

    @property
    def room(self) -> int:
        """How many more kernels may be started."""
        return max(0, self.settings.maximum_kernel_number - self.running)

    @property
    def available(self) -> int:
        """How many kernels a client could get at once."""
        return sum(not kernel.busy for kernels in (self.fresh, self.used) for kernel in kernels.values())

    def choose(self) -> Kernel | None:
        """Return the free idle kernel that the next client gets, or None.

        Without ReservePreviouslyConnectedKernels, previously bridged kernels come first, in the order in which
        they were unbridged (specification, "Key-Value Pairs"); with it fresh ones do.
        """
        fresh_first = self.settings.reserve_previously_connected_kernels
        for kernels in (self.fresh, self.used) if fresh_first else (self.used, self.fresh):
            for kernel in kernels.values():
                if not kernel.busy:
                    return kernel
        return None
