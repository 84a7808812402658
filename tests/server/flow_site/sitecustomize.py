"""Python imports this at its start when its folder is on PYTHONPATH: it notes which modules of the package the main
thread enters, in order, and knows nothing of the server.

WSTP_FLOW_SOCKET names a Unix socket. Each connection to it gets a line of JSON, the modules entered since the
connection before, and begins a new list. WSTP_FLOW_WITHOUT names the function of a greenlet that is left out, because
the clock and no flow makes it run.
"""
import json
import os
import socket
import sys
import threading

from greenlet import getcurrent


def serve(listener, entered):
    while True:
        connection, _ = listener.accept()
        names = list(entered)
        entered.clear()  # before the answer: what is entered after it belongs to the next one
        with connection:
            connection.sendall(json.dumps(names).encode() + b"\n")


def record(path):
    folder = os.path.join(os.environ["WSTP_FLOW_ROOT"], "wstpserver") + os.sep
    left_out = os.environ["WSTP_FLOW_WITHOUT"]
    entered = {}
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    threading.Thread(target=serve, args=(listener, entered), daemon=True).start()

    def enter(frame, event, _argument):
        name = frame.f_code.co_filename
        if event != "call" or not name.startswith(folder) or name in entered:
            return
        if getattr(getattr(getcurrent(), "_run", None), "__qualname__", None) != left_out:
            entered[name] = True

    sys.setprofile(enter)


if _path := os.environ.pop("WSTP_FLOW_SOCKET", None):
    record(_path)
