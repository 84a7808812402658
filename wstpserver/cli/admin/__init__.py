"""The program wstpserver-admin: the pools and kernels of a running server."""
