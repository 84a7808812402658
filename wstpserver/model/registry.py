"""All kernels, pools and clients of a server, and every change of their state."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from wstpserver.model.effects import Bridged, Close, Effect, Reason, RequestFailed, Reset, Start, Unbridged
from wstpserver.model.limits import worn_out
from wstpserver.model.states import COMING, Client, Kernel, KernelState, Pool, Request

if TYPE_CHECKING:
    from wstpserver.settings import ServerSettings

_UNBRIDGED_STATES = (KernelState.FREE, KernelState.RESERVED)


class Refused(Exception):
    """A connection is not possible; the text says why."""


class Registry:
    """The state of a server. Methods change it at once and append to *effects* what is left to do outside.

    *new_id* returns a kernel ID that was never used before, *clock* the time in seconds. A client gets its kernel
    either at once (the method returns it) or later (the method returns a `Request`, and a `Bridged` or
    `RequestFailed` effect follows).
    """

    def __init__(
        self, settings: ServerSettings, new_id: Callable[[], str], clock: Callable[[], float] = lambda: 0.0
    ) -> None:
        self.settings = settings
        self.pools = {pool.name: Pool(pool) for pool in settings.pools}
        self.kernels: dict[str, Kernel] = {}
        self.clients: set[Client] = set()
        self.effects: list[Effect] = []
        self._new_id = new_id
        self._clock = clock

    def take_effects(self) -> list[Effect]:
        """Return the effects so far and forget them."""
        effects, self.effects = self.effects, []
        return effects

    def reconfigure(self, settings: ServerSettings) -> None:
        """Take new settings over. Living kernels stay, those of a pool that is gone from the settings as well."""
        self.settings = settings
        names = {pool.name for pool in settings.pools}
        for pool_settings in settings.pools:
            known = self.pools.get(pool_settings.name)
            if known is None:
                self.pools[pool_settings.name] = Pool(pool_settings)
            else:
                known.settings, known.retired = pool_settings, False
        for pool in [pool for name, pool in self.pools.items() if name not in names]:
            self._retire(pool)
        for pool in self.pools.values():
            self.fill(pool)
            for kernel in tuple(pool.used.values()):
                self._offer(kernel)  # a new limit may concern it

    def _retire(self, pool: Pool) -> None:
        """Start no more kernels in a pool and forget it with its last one."""
        pool.retired = True
        for request in tuple(pool.waiting):
            self._forget_request(request.client)
            self.effects.append(RequestFailed(request.client, f"pool {pool.name} is not configured any more"))
        if not pool.kernels:
            del self.pools[pool.name]

    # -- kernels ---------------------------------------------------------------------------------------------

    def fill(self, pool: Pool) -> None:
        """Start as many kernels as the minimum and the waiting clients ask for and the maximum allows."""
        if pool.holding_off or pool.retired:
            return
        missing = pool.settings.minimum_kernel_number - pool.living
        wanted = len(pool.waiting) - sum(pool.counts[state] for state in COMING)
        for _ in range(min(max(missing, wanted), pool.room)):
            self._start(pool, None)

    def start_outside_pools(self, command_line: str | None = None) -> Kernel:
        """Start a kernel that belongs to no pool and is reached by its ID only."""
        return self._start(None, command_line)

    def ready(self, kernel: Kernel) -> None:
        """A starting kernel has been initialised."""
        self._move(kernel, KernelState.FREE)
        kernel.ready_at = kernel.since
        self._offer(kernel)

    def reset_done(self, kernel: Kernel) -> None:
        """ResetCode has run in a kernel; one in which it failed is closed instead."""
        kernel.needs_reset = False
        self._move(kernel, KernelState.FREE)
        self._offer(kernel)

    def start_failed(self, kernel: Kernel) -> None:
        """A starting kernel did not become ready: its pool pauses until `resume`."""
        if kernel.pool is not None:
            kernel.pool.holding_off = True
        self._gone(kernel)

    def resume(self, pool: Pool) -> None:
        """The pause after a failed start is over."""
        pool.holding_off = False
        self.fill(pool)

    def set_busy(self, kernel: Kernel, busy: bool) -> None:
        """An evaluation was begun in *kernel*, or the last one was answered."""
        kernel.busy = busy
        kernel.awaiting = False
        if busy:
            kernel.evaluations += kernel.state is KernelState.BRIDGED
            return
        kernel.idle_since = self._clock()
        if kernel.state in _UNBRIDGED_STATES:
            self._offer(kernel)

    def count_evaluations(self, kernel: Kernel, number: int) -> None:
        """So many evaluations were begun in *kernel* and answered, one after the other."""
        if kernel.state is KernelState.BRIDGED:
            kernel.evaluations += number
        kernel.idle_since = self._clock()

    def set_awaiting(self, kernel: Kernel, awaiting: bool) -> None:
        """A busy kernel waits for its client to say something, or does not any longer."""
        kernel.awaiting = awaiting
        if awaiting and kernel.state in _UNBRIDGED_STATES:
            self._offer(kernel)

    def close(self, kernel: Kernel, why: str, told: str = "") -> None:
        """Close a kernel, bridged or not. Its pool is filled up again. A bridged client hears what *told* says."""
        if kernel.state in (KernelState.CLOSING, KernelState.GONE):
            return
        if kernel.client is not None:
            self._part(kernel, Reason.KERNEL_CLOSED, told=told)
        self._move(kernel, KernelState.CLOSING)
        self.effects.append(Close(kernel, why))
        self._fail_waiting(kernel, why)
        if kernel.pool is not None:
            self.fill(kernel.pool)

    def lost(self, kernel: Kernel, in_good_order: bool) -> None:
        """The link of *kernel* has ended, so nothing can be done with it any more. A bridged client gets another
        kernel of the pool if that was allowed and the kernel did not end in good order."""
        if kernel.state in (KernelState.CLOSING, KernelState.GONE):
            return
        client, pool = kernel.client, kernel.pool
        replace = False
        if client is not None:
            allowed = client.allow_replacement
            if allowed is None:
                allowed = self.settings.allow_silent_kernel_replacement
            replace = allowed and not in_good_order and pool is not None
            self._part(kernel, Reason.KERNEL_ENDED if in_good_order else Reason.KERNEL_DIED, replace)
            client.allow_replacement = allowed if replace else None
        self._move(kernel, KernelState.CLOSING)
        self._fail_waiting(kernel, "the kernel ended")
        if pool is not None:
            if replace and client is not None and client.request is None:  # else it waits for another one already
                self.connect_to_pool(client, pool)
            self.fill(pool)

    def gone(self, kernel: Kernel) -> None:
        """The process of *kernel* is gone: there is room for another."""
        if kernel.state is not KernelState.GONE:
            self._gone(kernel)

    # -- clients ---------------------------------------------------------------------------------------------

    def add_client(self, client: Client) -> None:
        """A client link is open."""
        self.clients.add(client)

    def remove_client(self, client: Client) -> None:
        """A client link is gone."""
        self.clients.discard(client)
        self.give_up(client)
        self.disconnect(client, Reason.CLIENT_GONE)

    def connect_to_pool(self, client: Client, pool: Pool) -> Kernel | Request:
        """Bridge *client* with a kernel of *pool*, or let it wait for one behind those who wait already.

        If there is no other, a kernel of the pool that the client has and has not used is as good.
        """
        kernel = pool.choose()
        if kernel is not None:
            self._bridge(client, kernel)
            return kernel
        own = client.kernel
        if own is not None and own.pool is pool and client.has_not_used_it:
            self.give_up(client)
            return own
        request = self._wait(client, pool=pool)
        pool.waiting.join(request)
        self.fill(pool)
        return request

    def connect_to_kernel(self, client: Client, kernel: Kernel) -> Kernel | Request:
        """Bridge *client* with this *kernel*, or let it wait until the kernel is idle (or waits for an answer).

        Another client that has it loses it, if AllowStealingKernels permits. Raises `Refused`.
        """
        if kernel.client is client:
            self.give_up(client)  # whatever it waited for before, this is what it wants
            return kernel
        if kernel.client is not None:
            if not self.settings.allow_stealing_kernels:
                raise Refused(f"kernel {kernel.id} is bridged to another client")
            self._unbridge(kernel, Reason.STOLEN)
        if kernel.state in (KernelState.CLOSING, KernelState.GONE):
            raise Refused(f"kernel {kernel.id} is {kernel.state.value}")
        if (kernel.busy and not kernel.awaiting) or kernel.waiting or kernel.state in COMING:
            request = self._wait(client, kernel=kernel)
            kernel.waiting.join(request)
            if kernel.state in _UNBRIDGED_STATES:
                self._offer(kernel)  # it was taken from somebody, and others have waited for it longer
            return request
        self._bridge(client, kernel)
        return kernel

    def give_up(self, client: Client) -> None:
        """The client does not wait any longer."""
        request, client.request = client.request, None
        if request is None:
            return
        if request.pool is not None:
            request.pool.waiting.leave(request)
        if request.kernel is not None:
            request.kernel.waiting.leave(request)
            if request.kernel.state in _UNBRIDGED_STATES and not request.kernel.busy:
                self._offer(request.kernel)

    def disconnect(self, client: Client, reason: Reason = Reason.DISCONNECTED) -> bool:
        """End the client's bridge; False if it has none."""
        kernel = client.kernel
        if kernel is None:
            return False
        if self._unbridge(kernel, reason):
            self._offer(kernel)
        return True

    # -- the few places where records change -------------------------------------------------------------------

    def _start(self, pool: Pool | None, command_line: str | None) -> Kernel:
        kernel = Kernel(self._new_id(), pool, command_line, since=self._clock())
        self.kernels[kernel.id] = kernel
        if pool is not None:
            pool.kernels[kernel.id] = kernel
            pool.counts[KernelState.STARTING] += 1
        self.effects.append(Start(kernel))
        return kernel

    def _move(self, kernel: Kernel, state: KernelState) -> None:
        before = kernel.state
        kernel.move(state)
        kernel.since = self._clock()
        pool = kernel.pool
        if pool is None:
            return
        pool.counts[before] -= 1
        pool.counts[state] += 1
        pool.fresh.pop(kernel.id, None)
        pool.used.pop(kernel.id, None)
        if state is KernelState.FREE:
            (pool.used if kernel.uses else pool.fresh)[kernel.id] = kernel

    def _gone(self, kernel: Kernel) -> None:
        self._move(kernel, KernelState.GONE)
        del self.kernels[kernel.id]
        self._fail_waiting(kernel, "the kernel ended")
        if kernel.pool is not None:
            del kernel.pool.kernels[kernel.id]
            kernel.pool.counts[KernelState.GONE] = 0
            self.fill(kernel.pool)
            if kernel.pool.retired and not kernel.pool.kernels:
                self.pools.pop(kernel.pool.name, None)

    def _offer(self, kernel: Kernel) -> None:
        """An unbridged kernel may be idle now: give it to whoever waits for it, else to whoever waits in its pool.
        One that waits for an answer goes to those only who named it."""
        if kernel.busy and not kernel.awaiting:
            return
        if kernel.waiting:
            self._bridge(kernel.waiting.first.client, kernel)
        elif kernel.busy:
            return
        elif kernel.state is KernelState.FREE and kernel.pool is not None:
            self._give_back(kernel, kernel.pool)

    def _give_back(self, kernel: Kernel, pool: Pool) -> None:
        """A free idle kernel has to be closed or reset, or goes to the first who waits, or is kept."""
        why = worn_out(kernel, self._clock())
        if why is not None:
            self.close(kernel, why)
        elif kernel.needs_reset and pool.settings.reset_code:
            self._move(kernel, KernelState.RESETTING)
            self.effects.append(Reset(kernel))
        elif pool.waiting:
            self._bridge(pool.waiting.first.client, kernel)

    def _bridge(self, client: Client, kernel: Kernel) -> None:
        # the request goes first, so that the kernel which is given up now is not offered to this client again
        self._forget_request(client)
        if client.kernel is not None:
            self.disconnect(client, Reason.SWITCHED)
        self._move(kernel, KernelState.BRIDGED)
        kernel.uses += 1
        kernel.needs_reset = True
        kernel.client, client.kernel = client, kernel
        client.evaluations_before = kernel.evaluations
        self.effects.append(Bridged(client, kernel))
        if kernel.pool is not None and kernel.pool.waiting:
            self.fill(kernel.pool)  # a kernel that was started for the pool's queue may have been named by its ID

    def _forget_request(self, client: Client) -> None:
        request, client.request = client.request, None
        if request is not None and request.pool is not None:
            request.pool.waiting.leave(request)
        if request is not None and request.kernel is not None:
            request.kernel.waiting.leave(request)

    def _unbridge(self, kernel: Kernel, reason: Reason) -> bool:
        """Part the kernel from its client and close it or keep it; True if it was kept."""
        keep = True if kernel.pool is None else kernel.pool.settings.keep_alive
        if kernel.client is not None and kernel.client.keep_alive is not None:
            keep = kernel.client.keep_alive
        self._part(kernel, reason)
        if not keep:
            self.close(kernel, "its bridge ended and KeepAlive is false")
            return False
        # A client that chose another kernel before it evaluated anything has left nothing to come back to: clients of
        # parallel kernels, who are bridged with the default pool first, would else use that pool up.
        passed_by = reason is Reason.SWITCHED and not kernel.evaluations and kernel.reserve is None
        reserved = kernel.reserved_when_unbridged and not passed_by
        self._move(kernel, KernelState.RESERVED if reserved else KernelState.FREE)
        return True

    def _part(self, kernel: Kernel, reason: Reason, replacing: bool = False, told: str = "") -> None:
        client = kernel.client
        assert client is not None
        kernel.client = client.kernel = None
        client.keep_alive = client.allow_replacement = None
        self.effects.append(Unbridged(client, kernel, reason, replacing, told))

    def _wait(self, client: Client, pool: Pool | None = None, kernel: Kernel | None = None) -> Request:
        self.give_up(client)
        client.request = Request(client, pool, kernel)
        return client.request

    def _fail_waiting(self, kernel: Kernel, why: str) -> None:
        for request in tuple(kernel.waiting):
            self._forget_request(request.client)
            self.effects.append(RequestFailed(request.client, why))
