"""Round trips of a trivial evaluation, direct and through what may stand between: python -m tools.latency."""
