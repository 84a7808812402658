"""Counting what a test must not leave behind: descriptors, threads, processes of a server; greenlets."""
import gc
import os

from tests.support import processes
from tests.support.waiting import wait_for


class Footprint:
    """What a process holds at one moment."""

    def __init__(self, pid):
        self.sockets = self.other = 0
        for target in processes.open_descriptors(pid).values():
            if target.startswith("socket:"):
                self.sockets += 1
            else:
                self.other += 1
        self.threads = processes.threads(pid)
        self.children = len(processes.children(pid))
        self.zombies = len(processes.zombies(pid))

    def fits_in(self, other):
        """Whether there is no more of anything than in `other`."""
        return all(count <= vars(other)[key] for key, count in vars(self).items())

    def __repr__(self):
        return "Footprint(" + ", ".join(f"{key}={value}" for key, value in vars(self).items()) + ")"


def assert_returns_to(before, pid, deadline=10.0):
    """The process comes back to the footprint `before`, or a smaller one, within `deadline` seconds."""
    wait_for(lambda: Footprint(pid).fits_in(before), deadline, lambda: f"{Footprint(pid)} to become {before}")


def own_descriptors():
    """Open descriptors of this process, without the one that this look needs."""
    return {number: target for number, target in processes.open_descriptors(os.getpid()).items()
            if not target.endswith("/fd")}  # fmt: skip


def living_greenlets():
    """Greenlets of this process that have begun and not ended."""
    import greenlet

    gc.collect()
    return [item for item in gc.get_objects() if isinstance(item, greenlet.greenlet) and item]
