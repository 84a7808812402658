"""Programs that speak another protocol on one side and are WSTP clients of a server on the other.

A gateway takes a kernel of a pool through the client library, like any other client. It imports neither the server
nor the command-line programs, and what it needs from other packages it imports when it is used: these packages are
optional extras.
"""
