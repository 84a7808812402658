"""What a reload changes, in words."""

from tests.support.settings import make_settings
from wstpserver.settings.model import changes


def settings(pools, **values):
    return make_settings(pools=[{"KernelPath": "k", **it} for it in pools], **values)


def test_no_change():
    assert changes(settings([{"name": "a"}]), settings([{"name": "a"}])) == []


def test_the_values_of_environment_variables_are_not_shown():
    old = settings([{"name": "a", "KernelEnvironment": {"PASSWORD": "secret"}}])
    new = settings([{"name": "a", "KernelEnvironment": {"PASSWORD": "other"}}])
    assert [str(change) for change in changes(old, new)] == ["Pools.a.KernelEnvironment: changed"]


def test_changes_in_the_order_of_the_new_file():
    old = settings([{"name": "a"}, {"name": "b", "KeepAlive": False}], Port=1)
    new = settings([{"name": "c"}, {"name": "b", "KeepAlive": True}], Port=2, KernelWaitTimeout=5)
    assert [str(change) for change in changes(old, new)] == [
        "Port: 1 -> 2 (takes effect when the server is restarted)",
        "KernelWaitTimeout: 60.0 -> 5.0",
        "Pools.c: new pool",
        "Pools.b.KeepAlive: False -> True",
        "Pools.b.KernelWaitTimeout: 60.0 -> 5.0",
        "Pools.a: removed",
    ]
