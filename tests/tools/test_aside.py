"""What goes on beside a client: connections are really refused, at the rate asked for, and every one is counted."""
import argparse

from tools.bench.aside.__main__ import by_state, missed, refused


def test_connections_are_refused_while_a_client_evaluates():
    options = argparse.Namespace(rounds=2, count=200, rate=1000)
    figures, _ = refused(options)
    assert figures["connections a second"] > 500
    assert figures["milliseconds until refused"]["count"] > 100
    assert figures["p99"]["with"] > 0 < figures["p99"]["without"]


def test_a_client_evaluates_while_another_fetches_missed_output():
    figures, _ = missed(argparse.Namespace(rounds=1, count=3000))
    assert figures["bytes of a reply"] > 30_000
    assert figures["p99"]["with"] > 0 < figures["p99"]["without"]


def test_values_are_told_apart_in_the_order_in_which_they_are_measured():
    assert by_state(["off", "on", "on", "off", "off", "on"]) == {False: ["off"] * 3, True: ["on"] * 3}
