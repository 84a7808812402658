"""Restarts under load: every answer is there and right, and so is every kernel and client."""
from tools.bench.restarts.__main__ import LightClients, run


def test_nothing_is_lost_under_load():
    found = run(3, lambda port: LightClients(port, 30))
    assert not found["errors"] and not found["clients lost"] and not found["kernels lost or added"]
    assert found["correct answers"] > 30
