"""Random histories of connects, commands, deaths and time-outs, and what must hold at every moment."""

from __future__ import annotations

from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.model.history import LONGEST_PAUSE, History, invariant, when
from wstpserver.model.limits import forgotten, overdue, worn_out
from wstpserver.model.registry import Refused
from wstpserver.model.states import COMING, LIVING, Client, Kernel, KernelState, Request


class RandomHistory(History):
    """What can happen to a server, and what must hold then."""

    # -- what can happen -----------------------------------------------------------------------------------------

    @when(lambda self: True)
    def client_connects(self):
        client = Client(f"c{len(self.clients)}")
        self.clients.append(client)
        self.registry.add_client(client)
        self.registry.connect_to_pool(client, self.registry.pools["A"])
        self.carry_out()

    @when(lambda self: self.registry.clients)
    def client_asks_for_a_pool(self):
        client = self.pick(self.present())
        if client is None:
            return
        self.named.pop(client, None)
        target = self.registry.pools[self.random.choice("AB")]
        free = target.choose()
        if free is None and client.has_not_used_it and client.kernel.pool is target:
            free = client.kernel
        waiting_before = [request.client for request in target.waiting if request.client is not client]
        outcome = self.registry.connect_to_pool(client, target)
        if isinstance(outcome, Kernel):
            assert outcome is free
            assert outcome.state is KernelState.BRIDGED
        elif client.request is outcome:
            assert [request.client for request in target.waiting] == [*waiting_before, client]
        self.carry_out()

    @when(lambda self: self.registry.clients and self.registry.kernels)
    def client_asks_for_a_kernel(self):
        client = self.pick(self.present())
        kernel = self.pick(self.registry.kernels.values())
        if client is None or kernel is None:
            return
        before = client.kernel
        try:
            outcome = self.registry.connect_to_kernel(client, kernel)
        except Refused:
            assert client.kernel is before
        else:
            self.named[client] = kernel
            if isinstance(outcome, Request):
                assert client.kernel is before
            else:
                assert client.kernel is kernel
        self.carry_out()

    @when(lambda self: any(one.request for one in self.registry.clients))
    def client_gives_up(self):
        client = self.pick(one for one in self.present() if one.request)
        if client is not None:
            self.registry.give_up(client)
            assert client.request is None
            self.carry_out()

    @when(lambda self: self.bridges)
    def client_disconnects(self):
        client = self.pick(self.bridges)
        if client is not None:
            assert self.registry.disconnect(client)
            self.carry_out()

    @when(lambda self: self.registry.clients)
    def client_vanishes(self):
        client = self.pick(self.present())
        if client is not None:
            self.registry.remove_client(client)
            self.carry_out()
            assert client not in self.bridges and client.kernel is None and client.request is None

    @when(lambda self: self.bridges)
    def client_sets_things(self):
        client = self.pick(self.bridges)
        if client is not None:
            client.keep_alive = self.random.choice([None, True, False])
            client.allow_replacement = self.random.choice([None, True, False])

    @when(lambda self: self.bridges)
    def client_reserves(self):
        client = self.pick(self.bridges)
        if client is not None and client.kernel.pool is not None:
            client.kernel.reserve = self.chance()

    @when(lambda self: self.bridges)
    def evaluation_begins(self):
        client = self.pick(self.bridges)
        if client is not None:
            self.registry.set_busy(client.kernel, True)

    @when(lambda self: any(one.busy for one in self.registry.kernels.values()))
    def evaluation_ends(self):
        kernel = self.pick(one for one in self.registry.kernels.values() if one.busy)
        if kernel is not None:
            self.registry.set_busy(kernel, False)
            self.carry_out()

    @when(lambda self: any(one.busy for one in self.registry.kernels.values()))
    def kernel_asks_or_goes_on(self):
        kernel = self.pick(one for one in self.registry.kernels.values() if one.busy)
        self.registry.set_awaiting(kernel, self.chance())
        self.carry_out()

    @when(lambda self: True)
    def kernel_starts_outside_pools(self):
        self.registry.start_outside_pools()
        self.carry_out()

    @when(lambda self: self.starting)
    def kernel_becomes_ready(self):
        kernel = self.pick(self.starting)
        if kernel is not None:
            self.starting.remove(kernel)
            self.registry.ready(kernel)
            self.carry_out()

    @when(lambda self: self.starting)
    def all_kernels_become_ready(self):
        while self.starting:
            self.registry.ready(self.starting.pop())
            self.carry_out()

    @when(lambda self: self.starting)
    def kernel_fails_to_start(self):
        kernel = self.pick(self.starting)
        if kernel is not None:
            self.starting.remove(kernel)
            self.registry.start_failed(kernel)
            self.carry_out()

    @when(lambda self: any(pool.holding_off for pool in self.registry.pools.values()))
    def pause_ends(self):
        self.registry.resume(self.registry.pools[self.random.choice("AB")])
        self.carry_out()

    @when(lambda self: True)
    def kernel_ends(self):
        living = LIVING - {KernelState.STARTING}
        kernel = self.pick(one for one in self.registry.kernels.values() if one.state in living)
        if kernel is not None:
            self.registry.lost(kernel, self.chance())
            self.closing.append(kernel)
            if kernel in self.resetting:
                self.resetting.remove(kernel)
            self.carry_out()

    @when(lambda self: self.registry.kernels)
    def kernel_is_closed(self):
        kernel = self.pick(self.registry.kernels.values())
        if kernel is not None:
            self.registry.close(kernel, "asked for")
            self.carry_out()

    @when(lambda self: self.resetting)
    def kernel_is_reset(self):
        kernel = self.pick(self.resetting)
        if kernel is not None:
            self.resetting.remove(kernel)
            self.used.discard(kernel)
            self.registry.reset_done(kernel)
            self.carry_out()

    @when(lambda self: self.resetting)
    def reset_fails(self):
        kernel = self.pick(self.resetting)
        if kernel is not None:
            self.registry.close(kernel, "its reset failed")
            self.carry_out()

    @when(lambda self: True)
    def time_passes(self):
        self.now += self.random.uniform(0, LONGEST_PAUSE)
        for pool in self.registry.pools.values():
            for kernel, why in overdue(pool, self.now):
                assert not kernel.busy and kernel.client is None and not kernel.waiting
                self.registry.close(kernel, why)
        self.carry_out()

    @when(lambda self: self.closing)
    def process_is_gone(self):
        kernel = self.pick(self.closing)
        if kernel is not None:
            self.closing.remove(kernel)
            self.registry.gone(kernel)
            self.carry_out()

    # -- what must hold ------------------------------------------------------------------------------------------

    @invariant
    def records_agree_with_the_effects(self):
        for client in self.registry.clients:
            assert client.kernel is self.bridges.get(client)
        for kernel in self.registry.kernels.values():
            assert (kernel.client is not None) == (kernel.state is KernelState.BRIDGED)

    @invariant
    def numbers_are_kept(self):
        for pool in self.registry.pools.values():
            assert pool.running <= pool.settings.maximum_kernel_number
            if not pool.holding_off and pool.room:
                assert pool.living >= pool.settings.minimum_kernel_number
            for state in KernelState:
                if state is not KernelState.GONE:
                    assert pool.counts[state] == sum(one.state is state for one in pool.kernels.values())

    @invariant
    def nobody_waits_for_what_is_there(self):
        for pool in self.registry.pools.values():
            if pool.waiting:
                assert pool.choose() is None
                if not pool.holding_off:
                    coming = sum(pool.counts[state] for state in COMING)
                    assert pool.room == 0 or coming >= len(pool.waiting)

    @invariant
    def reserved_kernels_are_never_offered(self):
        for pool in self.registry.pools.values():
            offered = [*pool.fresh.values(), *pool.used.values()]
            assert all(kernel.state is KernelState.FREE for kernel in offered)
            assert len(offered) == pool.counts[KernelState.FREE]

    @invariant
    def free_idle_kernels_are_fit_for_anybody(self):
        for pool in self.registry.pools.values():
            for kernel in [*pool.fresh.values(), *pool.used.values()]:
                if not kernel.busy:
                    assert worn_out(kernel, kernel.since) is None
                    assert not (pool.settings.reset_code and kernel in self.used)

    @invariant
    def nothing_is_forgotten_for_longer_than_its_limit(self):
        for kernel in self.registry.kernels.values():
            if kernel.state in (KernelState.FREE, KernelState.RESERVED):
                assert forgotten(kernel, self.now) is None and worn_out(kernel, self.now) is None

    @invariant
    def nothing_leaks(self):
        resetting = [one for one in self.registry.kernels.values() if one.state is KernelState.RESETTING]
        assert set(resetting) == set(self.resetting) and len(resetting) == len(self.resetting)
        known = set(self.starting) | set(self.closing) | set(self.registry.kernels.values())
        assert known == set(self.registry.kernels.values())
        assert len(self.used_ids) == len(set(self.used_ids))
        waiting = [request.client for pool in self.registry.pools.values() for request in pool.waiting]
        waiting += [request.client for kernel in self.registry.kernels.values() for request in kernel.waiting]
        assert len(waiting) == len(set(waiting))
        assert set(waiting) == {client for client in self.registry.clients if client.request is not None}


@hypothesis_settings(max_examples=300, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32))
def test_whatever_happens_the_invariants_hold(seed):
    RandomHistory(seed).run()
