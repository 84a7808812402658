"""Many clients at once against a server."""
