"""Kernel processes: how they are started, how they make their links, and how they end."""
