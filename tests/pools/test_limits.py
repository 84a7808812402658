"""When kernels have to go although nothing is wrong with them."""

from __future__ import annotations

from tests.pools.scene import Scene, begin, closings, end, settings, waits
from tests.support.cases import for_all
from wstpserver.pools import limits
from wstpserver.pools.states import Close, KernelState, Reason, Unbridged

# -- nothing is limited unless it is asked for


def test_without_limits_a_kernel_is_kept_whatever_happens():
    scene = Scene()
    for _ in range(1000):
        client = scene.bridged()
        scene.evaluate(scene.kernel)
        scene.registry.disconnect(client)
    scene.now += 1e9
    assert scene.close_overdue() == []
    assert closings(scene) == [] and scene.kernel.state is KernelState.FREE
    assert limits.too_large(scene.kernel, 1 << 50) is None
    assert limits.evaluation_limit(scene.kernel) == 0


def test_kernels_outside_pools_have_no_limits():
    scene = Scene(MaximumKernelUses=1, KernelMemoryLimit=1, EvaluationTimeLimit=1, ResetCode="x")
    scene.registry.start_outside_pools()
    (kernel,) = scene.become_ready()
    client = scene.bridged(kernel)
    assert limits.evaluation_limit(kernel) == 0 and limits.too_large(kernel, 1 << 50) is None
    scene.registry.disconnect(client)
    assert scene.registry.take_effects() == [Unbridged(client, kernel, Reason.DISCONNECTED)]


# -- MaximumKernelUses and MaximumKernelEvaluations


def test_a_kernel_is_replaced_after_its_last_client():
    scene = Scene(MaximumKernelUses=3)
    for _ in range(2):
        scene.registry.disconnect(scene.bridged())
        assert closings(scene) == []
    scene.registry.disconnect(scene.bridged())
    assert closings(scene) == [(scene.kernel, "it has served 3 clients (MaximumKernelUses)")]
    scene.registry.gone(scene.kernel)
    assert len(scene.become_ready()) == 1, "and another takes its place"


def test_a_worn_out_kernel_is_not_given_to_who_waits():
    scene = Scene(MaximumKernelUses=1)
    first, second = scene.bridged(), scene.client()
    assert waits(scene.registry.connect_to_pool(second, scene.pool))
    scene.registry.disconnect(first)
    assert [kernel for kernel, _ in closings(scene)] == [scene.kernel]
    scene.registry.gone(scene.kernel)
    (fresh,) = scene.become_ready()
    assert second.kernel is fresh


def test_evaluations_of_clients_count_and_no_others():
    scene = Scene(MaximumKernelEvaluations=2)
    scene.evaluate(scene.kernel)  # the server's own
    client = scene.bridged()
    scene.evaluate(scene.kernel)
    scene.registry.disconnect(client)
    assert scene.kernel.evaluations == 1 and closings(scene) == []
    client = scene.bridged()
    scene.evaluate(scene.kernel)
    scene.evaluate(scene.kernel)
    assert closings(scene) == [], "not while a client is bridged"
    scene.registry.disconnect(client)
    assert closings(scene) == [(scene.kernel, "it has done 3 evaluations (MaximumKernelEvaluations)")]


def test_a_kernel_that_still_works_is_replaced_when_it_is_idle():
    scene = Scene(MaximumKernelUses=1)
    client = scene.bridged()
    begin(scene.kernel)
    scene.registry.disconnect(client)
    assert closings(scene) == [] and scene.kernel.state is KernelState.FREE
    assert waits(scene.registry.connect_to_pool(scene.client(), scene.pool)), "nobody gets it"
    end(scene.kernel)
    assert [why for _, why in closings(scene)] == ["it has served 1 client (MaximumKernelUses)"]


def test_a_worn_out_kernel_still_serves_who_names_its_id():
    scene = Scene(MaximumKernelUses=1)
    scene.bridged()
    thief = scene.client("thief")
    assert scene.registry.connect_to_kernel(thief, scene.kernel).kernel is scene.kernel
    assert closings(scene) == [] and scene.kernel.uses == 2
    scene.registry.disconnect(thief)
    assert [kernel for kernel, _ in closings(scene)] == [scene.kernel]


def test_a_reserved_kernel_is_not_replaced():
    scene = Scene(MaximumKernelUses=1, MaximumKernelAge=10, ReservePreviouslyConnectedKernels=True)
    scene.registry.disconnect(scene.bridged())
    scene.now += 100
    assert scene.close_overdue() == []
    assert scene.kernel.state is KernelState.RESERVED


