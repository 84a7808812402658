"""Kernels of the server: how they are launched, make their links, are initialised, looked after and ended."""
