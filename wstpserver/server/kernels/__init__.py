"""Kernels of the server: how they are launched, initialised, looked after and ended."""
