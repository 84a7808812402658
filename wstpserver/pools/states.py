"""The states of kernels, bridges and waiting clients with their tables of transitions, the records that the registry
keeps, the effects of its decisions, and the IDs of kernels.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum
from hashlib import blake2b
from typing import Any

from wstpserver.pools.evaluation import EvaluationStack
from wstpserver.settings import PoolSettings


class TransitionError(AssertionError):
    """A transition was asked for that the table does not have."""


class KernelState(Enum):
    """Where a kernel is in its life."""

    # the hash of an enum is a function in Python, and these are keys where it counts
    __hash__ = object.__hash__

    STARTING = "starting"
    FREE = "free"
    RESERVED = "reserved"
    BRIDGED = "bridged"
    RESETTING = "resetting"
    #: Its link has ended and it is not settled yet how the process ends. Its client, if any, keeps its rights.
    DYING = "dying"
    CLOSING = "closing"
    GONE = "gone"


#: Every transition there is. Whatever is not listed is a defect of the caller.
TRANSITIONS: dict[KernelState, frozenset[KernelState]] = {
    KernelState.STARTING: frozenset({KernelState.FREE, KernelState.CLOSING, KernelState.GONE}),
    KernelState.FREE: frozenset(
        {KernelState.BRIDGED, KernelState.RESETTING, KernelState.DYING, KernelState.CLOSING}
    ),
    KernelState.RESERVED: frozenset(
        {KernelState.FREE, KernelState.BRIDGED, KernelState.DYING, KernelState.CLOSING}
    ),
    KernelState.BRIDGED: frozenset(
        {KernelState.FREE, KernelState.RESERVED, KernelState.DYING, KernelState.CLOSING}
    ),
    KernelState.RESETTING: frozenset({KernelState.FREE, KernelState.DYING, KernelState.CLOSING}),
    KernelState.DYING: frozenset({KernelState.CLOSING}),
    KernelState.CLOSING: frozenset({KernelState.GONE}),
    KernelState.GONE: frozenset(),
}

#: States that count towards a pool's minimum. A dying kernel counts until it is settled how it ended, because a pool
#: whose kernels all end at once must pause before it starts others.
LIVING = frozenset(KernelState) - {KernelState.CLOSING, KernelState.GONE}

#: States of a kernel that has been initialised and can evaluate.
READY = frozenset({KernelState.FREE, KernelState.RESERVED, KernelState.BRIDGED, KernelState.RESETTING})

#: States of a kernel that comes back to its pool by itself, so that a client can wait for it.
COMING = frozenset({KernelState.STARTING, KernelState.RESETTING})

#: States of a kernel that no client can be bridged to any more.
ENDING = frozenset({KernelState.DYING, KernelState.CLOSING, KernelState.GONE})


class BridgeState(Enum):
    """Where a bridge is in its life."""

    # the hash of an enum is a function in Python, and these are keys where it counts
    __hash__ = object.__hash__

    #: The client is not told yet that it has a kernel; its frames wait.
    WELCOMING = "welcoming"
    OPEN = "open"
    #: The client's frames wait, because the kernel's link has ended and another kernel may take its place.
    HELD = "held"
    #: The client is gone in the middle of an evaluation packet; the answer to what was made of it is thrown away.
    DISCARDING = "discarding"
    ENDED = "ended"


#: Every transition of a bridge.
BRIDGE_TRANSITIONS: dict[BridgeState, frozenset[BridgeState]] = {
    BridgeState.WELCOMING: frozenset({BridgeState.OPEN, BridgeState.HELD, BridgeState.ENDED}),
    BridgeState.OPEN: frozenset({BridgeState.HELD, BridgeState.DISCARDING, BridgeState.ENDED}),
    BridgeState.HELD: frozenset({BridgeState.OPEN, BridgeState.DISCARDING, BridgeState.ENDED}),
    BridgeState.DISCARDING: frozenset({BridgeState.ENDED}),
    BridgeState.ENDED: frozenset(),
}


class WaitState(Enum):
    """What has become of a client that waits for a kernel."""

    # the hash of an enum is a function in Python, and these are keys where it counts
    __hash__ = object.__hash__

    WAITING = "waiting"
    GRANTED = "granted"
    FAILED = "failed"
    TIMED_OUT = "timed out"


class Admission(Enum):
    """What the administrator lets the clients of a pool do; none of it touches a client that has a kernel."""

    # the hash of an enum is a function in Python, and these are keys where it counts
    __hash__ = object.__hash__

    OPEN = "open"
    #: A client that asks for a kernel waits, and no kernel is started.
    PAUSED = "paused"
    #: Nobody is admitted any more. Clients that waited before are still served, and kernels are started for them only.
    DRAINING = "draining"


class Purpose(Enum):
    """Why a client is to have a kernel."""

    # the hash of an enum is a function in Python, and these are keys where it counts
    __hash__ = object.__hash__

    AUTOMATIC = "its connection to the server"
    FIRST_FRAME = "its first expression"
    REPLACEMENT = "the death of its kernel"
    COMMAND = "a command of the client"
    INSIDE = "a command from inside its kernel"


class Departure(Enum):
    """How a client is to leave its kernel once the evaluation in it is answered."""

    # the hash of an enum is a function in Python, and these are keys where it counts
    __hash__ = object.__hash__

    DISCONNECT = "disconnect"
    CLOSE = "close"


class Reason(Enum):
    """Why a bridge ended, in words for the log."""

    # the hash of an enum is a function in Python, and these are keys where it counts
    __hash__ = object.__hash__

    DISCONNECTED = "the client disconnected from it"
    CLIENT_GONE = "the client's link ended"
    TAKEN_OVER = "another client took it over by its ID"
    SWITCHED = "the client connected to another kernel"
    KERNEL_DIED = "the kernel died"
    KERNEL_ENDED = "the kernel ended in good order"
    KERNEL_CLOSED = "the kernel was closed by the server"
    KICKED = "the administrator closed the client's link"
    IDLE = "the client was idle for longer than ClientIdleTimeout"


# -- records -----------------------------------------------------------------------------------------------------
#
# `record()` says of each what another process needs to go on with it, as values of JSON, without references between
# them: `Registry.record` adds these. What a record does not say has its default, so later versions can add to it.


class WaitingLine:
    """Clients that wait, in order. Leaving is as quick as joining: thousands of clients may wait for a pool."""

    # A plain dict would keep the places of members that have left, and look through them for the first that has not.
    __slots__ = ("_members",)

    def __init__(self) -> None:
        #: None until a client waits, which never happens for most kernels.
        self._members: OrderedDict[WaitingClient, None] | None = None

    def join(self, member: WaitingClient) -> None:
        """Stand behind all others."""
        if self._members is None:
            self._members = OrderedDict()
        self._members[member] = None

    def leave(self, member: WaitingClient) -> None:
        """Wait no longer.

        Raises:
            KeyError: *member* is not in the line.
        """
        if self._members is None:
            raise KeyError(member)
        del self._members[member]

    @property
    def first(self) -> WaitingClient:
        """The client that has waited longest.

        Raises:
            StopIteration: No client waits.
        """
        return next(iter(self))

    def __iter__(self) -> Iterator[WaitingClient]:
        return iter(self._members or ())

    def __len__(self) -> int:
        return len(self._members or ())


@dataclass(eq=False, slots=True)
class Kernel:
    """What the registry knows of one kernel. Only the registry writes it."""

    id: str
    pool: Pool | None
    command_line: str | None = None
    state: KernelState = KernelState.STARTING
    #: When it came into its state, by the registry's clock, in seconds.
    since: float = 0.0
    #: When it became ready, and when its last evaluation ended.
    ready_at: float = 0.0
    idle_since: float = 0.0
    #: When the outermost of its open evaluations began; None while it is idle.
    busy_since: float | None = None
    #: The client that has it, or gets it when the evaluation in that client's present kernel is answered.
    client: Client | None = None
    #: The setting of SetReserveKernel; None leaves it to the pool.
    reserve: bool | None = None
    #: How often it was bridged.
    uses: int = 0
    #: How many evaluations its clients have begun in it.
    evaluations: int = 0
    #: True from its first bridge on, until ResetCode has run after the last one.
    needs_reset: bool = False
    #: The clients that wait for this very kernel.
    waiting: WaitingLine = field(default_factory=WaitingLine)
    evaluation: EvaluationStack = field(default_factory=EvaluationStack)

    def record(self) -> dict[str, Any]:
        """What another process needs to go on with it."""
        record: dict[str, Any] = {"id": self.id, "state": self.state.value}
        if self.pool is not None:
            record["pool"] = self.pool.settings.name
        for name, default in _KERNEL_FIELDS.items():
            value = getattr(self, name)
            if value is not default and value != default:
                record[name] = value
        if self.evaluation.busy or not self.evaluation.counted:
            record["evaluation"] = self.evaluation.record()
        return record

    @classmethod
    def of_record(cls, record: Mapping[str, Any], pool: Pool | None) -> Kernel:
        """The kernel of a `record`, in the state in which it was, without clients.

        Raises:
            KeyError, ValueError: It is not one.
        """
        kernel = cls(record["id"], pool, state=KernelState(record["state"]))
        for name in _KERNEL_FIELDS:
            if name in record:
                setattr(kernel, name, record[name])
        kernel.evaluation.restore(record.get("evaluation", {}))
        if not kernel.busy:
            kernel.busy_since = None
        elif kernel.busy_since is None:  # the evaluation was passed on in C, and nothing more is known
            kernel.busy_since = max(kernel.since, kernel.idle_since)
        return kernel

    def move(self, state: KernelState) -> None:
        """Go to *state*. The registry keeps the pool's lists in step with it.

        Raises:
            TransitionError: The table has no such transition.
        """
        if state not in TRANSITIONS[self.state]:
            raise TransitionError(f"kernel {self.id}: {self.state.value} -> {state.value}")
        self.state = state

    @property
    def busy(self) -> bool:
        """True while an evaluation is open in it."""
        return self.evaluation.busy

    @property
    def reserved_when_unbridged(self) -> bool:
        """Whether it is kept for clients that name its ID once its bridge ends."""
        if self.reserve is not None:
            return self.reserve
        return self.pool is not None and self.pool.settings.reserve_previously_connected_kernels

    @property
    def deferred(self) -> bool:
        """Whether something is to be done when the evaluation in it is answered, although a client has it."""
        client = self.client
        return bool(self.waiting) or (
            client is not None and (client.pending is not None or client.departure is not None)
        )


#: Of a `Kernel`, what is recorded as it is, and what it is where the record does not say. Times are those of a clock
#: that all processes of the computer share.
_KERNEL_FIELDS: dict[str, Any] = {
    "command_line": None,
    "since": 0.0,
    "ready_at": 0.0,
    "idle_since": 0.0,
    "busy_since": None,
    "reserve": None,
    "uses": 0,
    "evaluations": 0,
    "needs_reset": False,
}


@dataclass(eq=False, slots=True)
class Client:
    """What the registry knows of one client link. Only the registry writes it."""

    name: str
    kernel: Kernel | None = None
    #: What SetKeepAlive and SetAllowSilentKernelReplacement said for the present bridge; None leaves it to the
    #: configuration.
    keep_alive: bool | None = None
    allow_replacement: bool | None = None
    #: What it waits for.
    waiting: WaitingClient | None = None
    #: What it was granted and gets when the evaluation in its present kernel is answered.
    pending: WaitingClient | None = None
    #: How it leaves its present kernel then.
    departure: Departure | None = None
    #: How many evaluations had been begun in its kernel when the bridge began.
    evaluations_before: int = 0
    #: Whether it has said an access token.
    authenticated: bool = False

    def record(self) -> dict[str, Any]:
        """What another process needs to go on with it."""
        record: dict[str, Any] = {"name": self.name, "evaluations_before": self.evaluations_before}
        if self.kernel is not None:
            record["kernel"] = self.kernel.id
        for name in ("keep_alive", "allow_replacement"):
            if getattr(self, name) is not None:
                record[name] = getattr(self, name)
        if self.authenticated:
            record["authenticated"] = True
        if self.departure is not None:
            record["departure"] = self.departure.value
        if self.pending is not None:
            record["pending"] = self.pending.record()
        return record

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Client:
        """The client of a `record`, without a kernel.

        Raises:
            KeyError, ValueError: It is not one.
        """
        departure = record.get("departure")
        return cls(
            record["name"],
            keep_alive=record.get("keep_alive"),
            allow_replacement=record.get("allow_replacement"),
            authenticated=record.get("authenticated", False),
            departure=None if departure is None else Departure(departure),
            evaluations_before=record.get("evaluations_before", 0),
        )

    @property
    def short_name(self) -> str:
        """Of "Client 3 (127.0.0.1:46074)" the "Client 3"; the whole name if it is of another form."""
        return self.name.partition(" (")[0]

    @property
    def number(self) -> str:
        """Of "Client 3 (127.0.0.1:46074)" the "3"; the whole name if it is of another form."""
        return self.short_name.removeprefix("Client ")

    @property
    def address(self) -> str:
        """Of "Client 3 (127.0.0.1:46074)" the address; "" if the name is of another form."""
        return self.name.partition(" (")[2].removesuffix(")")

    @property
    def has_not_used_it(self) -> bool:
        """Whether it has evaluated nothing in its kernel."""
        kernel = self.kernel
        return kernel is not None and kernel.evaluations == self.evaluations_before


@dataclass(eq=False, slots=True)
class WaitingClient:
    """A client that waits for a kernel of a pool, or for one kernel to become idle."""

    client: Client
    target: Pool | Kernel
    purpose: Purpose
    #: When it began to wait, by the registry's clock.
    since: float
    #: True if the client gets the kernel only when the evaluation in its present one is answered.
    deferred: bool = False
    state: WaitState = WaitState.WAITING
    #: The kernel that was granted.
    kernel: Kernel | None = None
    #: Why it was not granted.
    reason: str = ""
    #: True if it was not settled at once.
    waited: bool = False

    def record(self) -> dict[str, Any]:
        """What another process needs to go on with it."""
        target = {"pool": self.target.name} if isinstance(self.target, Pool) else {"kernel": self.target.id}
        record: dict[str, Any] = {**target, "purpose": self.purpose.name, "since": self.since}
        if self.deferred:
            record["deferred"] = True
        if self.kernel is not None:
            record["granted"] = self.kernel.id
        return record

    @classmethod
    def of_record(cls, record: Mapping[str, Any], client: Client, target: Pool | Kernel) -> WaitingClient:
        """The one of a `record`, which stands in no line yet.

        Raises:
            KeyError: It is not one.
        """
        deferred = record.get("deferred", False)
        return cls(client, target, Purpose[record["purpose"]], record["since"], deferred)

    @property
    def line(self) -> WaitingLine:
        """Where it stands while it waits."""
        return self.target.waiting


@dataclass(eq=False, slots=True)
class Seats:
    """The kernels of the whole server, each of which holds one of MaximumKernels seats until its process is gone."""

    #: 0 for any number.
    maximum: int = 0
    kernels: dict[str, Kernel] = field(default_factory=dict)

    @property
    def left(self) -> int | None:
        """How many more kernels may be started; None for any number."""
        return max(0, self.maximum - len(self.kernels)) if self.maximum else None


@dataclass(eq=False, slots=True)
class Pool:
    """What the registry knows of one pool. Only the registry writes it.

    Choosing passes over busy kernels only, so it is O(1) while the free kernels are idle.
    """

    settings: PoolSettings
    #: Those of the whole server.
    seats: Seats = field(default_factory=Seats)
    admission: Admission = Admission.OPEN
    kernels: dict[str, Kernel] = field(default_factory=dict)
    #: Free kernels that were never bridged, oldest first.
    fresh: OrderedDict[str, Kernel] = field(default_factory=OrderedDict)
    #: Free kernels that were bridged before, in the order in which they were unbridged; some may be busy still.
    used: OrderedDict[str, Kernel] = field(default_factory=OrderedDict)
    waiting: WaitingLine = field(default_factory=WaitingLine)
    #: How many kernels are in each state.
    counts: dict[KernelState, int] = field(default_factory=lambda: dict.fromkeys(KernelState, 0))
    #: How many bridges its kernels have had.
    bridges: int = 0
    #: True between a failed start and the end of the pause that follows it.
    holding_off: bool = False
    #: True once the pool has gone from the configuration; it lasts as long as its kernels.
    retired: bool = False

    def record(self) -> dict[str, Any]:
        """What another process needs to go on with it: the order of its free kernels, and its settings in case the
        configuration does not have it any more.
        """
        return {
            "name": self.name,
            "bridges": self.bridges,
            "admission": self.admission.value,
            "fresh": list(self.fresh),
            "used": list(self.used),
            "settings": asdict(self.settings),
        }

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
        because a closing kernel still holds its memory and its licence seat.
        """
        return self.living + self.counts[KernelState.CLOSING]

    @property
    def room(self) -> int:
        """How many more kernels may be started."""
        room, seats = max(0, self.settings.maximum_kernel_number - self.running), self.seats.left
        return room if seats is None else min(room, seats)

    @property
    def coming(self) -> int:
        """Kernels that come back by themselves."""
        return sum(self.counts[state] for state in COMING)

    @property
    def available(self) -> int:
        """How many kernels a client could get: those that are free now, and those that could be started."""
        if self.admission is not Admission.OPEN:
            return 0
        free = sum(not kernel.busy for kernels in (self.fresh, self.used) for kernel in kernels.values())
        return free + self.room

    def choose(self) -> Kernel | None:
        """Return the free idle kernel that the next client gets, or None.

        Without ReservePreviouslyConnectedKernels, previously bridged kernels come first, in the order in which
        they were unbridged (specification, "Key-Value Pairs"); with it fresh ones do.
        """
        fresh_first = self.settings.reserve_previously_connected_kernels
        for kernels in (self.fresh, self.used) if fresh_first else (self.used, self.fresh):
            for kernel in kernels.values():
                if not kernel.evaluation.busy:
                    return kernel
        return None


