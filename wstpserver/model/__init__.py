"""Pure decisions about kernels, pools and clients.

Nothing here knows of sockets, greenlets, clocks or files, so no call can be interrupted half-way: the server
calls a method, the method changes the records and appends *effects*, and the server carries the effects out.
"""
