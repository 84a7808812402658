"""What the registry decides, case by case."""

from __future__ import annotations

import itertools

import pytest

from tests.pools.scene import RecordingRegistry, Scene, begin, bridged, end, waits
from tests.support.cases import for_all
from tests.support.settings import make_settings
from wstpserver.pools.registry import Refused, Registry
from wstpserver.pools.states import (
    Bridged,
    Client,
    Close,
    Departure,
    Kernel,
    KernelState,
    MoveFailed,
    Purpose,
    Reason,
    Settled,
    Start,
    TransitionError,
    Unbridged,
    WaitState,
)
from wstpserver.wire.packets import PacketHead


def make(pools=None, **values) -> RecordingRegistry:
    pools = pools or [{}]
    complete = [{"name": f"P{i}", "KernelPath": "/k", **pool} for i, pool in enumerate(pools)]
    numbers = itertools.count(1)
    return RecordingRegistry(make_settings(pools=complete, **values), lambda: f"{next(numbers):04x}-0000-0000")


def warm(registry: RecordingRegistry, name: str = "P0") -> list[Kernel]:
    """Fill a pool and make all its kernels ready."""
    registry.start()
    starts = [effect.kernel for effect in registry.take_effects() if isinstance(effect, Start)]
    kernels = [kernel for kernel in starts if kernel.pool.name == name]
    for kernel in starts:
        registry.ready(kernel)
    return kernels


def client(registry: RecordingRegistry, name: str = "c") -> Client:
    record = Client(name)
    registry.add_client(record)
    return record


def test_a_pool_is_filled_to_its_minimum_and_not_beyond():
    registry = make([{"MinimumKernelNumber": 3}])
    assert len(warm(registry)) == 3
    registry.start()
    assert registry.take_effects() == []


def test_a_client_gets_the_oldest_fresh_kernel_at_once():
    registry = make()
    kernels = warm(registry)
    one = client(registry)
    assert registry.connect_to_pool(one, registry.pools["P0"]).kernel is kernels[0]
    assert registry.take_effects() == [bridged(one, kernels[0])]
    assert kernels[0].state is KernelState.BRIDGED and kernels[0].client is one


def test_a_kernel_is_started_for_a_client_when_there_is_room():
    registry = make([{"MinimumKernelNumber": 0, "MaximumKernelNumber": 1}])
    one = client(registry)
    assert waits(registry.connect_to_pool(one, registry.pools["P0"]))
    (start,) = registry.take_effects()
    registry.ready(start.kernel)
    assert registry.take_effects() == [bridged(one, start.kernel)]


def test_waiting_clients_are_served_in_order_and_starting_kernels_count():
    registry = make([{"MinimumKernelNumber": 1, "MaximumKernelNumber": 2, "KeepAlive": False}])
    pool = registry.pools["P0"]
    (first,) = warm(registry)
    clients = [client(registry, str(i)) for i in range(4)]
    for one in clients:
        registry.connect_to_pool(one, pool)
    starts = [effect for effect in registry.take_effects() if isinstance(effect, Start)]
    assert len(starts) == 1 and pool.room == 0
    registry.disconnect(clients[0])
    registry.take_effects()
    registry.gone(first)
    (start,) = registry.take_effects()
    registry.ready(start.kernel)
    assert registry.take_effects() == [bridged(clients[1], start.kernel)]


def test_previously_bridged_kernels_come_first_in_the_order_of_their_unbridging():
    registry = make([{"MinimumKernelNumber": 3, "ReservePreviouslyConnectedKernels": False}])
    pool = registry.pools["P0"]
    kernels = warm(registry)
    clients = [client(registry, str(i)) for i in range(2)]
    for one in clients:
        registry.connect_to_pool(one, pool)
    registry.disconnect(clients[1])
    registry.disconnect(clients[0])
    assert registry.connect_to_pool(client(registry), pool).kernel is kernels[1]
    assert registry.connect_to_pool(client(registry), pool).kernel is kernels[0]
    assert registry.connect_to_pool(client(registry), pool).kernel is kernels[2]