# -- effects -----------------------------------------------------------------------------------------------------

# Not frozen: to make a frozen one takes three times as long, and each connection makes some.


@dataclass(slots=True)
class Start:
    """Launch a process for *kernel*."""

    kernel: Kernel


@dataclass(slots=True)
class Close:
    """End the process of *kernel*; *why* is for the log."""

    kernel: Kernel
    why: str


@dataclass(slots=True)
class Reset:
    """Run the ResetCode of its pool in *kernel*."""

    kernel: Kernel


@dataclass(slots=True)
class Bridged:
    """Join *client* and *kernel*. *named*: the client has asked for it by its ID."""

    client: Client
    kernel: Kernel
    purpose: Purpose
    named: bool


@dataclass(slots=True)
class Unbridged:
    """Part *client* and *kernel*.

    Attributes:
        replacing: The client is to get a kernel in the dead one's place.
        keep_queue: What the client has sent and the kernel has not got is meant for the next kernel.
        told: What the client is told of the reason beyond what every client is, "" for nothing.
    """

    client: Client
    kernel: Kernel
    reason: Reason
    replacing: bool = False
    keep_queue: bool = False
    told: str = ""


@dataclass(slots=True)
class Settled:
    """The client does not wait any longer: its state says what has become of it."""

    waiting: WaitingClient