def test_a_new_limit_concerns_kernels_that_are_free_already():
    scene = Scene()
    scene.registry.disconnect(scene.bridged())
    scene.registry.reconfigure(settings(MaximumKernelUses=1))
    assert [kernel for kernel, _ in closings(scene)] == [scene.kernel]


# -- MaximumKernelAge


def test_the_age_counts_from_readiness_and_only_free_kernels_go():
    scene = Scene(MaximumKernelAge=100)
    assert limits.age_limit(scene.kernel.id, 100) == 100
    scene.now += 99.5
    assert scene.close_overdue() == []
    client = scene.bridged()
    scene.now += 50
    assert scene.close_overdue() == [], "it serves a client"
    begin(scene.kernel)
    scene.registry.disconnect(client)
    assert scene.close_overdue() == [], "it works"
    end(scene.kernel)
    assert closings(scene) == [(scene.kernel, "it is 149.5 s old (MaximumKernelAge)")]


def test_a_free_kernel_goes_at_its_age():
    scene = Scene(MaximumKernelAge=100)
    scene.now += 100
    assert scene.close_overdue() == ["it is 100.0 s old (MaximumKernelAge)"]


def test_the_limits_of_kernels_differ_by_up_to_a_tenth():
    ages = [limits.age_limit(f"0000-0000-{number:04x}", 1000) for number in range(0, 0x10000, 0x111)]
    assert max(ages) == 1000 and 900 < min(ages) < 901
    assert len(set(ages)) == len(ages)


# -- ReservedKernelTimeout


def reserved(timeout: float) -> Scene:
    return Scene(ReservedKernelTimeout=timeout, ReservePreviouslyConnectedKernels=True)


def test_a_reserved_kernel_is_closed_when_nobody_came_back():
    scene = reserved(60)
    scene.registry.disconnect(scene.bridged())
    scene.now += 59
    assert scene.close_overdue() == []
    scene.now += 1
    assert scene.close_overdue() == ["it was kept for 60.0 s and nobody came back to it (ReservedKernelTimeout)"]


def test_coming_back_begins_the_time_anew():
    scene = reserved(60)
    scene.registry.disconnect(scene.bridged())
    scene.now += 50
    client = scene.bridged(scene.kernel)
    scene.now += 1000
    assert scene.close_overdue() == []
    scene.registry.disconnect(client)
    scene.now += 50
    assert scene.close_overdue() == []


def test_the_time_of_a_reserved_kernel_begins_when_its_work_is_done():
    scene = reserved(60)
    client = scene.bridged()
    begin(scene.kernel)
    scene.registry.disconnect(client)
    scene.now += 1000
    assert scene.close_overdue() == []
    end(scene.kernel)
    scene.now += 59
    assert scene.close_overdue() == [], "its result can still be fetched"
    scene.now += 1
    assert len(scene.close_overdue()) == 1


def test_a_kernel_that_is_only_free_is_not_forgotten():
    scene = Scene(ReservedKernelTimeout=60)
    scene.now += 1000
    assert scene.close_overdue() == []


# -- KernelMemoryLimit


def test_the_memory_limit_is_the_largest_size_allowed():
    scene = Scene(KernelMemoryLimit=50_000_000)
    assert limits.too_large(scene.kernel, 50_000_000) is None
    why = limits.too_large(scene.kernel, 60_500_000)
    assert why == "it uses 60.5 MB of memory, more than 50.0 MB (KernelMemoryLimit)"


def test_the_client_of_a_kernel_that_is_closed_can_be_told_why():
    scene = Scene()
    client = scene.bridged()
    scene.registry.close(scene.kernel, "for the log", told="for the client")
    unbridged, close = scene.registry.take_effects()
    assert unbridged == Unbridged(client, scene.kernel, Reason.KERNEL_CLOSED, told="for the client")
    assert close == Close(scene.kernel, "for the log")


# -- EvaluationTimeLimit


@for_all("keys, expected", [({}, 0), ({"EvaluationTimeLimit": 7}, 7)])
def test_evaluations_of_clients_have_a_time_limit(keys, expected):
    scene = Scene(**keys)
    assert limits.evaluation_limit(scene.kernel) == 0, "nobody is bridged: the server evaluates something"
    scene.bridged()
    assert limits.evaluation_limit(scene.kernel) == expected
