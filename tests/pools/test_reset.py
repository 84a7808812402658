"""ResetCode between two clients of a kernel: when it runs, who waits for it, and who does not want it."""

from __future__ import annotations

from tests.pools.scene import Scene, begin, bridged, end, waits
from wstpserver.pools.states import Close, KernelState, Reset, Start, Unbridged


def resetting(**keys) -> Scene:
    """A kernel whose client has left it to whoever comes next."""
    scene = Scene(ResetCode="x", **keys)
    scene.registry.disconnect(scene.bridged())
    assert scene.effects(Reset) == [Reset(scene.kernel)]
    return scene


def test_a_kernel_is_reset_between_two_clients():
    scene = resetting()
    second = scene.client()
    assert waits(scene.registry.connect_to_pool(second, scene.pool)), "nobody gets it meanwhile"
    assert scene.pool.available == 0
    scene.registry.take_effects()
    scene.registry.reset_done(scene.kernel)
    assert scene.registry.take_effects() == [bridged(second, scene.kernel)]


def test_a_fresh_kernel_is_not_reset_and_a_reset_one_not_twice():
    scene = Scene(ResetCode="x")
    assert scene.registry.take_effects() == [] and scene.kernel.state is KernelState.FREE
    scene = resetting()
    scene.registry.reset_done(scene.kernel)
    scene.registry.reconfigure(scene.registry.settings)
    assert scene.registry.take_effects() == [] and scene.kernel.state is KernelState.FREE


def test_a_kernel_is_reset_when_its_last_evaluation_has_ended():
    scene = Scene(ResetCode="x")
    client = scene.bridged()
    begin(scene.kernel)
    scene.registry.disconnect(client)
    assert scene.effects(Reset) == []
    end(scene.kernel)
    assert scene.effects(Reset) == [Reset(scene.kernel)]


def test_a_kernel_in_which_the_reset_failed_goes_and_another_comes():
    scene = resetting()
    waiting = scene.client()
    scene.registry.connect_to_pool(waiting, scene.pool)
    scene.registry.close(scene.kernel, "its ResetCode failed")
    scene.registry.gone(scene.kernel)
    (fresh,) = scene.become_ready()
    assert waiting.kernel is fresh


def test_a_kernel_that_dies_during_its_reset_is_replaced():
    scene = resetting()
    scene.registry.lost(scene.kernel, in_good_order=False)
    scene.registry.gone(scene.kernel)
    assert len(scene.become_ready()) == 1


def test_who_comes_back_to_a_reserved_kernel_finds_it_as_it_was():
    scene = Scene(ResetCode="x", ReservePreviouslyConnectedKernels=True)
    scene.registry.disconnect(scene.bridged())
    assert scene.effects(Reset) == []
    again = scene.bridged(scene.kernel)
    scene.registry.set_reserve(scene.kernel, setting=False)
    scene.registry.disconnect(again)
    assert scene.effects(Reset) == [Reset(scene.kernel)], "now anybody may get it"


def test_who_takes_a_kernel_over_by_its_id_finds_it_as_it_is():
    scene = Scene(ResetCode="x")
    first = scene.bridged()
    thief, patient = scene.client("thief"), scene.client("patient")
    assert scene.registry.connect_to_kernel(thief, scene.kernel).kernel is scene.kernel
    begin(scene.kernel)
    assert waits(scene.registry.connect_to_kernel(patient, scene.kernel))
    end(scene.kernel)
    assert patient.kernel is scene.kernel and first.kernel is None
    assert scene.effects(Reset) == []


def test_who_names_a_kernel_that_is_being_reset_waits_and_goes_first():
    scene = resetting()
    patient, owner = scene.client("patient"), scene.client("owner")
    scene.registry.connect_to_pool(patient, scene.pool)
    assert waits(scene.registry.connect_to_kernel(owner, scene.kernel))
    scene.registry.reset_done(scene.kernel)
    assert owner.kernel is scene.kernel and patient.kernel is None


def test_no_kernel_is_started_for_who_can_have_one_that_is_being_reset():
    scene = resetting(MaximumKernelNumber=2)
    scene.registry.connect_to_pool(scene.client(), scene.pool)
    assert scene.effects(Start) == []
    scene.registry.connect_to_pool(scene.client(), scene.pool)
    assert len(scene.effects(Start)) == 1


def test_a_kernel_at_the_end_of_its_life_is_not_reset():
    scene = Scene(ResetCode="x", MaximumKernelUses=1)
    scene.registry.disconnect(scene.bridged())
    assert [type(effect) for effect in scene.registry.take_effects()] == [Unbridged, Close]
