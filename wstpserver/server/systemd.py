"""Messages to systemd about the state of the service, by the protocol of sd_notify(3).

One datagram to the socket that NOTIFY_SOCKET names; without it, every function does nothing. Nothing here
blocks or raises: a service manager that does not listen is no reason to stop serving.
"""

from __future__ import annotations

import os
import socket
import time

NOTIFY_SOCKET = "NOTIFY_SOCKET"


def ready(status: str = "") -> bool:
    """The service is ready: it listens, or is done with reloading. `status` is for the operator."""
    return notify(_lines("READY=1", status))


def reloading() -> bool:
    """The service is reloading its configuration; `ready` says when it has."""
    microseconds = time.monotonic_ns() // 1000
    return notify(f"RELOADING=1\nMONOTONIC_USEC={microseconds}")


def stopping(status: str = "") -> bool:
    """The service is stopping."""
    return notify(_lines("STOPPING=1", status))


def status(text: str) -> bool:
    """One line about what the service is doing, for `systemctl status`."""
    return notify(_lines("", text))


def watchdog() -> bool:
    """The service is alive."""
    return notify("WATCHDOG=1")


def watchdog_interval() -> float | None:
    """Seconds between two calls of `watchdog` that systemd is content with; None if it expects none.

    Half of what it allows, as sd_watchdog_enabled(3) recommends.
    """
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    meant_for = os.environ.get("WATCHDOG_PID", "")
    if not microseconds.isdecimal() or int(microseconds) == 0:
        return None
    if meant_for and meant_for != str(os.getpid()):
        return None
    return int(microseconds) / 2e6


def notify(message: str) -> bool:
    """Send `NAME=value` lines; True if they were handed over."""
    address = os.environ.get(NOTIFY_SOCKET, "")
    if not address.startswith(("/", "@")) or not hasattr(socket, "AF_UNIX"):
        return False
    if address.startswith("@"):
        # Linux's abstract namespace: the name begins with a NUL.
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendto(message.encode("utf-8", "replace"), address)
    except OSError:
        return False
    return True


def _lines(state: str, text: str) -> str:
    # A line feed in the status would begin another variable.
    status_line = f"STATUS={' '.join(text.split())}" if text else ""
    return "\n".join(line for line in (state, status_line) if line)
