"""What the registry decides, case by case."""

from __future__ import annotations

import itertools

import pytest

from wstpserver.model.effects import Bridged, Close, Reason, RequestFailed, Start, Unbridged
from wstpserver.model.registry import Refused, Registry
from wstpserver.model.states import Client, Kernel, KernelState, Request, TransitionError
from wstpserver.settings import ServerSettings


def make(pools=None, **values) -> Registry:
    pools = pools or [{}]
    complete = [{"name": f"P{i}", "KernelPath": "/k", **pool} for i, pool in enumerate(pools)]
    numbers = itertools.count(1)
    return Registry(ServerSettings.build(pools=complete, **values), lambda: f"{next(numbers):04x}-0000-0000")


def warm(registry: Registry, name: str = "P0") -> list[Kernel]:
    """Fill a pool and make all its kernels ready."""
    pool = registry.pools[name]
    registry.fill(pool)
    kernels = [effect.kernel for effect in registry.take_effects() if isinstance(effect, Start)]
    for kernel in kernels:
        registry.ready(kernel)
    return kernels


def client(registry: Registry, name: str = "c") -> Client:
    record = Client(name)
    registry.add_client(record)
    return record


def test_a_pool_is_filled_to_its_minimum_and_not_beyond():
    registry = make([{"MinimumKernelNumber": 3}])
    assert len(warm(registry)) == 3
    registry.fill(registry.pools["P0"])
    assert registry.take_effects() == []


def test_a_client_gets_the_oldest_fresh_kernel_at_once():
    registry = make()
    kernels = warm(registry)
    one = client(registry)
    assert registry.connect_to_pool(one, registry.pools["P0"]) is kernels[0]
    assert registry.take_effects() == [Bridged(one, kernels[0])]
    assert kernels[0].state is KernelState.BRIDGED and kernels[0].client is one


def test_a_kernel_is_started_for_a_client_when_there_is_room():
    registry = make([{"MinimumKernelNumber": 0, "MaximumKernelNumber": 1}])
    one = client(registry)
    assert isinstance(registry.connect_to_pool(one, registry.pools["P0"]), Request)
    (start,) = registry.take_effects()
    registry.ready(start.kernel)
    assert registry.take_effects() == [Bridged(one, start.kernel)]


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
    assert registry.take_effects() == [Bridged(clients[1], start.kernel)]


def test_previously_bridged_kernels_come_first_in_the_order_of_their_unbridging():
    registry = make([{"MinimumKernelNumber": 3, "ReservePreviouslyConnectedKernels": False}])
    pool = registry.pools["P0"]
    kernels = warm(registry)
    clients = [client(registry, str(i)) for i in range(2)]
    for one in clients:
        registry.connect_to_pool(one, pool)
    registry.disconnect(clients[1])
    registry.disconnect(clients[0])
    assert registry.connect_to_pool(client(registry), pool) is kernels[1]
    assert registry.connect_to_pool(client(registry), pool) is kernels[0]
    assert registry.connect_to_pool(client(registry), pool) is kernels[2]


def test_a_reserved_kernel_goes_only_to_those_who_name_it():
    registry = make([{"MinimumKernelNumber": 1, "MaximumKernelNumber": 1}])
    pool = registry.pools["P0"]
    (kernel,) = warm(registry)
    one, other = client(registry, "one"), client(registry, "other")
    registry.connect_to_pool(one, pool)
    registry.disconnect(one)
    assert kernel.state is KernelState.RESERVED
    assert isinstance(registry.connect_to_pool(other, pool), Request)
    assert registry.connect_to_kernel(one, kernel) is kernel


def test_set_reserve_kernel_outlives_the_bridge_and_beats_the_pool():
    registry = make([{"MinimumKernelNumber": 1, "MaximumKernelNumber": 1}])
    pool = registry.pools["P0"]
    (kernel,) = warm(registry)
    one, other = client(registry), client(registry)
    registry.connect_to_pool(one, pool)
    kernel.reserve = False
    registry.disconnect(one)
    assert kernel.state is KernelState.FREE
    assert registry.connect_to_pool(other, pool) is kernel
    registry.disconnect(other)
    assert kernel.state is KernelState.FREE


