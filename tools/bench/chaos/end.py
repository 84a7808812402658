"""What must hold when all clients of a scenario are gone."""
import json

from tools.harness.fake_kernel.codec import Function
from tools.harness.fake_kernel.joining import LinkClosed
from tools.harness.processes import Footprint, alive
from tools.harness.waiting import wait_for


def information(server):
    """GetServerInformation by a client of its own, which needs no kernel for it."""
    with server.connect(timeout=60) as link:
        link.put("WSCommandPacket", Function("GetServerInformation"))
        while True:
            head, *values = link.get_packet()
            if head == "ReturnPacket":
                return json.loads(values[0])["result"]["Pools"]


def close_reserved(server):
    """Close the kernels that clients have reserved for themselves: nobody comes back to them, and they fill the pool.

    False if the kernel of the link that this takes died meanwhile.
    """
    try:
        with server.connect(timeout=60) as link:
            link.get_packet()
            for kernel in pool_kernels(server):
                if kernel["State"] == "reserved":
                    link.command("CloseKernel", kernel["ID"])
    except (AssertionError, LinkClosed, ConnectionError):
        return False
    return True


def pool_kernels(server):
    return [kernel for pool in information(server).values() for kernel in pool["Kernels"]]


def check_end(server, before=None):
    """Wait until everything is in order again and return the server's footprint; AssertionError if it does not come
    to that within a minute."""
    wait_for(lambda: close_reserved(server), 60, "reserved kernels to be closed")
    wait_for(lambda: not _disorder(server), 60, lambda: f"order after a scenario: {_disorder(server)}")
    if before is not None:
        # kernels beyond the minimum may stay; each has its links and its output pipe
        pools = information(server).values()
        extra = max(0, sum(len(pool["Kernels"]) - pool["MinimumKernelNumber"] for pool in pools))
        now = Footprint(server.pid)
        assert now.sockets <= before.sockets + 2 * extra + 4, (before, now)
        assert now.other <= before.other + 2 * extra + 8, (before, now)
        assert now.zombies == 0, now
    return Footprint(server.pid)


def _disorder(server):
    """What is not as it should be with no client but the one that asks, or an empty text."""
    pools = information(server)
    for name, pool in pools.items():
        states = [kernel["State"] for kernel in pool["Kernels"]]
        living = [state for state in states if state != "closing"]
        if not pool["MinimumKernelNumber"] <= len(living) <= pool["MaximumKernelNumber"]:
            return f"pool {name} has {len(living)} kernels"
        if pool["WaitingClients"] or "closing" in states or "starting" in states:
            return f"pool {name} is not at rest: {states}"
        if states.count("bridged") > 1:
            return f"{states.count('bridged')} kernels of pool {name} are bridged"
    known = {kernel["ProcessID"] for pool in pools.values() for kernel in pool["Kernels"]}
    running = set(server.processes())
    if known != running:
        return f"processes {running - known} are no kernels, kernels {known - running} have no process"
    if not all(map(alive, known)):
        return "a kernel is dead"
    return ""
