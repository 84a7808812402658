"""Drained and paused pools, and the seats that all pools share: what the registry decides, case by case."""

from __future__ import annotations

import pytest

from tests.pools.scene import RecordingRegistry, Scene, begin, closings, end, waits
from tests.support.cases import for_all
from tests.support.settings import make_settings
from wstpserver.pools.limits import is_stuck, occupancy, occupied_pools, remedy, seat_holders
from wstpserver.pools.registry import Refused
from wstpserver.pools.states import Admission, Bridged, Client, KernelState, MoveFailed, Purpose, Start, WaitState

DRAINED = "pool P is being drained: it takes no further clients until it is resumed"


def clients_left(clients, pool=None):
    """Who keeps the pool, or the server, from being drained."""
    occupied = {client: occupied_pools(client) for client in clients}
    return [client for client, pools in occupied.items() if (pools if pool is None else pool in pools)]


# -- drained ---------------------------------------------------------------------------------------------------------


@for_all("whole_server", [True, False])
def test_a_drained_pool_takes_no_further_client_and_keeps_those_it_has(whole_server):
    scene = Scene(MinimumKernelNumber=2, MaximumKernelNumber=4)
    inside, late = scene.bridged(), scene.client()
    scene.registry.drain(None if whole_server else scene.pool)
    assert inside.kernel.state is KernelState.BRIDGED
    waiting = scene.registry.connect_to_pool(late, scene.pool)
    assert (waiting.state, waiting.reason) == (WaitState.FAILED, DRAINED)
    for kernel in scene.kernels:
        with pytest.raises(Refused, match=DRAINED):
            scene.registry.connect_to_kernel(late, kernel)
    assert scene.pool.available == 0
    assert scene.effects(Bridged) == [] and clients_left(scene.registry.clients, scene.pool) == [inside]
    scene.registry.remove_client(inside)
    assert clients_left(scene.registry.clients) == []


def test_clients_that_waited_before_are_served_and_kernels_are_started_for_them_only():
    scene = Scene(MinimumKernelNumber=1, MaximumKernelNumber=2)
    first, second = scene.bridged(), scene.client()
    scene.registry.connect_to_pool(second, scene.pool)  # a kernel starts for it
    third = scene.client()
    scene.registry.connect_to_pool(third, scene.pool)
    scene.registry.drain(scene.pool)
    assert len(clients_left(scene.registry.clients, scene.pool)) == 3
    scene.become_ready()
    assert second.kernel is not None and waits(third.waiting)
    scene.registry.close(second.kernel, "test")
    scene.registry.gone(next(kernel for kernel in scene.pool.kernels.values() if kernel.state is KernelState.CLOSING))
    scene.become_ready()
    assert third.kernel is not None
    for client in (first, second, third):
        scene.registry.remove_client(client)
    for kernel in tuple(scene.pool.kernels.values()):
        scene.registry.close(kernel, "test")
        scene.registry.gone(kernel)
    assert scene.effects(Start) == [] and not scene.pool.kernels
    scene.registry.resume(scene.pool)
    assert len(scene.effects(Start)) == 1


def test_a_client_of_a_drained_pool_gets_another_kernel_when_its_own_dies():
    scene = Scene(MinimumKernelNumber=2, MaximumKernelNumber=2)
    client = scene.bridged()
    scene.registry.set_allow_replacement(client, setting=True)
    scene.registry.drain()
    dead = client.kernel
    scene.registry.link_ended(dead)
    scene.registry.lost(dead, in_good_order=False)
    assert client.kernel is not None and client.kernel is not dead


def test_a_client_of_a_drained_pool_that_asks_for_it_keeps_its_kernel():
    scene = Scene(MinimumKernelNumber=2, MaximumKernelNumber=2)
    client = scene.bridged()
    own = client.kernel
    scene.registry.drain(scene.pool)
    assert scene.registry.connect_to_pool(client, scene.pool).kernel is own  # as good as another: it is not used yet
    assert scene.registry.connect_to_kernel(client, own).state is WaitState.GRANTED
    scene.evaluate(own)
    assert scene.registry.connect_to_pool(client, scene.pool).state is WaitState.FAILED
    assert client.kernel is own


