"""Bridges between clients and kernels: their sessions, the frames and clients that wait, and the dispatcher."""