def test_a_reserved_kernel_goes_only_to_those_who_name_it():
    registry = make([{"MinimumKernelNumber": 1, "MaximumKernelNumber": 1}])
    pool = registry.pools["P0"]
    (kernel,) = warm(registry)
    one, other = client(registry, "one"), client(registry, "other")
    registry.connect_to_pool(one, pool)
    registry.disconnect(one)
    assert kernel.state is KernelState.RESERVED
    assert waits(registry.connect_to_pool(other, pool))
    assert registry.connect_to_kernel(one, kernel).kernel is kernel


def test_set_reserve_kernel_outlives_the_bridge_and_beats_the_pool():
    registry = make([{"MinimumKernelNumber": 1, "MaximumKernelNumber": 1}])
    pool = registry.pools["P0"]
    (kernel,) = warm(registry)
    one, other = client(registry), client(registry)
    registry.connect_to_pool(one, pool)
    registry.set_reserve(kernel, setting=False)
    registry.disconnect(one)
    assert kernel.state is KernelState.FREE
    assert registry.connect_to_pool(other, pool).kernel is kernel
    registry.disconnect(other)
    assert kernel.state is KernelState.FREE


def test_keep_alive_false_closes_the_kernel_and_the_setting_ends_with_the_bridge():
    registry = make([{"MinimumKernelNumber": 0, "MaximumKernelNumber": 1}])
    pool = registry.pools["P0"]
    one = client(registry)
    registry.connect_to_pool(one, pool)
    (start,) = registry.take_effects()
    registry.ready(start.kernel)
    registry.set_keep_alive(one, setting=False)
    registry.disconnect(one)
    effects = registry.take_effects()
    assert Unbridged(one, start.kernel, Reason.DISCONNECTED) in effects
    assert [effect.kernel for effect in effects if isinstance(effect, Close)] == [start.kernel]
    assert one.keep_alive is None


def test_a_busy_kernel_is_not_given_to_a_stranger_until_it_is_idle():
    registry = make([{"MinimumKernelNumber": 1, "MaximumKernelNumber": 1, "ReservePreviouslyConnectedKernels": False}])
    pool = registry.pools["P0"]
    (kernel,) = warm(registry)
    one, other = client(registry), client(registry)
    registry.connect_to_pool(one, pool)
    begin(kernel)
    registry.disconnect(one)
    assert waits(registry.connect_to_pool(other, pool))
    registry.take_effects()
    end(kernel)
    assert registry.take_effects() == [bridged(other, kernel)]


def test_stealing_parts_the_other_client_and_can_be_forbidden():
    registry = make()
    kernel = warm(registry)[0]
    one, thief = client(registry, "one"), client(registry, "thief")
    registry.connect_to_pool(one, registry.pools["P0"])
    registry.take_effects()
    assert registry.connect_to_kernel(thief, kernel).kernel is kernel
    assert registry.take_effects() == [
        Unbridged(one, kernel, Reason.TAKEN_OVER),
        bridged(thief, kernel, named=True),
    ]
    strict = make(AllowStealingKernels=False)
    kernel = warm(strict)[0]
    strict.connect_to_pool(client(strict), strict.pools["P0"])
    with pytest.raises(Refused, match="bridged to another client"):
        strict.connect_to_kernel(client(strict), kernel)


def test_a_stolen_busy_kernel_waits_for_the_thief_and_for_nobody_else():
    registry = make([{"MinimumKernelNumber": 1, "MaximumKernelNumber": 1, "ReservePreviouslyConnectedKernels": False}])
    pool = registry.pools["P0"]
    (kernel,) = warm(registry)
    one, thief, patient = (client(registry, name) for name in ("one", "thief", "patient"))
    registry.connect_to_pool(one, pool)
    registry.connect_to_pool(patient, pool)
    begin(kernel)
    assert waits(registry.connect_to_kernel(thief, kernel))
    registry.take_effects()
    end(kernel)
    assert bridged(thief, kernel, named=True) in registry.take_effects()


def test_a_connection_that_is_not_made_keeps_the_old_bridge():
    registry = make([{"MinimumKernelNumber": 2, "MaximumKernelNumber": 2}])
    pool = registry.pools["P0"]
    kernels = warm(registry)
    one, other = client(registry), client(registry)
    registry.connect_to_pool(one, pool)
    registry.connect_to_pool(other, pool)
    begin(kernels[1])
    assert waits(registry.connect_to_kernel(one, kernels[1]))
    registry.give_up(one, "it is tired of it", state=WaitState.TIMED_OUT)
    assert one.kernel is kernels[0]
    assert kernels[0].client is one


