"""The keeper: a small process that starts the kernels, waits for them and holds their connections, so that they outlive
the server. Standard library only, one thread.
"""
