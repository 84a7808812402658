"""What C may do by itself: one function, for every combination of what it depends on."""
import itertools

import gevent
import pytest

from tests.server.connections import tcp_pair
from tests.support.cases import for_all
from wstpserver.pools.states import BridgeState
from wstpserver.server.connection import Connection
from wstpserver.server.relay import directions
from wstpserver.server.relay.directions import ClientChannel, KernelChannel, Permissions, permissions

FLAGS = ("accepting", "plain", "queue_empty", "closing", "deferred", "rewrites")
SITUATIONS = [
    (state, dict(zip(FLAGS, values, strict=True)))
    for state in BridgeState
    for values in itertools.product([False, True], repeat=len(FLAGS))
]


def quiet(state, situation):
    """Whether nothing needs Python between the two."""
    needs = situation["closing"], situation["deferred"], situation["rewrites"], not situation["queue_empty"]
    return state is BridgeState.OPEN and not any(needs)


@for_all("state", BridgeState)
def test_every_combination(state):
    for _, situation in (each for each in SITUATIONS if each[0] is state):
        allowed = permissions(state, **situation)
        assert allowed.evaluation == (quiet(state, situation) and situation["accepting"])
        assert allowed.counted == (quiet(state, situation) and situation["plain"])


def test_what_c_changes_by_itself_is_what_the_function_says():
    """An evaluation that passes makes the kernel busy, its answer idle again; both stay counted."""
    idle = dict.fromkeys(FLAGS, False) | {"accepting": True, "plain": True, "queue_empty": True}
    assert permissions(BridgeState.OPEN, **idle) == Permissions(evaluation=True, counted=True)
    assert permissions(BridgeState.OPEN, **{**idle, "accepting": False}) == Permissions(evaluation=False, counted=True)


@pytest.fixture
def channels():
    pairs = [tcp_pair() for _ in range(2)]
    connections = [Connection(ours) for ours, _ in pairs]
    client = ClientChannel(connections[0], lambda *_: True, lambda *_: False)
    kernel = KernelChannel(connections[1], lambda *_: True)
    yield client, kernel
    for connection, (_, theirs) in zip(connections, pairs, strict=True):
        connection.close()
        theirs.close()
    gevent.sleep(0)


@pytest.mark.parametrize("order", list(itertools.permutations(range(4)))[::5])
def test_the_words_in_c_follow(channels, order):
    client, kernel = channels
    all_permissions = [Permissions(*values) for values in itertools.product([False, True], repeat=2)]
    for number in order:
        allowed = all_permissions[number]
        directions.apply(client, kernel, allowed)
        assert bool(client.state.permitted) == allowed.evaluation
        assert (client.state.peer == kernel.state) == (kernel.state.peer == client.state) == allowed.counted
        assert bool(client.state.peer) == bool(kernel.state.peer) == allowed.counted
    directions.apply(client, None, directions.NOTHING)
    assert not client.state.permitted and not client.state.peer and not kernel.state.peer