def test_switching_frees_the_old_kernel_for_who_waits():
    registry = make([{"MinimumKernelNumber": 2, "MaximumKernelNumber": 2, "ReservePreviouslyConnectedKernels": False}])
    pool = registry.pools["P0"]
    first, second = warm(registry)
    one, two, waiting = (client(registry, name) for name in ("one", "two", "waiting"))
    registry.connect_to_pool(one, pool)
    registry.connect_to_pool(two, pool)
    registry.connect_to_pool(waiting, pool)
    registry.take_effects()
    registry.connect_to_kernel(one, second)
    found = registry.take_effects()
    assert bridged(one, second, named=True) in found and bridged(waiting, first) in found


@for_all("evaluated", [True, False])
def test_a_kernel_that_was_passed_by_for_another_is_not_reserved_unless_it_was_used(evaluated):
    registry = make([{"MinimumKernelNumber": 1}, {"MinimumKernelNumber": 1}])
    (passed,) = warm(registry)
    one = client(registry)
    registry.connect_to_pool(one, registry.pools["P0"])
    if evaluated:
        begin(passed)
        end(passed)
    registry.connect_to_pool(one, registry.pools["P1"])
    assert passed.state is (KernelState.RESERVED if evaluated else KernelState.FREE)


@for_all("allowed", [True, False])
@for_all("good_order", [True, False])
def test_only_a_dead_kernel_is_replaced_and_only_if_allowed(allowed, good_order):
    registry = make([{"MinimumKernelNumber": 2, "MaximumKernelNumber": 2}], AllowSilentKernelReplacement=allowed)
    kernels = warm(registry)
    one = client(registry)
    registry.connect_to_pool(one, registry.pools["P0"])
    registry.take_effects()
    registry.lost(kernels[0], in_good_order=good_order)
    replaced = allowed and not good_order
    effects = registry.take_effects()
    reason = Reason.KERNEL_ENDED if good_order else Reason.KERNEL_DIED
    assert effects[0] == Unbridged(one, kernels[0], reason, replaced, keep_queue=replaced)
    assert (Bridged(one, kernels[1], Purpose.REPLACEMENT, False) in effects) is replaced


def test_the_setting_of_a_bridge_beats_the_configuration_and_holds_for_the_replacement():
    registry = make([{"MinimumKernelNumber": 3, "MaximumKernelNumber": 3}])
    kernels = warm(registry)
    one = client(registry)
    registry.connect_to_pool(one, registry.pools["P0"])
    registry.set_allow_replacement(one, setting=True)
    registry.lost(kernels[0], in_good_order=False)
    assert one.kernel is kernels[1]
    registry.lost(kernels[1], in_good_order=False)
    assert one.kernel is kernels[2]


def test_an_unused_kernel_of_the_pool_is_as_good_as_another_one_where_there_is_none():
    """A client is bridged with the default pool and then asks for a kernel of it: parallel kernels with one pool."""
    registry = make([{"MinimumKernelNumber": 2}])
    warm(registry)
    pool = registry.pools["P0"]
    first, second = client(registry), client(registry)
    own = registry.connect_to_pool(first, pool).kernel
    registry.connect_to_pool(second, pool)
    registry.take_effects()
    assert registry.connect_to_pool(first, pool).kernel is own
    assert not registry.take_effects()
    begin(own)
    end(own)
    assert waits(registry.connect_to_pool(first, pool))
    assert first.kernel is own
    registry.set_keep_alive(second, setting=False)
    assert registry.connect_to_pool(second, pool).kernel is second.kernel, "whatever it says about the kernel's future"


def test_another_kernel_is_preferred_to_the_own_one():
    registry = make([{"MinimumKernelNumber": 2}])
    warm(registry)
    record = client(registry)
    own = registry.connect_to_pool(record, registry.pools["P0"]).kernel
    assert registry.connect_to_pool(record, registry.pools["P0"]).kernel is not own


