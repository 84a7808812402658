"""All kernels, pools and clients of a server, and every change of their state."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial, wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, cast

from wstpserver.pools.evaluation import BEGUN, IDLE, PASSED, EvaluationChange
from wstpserver.pools.limits import not_admitted, seat_holders, spare_kernels, unserved, waits_longest, worn_out
from wstpserver.pools.states import (
    ENDING,
    Admission,
    AnswerAwaited,
    Bridged,
    Client,
    Close,
    Departure,
    Effect,
    Kernel,
    KernelState,
    MoveFailed,
    Pool,
    Purpose,
    Reason,
    Reset,
    Seats,
    Settled,
    Start,
    Unbridged,
    WaitingClient,
    WaitState,
)
from wstpserver.settings import PoolSettings, ServerSettings

BRIDGED = KernelState.BRIDGED  # members of an enum are slow to look up
FREE = KernelState.FREE

#: States of a kernel that a client may get.
_GIVABLE = frozenset({KernelState.FREE, KernelState.RESERVED, KernelState.BRIDGED})

P = ParamSpec("P")
R = TypeVar("R")


class Refused(Exception):
    """What was asked for is not possible; the text says why."""


class TokenRequired(Refused):
    """The client has to say an access token first."""

    def __init__(self, what: str) -> None:
        how = 'WSCommandPacket[Authenticate["token"]]; wstpscript, gateways and Python read WSTPSERVER_TOKEN_FILE'
        super().__init__(f"{what} needs an access token: {how}")


#: Called when a kernel has come into its state, with the state before, and since when it was in that; None and the
#: present: it was just made.
Moved = Callable[[Kernel, KernelState | None, float], object]

#: Called when the evaluations in a kernel have changed, with the change, its number (`EvaluationChange`), and since
#: when the kernel was busy, or idle, before.
Evaluated = Callable[[Kernel, EvaluationChange, int, float], object]


class Lost(Protocol):
    """Called when it is settled how a kernel has ended that the server did not close."""

    def __call__(self, kernel: Kernel, /, *, in_good_order: bool) -> object:
        """The kernel ended by itself (*in_good_order*) or died."""


def _transaction(
    method: Callable[Concatenate[Registry, P], R],
) -> Callable[Concatenate[Registry, P], R]:
    """Make a method of `Registry` carry out the effects when the outermost call of such methods returns."""

    @wraps(method)
    def run(self: Registry, /, *args: P.args, **kwargs: P.kwargs) -> R:
        self._depth += 1
        try:
            return method(self, *args, **kwargs)
        finally:
            self._depth -= 1
            if self._effects and not self._depth:
                self._carry_out_effects()

    return cast("Callable[Concatenate[Registry, P], R]", run)


class Registry:
    """The state of a server, and the only writer of its records.

    A method changes the records at once. What is left to do outside are effects: each is given to *carry_out* when the
    outermost call returns, in order, also where the call ends with `Refused`. *carry_out* must not wait; the effects of
    what it asks of the registry in turn follow behind those that are there.

    A client asks for a kernel with `connect_to_pool` or `connect_to_kernel` and gets a `WaitingClient`. That is settled
    already, or it waits in a line; each that has stood in one has one `Settled` effect at its end.

    Args:
        settings: The configuration.
        new_id: Returns a kernel ID that was never used before.
        carry_out: Does what an effect says.
        clock: Returns the time in seconds.
    """

    def __init__(
        self,
        settings: ServerSettings,
        new_id: Callable[[], str],
        carry_out: Callable[[Effect], None],
        clock: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.settings = settings
        self.kernels: dict[str, Kernel] = {}
        self.clients: set[Client] = set()
        #: What holds for kernels outside pools, and for pools that come with a reload.
        self.admission = Admission.OPEN
        self.seats = Seats(settings.maximum_kernels, self.kernels)
        self.pools = {pool.name: Pool(pool, self.seats) for pool in settings.pools}
        #: Pools that would start kernels if there were seats for them, in the order of asking.
        self._short: dict[Pool, None] = {}
        self._new_id = new_id
        self._carry_out = carry_out
        self._clock = clock
        self._effects: deque[Effect] = deque()
        self._depth = 0
        self._moved: tuple[Moved, ...] = ()
        self._evaluated: tuple[Evaluated, ...] = ()
        self._lost: tuple[Lost, ...] = ()
        self._wait_ended: tuple[Callable[[WaitingClient], object], ...] = ()
        self._setting_changed: tuple[Callable[[Kernel], object], ...] = ()

    def observe(
        self,
        *,
        moved: Moved | None = None,
        evaluated: Evaluated | None = None,
        lost: Lost | None = None,
        wait_ended: Callable[[WaitingClient], object] | None = None,
        setting_changed: Callable[[Kernel], object] | None = None,
    ) -> None:
        """Call these functions at every change from now on, in the moment in which it happens, in the middle of a
        transaction: they must not call the registry. Nothing is paid for what nobody observes.

        Args:
            moved: Hears of changes of a kernel's state.
            evaluated: Hears of the evaluations in kernels.
            lost: Hears how kernels have ended that the server did not close.
            wait_ended: Hears when a client has left the line of a pool or a kernel, perhaps in the moment in which it
                asked.
            setting_changed: Hears when a setting has changed that decides what becomes of a kernel.
        """
        self._moved += (moved,) if moved is not None else ()
        self._evaluated += (evaluated,) if evaluated is not None else ()
        self._lost += (lost,) if lost is not None else ()
        self._wait_ended += (wait_ended,) if wait_ended is not None else ()
        self._setting_changed += (setting_changed,) if setting_changed is not None else ()

    def _carry_out_effects(self) -> None:
        self._depth += 1
        try:
            while self._effects:
                self._carry_out(self._effects.popleft())
        finally:
            self._depth -= 1

    # -- the configuration -------------------------------------------------------------------------------------

    @_transaction
    def start(self) -> None:
        """Start the kernels that the pools keep ready. After `restore`, waiting clients get what is free now."""
        for pool in tuple(self.pools.values()):
            self._fill(pool)
            self._offer_used(pool)

    @_transaction
    def stop(self) -> None:
        """Close all kernels and start no more."""
        for pool in self.pools.values():
            pool.holding_off = True
        for kernel in tuple(self.kernels.values()):
            self._close(kernel, "the server stops")

    @_transaction
    def reconfigure(self, settings: ServerSettings) -> None:
        """Take new settings over. Living kernels stay, those of a pool that is gone from the settings as well; a kernel
        that starts for such a pool, or with a command line that is not in force any more, is dropped.
        """
        self.settings = settings
        self.seats.maximum = settings.maximum_kernels
        names = {pool.name for pool in settings.pools}
        for pool_settings in settings.pools:
            known = self.pools.get(pool_settings.name)
            if known is None:
                self.pools[pool_settings.name] = Pool(pool_settings, self.seats, self.admission)
                continue
            before, known.settings, known.retired = known.settings, pool_settings, False
            known.holding_off = False
            if _command_line(before) != _command_line(pool_settings):
                self._drop_starting(known, "it starts with a command line that is not in force any more")
        for pool in [pool for name, pool in self.pools.items() if name not in names]:
            self._retire(pool)
        self._short.clear()
        for pool in sorted(self.pools.values(), key=waits_longest):
            self._fill(pool)
            self._offer_used(pool)

    def _retire(self, pool: Pool) -> None:
        """Start no more kernels in a pool and forget it with its last one."""
        pool.retired = True
        # it may have been the default one, of which there is another now
        pool.settings = dataclasses.replace(pool.settings, default=False, parallel_kernel_default=False)
        why = f"pool {pool.name} is not configured any more"
        for waiting in tuple(pool.waiting):
            self._end_waiting(waiting, WaitState.FAILED, why)
        self._drop_starting(pool, why)
        if not pool.kernels:
            del self.pools[pool.name]

    def _drop_starting(self, pool: Pool, why: str) -> None:
        for kernel in tuple(pool.kernels.values()):
            if kernel.state is KernelState.STARTING:
                self._close(kernel, why)

    # -- what the administrator lets clients do ----------------------------------------------------------------

    @_transaction
    def drain(self, pool: Pool | None = None) -> None:
        """Admit no more clients to a pool, or to any kernel of the server; those that are there go on.

        Clients that wait for a kernel already still get one, and a client whose kernel dies is given another.
        """
        self._admit(pool, Admission.DRAINING)

    @_transaction
    def pause(self, pool: Pool | None = None) -> None:
        """Let clients that ask for a kernel of a pool, or for any kernel of the server, wait until `resume`."""
        self._admit(pool, Admission.PAUSED)

    @_transaction
    def resume(self, pool: Pool | None = None) -> None:
        """End `drain` and `pause`."""
        self._admit(pool, Admission.OPEN)

    def _admit(self, pool: Pool | None, admission: Admission) -> None:
        pools = (pool,) if pool is not None else tuple(self.pools.values())
        if pool is None:
            self.admission = admission
        for one in pools:
            one.admission = admission
        if admission is Admission.PAUSED:
            return
        for kernel in tuple(self.kernels.values()):
            if kernel.waiting:
                self._offer(kernel)
        for one in pools:
            while one.waiting and (free := one.choose()) is not None:
                self._grant(one.waiting.first, free)
            self._fill(one)

    def _admission_to(self, kernel: Kernel) -> Admission:
        return self.admission if kernel.pool is None else kernel.pool.admission

    def _offer_used(self, pool: Pool) -> None:
        for kernel in tuple(pool.used.values()):
            self._offer(kernel)  # a new limit may concern it

    # -- from one process to the next --------------------------------------------------------------------------

    def record(self, clients: Sequence[Client]) -> dict[str, Any]:
        """What another process needs to go on with all kernels, pools and clients, as values of JSON. A kernel outside
        pools that is starting is not in it, nor who waits for that: the command that starts it is carried out anew.

        Args:
            clients: All clients; in the record they have the numbers of this order.
        """
        numbers = {client: number for number, client in enumerate(clients)}
        kernels = [
            kernel
            for kernel in self.kernels.values()
            if kernel.pool is not None or kernel.state is not KernelState.STARTING
        ]
        lines = [pool.waiting for pool in self.pools.values()] + [kernel.waiting for kernel in kernels]
        return {
            "admission": self.admission.value,
            "pools": [pool.record() for pool in self.pools.values()],
            "kernels": [kernel.record() for kernel in kernels],
            "clients": [client.record() for client in clients],
            "waiting": [{"client": numbers[one.client], **one.record()} for line in lines for one in line],
        }

    @_transaction
    def restore(self, record: Mapping[str, Any]) -> list[Client]:
        """Take over what `record` returned in another process, before `start`.

        Nothing is done outside for what is bridged, reserved, free, or waits: the caller brings the sessions.
        Kernels that had not been launched are started. A kernel that was being reset is reset again. One that was
        bridged to a client that is not in the record is reserved or free, as when its client disconnects. One that
        was ending is closing.

        Returns:
            The clients, in the order of the record.

        Raises:
            KeyError, ValueError: It is not such a record.
        """
        pools = record.get("pools", ())
        self.admission = Admission(record.get("admission", Admission.OPEN))
        for pool in self.pools.values():
            pool.admission = self.admission
        for one in pools:
            pool = self._pool_of_record(one["name"], one)
            pool.bridges = one.get("bridges", 0)
            pool.admission = Admission(one.get("admission", self.admission))
        for one in record.get("kernels", ()):
            self._restore_kernel(one)
        clients = [self._restore_client(one) for one in record.get("clients", ())]
        for one in record.get("waiting", ()):
            self._restore_waiting(one, clients[one["client"]])
        for kernel in tuple(self.kernels.values()):
            self._settle_restored(kernel)
        for one in pools:
            pool = self.pools[one["name"]]
            _reorder(pool.fresh, one.get("fresh", ()))
            _reorder(pool.used, one.get("used", ()))
            if pool.retired and not pool.kernels:
                del self.pools[pool.name]
        return clients

    def _pool_of_record(self, name: str, record: Mapping[str, Any]) -> Pool:
        """The pool of that name; one that is not configured any more lasts as long as its kernels."""
        pool = self.pools.get(name)
        if pool is None:
            fields = {field.name for field in dataclasses.fields(PoolSettings)}
            given: dict[str, Any] = {
                key: tuple(value) if isinstance(value, list) else value
                for key, value in record.get("settings", {}).items()
                if key in fields
            }
            given |= {"name": name, "default": False, "parallel_kernel_default": False}
            pool = self.pools[name] = Pool(
                dataclasses.replace(self.settings.default_pool, **given), self.seats, self.admission, retired=True
            )
        return pool

    def _restore_kernel(self, record: Mapping[str, Any]) -> None:
        pool = self._pool_of_record(record["pool"], {}) if "pool" in record else None
        self._add(Kernel.of_record(record, pool))

    def _restore_client(self, record: Mapping[str, Any]) -> Client:
        client = Client.of_record(record)
        self.clients.add(client)
        kernel = self.kernels.get(record.get("kernel", ""))
        if kernel is not None:
            client.kernel, kernel.client = kernel, client
        pending = record.get("pending")
        granted = self.kernels.get(pending["granted"]) if pending is not None else None
        if pending is not None and granted is not None:
            client.pending = waiting = WaitingClient.of_record(pending, client, self._target_of(pending) or granted)
            waiting.state, waiting.kernel, granted.client = WaitState.GRANTED, granted, client
        return client

    def _restore_waiting(self, record: Mapping[str, Any], client: Client) -> None:
        target = self._target_of(record)
        if target is not None:
            client.waiting = waiting = WaitingClient.of_record(record, client, target)
            waiting.waited = True
            waiting.line.join(waiting)

    def _target_of(self, record: Mapping[str, Any]) -> Pool | Kernel | None:
        return self.pools.get(record["pool"]) if "pool" in record else self.kernels.get(record["kernel"])

    def _settle_restored(self, kernel: Kernel) -> None:
        """Bring a kernel into a state from which it goes on in this process."""
        before = after = kernel.state
        if before is KernelState.STARTING:
            self._effects.append(Start(kernel))
        elif before is KernelState.RESETTING:
            after = KernelState.FREE
        elif before is BRIDGED and kernel.client is None:
            after = self._state_when_unbridged(kernel)
        elif before is KernelState.DYING:
            after = KernelState.CLOSING
            if kernel.client is not None:
                kernel.client = kernel.client.kernel = None
        kernel.state = after
        if kernel.pool is not None:
            self._update_lists(kernel.pool, kernel, before)
        self._tell_of_new(kernel)

    # -- kernels -----------------------------------------------------------------------------------------------

    def kernel_named(self, identifier: str) -> Kernel:
        """The kernel with this ID, which is not ending.

        Raises:
            Refused: There is none.
        """
        kernel = self.kernels.get(identifier)
        if kernel is None:
            raise Refused(f"there is no kernel {identifier}")
        if kernel.state in ENDING:
            raise Refused(f"kernel {identifier} is {kernel.state.value}")
        return kernel

    @_transaction
    def start_outside_pools(self, command_line: str | None = None) -> Kernel:
        """Start a kernel that belongs to no pool and is reached by its ID only.

        Raises:
            Refused: There are as many as the configuration allows, or the server is paused or drained.
        """
        if self.admission is not Admission.OPEN:
            raise Refused(not_admitted(self.admission))
        if self.seats.left == 0:
            raise Refused(seat_holders(self.seats))
        maximum = self.settings.maximum_kernels_outside_pools
        if 0 < maximum <= sum(kernel.pool is None for kernel in self.kernels.values()):
            raise Refused(f"there are {maximum} kernels outside pools already (MaximumKernelsOutsidePools)")
        return self._start(None, command_line)

    @_transaction
    def start_another(self, pool: Pool) -> Kernel:
        """Start a kernel of a pool that nobody has asked for yet.

        Raises:
            Refused: The pool has no room for it, or starts no kernels now.
        """
        if pool.retired:
            raise Refused(f"pool {pool.name} is not configured any more")
        if pool.holding_off:
            raise Refused(f"pool {pool.name} pauses after a failed start")
        if not pool.room:
            raise Refused(f"pool {pool.name} has {pool.running} kernels, as many as it may have (MaximumKernelNumber)")
        return self._start(pool, None)

    @_transaction
    def ready(self, kernel: Kernel) -> bool:
        """Note that a starting kernel has been initialised; False if it is to be closed instead."""
        if kernel.state is not KernelState.STARTING:
            return False
        self._move(kernel, KernelState.FREE)
        kernel.ready_at = kernel.since
        self._offer(kernel)
        return True

    @_transaction
    def reset_done(self, kernel: Kernel) -> None:
        """Note that ResetCode has run in a kernel; one in which it failed is closed instead."""
        if kernel.state is KernelState.RESETTING:
            kernel.needs_reset = False
            self._move(kernel, KernelState.FREE)
            self._offer(kernel)

    @_transaction
    def start_failed(self, kernel: Kernel) -> None:
        """Note that a starting kernel did not become ready: its pool pauses until `start_again`."""
        if kernel.state is KernelState.STARTING:
            if kernel.pool is not None:
                kernel.pool.holding_off = True
            self._gone(kernel)

    @_transaction
    def hold_off(self, pool: Pool) -> None:
        """Start no kernels in *pool* until `start_again`."""
        pool.holding_off = True

    @_transaction
    def start_again(self, pool: Pool) -> None:
        """Start kernels in *pool* as they are needed, after a failed start or `hold_off`."""
        pool.holding_off = False
        self._fill(pool)

    @_transaction
    def close(self, kernel: Kernel, why: str, told: str = "") -> None:
        """Close a kernel, bridged or not. Its pool is filled up again.

        Args:
            kernel: The kernel; nothing happens if it is closing already.
            why: The reason, for the log.
            told: What its client is told of the reason, "" for nothing.
        """
        self._close(kernel, why, told)

    @_transaction
    def link_ended(self, kernel: Kernel) -> None:
        """Note that the link of *kernel* has ended: no client can be bridged to it any more. Its client, if any,
        keeps it until `lost` says how the kernel ended.
        """
        if kernel.state not in ENDING and kernel.state is not KernelState.STARTING:
            self._move(kernel, KernelState.DYING)
            self._fail_waiting(kernel, "the kernel ended")
            if kernel.pool is not None:
                self._fill(kernel.pool)  # a client may have waited for its reset

    @_transaction
    def lost(self, kernel: Kernel, *, in_good_order: bool, can_continue: bool = True, told: str = "") -> None:
        """Note how a kernel whose link has ended came to its end.

        Args:
            kernel: The kernel.
            in_good_order: It ended by itself, as `Quit[]` makes it, rather than died.
            can_continue: Something can still be written to its client. If the kernel did not end in good order, the
                client then gets another kernel of the pool where that is allowed.
            told: What the client is told if it does not.
        """
        if kernel.state in (KernelState.CLOSING, KernelState.GONE):
            return
        for lost in self._lost:
            lost(kernel, in_good_order=in_good_order)
        client, pool = kernel.client, kernel.pool
        replacing = False
        if client is not None:
            allowed = client.allow_replacement
            if allowed is None:
                allowed = self.settings.allow_silent_kernel_replacement
            replaceable = pool is not None and not pool.retired and client.kernel is kernel
            replacing = allowed and can_continue and replaceable and not in_good_order
            reason = Reason.KERNEL_ENDED if in_good_order else Reason.KERNEL_DIED
            self._part(kernel, Unbridged(client, kernel, reason, replacing, keep_queue=replacing, told=told))
            if replacing:
                client.allow_replacement = True
        self._move(kernel, KernelState.CLOSING)
        self._fail_waiting(kernel, "the kernel ended")
        if pool is not None:
            if replacing and client is not None:
                self._replace(client, pool)
            self._fill(pool)

    def _replace(self, client: Client, pool: Pool) -> None:
        if client.kernel is not None or client.waiting is not None:
            return  # it has been granted another kernel, or waits for one
        if client.pending is not None:
            self._complete_move(client)
        else:
            self._connect_to_pool(client, pool, Purpose.REPLACEMENT, deferred=False)

    @_transaction
    def gone(self, kernel: Kernel) -> None:
        """Note that the process of *kernel* is gone: there is room for another."""
        if kernel.state is not KernelState.GONE:
            self._gone(kernel)

    @_transaction
    def evaluation_answered(self, kernel: Kernel) -> None:
        """Do what was to be done when no evaluation is open in *kernel* any more, or when it waits for its client."""
        client = kernel.client
        if not kernel.busy and client is not None and client.kernel is kernel:
            departure, client.departure = client.departure, None
            if departure is Departure.CLOSE:
                self._close(kernel, "a CloseKernel command")
            elif departure is Departure.DISCONNECT:
                self._disconnect(client, Reason.DISCONNECTED, keep_queue=True)
            elif client.pending is not None:
                self._complete_move(client)
        self._offer(kernel)

    # -- clients -----------------------------------------------------------------------------------------------

    def add_client(self, client: Client) -> None:
        """Note that a client link is open."""
        self.clients.add(client)

    @_transaction
    def authenticate(self, client: Client) -> None:
        """Note that a client has said an access token. It counts for as long as the link is open."""
        client.authenticated = True

    def requires_token(self, pool: Pool | None) -> bool:
        """Whether a client needs an access token for the kernels of *pool*, or outside pools (None)."""
        return bool(self.settings.access_token_file) if pool is None else pool.settings.require_access_token

    def check_token(self, client: Client, pool: Pool | None) -> None:
        """Raise TokenRequired if *client* may not use the kernels of *pool*, or those outside pools (None)."""
        if not client.authenticated and self.requires_token(pool):
            raise TokenRequired("a kernel outside pools" if pool is None else f"pool {pool.name}")

    @_transaction
    def remove_client(self, client: Client) -> None:
        """Note that a client link is gone."""
        self.clients.discard(client)
        self._part_with(client, Reason.CLIENT_GONE, "its link ended")

    @_transaction
    def send_away(self, client: Client, reason: Reason) -> None:
        """Take everything from a client whose link the server is about to close, as if it left."""
        self._part_with(client, reason, reason.value)

    def _part_with(self, client: Client, reason: Reason, why: str) -> None:
        if client.waiting is not None:
            self._end_waiting(client.waiting, WaitState.FAILED, why)
        if client.pending is not None:
            self._release_pending(client)
        if client.kernel is not None:
            self._disconnect(client, reason)

    @_transaction
    def connect_to_pool(
        self, client: Client, pool: Pool, purpose: Purpose = Purpose.COMMAND, *, deferred: bool = False
    ) -> WaitingClient:
        """Bridge *client* with a kernel of *pool*, or let it wait for one behind those that wait already.

        If there is no other, a kernel of the pool that the client has and has not used is as good.

        Args:
            client: The client; what it waited for before fails.
            pool: The pool.
            purpose: Why it is to have a kernel.
            deferred: It gets the kernel when the evaluation in its present one is answered.

        Raises:
            TokenRequired: It has not said an access token, and the pool needs one.
        """
        if pool.settings.require_access_token:
            self.check_token(client, pool)
        return self._connect_to_pool(client, pool, purpose, deferred=deferred)

    def _connect_to_pool(self, client: Client, pool: Pool, purpose: Purpose, *, deferred: bool) -> WaitingClient:
        waiting = self._begin_waiting(client, pool, purpose, deferred=deferred)
        turned_away = pool.admission is Admission.DRAINING and purpose is not Purpose.REPLACEMENT
        kernel = None if turned_away or pool.admission is Admission.PAUSED else pool.choose()
        own = client.kernel
        if kernel is not None:
            self._grant(waiting, kernel)
        elif own is not None and own.pool is pool and own.state is BRIDGED and client.has_not_used_it:
            waiting.kernel = own
            self._end_waiting(waiting, WaitState.GRANTED)
        elif turned_away:
            self._end_waiting(waiting, WaitState.FAILED, not_admitted(pool.admission, pool))
        else:
            client.waiting = waiting
            pool.waiting.join(waiting)
            waiting.waited = True
            self._fill(pool)
        return waiting

    @_transaction
    def connect_to_kernel(
        self, client: Client, kernel: Kernel, purpose: Purpose = Purpose.COMMAND, *, deferred: bool = False
    ) -> WaitingClient:
        """Bridge *client* with this *kernel*, or let it wait until the kernel is idle (or waits for its client).

        Another client that has it loses it when this one gets it, if AllowStealingKernels permits.

        Raises:
            Refused: The client cannot have it.
        """
        self._check_givable(client, kernel)
        client.waiting = waiting = self._begin_waiting(client, kernel, purpose, deferred=deferred)
        kernel.waiting.join(waiting)
        if kernel.client is client:  # it has it, or is to have it
            if kernel is client.kernel:
                self._release_pending(client)
            waiting.kernel = kernel
            self._end_waiting(waiting, WaitState.GRANTED)
            return waiting
        self._offer(kernel)
        waiting.waited = waiting.state is WaitState.WAITING
        if kernel.client is not None and waiting.waited:
            self._effects.append(AnswerAwaited(kernel))
        return waiting

    def _check_givable(self, client: Client, kernel: Kernel) -> None:
        if kernel.state in ENDING:
            raise Refused(f"kernel {kernel.id} is {kernel.state.value}")
        if kernel.client is not client:
            self.check_token(client, kernel.pool)
        if not self._may_take(client, kernel):
            raise Refused(f"kernel {kernel.id} is bridged to another client")
        if kernel.client is not client and self._admission_to(kernel) is Admission.DRAINING:
            raise Refused(not_admitted(Admission.DRAINING, kernel.pool))

    def _may_take(self, client: Client, kernel: Kernel) -> bool:
        return kernel.client is None or kernel.client is client or self.settings.allow_stealing_kernels

    @_transaction
    def close_for(self, client: Client | None, kernel: Kernel) -> None:
        """Close a kernel because *client* says so.

        Raises:
            Refused: Another client has it, and AllowStealingKernels is false.
        """
        if kernel.client is not None and kernel.client is not client and not self.settings.allow_stealing_kernels:
            raise Refused(f"kernel {kernel.id} is bridged to another client")
        self._close(kernel, "a CloseKernel command")

    @_transaction
    def leave_later(self, client: Client, departure: Departure) -> None:
        """End the bridge of *client* when the evaluation in its kernel is answered. What the client has sent behind it
        is meant for the kernel that comes next.
        """
        kernel = client.kernel
        assert kernel is not None
        client.departure = departure
        if kernel.busy:
            self._effects.append(AnswerAwaited(kernel))
        else:
            self.evaluation_answered(kernel)

    @_transaction
    def give_up(self, client: Client, why: str, *, state: WaitState = WaitState.FAILED) -> None:
        """Let the client wait no longer; nothing changes for anybody else."""
        if client.waiting is not None:
            self._end_waiting(client.waiting, state, why)

    @_transaction
    def disconnect(self, client: Client) -> bool:
        """End the client's bridge; False if it has none."""
        return self._disconnect(client, Reason.DISCONNECTED)

    @_transaction
    def set_keep_alive(self, client: Client, *, setting: bool) -> None:
        """Keep the client's kernel when the bridge ends, or close it."""
        client.keep_alive = setting
        if client.kernel is not None:
            self._tell_of_setting(client.kernel)

    @_transaction
    def set_allow_replacement(self, client: Client, *, setting: bool) -> None:
        """Give the client another kernel when its kernel dies, or close its link."""
        client.allow_replacement = setting

    @_transaction
    def set_reserve(self, kernel: Kernel, *, setting: bool) -> None:
        """Reserve the kernel when its bridge ends, or do not."""
        kernel.reserve = setting
        self._tell_of_setting(kernel)

    @_transaction
    def stop_awaiting(self, kernel: Kernel, *, keep_alive: bool | None) -> None:
        """The client that had *kernel* when another server was killed has not come back: what happens at the end of a
        bridge happens now.

        Args:
            kernel: The kernel; nothing happens if a client has it, or it has ended.
            keep_alive: What that client had said; None leaves it to the configuration.
        """
        if kernel.state is not KernelState.RESERVED:
            return
        keep = kernel.pool is None or kernel.pool.settings.keep_alive if keep_alive is None else keep_alive
        if not keep:
            self._close(kernel, "its client has not come back and KeepAlive is false")
        elif self._state_when_unbridged(kernel) is KernelState.FREE:
            self._move(kernel, KernelState.FREE)
            self._offer(kernel)

    # -- the few places where records change -------------------------------------------------------------------

    def _fill(self, pool: Pool) -> None:
        """Start as many kernels as the minimum and the waiting clients ask for and the maximum allows."""
        if pool.holding_off or pool.retired or pool.admission is Admission.PAUSED:
            return
        missing = pool.settings.minimum_kernel_number - pool.living if pool.admission is Admission.OPEN else 0
        wanted = len(pool.waiting) - pool.coming
        possible = pool.room
        for _ in range(min(max(missing, wanted), possible)):
            self._start(pool, None)
        if max(missing, wanted) > possible and self.seats.left == 0:
            self._short[pool] = None
            self._give_up_spare_kernels()

    def _give_up_spare_kernels(self) -> None:
        """Close kernels that nobody needs for clients that wait in pools without a seat."""
        clients = sum(unserved(pool) for pool in self._short)
        if clients:
            going = sum(kernel.state is KernelState.CLOSING for kernel in self.kernels.values())
            for kernel in spare_kernels(self.pools.values(), clients - going):
                self._close(kernel, "a client of another pool needs its seat (MaximumKernels)")

    def _seat_is_free(self) -> None:
        """Let the pools start kernels that had no seats: first where clients wait, the longest wait before others."""
        for pool in sorted(self._short, key=waits_longest):
            if self.seats.left == 0:
                return
            del self._short[pool]
            self._fill(pool)

    def _start(self, pool: Pool | None, command_line: str | None) -> Kernel:
        identifier = self._new_id()
        while identifier in self.kernels:  # one that was restored
            identifier = self._new_id()
        kernel = Kernel(identifier, pool, command_line, since=self._clock())
        self._add(kernel)
        self._tell_of_new(kernel)
        self._effects.append(Start(kernel))
        return kernel

    def _add(self, kernel: Kernel) -> None:
        """Know a kernel from now on, in the state in which it is."""
        kernel.evaluation.subscribe(partial(self._evaluation_changed, kernel))
        self.kernels[kernel.id] = kernel
        if kernel.pool is not None:
            kernel.pool.kernels[kernel.id] = kernel
            kernel.pool.counts[kernel.state] += 1

    def _tell_of_new(self, kernel: Kernel) -> None:
        for moved in self._moved:
            moved(kernel, None, kernel.since)

    def _tell_of_setting(self, kernel: Kernel) -> None:
        for changed in self._setting_changed:
            changed(kernel)

    def _evaluation_changed(self, kernel: Kernel, change: EvaluationChange, number: int) -> None:
        before = kernel.busy_since
        since = kernel.idle_since if before is None else before
        if change is BEGUN:
            if before is None:  # not in the middle of another one
                kernel.busy_since = self._clock()
        elif change is PASSED:
            kernel.idle_since = self._clock()
            if before is not None:  # with another one than before
                kernel.busy_since = kernel.idle_since
        elif change is IDLE:
            kernel.idle_since, kernel.busy_since = self._clock(), None
        for evaluated in self._evaluated:
            evaluated(kernel, change, number, since)
        if change is BEGUN or change is PASSED:
            if kernel.state is BRIDGED:
                kernel.evaluations += number
        elif kernel.state is not BRIDGED or kernel.deferred:
            self.evaluation_answered(kernel)

    def _move(self, kernel: Kernel, state: KernelState) -> None:
        before, since = kernel.state, kernel.since
        kernel.move(state)
        kernel.since = self._clock()
        if kernel.pool is not None:
            self._update_lists(kernel.pool, kernel, before)
        for moved in self._moved:
            moved(kernel, before, since)

    @staticmethod
    def _update_lists(pool: Pool, kernel: Kernel, before: KernelState) -> None:
        """Bring the lists of the kernel's pool in step with its state."""
        pool.counts[before] -= 1
        pool.counts[kernel.state] += 1
        if before is FREE:
            (pool.used if kernel.uses else pool.fresh).pop(kernel.id, None)
        if kernel.state is FREE:
            (pool.used if kernel.uses else pool.fresh)[kernel.id] = kernel

    def _close(self, kernel: Kernel, why: str, told: str = "") -> None:
        if kernel.state in (KernelState.CLOSING, KernelState.GONE):
            return
        if kernel.client is not None:
            self._part(kernel, Unbridged(kernel.client, kernel, Reason.KERNEL_CLOSED, told=told))
        self._move(kernel, KernelState.CLOSING)
        self._effects.append(Close(kernel, why))
        self._fail_waiting(kernel, why)
        if kernel.pool is not None:
            self._fill(kernel.pool)

    def _gone(self, kernel: Kernel) -> None:
        self._move(kernel, KernelState.GONE)
        del self.kernels[kernel.id]
        self._fail_waiting(kernel, "the kernel ended")
        if kernel.pool is not None:
            del kernel.pool.kernels[kernel.id]
            kernel.pool.counts[KernelState.GONE] = 0
            if self._short and not kernel.pool.retired:
                self._short[kernel.pool] = None
            else:
                self._fill(kernel.pool)
            if kernel.pool.retired and not kernel.pool.kernels:
                self.pools.pop(kernel.pool.name, None)
        if self._short:
            self._seat_is_free()

    def _offer(self, kernel: Kernel) -> None:
        """Give a kernel that may be idle now to the first client that waits for it, else to the first that waits for
        its pool. A kernel that waits for its client goes only to clients that named its ID.
        """
        evaluation = kernel.evaluation
        if kernel.state not in _GIVABLE or (evaluation.busy and not evaluation.awaiting):
            return
        paused = self._admission_to(kernel) is Admission.PAUSED
        while kernel.waiting and not paused:
            waiting = kernel.waiting.first
            if self._may_take(waiting.client, kernel):
                self._grant(waiting, kernel)
                return
            self._end_waiting(waiting, WaitState.FAILED, f"kernel {kernel.id} is bridged to another client")
        if kernel.state is KernelState.FREE and not evaluation.busy and kernel.pool is not None:
            self._give_back(kernel, kernel.pool)

    def _give_back(self, kernel: Kernel, pool: Pool) -> None:
        """Close or reset a free idle kernel, give it to the first client that waits for its pool, or keep it."""
        settings = pool.settings
        limited = settings.maximum_kernel_uses or settings.maximum_kernel_evaluations or settings.maximum_kernel_age
        why = worn_out(kernel, self._clock()) if limited else None
        if why is not None:
            self._close(kernel, why)
        elif kernel.needs_reset and pool.settings.reset_code:
            self._move(kernel, KernelState.RESETTING)
            self._effects.append(Reset(kernel))
        elif pool.waiting and pool.admission is not Admission.PAUSED:
            self._grant(pool.waiting.first, kernel)
        elif self._short:
            self._give_up_spare_kernels()

    # -- waiting -----------------------------------------------------------------------------------------------

    def _begin_waiting(
        self, client: Client, target: Pool | Kernel, purpose: Purpose, *, deferred: bool
    ) -> WaitingClient:
        if client.waiting is not None:
            self._end_waiting(client.waiting, WaitState.FAILED, "the client asked for another kernel")
        return WaitingClient(client, target, purpose, self._clock(), deferred and client.kernel is not None)

    def _end_waiting(self, waiting: WaitingClient, state: WaitState, why: str = "") -> None:
        client = waiting.client
        waiting.state, waiting.reason = state, why
        if client.waiting is waiting:
            waiting.target.waiting.leave(waiting)
            client.waiting = None
            self._effects.append(Settled(waiting))
        for wait_ended in self._wait_ended:
            wait_ended(waiting)

    def _fail_waiting(self, kernel: Kernel, why: str) -> None:
        for waiting in tuple(kernel.waiting):
            self._end_waiting(waiting, WaitState.FAILED, why)

    def _grant(self, waiting: WaitingClient, kernel: Kernel) -> None:
        client = waiting.client
        waiting.kernel = kernel
        # the wait ends first, so that no kernel which is given up now is offered to this client again
        self._end_waiting(waiting, WaitState.GRANTED)
        if client.pending is not None:
            self._release_pending(client)  # it goes where it asked last
        if kernel.client is not None:
            self._unbridge(kernel, Reason.TAKEN_OVER)
        if waiting.deferred and client.kernel is not None and client.kernel.busy:
            self._move(kernel, BRIDGED)
            kernel.client, client.pending = client, waiting
            self._effects.append(AnswerAwaited(client.kernel))
        else:
            self._bridge(client, kernel, waiting)
        if kernel.pool is not None and kernel.pool.waiting:
            self._fill(kernel.pool)  # a kernel that was started for the pool's queue may have been named by its ID

    # -- bridges -----------------------------------------------------------------------------------------------

    def _bridge(self, client: Client, kernel: Kernel, waiting: WaitingClient) -> None:
        if client.kernel is not None:
            self._disconnect(client, Reason.SWITCHED, keep_queue=waiting.purpose is Purpose.INSIDE)
        if kernel.state is not BRIDGED:
            self._move(kernel, BRIDGED)
        kernel.uses += 1
        if kernel.pool is not None:
            kernel.pool.bridges += 1
        kernel.needs_reset = True
        kernel.client, client.kernel = client, kernel
        client.evaluations_before = kernel.evaluations
        self._effects.append(Bridged(client, kernel, waiting.purpose, isinstance(waiting.target, Kernel)))

    def _complete_move(self, client: Client) -> None:
        waiting, client.pending = client.pending, None
        assert waiting is not None and waiting.kernel is not None
        if waiting.kernel.state is BRIDGED:
            self._bridge(client, waiting.kernel, waiting)
        else:
            waiting.kernel.client = None
            self._effects.append(MoveFailed(client, "the kernel ended"))

    def _release_pending(self, client: Client) -> None:
        """Give back what the client was granted and did not get."""
        waiting, client.pending = client.pending, None
        if waiting is not None and waiting.kernel is not None:
            kernel = waiting.kernel
            kernel.client = None
            if kernel.state is BRIDGED:
                self._move(kernel, self._state_when_unbridged(kernel))
                self._offer(kernel)

    def _disconnect(self, client: Client, reason: Reason, *, keep_queue: bool = False) -> bool:
        kernel = client.kernel
        if kernel is None:
            return False
        if self._unbridge(kernel, reason, keep_queue=keep_queue):
            self._offer(kernel)
        return True

    def _unbridge(self, kernel: Kernel, reason: Reason, *, keep_queue: bool = False) -> bool:
        """Part the kernel from its client and close it or keep it; True if it was kept."""
        client = kernel.client
        assert client is not None
        # A client that chose another kernel before it evaluated anything has left nothing to come back to: clients of
        # parallel kernels, which are bridged with the default pool first, would else use that pool up.
        passed_by = reason is Reason.SWITCHED and not kernel.evaluations and kernel.reserve is None
        keep = True if kernel.pool is None else kernel.pool.settings.keep_alive
        if client.keep_alive is not None and not passed_by:
            keep = client.keep_alive
        self._part(kernel, Unbridged(client, kernel, reason, keep_queue=keep_queue))
        if kernel.state is KernelState.DYING:
            return False
        if not keep and reason is not Reason.TAKEN_OVER:
            self._close(kernel, "its bridge ended and KeepAlive is false")
            return False
        self._move(kernel, KernelState.FREE if passed_by else self._state_when_unbridged(kernel))
        return True

    @staticmethod
    def _state_when_unbridged(kernel: Kernel) -> KernelState:
        reserved = kernel.reserved_when_unbridged and (kernel.uses > 0 or kernel.reserve is not None)
        return KernelState.RESERVED if reserved else KernelState.FREE

    def _part(self, kernel: Kernel, effect: Unbridged) -> None:
        """The kernel has no client any more: *effect* says why."""
        client = effect.client
        kernel.client = None
        if client.kernel is not kernel:
            client.pending = None
            self._effects.append(MoveFailed(client, effect.told or effect.reason.value))
            return
        client.kernel = client.keep_alive = client.allow_replacement = client.departure = None
        self._effects.append(effect)


def _reorder(kernels: OrderedDict[str, Kernel], order: Iterable[str]) -> None:
    """Bring the kernels with these IDs into this order, the others in front of them."""
    for identifier in order:
        if identifier in kernels:
            kernels.move_to_end(identifier)


def _command_line(settings: PoolSettings) -> tuple[object, ...]:
    """What decides how a kernel is launched."""
    return settings.kernel_path, settings.launch_options, settings.kernel_directory, settings.kernel_environment
