"""Messages to systemd about the state of the service, by the protocol of sd_notify(3).

Each message is one datagram to the socket that NOTIFY_SOCKET names; without that variable every function does nothing.
Nothing here blocks or raises: the server goes on where the service manager does not listen.
"""

from __future__ import annotations

import os
import socket
import time

NOTIFY_SOCKET = "NOTIFY_SOCKET"

#: The variables of the protocol: systemd speaks to the server alone, so its children do not inherit them.
VARIABLES = frozenset({NOTIFY_SOCKET, "WATCHDOG_PID", "WATCHDOG_USEC"})


def ready(status: str = "") -> bool:
    """Say that the service is ready: it listens, or has reloaded its configuration.

    Args:
        status: one line for the operator, which `systemctl status` shows.

    Returns:
        Whether the message was handed over.
    """
    return notify(_lines("READY=1", status))


def reloading() -> bool:
    """Say that the service is reloading its configuration; `ready` follows when that is done."""
    microseconds = time.monotonic_ns() // 1000
    return notify(f"RELOADING=1\nMONOTONIC_USEC={microseconds}")


def stopping(status: str = "") -> bool:
    """Say that the service is stopping. *status* is as for `ready`."""
    return notify(_lines("STOPPING=1", status))


def watchdog() -> bool:
    """Say that the service is alive."""
    return notify("WATCHDOG=1")


def watchdog_interval() -> float | None:
    """Seconds between two calls of `watchdog`: half of what systemd allows, as sd_watchdog_enabled(3) recommends.

    None if systemd expects no calls.
    """
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    meant_for = os.environ.get("WATCHDOG_PID", "")
    if not microseconds.isdecimal() or int(microseconds) == 0:
        return None
    if meant_for and meant_for != str(os.getpid()):
        return None
    return int(microseconds) / 2e6


def notify(message: str) -> bool:
    """Send `NAME=value` lines; returns whether they were handed over."""
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
    return f"{state}\nSTATUS={' '.join(text.split())}" if text else state
