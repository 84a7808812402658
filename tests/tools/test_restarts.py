"""Restarts under load: every answer is there and right, and so is every kernel and client."""
from tools.bench.restarts.__main__ import LightClients, run


def test_nothing_is_lost_under_load():
    found = run(2, lambda port: LightClients(port, 12, rate=300.0))
    assert not found["errors"] and not found["clients lost"] and not found["kernels lost or added"]
    assert found["correct answers"] > 12