@dataclass(slots=True)
class MoveFailed:
    """The kernel that *client* was granted has gone before the client got it."""

    client: Client
    why: str


@dataclass(slots=True)
class AnswerAwaited:
    """Whether something is to be done when the evaluation in *kernel* is answered has changed (`Kernel.deferred`)."""

    kernel: Kernel


Effect = Start | Close | Reset | Bridged | Unbridged | Settled | MoveFailed | AnswerAwaited

#: What a kernel ID looks like (lower-case hexadecimal, as in the specification's examples).
KERNEL_ID = re.compile(r"[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}\Z")

#: Bits of an ID, and rounds of the network below.
BITS = 48
ROUNDS = 10


class KernelIds:
    """Hands out IDs, none of them twice, without remembering any: a server may start millions of kernels.

    They are the numbers 0, 1, 2 ... behind a permutation that *key* chooses. Pass 16 to 64 bytes from
    `secrets.token_bytes`, because a client that knows an ID may take the kernel over: no ID may be guessed from others.
    """

    def __init__(self, key: bytes) -> None:
        self._permuted = permutation(key, BITS)
        self._number = 0

    def new(self) -> str:
        """Return a fresh ID."""
        digits = f"{self._permuted(self._number):012x}"
        self._number += 1
        return f"{digits[:4]}-{digits[4:8]}-{digits[8:]}"


def permutation(key: bytes, bits: int) -> Callable[[int], int]:
    """Return a permutation of the numbers of so many *bits* (even) that cannot be computed without the *key*."""
    half = bits // 2
    mask = (1 << half) - 1

    def mixed(turn: int, number: int) -> int:
        digest = blake2b(turn.to_bytes(1, "big") + number.to_bytes(8, "big"), key=key, digest_size=8).digest()
        return int.from_bytes(digest, "big") & mask

    def permuted(number: int) -> int:
        # A Feistel network: each round can be undone whatever `mixed` returns, so different numbers stay different.
        left, right = number >> half & mask, number & mask
        for turn in range(ROUNDS):
            left, right = right, left ^ mixed(turn, right)
        return left << half | right

    return permuted


def is_kernel_id(text: str) -> bool:
    """Tell whether *text* has the form of a kernel ID (not whether such a kernel exists)."""
    return KERNEL_ID.match(text) is not None
