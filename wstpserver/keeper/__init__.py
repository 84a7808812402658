"""Small programs of the standard library alone that hold kernels: the keeper, which starts the kernels, waits for them
and holds their connections, so that they outlive the server; agent and connector of kernels on other machines.
"""
