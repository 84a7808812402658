"""Clients and kernels in C, so that the measuring programs are faster than what they measure; compiled when needed."""
