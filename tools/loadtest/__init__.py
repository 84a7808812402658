"""Many clients at once against a running server: python -m tools.loadtest."""
