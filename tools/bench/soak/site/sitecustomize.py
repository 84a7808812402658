"""Python imports this at its start when its folder is on PYTHONPATH: the server then writes every few seconds how many
greenlets, objects and blocks of memory it has into the file that WSTP_SOAK_COUNTS names, and knows nothing of it.

Objects are those that the garbage collector knows. Blocks are what Python has allocated, strings for example: they
show a container that grows.
"""
import gc
import json
import os
import sys
import threading
import time


def count(path, interval):
    from greenlet import greenlet

    while True:
        time.sleep(interval)
        objects = gc.get_objects()
        living = sum(1 for each in objects if isinstance(each, greenlet) and not each.dead)
        counted = {"greenlets": living, "objects": len(objects)}
        del objects
        counted["blocks"] = sys.getallocatedblocks()
        with open(f"{path}.new", "w") as file:
            json.dump(counted, file)
        os.replace(f"{path}.new", path)


if _path := os.environ.pop("WSTP_SOAK_COUNTS", None):
    threading.Thread(target=count, args=(_path, float(os.environ.pop("WSTP_SOAK_INTERVAL"))), daemon=True).start()
