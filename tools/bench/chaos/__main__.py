"""Random scenarios against a server with light test kernels.

Clients come, go, break off and rob each other at any moment; kernels are killed, stop reading and do not exit, end
their link before they exit, are closed while they become ready. Afterwards the right number of kernels is there, no
process besides, no client is stuck, no answer was wrong. Everything on the loopback interface; ends by itself.

    tools/chaos --scenarios 1000
"""
import argparse
import concurrent.futures
import contextlib
import os
import random
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

from tools.bench.chaos.client import RandomClient
from tools.bench.chaos.end import check_end, pool_kernels
from tools.bench.cleanup import clear_away_on_sigterm
from tools.harness.fake_kernel.joining import LinkClosed
from tools.harness.kernels import make_kernel
from tools.harness.server import ServerProcess, pool

#: Seconds that a client waits for a kernel.
KERNEL_WAIT = 60


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="tools/chaos", description=__doc__.split("\n\n")[0])
    parser.add_argument("--scenarios", type=int, default=20, help="how many scenarios (default 20)")
    parser.add_argument("--clients", type=int, default=50, help="clients at once in each (default 50)")
    parser.add_argument("--steps", type=int, default=12, help="most things that a client does (default 12)")
    parser.add_argument("--kills", type=int, default=5, help="kernels killed in each (default 5)")
    parser.add_argument("--seconds", type=float, default=3600, help="stop after this time in any case (default 3600)")
    parser.add_argument("--seed", type=int, default=None, help="the seed of an earlier run")
    options = parser.parse_args(arguments)
    clear_away_on_sigterm()
    seed = options.seed if options.seed is not None else random.randrange(10**9)
    print(f"seed {seed}")
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        return run(Path(folder), options, seed)


def configuration(folder, *, replacement, ready=30):
    kernel = make_kernel(folder)
    return {
        "AllowSilentKernelReplacement": replacement,
        "KernelWaitTimeout": KERNEL_WAIT,
        "Pools": {
            "Main": pool(kernel, MinimumKernelNumber=ready, MaximumKernelNumber=70,
                         ReservePreviouslyConnectedKernels=False),
            "Short": pool(kernel, MinimumKernelNumber=3, MaximumKernelNumber=8, KeepAlive=False),
        },
    }  # fmt: skip


def run(folder, options, seed):
    """Exit code: 0 if everything held."""
    end = time.monotonic() + options.seconds
    done = right = 0
    for replacement in (False, True):
        inner = folder / str(replacement)
        inner.mkdir()
        with ServerProcess(inner, configuration(inner, replacement=replacement), stop_deadline=60) as server:
            footprint = check_end(server)
            for number in range(replacement, options.scenarios, 2):
                if time.monotonic() > end:
                    break
                right += scenario(server, options, random.Random(f"{seed} {number}"))
                check_end(server, footprint)
                done += 1
                print(f"\r{done} scenarios, {right} right answers", end="", flush=True)
    print()
    return 0


def scenario(server, options, rng):
    """Run the clients of one scenario beside a killer; the number of right answers."""
    known, stop = [], threading.Event()
    killer = threading.Thread(target=kill_kernels, args=(server, rng.random(), options.kills, stop))
    killer.start()
    try:
        with concurrent.futures.ThreadPoolExecutor(options.clients) as threads:
            jobs = [
                threads.submit(one_client, server, rng.random(), known, rng.randint(1, options.steps))
                for _ in range(options.clients)
            ]
            return sum(job.result() for job in jobs)
    finally:
        stop.set()
        killer.join()


def one_client(server, seed, known, steps):
    # longer than anybody waits for a kernel: that is an answer, too
    return RandomClient(server.connect(timeout=KERNEL_WAIT + 30), seed, known).run(steps)


def kill_kernels(server, seed, count, stop):
    rng = random.Random(seed)
    for _ in range(count):
        if stop.wait(rng.random() * 0.3):
            return
        kernels = [kernel for kernel in pool_kernels(server) if kernel["ProcessID"]]
        if not kernels:
            continue
        victim = rng.choice(kernels)
        with contextlib.suppress(ProcessLookupError):
            if rng.random() < 0.7:
                os.kill(victim["ProcessID"], signal.SIGKILL)
            else:
                stop_kernel(server, victim, rng)


def stop_kernel(server, kernel, rng):
    """Let a kernel neither read nor exit for a moment, and perhaps have it closed meanwhile."""
    os.kill(kernel["ProcessID"], signal.SIGSTOP)
    try:
        if rng.random() < 0.5:
            with contextlib.suppress(LinkClosed, ConnectionError, TimeoutError), server.connect(timeout=60) as link:
                link.get_packet()
                link.command("CloseKernel", kernel["ID"])  # refused if somebody else has it
        time.sleep(rng.random() * 0.5)
    finally:
        os.kill(kernel["ProcessID"], signal.SIGCONT)


if __name__ == "__main__":
    sys.exit(main())