def test_keep_alive_false_closes_the_kernel_and_the_setting_ends_with_the_bridge():
    registry = make([{"MinimumKernelNumber": 0, "MaximumKernelNumber": 1}])
    pool = registry.pools["P0"]
    one = client(registry)
    registry.connect_to_pool(one, pool)
    (start,) = registry.take_effects()
    registry.ready(start.kernel)
    one.keep_alive = False
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
    registry.set_busy(kernel, True)
    registry.disconnect(one)
    assert isinstance(registry.connect_to_pool(other, pool), Request)
    registry.take_effects()
    registry.set_busy(kernel, False)
    assert registry.take_effects() == [Bridged(other, kernel)]


def test_stealing_parts_the_other_client_and_can_be_forbidden():
    registry = make()
    kernel = warm(registry)[0]
    one, thief = client(registry, "one"), client(registry, "thief")
    registry.connect_to_pool(one, registry.pools["P0"])
    registry.take_effects()
    assert registry.connect_to_kernel(thief, kernel) is kernel
    assert registry.take_effects() == [Unbridged(one, kernel, Reason.STOLEN), Bridged(thief, kernel)]
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
    registry.set_busy(kernel, True)
    assert isinstance(registry.connect_to_kernel(thief, kernel), Request)
    registry.take_effects()
    registry.set_busy(kernel, False)
    assert registry.take_effects() == [Bridged(thief, kernel)]


def test_a_connection_that_is_not_made_keeps_the_old_bridge():
    registry = make([{"MinimumKernelNumber": 2, "MaximumKernelNumber": 2}])
    pool = registry.pools["P0"]
    kernels = warm(registry)
    one, other = client(registry), client(registry)
    registry.connect_to_pool(one, pool)
    registry.connect_to_pool(other, pool)
    registry.set_busy(kernels[1], True)
    assert isinstance(registry.connect_to_kernel(one, kernels[1]), Request)
    registry.give_up(one)
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
    bridged = [effect for effect in registry.take_effects() if isinstance(effect, Bridged)]
    assert Bridged(one, second) in bridged and Bridged(waiting, first) in bridged


@pytest.mark.parametrize("evaluated", [True, False])
def test_a_kernel_that_was_passed_by_for_another_is_not_reserved_unless_it_was_used(evaluated):
    registry = make([{"MinimumKernelNumber": 1}, {"MinimumKernelNumber": 1}])
    (passed,) = warm(registry)
    warm(registry, "P1")
    one = client(registry)
    registry.connect_to_pool(one, registry.pools["P0"])
    if evaluated:
        registry.set_busy(passed, True)
        registry.set_busy(passed, False)
    registry.connect_to_pool(one, registry.pools["P1"])
    assert passed.state is (KernelState.RESERVED if evaluated else KernelState.FREE)


@pytest.mark.parametrize("allowed", [True, False])
@pytest.mark.parametrize("good_order", [True, False])
def test_only_a_dead_kernel_is_replaced_and_only_if_allowed(allowed, good_order):
    registry = make([{"MinimumKernelNumber": 2, "MaximumKernelNumber": 2}], AllowSilentKernelReplacement=allowed)
    kernels = warm(registry)
    one = client(registry)
    registry.connect_to_pool(one, registry.pools["P0"])
    registry.take_effects()
    registry.lost(kernels[0], good_order)
    replaced = allowed and not good_order
    effects = registry.take_effects()
    reason = Reason.KERNEL_ENDED if good_order else Reason.KERNEL_DIED
    assert effects[0] == Unbridged(one, kernels[0], reason, replaced)
    assert (Bridged(one, kernels[1]) in effects) is replaced