def test_the_pool_is_filled_up_when_a_kernel_is_gone_but_the_maximum_holds_until_then():
    registry = make()
    kernels = warm(registry)
    registry.close(kernels[0], "test")
    assert not any(isinstance(effect, Start) for effect in registry.take_effects())
    registry.gone(kernels[0])
    assert [type(effect) for effect in registry.take_effects()] == [Start]


def test_a_failed_start_makes_the_pool_pause():
    registry = make([{"MinimumKernelNumber": 1, "MaximumKernelNumber": 1}])
    pool = registry.pools["P0"]
    registry.start()
    (start,) = registry.take_effects()
    registry.start_failed(start.kernel)
    assert registry.take_effects() == []
    registry.connect_to_pool(client(registry), pool)
    assert registry.take_effects() == []
    registry.start_again(pool)
    assert [type(effect) for effect in registry.take_effects()] == [Start]


def test_who_waits_for_a_kernel_hears_of_its_end():
    registry = make()
    kernel = warm(registry)[0]
    one, other = client(registry), client(registry)
    registry.connect_to_pool(one, registry.pools["P0"])
    begin(kernel)
    registry.connect_to_kernel(other, kernel)
    registry.take_effects()
    registry.lost(kernel, in_good_order=False)
    settled = [effect.waiting for effect in registry.take_effects(all_of_them=True) if isinstance(effect, Settled)]
    assert [(one.client, one.state, one.reason) for one in settled] == [(other, WaitState.FAILED, "the kernel ended")]
    assert other.waiting is None


def test_kernels_outside_pools_are_not_counted_and_not_given_to_strangers():
    registry = make([{"MinimumKernelNumber": 0, "MaximumKernelNumber": 1}])
    pool = registry.pools["P0"]
    own = registry.start_outside_pools("/bin/kernel -x")
    registry.ready(own)
    assert pool.running == 0
    one = client(registry)
    assert waits(registry.connect_to_pool(one, pool))
    assert registry.connect_to_kernel(one, own).kernel is own
    assert one.waiting is None and not pool.waiting


def test_a_transition_that_is_not_in_the_table_is_refused():
    registry = make()
    registry.start()
    (start, _) = registry.take_effects()
    registry.gone(start.kernel)
    with pytest.raises(TransitionError):
        start.kernel.move(KernelState.FREE)


def test_a_kernel_that_is_stolen_goes_to_those_first_who_wait_for_it():
    registry = make([{"MinimumKernelNumber": 1}])
    (kernel,) = warm(registry)
    owner, second, thief = client(registry), client(registry), client(registry)
    registry.connect_to_pool(owner, registry.pools["P0"])
    begin(kernel)
    registry.disconnect(owner)
    assert waits(registry.connect_to_kernel(owner, kernel))
    assert waits(registry.connect_to_kernel(second, kernel))
    end(kernel)
    assert owner.kernel is kernel and second.kernel is None
    assert waits(registry.connect_to_kernel(thief, kernel))
    assert second.kernel is kernel and owner.kernel is None
    registry.disconnect(second)
    assert thief.kernel is kernel


# -- kernels whose link has ended


@pytest.fixture
def dying():
    """(registry, client, kernel): the client's kernel is dying, and it may have another one."""
    registry = make([{"MinimumKernelNumber": 2, "MaximumKernelNumber": 2}])
    kernel = warm(registry)[0]
    one = client(registry, "one")
    registry.connect_to_pool(one, registry.pools["P0"])
    registry.set_allow_replacement(one, setting=True)
    registry.link_ended(kernel)
    registry.take_effects()
    return registry, one, kernel


def test_a_dying_kernel_keeps_its_client_who_gets_its_replacement(dying):
    registry, one, kernel = dying
    other = client(registry, "other")
    with pytest.raises(Refused, match="is dying"):
        registry.connect_to_kernel(other, kernel)
    assert (kernel.state, kernel.client, one.kernel) == (KernelState.DYING, one, kernel)
    registry.lost(kernel, in_good_order=False)
    assert one.kernel is not None and one.kernel is not kernel
    assert [type(effect) for effect in registry.take_effects()] == [Unbridged, Bridged]


def test_who_leaves_a_dying_kernel_does_not_put_it_back(dying):
    registry, one, kernel = dying
    registry.remove_client(one)
    assert (kernel.state, kernel.client) == (KernelState.DYING, None)
    registry.lost(kernel, in_good_order=False)
    assert kernel.state is KernelState.CLOSING
    assert [type(effect) for effect in registry.take_effects()] == [Unbridged]


