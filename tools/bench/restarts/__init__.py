"""Restarts of a server under load."""
