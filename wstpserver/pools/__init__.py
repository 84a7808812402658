"""Pure decisions about kernels, pools and clients.

Nothing here knows sockets, greenlets, clocks or files, so no call is interrupted half-way: the server calls a method
of the registry, and the registry changes its records and hands its decisions, as effects, to the function that carries
them out.
"""