def test_an_unbridged_dying_kernel_is_given_to_nobody():
    registry = make([{"MinimumKernelNumber": 1, "MaximumKernelNumber": 1}])
    (kernel,) = warm(registry)
    registry.link_ended(kernel)
    assert waits(registry.connect_to_pool(client(registry), registry.pools["P0"]))
    registry.lost(kernel, in_good_order=False)
    registry.gone(kernel)
    assert [type(effect) for effect in registry.take_effects()] == [Start]


def test_who_waits_for_a_kernel_that_begins_to_die_is_told():
    registry = make()
    kernel = warm(registry)[0]
    registry.connect_to_pool(client(registry), registry.pools["P0"])
    begin(kernel)
    waiting = registry.connect_to_kernel(client(registry), kernel)
    registry.link_ended(kernel)
    assert (waiting.state, waiting.reason) == (WaitState.FAILED, "the kernel ended")


def test_a_kernel_that_is_closed_before_it_is_ready_does_not_become_ready():
    registry = make()
    registry.start()
    start, _ = registry.take_effects()
    registry.close(start.kernel, "test")
    assert not registry.ready(start.kernel)
    assert start.kernel.state is KernelState.CLOSING


# -- take-overs


def taken():
    registry = make([{"MinimumKernelNumber": 1, "MaximumKernelNumber": 1}])
    (kernel,) = warm(registry)
    owner, taker = client(registry, "owner"), client(registry, "taker")
    registry.connect_to_pool(owner, registry.pools["P0"])
    registry.take_effects()
    return registry, kernel, owner, taker


@for_all("how", ["time-out", "its link ends"])
def test_a_take_over_that_fails_changes_nothing_for_the_owner(how):
    registry, kernel, owner, taker = taken()
    begin(kernel)
    waiting = registry.connect_to_kernel(taker, kernel)
    assert waits(waiting) and owner.kernel is kernel
    assert registry.take_effects() == []
    if how == "time-out":
        registry.give_up(taker, "too late", state=WaitState.TIMED_OUT)
        assert (waiting.state, waiting.reason) == (WaitState.TIMED_OUT, "too late")
    else:
        registry.remove_client(taker)
    end(kernel)
    assert owner.kernel is kernel and registry.take_effects() == []


def test_a_take_over_takes_place_between_two_evaluations():
    registry, kernel, owner, taker = taken()
    begin(kernel)
    waiting = registry.connect_to_kernel(taker, kernel)
    end(kernel)
    assert waiting.state is WaitState.GRANTED and taker.kernel is kernel and owner.kernel is None
    assert registry.take_effects() == [
        Unbridged(owner, kernel, Reason.TAKEN_OVER),
        bridged(taker, kernel, named=True),
    ]


def test_a_take_over_is_no_end_of_the_bridge_for_keep_alive():
    registry, kernel, owner, taker = taken()
    registry.set_keep_alive(owner, setting=False)
    registry.connect_to_kernel(taker, kernel)
    assert taker.kernel is kernel and taker.keep_alive is None
    assert not any(isinstance(effect, Close) for effect in registry.take_effects())
    registry.disconnect(taker)
    assert kernel.state is KernelState.RESERVED


def test_a_bridged_kernel_of_another_client_is_closed_only_where_stealing_is_allowed():
    for allowed in (True, False):
        registry = make(AllowStealingKernels=allowed)
        first, second = warm(registry)
        owner = client(registry)
        registry.connect_to_pool(owner, registry.pools["P0"])
        if not allowed:
            with pytest.raises(Refused, match="bridged to another client"):
                registry.close_for(client(registry), first)
            assert owner.kernel is first
        registry.close_for(owner if not allowed else None, first)
        registry.close_for(None, second)
        assert first.state is second.state is KernelState.CLOSING


# -- what waits for the end of an evaluation