def test_a_move_that_was_granted_before_the_drain_is_completed():
    scene = Scene(MinimumKernelNumber=2, MaximumKernelNumber=2)
    client = scene.bridged()
    begin(client.kernel)
    moving = scene.registry.connect_to_pool(client, scene.pool, Purpose.INSIDE, deferred=True)
    scene.registry.drain()
    end(client.kernel)
    assert client.kernel is moving.kernel and scene.effects(MoveFailed) == []


def test_a_drained_server_starts_no_kernel_outside_pools_and_names_them_to_nobody():
    scene = Scene()
    outside = scene.registry.start_outside_pools()
    scene.registry.ready(outside)
    scene.registry.drain()
    text = "the server is being drained"
    with pytest.raises(Refused, match=text):
        scene.registry.start_outside_pools()
    with pytest.raises(Refused, match=text):
        scene.registry.connect_to_kernel(scene.client(), outside)
    scene.registry.resume(scene.pool)  # the pool alone
    assert scene.bridged().kernel.pool is scene.pool
    with pytest.raises(Refused, match=text):
        scene.registry.start_outside_pools()
    scene.registry.resume()
    assert scene.bridged(outside).kernel is outside


def test_a_pool_that_comes_with_a_reload_is_as_closed_as_the_server():
    scene = Scene()
    scene.registry.drain()
    pools = [{"name": name, "KernelPath": "/k", "MinimumKernelNumber": 1} for name in ("P", "New")]
    scene.registry.reconfigure(make_settings(pools=pools))
    new = scene.registry.pools["New"]
    assert (new.admission, scene.effects(Start)) == (Admission.DRAINING, [])
    scene.registry.resume()
    assert [effect.kernel.pool for effect in scene.effects(Start)] == [new]


# -- paused ----------------------------------------------------------------------------------------------------------


def test_clients_of_a_paused_pool_wait_and_are_served_in_order_afterwards():
    scene = Scene(MinimumKernelNumber=2, MaximumKernelNumber=2)
    inside = scene.bridged()
    scene.registry.pause(scene.pool)
    clients = [scene.client(str(number)) for number in range(3)]
    waiting = [scene.registry.connect_to_pool(client, scene.pool) for client in clients]
    scene.registry.remove_client(inside)
    assert all(map(waits, waiting)) and scene.effects(Bridged) == []
    assert is_stuck(scene.pool) and "paused" in occupancy(scene.pool)
    assert "pool P is paused: clients wait until it is resumed" in remedy(scene.pool)
    scene.registry.resume(scene.pool)
    assert [effect.client for effect in scene.effects(Bridged)] == clients[:2]
    assert waits(waiting[2])


def test_a_kernel_of_a_paused_pool_is_given_to_the_client_that_named_it_afterwards():
    scene = Scene(ReservePreviouslyConnectedKernels=True)
    scene.registry.remove_client(scene.bridged())
    assert scene.kernel.state is KernelState.RESERVED
    scene.registry.pause()
    client = scene.client()
    waiting = scene.registry.connect_to_kernel(client, scene.kernel)
    assert waits(waiting) and scene.registry.connect_to_kernel(client, scene.kernel).state is WaitState.WAITING
    scene.registry.drain()  # it was there before
    assert client.kernel is scene.kernel


def test_a_paused_pool_starts_no_kernels():
    scene = Scene()
    scene.registry.pause(scene.pool)
    scene.registry.close(scene.kernel, "test")
    scene.registry.gone(scene.kernel)
    assert scene.effects(Start) == []
    scene.registry.connect_to_pool(scene.client(), scene.pool)
    assert scene.effects(Start) == []
    scene.registry.resume(scene.pool)
    assert len(scene.effects(Start)) == 1


# -- seats -----------------------------------------------------------------------------------------------------------


