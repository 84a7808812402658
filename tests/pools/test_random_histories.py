"""Random histories of connects, commands, deaths and time-outs, and what must hold at every moment."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.pools.history import LONGEST_PAUSE, History, invariant, when
from wstpserver.pools.limits import forgotten, overdue, spare_kernels, unserved, worn_out
from wstpserver.pools.registry import Refused
from wstpserver.pools.states import COMING, ENDING, Admission, Client, Departure, KernelState, Purpose, WaitState
from wstpserver.wire.packets import PacketHead as Head

#: States in which a kernel's link may end while nobody else is in charge of the kernel.
DYING_FROM = (KernelState.FREE, KernelState.RESERVED, KernelState.BRIDGED, KernelState.RESETTING)


#: Kernels that neither read nor exit at the same time.
MOST_STUCK = 2


class RandomHistory(History):
    """What can happen to a server, and what must hold then."""

    # -- what can happen -----------------------------------------------------------------------------------------

    @when(lambda self: True)
    def client_connects(self):
        client = Client(f"c{len(self.clients)}")
        self.clients.append(client)
        self.registry.add_client(client)
        self.registry.connect_to_pool(client, self.registry.pools["A"])

    @when(lambda self: self.registry.clients)
    def client_asks_for_a_pool(self):
        client = self.pick(self.present())
        if client is None:
            return
        target = self.registry.pools[self.random.choice("AB")]
        free = target.choose()
        own = client.kernel
        if free is None and client.has_not_used_it and own.pool is target and own.state is KernelState.BRIDGED:
            free = own
        before = [waiting.client for waiting in target.waiting if waiting.client is not client]
        inside = own is not None and own.busy and self.chance()
        purpose = Purpose.INSIDE if inside else Purpose.COMMAND
        waiting = self.registry.connect_to_pool(client, target, purpose, deferred=inside)
        self.waiting.append(waiting)
        if waiting.state is not WaitState.WAITING:  # the caller sees it, and nobody else is told
            assert waiting not in self.settled
            self.settled.append(waiting)
        if target.admission is Admission.DRAINING:
            assert waiting.state is WaitState.FAILED or waiting.kernel is own
        elif target.admission is Admission.PAUSED:
            assert waiting.state is WaitState.WAITING or waiting.kernel is own
        elif waiting.state is WaitState.GRANTED:
            assert waiting.kernel is free or free is None
            assert waiting.kernel.state is KernelState.BRIDGED and waiting.kernel.client is client
            assert (client.pending is waiting) is (inside and waiting.kernel is not own)
        elif client.waiting is waiting:
            assert [one.client for one in target.waiting] == [*before, client]

    @when(lambda self: self.registry.clients and self.registry.kernels)
    def client_asks_for_a_kernel(self):
        client = self.pick(self.present())
        kernel = self.pick(self.registry.kernels.values())
        if client is None or kernel is None:
            return
        before, owner = client.kernel, kernel.client
        inside = before is not None and before.busy and self.chance()
        purpose = Purpose.INSIDE if inside else Purpose.COMMAND
        try:
            waiting = self.registry.connect_to_kernel(client, kernel, purpose, deferred=inside)
        except Refused:
            assert client.kernel is before
            assert kernel.client is owner
            closed = (kernel.pool or self.registry).admission is Admission.DRAINING
            assert kernel.state in ENDING or owner not in (None, client) or closed
        else:
            self.waiting.append(waiting)
            if waiting.state is WaitState.WAITING:
                assert client.kernel is before and kernel.client is owner, "who waits disturbs nobody"
            else:
                assert waiting.state is WaitState.GRANTED and kernel.client is client

    @when(lambda self: any(one.waiting for one in self.registry.clients))
    def client_gives_up(self):
        client = self.pick(one for one in self.present() if one.waiting)
        if client is not None:
            bridges, waiting = dict(self.bridges), client.waiting
            self.registry.give_up(client, "test", state=WaitState.TIMED_OUT)
            assert client.waiting is None and waiting.state is WaitState.TIMED_OUT
            assert self.bridges == bridges, "a time-out disturbs nobody"

    @when(lambda self: self.bridges)
    def client_disconnects(self):
        client = self.pick(self.bridges)
        if client is not None:
            assert self.registry.disconnect(client)

    @when(lambda self: self.registry.clients)
    def client_vanishes(self):
        client = self.pick(self.present())
        if client is not None:
            self.registry.remove_client(client)
            assert client not in self.bridges and client.kernel is None and client.waiting is None
            assert client.pending is None

    @when(lambda self: self.bridges)
    def client_sets_things(self):
        client = self.pick(self.bridges)
        if client is not None:
            self.registry.set_keep_alive(client, setting=self.chance())
            self.registry.set_allow_replacement(client, setting=self.chance())

    @when(lambda self: self.bridges)
    def client_leaves_after_the_evaluation(self):
        client = self.pick(one for one in self.bridges if one.kernel.busy)
        if client is not None:
            self.registry.leave_later(client, self.random.choice(list(Departure)))

    @when(lambda self: self.bridges)
    def client_reserves(self):
        client = self.pick(self.bridges)
        if client is not None and client.kernel.pool is not None:
            self.registry.set_reserve(client.kernel, setting=self.chance())

    @when(lambda self: self.bridges)
    def evaluation_begins(self):
        client = self.pick(one for one in self.bridges if one.kernel.evaluation.accepting)
        if client is not None:
            client.kernel.evaluation.sent(Head.EvaluatePacket)

    @when(lambda self: any(one.busy for one in self.registry.kernels.values()))
    def evaluation_ends(self):
        kernel = self.pick(one for one in self.registry.kernels.values() if one.busy and one not in self.stuck)
        if kernel is not None:
            kernel.evaluation.written(Head.ReturnPacket)

    @when(lambda self: any(one.busy for one in self.registry.kernels.values()))
    def kernel_asks_or_goes_on(self):
        kernel = self.pick(one for one in self.registry.kernels.values() if one.busy and one not in self.stuck)
        if kernel is None:
            return
        if self.chance():
            kernel.evaluation.written(Head.InputPacket)
        else:
            kernel.evaluation.sent(Head.TextPacket)

    @when(lambda self: True)
    def kernel_starts_outside_pools(self):
        try:
            self.registry.start_outside_pools()
        except Refused:
            assert self.registry.seats.left == 0 or self.registry.admission is not Admission.OPEN

    @when(lambda self: self.random.random() < 0.3)
    def administrator_closes_a_pool(self):
        self.admitted = {client for client in self.registry.clients if client.waiting is not None}
        self.moving = {client for client in self.registry.clients if client.pending is not None}
        action = self.registry.drain if self.chance() else self.registry.pause
        bridges, paused = dict(self.bridges), any(one.admission is Admission.PAUSED for one in self.present_doors())
        action(self.random.choice([None, *self.registry.pools.values()]))
        if not paused:  # else a client that waited to take a kernel over gets it now
            assert bridges == self.bridges, "whoever has a kernel keeps it"

    def present_doors(self):
        return [self.registry, *self.registry.pools.values()]

    @when(lambda self: any(pool.admission is not Admission.OPEN for pool in self.registry.pools.values()))
    def administrator_opens_pools(self):
        self.registry.resume(self.random.choice([None, *self.registry.pools.values()]))

    @when(lambda self: self.starting)
    def kernel_becomes_ready(self):
        kernel = self.pick(self.starting)
        if kernel is not None:
            self.starting.remove(kernel)
            self.registry.ready(kernel)

    @when(lambda self: self.starting)
    def all_kernels_become_ready(self):
        while self.starting:
            self.registry.ready(self.starting.pop())

    @when(lambda self: self.starting)
    def kernel_fails_to_start(self):
        kernel = self.pick(self.starting)
        if kernel is not None:
            self.starting.remove(kernel)
            self.registry.start_failed(kernel)

    @when(lambda self: any(pool.holding_off for pool in self.registry.pools.values()))
    def pause_ends(self):
        self.registry.start_again(self.registry.pools[self.random.choice("AB")])

    @when(lambda self: True)
    def link_of_a_kernel_ends(self):
        kernel = self.pick(one for one in self.registry.kernels.values() if one.state in DYING_FROM)
        if kernel is not None:
            client = kernel.client
            self.registry.link_ended(kernel)
            assert kernel.state is KernelState.DYING and kernel.client is client
            self.dying.append(kernel)
            if kernel in self.resetting:
                self.resetting.remove(kernel)

    @when(lambda self: self.dying)
    def death_of_a_kernel_is_settled(self):
        kernel = self.pick(self.dying)
        self.dying.remove(kernel)
        self.closing.append(kernel)
        self.registry.lost(kernel, in_good_order=self.chance(), can_continue=self.chance())

    @when(lambda self: self.registry.kernels)
    def kernel_is_closed(self):
        kernel = self.pick(self.registry.kernels.values())
        if kernel is not None:
            self.registry.close(kernel, "asked for")

    @when(lambda self: self.resetting)
    def kernel_is_reset(self):
        kernel = self.pick(self.resetting)
        if kernel is not None:
            self.resetting.remove(kernel)
            self.used.discard(kernel)
            self.registry.reset_done(kernel)

    @when(lambda self: self.resetting)
    def reset_fails(self):
        kernel = self.pick(self.resetting)
        if kernel is not None:
            self.registry.close(kernel, "its reset failed")

    @when(lambda self: True)
    def time_passes(self):
        self.now += self.random.uniform(0, LONGEST_PAUSE)
        for pool in self.registry.pools.values():
            for kernel, why in overdue(pool, self.now):
                assert not kernel.busy and kernel.client is None and not kernel.waiting
                self.registry.close(kernel, why)

    @when(lambda self: self.closing)
    def news_come_late(self):
        """What was under way when the kernel was closed: it became ready, failed, was reset, or its end was seen."""
        kernel = self.pick(one for one in self.closing if one.state is KernelState.CLOSING)
        if kernel is None:
            return
        news = self.random.choice(["ready", "start_failed", "reset_done", "link_ended", "lost", "evaluation_answered"])
        if news == "ready":
            assert not self.registry.ready(kernel), "it is to be closed"
        elif news == "lost":
            self.registry.lost(kernel, in_good_order=self.chance(), can_continue=self.chance())
        else:
            getattr(self.registry, news)(kernel)
        assert kernel.state is KernelState.CLOSING and kernel in self.closing

    @when(lambda self: self.registry.kernels)
    def kernel_is_stuck(self):
        """From now on it neither reads nor exits: what is open in it stays open, and when it is closed it stays."""
        kernel = self.pick(self.registry.kernels.values())
        if kernel is not None and len(self.stuck) < MOST_STUCK:
            self.stuck.add(kernel)

    @when(lambda self: self.stuck)
    def stuck_process_is_killed(self):
        kernel = self.pick(sorted(self.stuck, key=lambda one: one.id))
        if kernel is not None:
            self.stuck.discard(kernel)

    @when(lambda self: self.closing)
    def process_is_gone(self):
        kernel = self.pick(one for one in self.closing if one not in self.stuck)
        if kernel is not None:
            self.closing.remove(kernel)
            self.registry.gone(kernel)

    @when(lambda self: not self.dying)
    def server_is_restarted(self):
        record, again = self.restart()
        assert again["clients"] == record["clients"] and again["waiting"] == record["waiting"]
        for before, after in zip(record["kernels"], again["kernels"], strict=True):
            if before["state"] == KernelState.RESETTING.value:
                before["state"] = KernelState.FREE.value
            assert after == before
        for before, after in zip(record["pools"], again["pools"], strict=True):
            assert after["fresh"] == before["fresh"] and after["bridges"] == before["bridges"]
            assert [one for one in after["used"] if one in before["used"]] == before["used"]

    # -- what must hold ------------------------------------------------------------------------------------------

    @invariant
    def records_agree_with_the_effects(self):
        for client in self.registry.clients:
            assert client.kernel is self.bridges.get(client)
        for kernel in self.registry.kernels.values():
            if kernel.state is not KernelState.DYING:
                assert (kernel.client is not None) == (kernel.state is KernelState.BRIDGED)
            client = kernel.client
            assert client is None or client.kernel is kernel or client.pending.kernel is kernel

    @invariant
    def numbers_are_kept(self):
        for pool in self.registry.pools.values():
            assert pool.running <= pool.settings.maximum_kernel_number
            if not pool.holding_off and pool.room and pool.admission is Admission.OPEN:
                assert pool.living >= pool.settings.minimum_kernel_number
            for state in KernelState:
                if state is not KernelState.GONE:
                    assert pool.counts[state] == sum(one.state is state for one in pool.kernels.values())

    @invariant
    def no_more_kernels_run_than_there_are_seats(self):
        seats = self.registry.seats
        assert not seats.maximum or len(self.registry.kernels) <= seats.maximum
        pools = self.registry.pools.values()
        clients = sum(unserved(pool) for pool in pools)
        going = sum(one.state is KernelState.CLOSING for one in self.registry.kernels.values())
        if clients > going:
            assert seats.left == 0, "a seat is left, and clients wait for a kernel"
            assert not spare_kernels(pools, 1), "a kernel that nobody needs, and clients wait for a seat"

    @invariant
    def nobody_waits_for_what_is_there(self):
        for pool in self.registry.pools.values():
            if pool.waiting and pool.admission is not Admission.PAUSED:
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
        waiting = [one.client for pool in self.registry.pools.values() for one in pool.waiting]
        waiting += [one.client for kernel in self.registry.kernels.values() for one in kernel.waiting]
        assert len(waiting) == len(set(waiting))
        assert set(waiting) == {client for client in self.registry.clients if client.waiting is not None}

    @invariant
    def who_does_not_wait_any_more_was_told(self):
        for waiting in self.waiting:
            assert (waiting in self.settled) is (waiting.state is not WaitState.WAITING)
            assert bool(waiting.reason) is (waiting.state in (WaitState.FAILED, WaitState.TIMED_OUT))


@pytest.mark.timeout(600)
@hypothesis_settings(max_examples=3 * hypothesis_settings().max_examples, derandomize=True)
@given(seed=st.integers(0, 2**32))
def test_whatever_happens_the_invariants_hold(seed):
    RandomHistory(seed).run()
