"""Waiting in tests: for the event itself where there is one, else for a condition, always with a deadline."""
import os
import select
import time

#: How often a condition without an event is looked at: at first, in seconds, and later, as a part of the time waited so
#: far. Looks cost the processor that what is waited for needs.
INTERVAL = 0.005
PART = 0.08

#: Looks before anything is given up, however late they come: a machine that was starved, or asleep, proves nothing.
LOOKS = 20


def wait_for(condition, deadline=60.0, what=None, interval=None):
    """The first true value of `condition()`, asked again for `deadline` seconds; AssertionError then.

    `interval`: seconds between two looks, always; without it they become rarer the longer it takes.
    `what` says in the failure what was waited for: a text, or a function that makes one then.
    """
    began, looks = time.monotonic(), 1
    while not (value := condition()):
        waited, looks = time.monotonic() - began, looks + 1
        if waited > deadline and looks > LOOKS:
            raise AssertionError(f"not within {deadline} s: {what() if callable(what) else what or condition}")
        time.sleep(interval or max(INTERVAL, min(waited * PART, 0.2)))
    return value


def wait_gone(pid, deadline=60.0):
    """Wait until the process has ended (it may be unreaped); AssertionError after `deadline` seconds."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if not select.select([descriptor], [], [], deadline)[0]:
            raise AssertionError(f"process {pid} still runs after {deadline} s")
    finally:
        os.close(descriptor)