def test_a_deferred_move_is_granted_at_once_and_made_when_the_evaluation_is_answered():
    registry = make([{"MinimumKernelNumber": 2, "MaximumKernelNumber": 2, "ReservePreviouslyConnectedKernels": False}])
    first, second = warm(registry)
    mover, stranger = client(registry, "mover"), client(registry, "stranger")
    pool = registry.pools["P0"]
    registry.connect_to_pool(mover, pool)
    begin(first)
    registry.take_effects()
    move = registry.connect_to_pool(mover, pool, Purpose.INSIDE, deferred=True)
    assert move.state is WaitState.GRANTED and move.kernel is second
    assert mover.kernel is first and registry.take_effects() == []
    assert waits(registry.connect_to_pool(stranger, pool)), "it is promised already"
    end(first)
    assert mover.kernel is second and stranger.kernel is first
    assert registry.take_effects()[:2] == [
        Unbridged(mover, first, Reason.SWITCHED, keep_queue=True),
        bridged(stranger, first),
    ]


@for_all("how", ["closed", "died"])
def test_a_promised_kernel_that_goes_first_is_not_moved_to(how):
    registry = make([{"MinimumKernelNumber": 2, "MaximumKernelNumber": 2}])
    first, second = warm(registry)
    mover = client(registry, "mover")
    registry.connect_to_pool(mover, registry.pools["P0"])
    begin(first)
    registry.connect_to_pool(mover, registry.pools["P0"], Purpose.INSIDE, deferred=True)
    registry.take_effects()
    if how == "closed":
        registry.close(second, "test")
    else:
        registry.link_ended(second)
        registry.lost(second, in_good_order=False)
    assert [type(effect) for effect in registry.take_effects()][0] is MoveFailed
    end(first)
    assert mover.kernel is first


def test_a_client_that_leaves_gives_a_promised_kernel_back():
    registry = make([{"MinimumKernelNumber": 2, "MaximumKernelNumber": 2}])
    first, second = warm(registry)
    mover = client(registry, "mover")
    registry.connect_to_pool(mover, registry.pools["P0"])
    begin(first)
    registry.connect_to_pool(mover, registry.pools["P0"], Purpose.INSIDE, deferred=True)
    registry.remove_client(mover)
    assert (second.state, second.client) == (KernelState.FREE, None)


def test_the_promised_kernel_is_the_replacement_of_one_that_dies_before():
    registry = make([{"MinimumKernelNumber": 2, "MaximumKernelNumber": 2}], AllowSilentKernelReplacement=True)
    first, second = warm(registry)
    mover = client(registry, "mover")
    registry.connect_to_pool(mover, registry.pools["P0"])
    begin(first)
    registry.connect_to_pool(mover, registry.pools["P0"], Purpose.INSIDE, deferred=True)
    registry.link_ended(first)
    registry.lost(first, in_good_order=False)
    assert mover.kernel is second


@for_all("departure", Departure)
def test_a_client_leaves_when_the_evaluation_is_answered(departure):
    registry, kernel, owner, _ = taken()
    begin(kernel)
    registry.leave_later(owner, departure)
    assert owner.kernel is kernel and kernel.deferred
    end(kernel)
    assert owner.kernel is None
    closed = departure is Departure.CLOSE
    assert kernel.state is (KernelState.CLOSING if closed else KernelState.RESERVED)


# -- the configuration changes


def test_a_kernel_that_starts_with_an_old_command_line_is_dropped():
    registry = make([{"MinimumKernelNumber": 1, "MaximumKernelNumber": 1}])
    registry.start()
    (start,) = registry.take_effects()
    registry.hold_off(registry.pools["P0"])
    changed = make([{"MinimumKernelNumber": 1, "MaximumKernelNumber": 1, "KernelPath": "/other"}]).settings
    registry.reconfigure(changed)
    assert [type(effect) for effect in registry.take_effects()] == [Close]
    registry.gone(start.kernel)
    assert [type(effect) for effect in registry.take_effects()] == [Start], "the pause has ended"


def test_a_kernel_that_starts_for_a_pool_that_is_gone_is_dropped():
    registry = make([{}, {"MinimumKernelNumber": 1}])
    registry.start()
    starting = [effect.kernel for effect in registry.take_effects() if effect.kernel.pool.name == "P1"]
    registry.reconfigure(make().settings)
    closed = [effect.kernel for effect in registry.take_effects() if isinstance(effect, Close)]
    assert closed == starting
    registry.gone(starting[0])
    assert "P1" not in registry.pools