class SharedSeats:
    """A registry of several pools; `minima` are their numbers of kernels, all of which are ready."""

    def __init__(self, seats: int, **minima: int) -> None:
        pools = [
            {"name": name, "KernelPath": "/k", "MinimumKernelNumber": minimum, "MaximumKernelNumber": 8}
            | {"ReservePreviouslyConnectedKernels": False}
            for name, minimum in minima.items()
        ]
        numbers = iter(range(1000))
        self.now = 1.0
        self.registry = RecordingRegistry(
            make_settings(pools=pools, MaximumKernels=seats), lambda: f"{next(numbers):04x}", lambda: self.now
        )
        self.registry.start()
        self.start_all()

    def start_all(self) -> list[str]:
        """Make every kernel ready that starts; returns the names of their pools."""
        started = []
        while effects := [effect for effect in self.registry.take_effects() if isinstance(effect, Start)]:
            for effect in effects:
                self.registry.ready(effect.kernel)
                started.append(effect.kernel.pool.name)
        return started

    def ask(self, pool: str, name: str = "Client 1 (127.0.0.1:9)") -> Client:
        self.now += 1
        client = Client(name)
        self.registry.add_client(client)
        self.registry.connect_to_pool(client, self.registry.pools[pool])
        return client

    def end_closing(self) -> int:
        """End the processes of kernels that are closing; returns how many there were."""
        closing = [one for one in self.registry.kernels.values() if one.state is KernelState.CLOSING]
        for kernel in closing:
            self.registry.gone(kernel)
        return len(closing)


def test_pools_share_the_seats_and_the_pool_whose_client_waits_longest_gets_the_next():
    scene = SharedSeats(2, A=0, B=0, C=2)
    for _ in range(2):  # C has both seats, and its clients use them
        scene.ask("C")
    late = {name: scene.ask(name) for name in ("B", "A")}
    assert scene.start_all() == [] and all(client.kernel is None for client in late.values())
    for expected in ("B", "A"):
        scene.registry.close(next(iter(scene.registry.pools["C"].kernels.values())), "test")
        assert scene.start_all() == []  # a kernel that is closing holds its seat
        assert scene.end_closing() == 1
        assert scene.start_all() == [expected] and late[expected].kernel is not None
    assert scene.registry.seats.left == 0


def test_minima_are_filled_as_far_as_the_seats_go_and_later_as_seats_become_free():
    scene = SharedSeats(3, A=2, B=2)
    assert [len(pool.kernels) for pool in scene.registry.pools.values()] == [2, 1]
    scene.registry.reconfigure(
        make_settings(
            pools=[{"name": name, "KernelPath": "/k", "MinimumKernelNumber": 2} for name in ("A", "B")],
            MaximumKernels=0,
        )
    )
    assert scene.start_all() == ["B"]


@for_all("free_before", [True, False])
def test_an_idle_kernel_above_its_minimum_goes_for_a_client_of_another_pool(free_before):
    scene = SharedSeats(2, A=1, B=0)
    users = [scene.ask("A"), scene.ask("A")]
    assert scene.start_all() == ["A"]
    if free_before:
        for user in users:
            scene.registry.remove_client(user)
    client = scene.ask("B")
    if not free_before:
        assert scene.end_closing() == 0  # both are in use
        scene.registry.remove_client(users[0])
    (closing,) = [one for one in scene.registry.kernels.values() if one.state is KernelState.CLOSING]
    assert closing.pool.name == "A"
    scene.end_closing()
    assert scene.start_all() == ["B"] and client.kernel.pool.name == "B"
    assert len(scene.registry.pools["A"].kernels) == 1


def test_a_refusal_says_who_holds_the_seats():
    scene = SharedSeats(3, A=2, B=0)
    scene.registry.ready(scene.registry.start_outside_pools())
    scene.registry.take_effects()
    scene.ask("A", "Client 7 (10.0.0.9:1234)")
    with pytest.raises(Refused) as caught:
        scene.registry.start_outside_pools()
    assert str(caught.value) == (
        "MaximumKernels allows for 3 kernels in all, and these are: pool A 2 (1 bridged, 1 free),"
        " outside pools 1 (1 free); their clients are Client 7"
    )
    scene.ask("B")
    assert seat_holders(scene.registry.seats) in remedy(scene.registry.pools["B"])
    assert is_stuck(scene.registry.pools["B"]) and scene.registry.pools["B"].available == 0


def test_kernels_that_are_there_stay_when_there_are_fewer_seats_than_before():
    scene = Scene(MinimumKernelNumber=2, MaximumKernelNumber=2)
    scene.registry.reconfigure(make_settings(pools=[{"name": "P", "KernelPath": "/k"}], MaximumKernels=1))
    assert closings(scene) == [] and scene.registry.seats.left == 0
    scene.registry.close(scene.kernel, "test")
    scene.registry.gone(scene.kernel)
    assert scene.effects(Start) == []
