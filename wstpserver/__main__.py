"""The program `wstpserver`; `python -m wstpserver` is the same.

It handles SIGTERM and SIGINT before it imports anything that takes time: a service manager may stop the server
in the moment after starting it, and must see a normal end then. The server replaces these handlers before it
launches a kernel.
"""

import gc
import os
import signal
import sys


def main() -> int:
    """Run the program; returns its exit code."""
    if not any(word.startswith("--ch") for word in sys.argv[1:]):  # --check: there 0 means valid
        signal.signal(signal.SIGTERM, _exit_at_once)
        signal.signal(signal.SIGINT, _exit_at_once)
    gc.disable()  # nothing of what is imported is garbage; `app.run` enables it
    from wstpserver.cli.serve import main as serve

    return serve()


def _exit_at_once(number: int, frame: object) -> None:
    # Not an exception: Python ignores those raised while it runs a callback, as it may during an import.
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