def test_the_setting_of_a_bridge_beats_the_configuration_and_holds_for_the_replacement():
    registry = make([{"MinimumKernelNumber": 3, "MaximumKernelNumber": 3}])
    kernels = warm(registry)
    one = client(registry)
    registry.connect_to_pool(one, registry.pools["P0"])
    one.allow_replacement = True
    registry.lost(kernels[0], False)
    assert one.kernel is kernels[1]
    registry.lost(kernels[1], False)
    assert one.kernel is kernels[2]


def test_an_unused_kernel_of_the_pool_is_as_good_as_another_one_where_there_is_none():
    """A client is bridged with the default pool and then asks for a kernel of it: parallel kernels with one pool."""
    registry = make([{"MinimumKernelNumber": 2}])
    warm(registry)
    pool = registry.pools["P0"]
    first, second = client(registry), client(registry)
    own = registry.connect_to_pool(first, pool)
    registry.connect_to_pool(second, pool)
    registry.take_effects()
    assert registry.connect_to_pool(first, pool) is own
    assert not registry.take_effects()
    registry.set_busy(own, True)
    registry.set_busy(own, False)
    assert isinstance(registry.connect_to_pool(first, pool), Request)
    assert first.kernel is own
    second.keep_alive = False  # whoever says that wants another one
    assert isinstance(registry.connect_to_pool(second, pool), Request)


def test_another_kernel_is_preferred_to_the_own_one():
    registry = make([{"MinimumKernelNumber": 2}])
    warm(registry)
    record = client(registry)
    own = registry.connect_to_pool(record, registry.pools["P0"])
    assert registry.connect_to_pool(record, registry.pools["P0"]) is not own


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
    registry.fill(pool)
    (start,) = registry.take_effects()
    registry.start_failed(start.kernel)
    assert registry.take_effects() == []
    registry.connect_to_pool(client(registry), pool)
    assert registry.take_effects() == []
    registry.resume(pool)
    assert [type(effect) for effect in registry.take_effects()] == [Start]


def test_who_waits_for_a_kernel_hears_of_its_end():
    registry = make()
    kernel = warm(registry)[0]
    one, other = client(registry), client(registry)
    registry.connect_to_pool(one, registry.pools["P0"])
    registry.set_busy(kernel, True)
    registry.connect_to_kernel(other, kernel)
    registry.take_effects()
    registry.lost(kernel, False)
    assert any(isinstance(effect, RequestFailed) and effect.client is other for effect in registry.take_effects())
    assert other.request is None


def test_kernels_outside_pools_are_not_counted_and_not_given_to_strangers():
    registry = make([{"MinimumKernelNumber": 0, "MaximumKernelNumber": 1}])
    pool = registry.pools["P0"]
    own = registry.start_outside_pools("/bin/kernel -x")
    registry.ready(own)
    assert pool.running == 0
    one = client(registry)
    assert isinstance(registry.connect_to_pool(one, pool), Request)
    assert registry.connect_to_kernel(one, own) is own
    assert one.request is None and not pool.waiting


def test_a_transition_that_is_not_in_the_table_is_refused():
    registry = make()
    registry.fill(registry.pools["P0"])
    (start, _) = registry.take_effects()
    registry.gone(start.kernel)
    with pytest.raises(TransitionError):
        start.kernel.move(KernelState.FREE)


def test_a_kernel_that_is_stolen_goes_to_those_first_who_wait_for_it():
    registry = make([{"MinimumKernelNumber": 1}])
    (kernel,) = warm(registry)
    owner, second, thief = client(registry), client(registry), client(registry)
    registry.connect_to_pool(owner, registry.pools["P0"])
    registry.set_busy(kernel, True)
    registry.disconnect(owner, Reason.DISCONNECTED)
    assert isinstance(registry.connect_to_kernel(owner, kernel), Request)
    assert isinstance(registry.connect_to_kernel(second, kernel), Request)
    registry.set_busy(kernel, False)
    assert owner.kernel is kernel and second.kernel is None
    assert isinstance(registry.connect_to_kernel(thief, kernel), Request)
    assert second.kernel is kernel and owner.kernel is None
    registry.disconnect(second, Reason.DISCONNECTED)
    assert thief.kernel is kernel