def test_kernels_outside_pools_have_a_maximum():
    registry = make([{"MinimumKernelNumber": 0}])
    for _ in range(64):
        registry.start_outside_pools()
    with pytest.raises(Refused, match="MaximumKernelsOutsidePools"):
        registry.start_outside_pools()


def test_effects_are_carried_out_when_the_outermost_call_returns():
    order = []

    def carry_out(effect):
        order.append(type(effect).__name__)
        if isinstance(effect, Start):
            order.append("begin")
            registry.ready(effect.kernel)  # whoever carries out an effect may call the registry
            order.append("end")

    settings = make([{"MinimumKernelNumber": 0, "MaximumKernelNumber": 1}]).settings
    registry = Registry(settings, lambda: "0001-0000-0000", carry_out)
    waiting = registry.connect_to_pool(client(registry), registry.pools["P0"])
    assert order == ["Start", "begin", "end", "Settled", "Bridged"]
    assert waiting.state is WaitState.GRANTED


class Recorder:
    """Everything that observers hear, as words."""

    def __init__(self, registry):
        self.heard = []
        registry.observe(moved=self.moved, lost=self.lost, wait_ended=self.wait_ended)
        registry.observe(evaluated=self.evaluated, setting_changed=self.setting_changed)

    def moved(self, kernel, before, _since):
        self.heard.append((kernel.id[:4], before.value if before else None, kernel.state.value))

    def evaluated(self, kernel, change, number, since):
        self.heard.append((kernel.id[:4], change.name, number, since))

    def setting_changed(self, kernel):
        self.heard.append((kernel.id[:4], kernel.reserve, kernel.client.keep_alive))

    def lost(self, kernel, *, in_good_order):
        self.heard.append((kernel.id[:4], "ended" if in_good_order else "died"))

    def wait_ended(self, waiting):
        self.heard.append((waiting.client.name, waiting.state.value, len(waiting.line)))


def test_an_observer_hears_of_every_change_in_order():
    registry = make([{"MinimumKernelNumber": 1, "MaximumKernelNumber": 1, "KeepAlive": False}])
    recorder = Recorder(registry)
    (kernel,) = warm(registry)
    one, other = client(registry, "one"), client(registry, "other")
    registry.connect_to_pool(one, registry.pools["P0"])
    registry.connect_to_pool(other, registry.pools["P0"])
    registry.give_up(other, "late", state=WaitState.TIMED_OUT)
    assert recorder.heard == [
        ("0001", None, "starting"), ("0001", "starting", "free"),
        ("one", "granted", 0), ("0001", "free", "bridged"), ("other", "timed out", 0),
    ]  # fmt: skip
    recorder.heard.clear()
    registry.link_ended(kernel)
    registry.lost(kernel, in_good_order=False)
    registry.gone(kernel)
    registry.start_failed(next(iter(registry.kernels.values())))
    assert recorder.heard == [
        ("0001", "bridged", "dying"), ("0001", "died"), ("0001", "dying", "closing"), ("0001", "closing", "gone"),
        ("0002", None, "starting"), ("0002", "starting", "gone"),
    ]  # fmt: skip


def test_an_observer_hears_of_evaluations_and_settings():
    scene = Scene()
    recorder = Recorder(scene.registry)
    one = scene.bridged()
    recorder.heard.clear()
    ready = scene.now
    scene.now += 1
    begin(scene.kernel)
    scene.now += 2
    scene.kernel.evaluation.written(PacketHead.CallPacket)
    begin(scene.kernel)  # inside the other one
    end(scene.kernel)
    assert scene.kernel.busy_since == ready + 1
    end(scene.kernel)
    assert scene.kernel.busy_since is None
    scene.now += 3
    scene.kernel.evaluation.passed(PacketHead.EvaluatePacket, 5, 4)  # and one is open
    scene.registry.set_reserve(scene.kernel, setting=True)
    scene.registry.set_keep_alive(one, setting=False)
    assert recorder.heard == [
        ("0000", "BEGUN", 1, 0.0), ("0000", "BEGUN", 1, ready + 1), ("0000", "IDLE", 0, ready + 1),
        ("0000", "PASSED", 4, ready + 3), ("0000", "BEGUN", 1, ready + 6),
        ("0000", True, None), ("0000", True, False),
    ]  # fmt: skip
