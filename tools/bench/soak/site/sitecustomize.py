"""Python imports this at its start when its folder is on PYTHONPATH: the server then writes every few seconds how many
greenlets, objects and blocks of memory it has into the file that WSTP_SOAK_COUNTS names, and knows nothing of it.

Objects are those that the garbage collector knows. Blocks are what Python has allocated, strings for example: they
show a container that grows.
"""
import json
import os
import sys
import threading
import time


def count(path, interval):
    from tools.harness.objects import living_greenlets, number_of_objects

    while True:
        time.sleep(interval)
        counted = {"greenlets": len(living_greenlets()), "objects": number_of_objects(),
                   "blocks": sys.getallocatedblocks()}  # fmt: skip
        with open(f"{path}.new", "w") as file:
            json.dump(counted, file)
        os.replace(f"{path}.new", path)


if _path := os.environ.pop("WSTP_SOAK_COUNTS", None):
    threading.Thread(target=count, args=(_path, float(os.environ.pop("WSTP_SOAK_INTERVAL"))), daemon=True).start()
