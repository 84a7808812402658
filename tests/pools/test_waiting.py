"""The line of those who wait for a kernel, and what it costs to join and leave it."""
import pytest

from tests.pools.scene import Scene
from wstpserver.pools import registry as registry_module
from wstpserver.pools.states import Client, Purpose, WaitingClient, WaitingLine


def requests(number):
    pool = Scene().pool
    return [WaitingClient(Client(str(index)), pool, Purpose.COMMAND, 0.0) for index in range(number)]


def test_in_order():
    line = WaitingLine()
    a, b, c = requests(3)
    assert not line and list(line) == []
    for request in (a, b, c):
        line.join(request)
    assert (line.first, len(line), list(line)) == (a, 3, [a, b, c])
    line.leave(b)
    assert list(line) == [a, c]
    line.leave(a)
    line.join(a)
    assert (line.first, list(line)) == (c, [c, a])
    line.leave(c)
    line.leave(a)
    assert not line


def test_who_does_not_wait_cannot_leave():
    line = WaitingLine()
    a, b = requests(2)
    for _ in range(2):
        with pytest.raises(KeyError):
            line.leave(a)
        line.join(b)


class Counted(WaitingClient):
    """Counts what a container asks of it to find it."""

    looks = 0

    def __eq__(self, other):
        Counted.looks += 1
        return self is other

    def __hash__(self):
        Counted.looks += 1
        return id(self)


@pytest.mark.parametrize("waiting", [10, 1000])
def test_leaving_costs_the_same_however_many_wait(monkeypatch, waiting):
    """Those behind and in front of whoever leaves, or is served, are not looked at."""
    monkeypatch.setattr(registry_module, "WaitingClient", Counted)
    monkeypatch.setattr(Counted, "looks", 0)
    scene = Scene(KeepAlive=True)
    kernel, served = scene.kernel, scene.bridged()
    clients = [scene.client() for _ in range(waiting)]

    def cost(action, *arguments):
        before = Counted.looks
        action(*arguments)
        return Counted.looks - before

    assert max(cost(scene.registry.connect_to_pool, client, scene.pool) for client in clients) <= 4
    order = [*clients[1::2], *clients[-2::-4]]  # from within and from the end
    assert max(cost(scene.registry.give_up, client, "test") for client in order) <= 4
    left = [client for client in clients if client not in order]
    for client in left:
        assert cost(scene.registry.remove_client, served) <= 8  # the next one gets the kernel
        assert kernel.client is client
        served = client
