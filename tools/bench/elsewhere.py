"""Kernels on other machines against what their engines do by themselves: a real sshd and a real Slurm on this machine.

    tools/bench-elsewhere [--rounds N] [--write docs/performance.md]
    tools/bench-elsewhere --ends [--rounds N] [--write docs/performance.md]

All ways take turns in one run. What an engine allows is measured with `cat` behind the same launcher: a round trip is
that of a line through a `cat` that runs on, the throughput that of `cat FILE` with as many bytes as the list has.

The line is as long as a small evaluation is in the stream of the agent, it is sent by a process that waits in a loop of
gevent as the server does, and each one follows an evaluation of a kernel of this machine: a machine that does nothing
else passes lines to and fro in half of the time, because nobody sleeps and everything stays in the caches.

An evaluation elsewhere cannot be faster than one of a kernel of this machine and one round trip of the engine together:
that is its limit, and what it takes longer is also compared with the round trip alone. A packed list, which the kernel
has already, cannot be faster than `cat` of the engine, nor than the same list of a kernel of this machine.
"""
import argparse
import json
import os
import re
import select
import shlex
import signal
import statistics
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from gevent.os import make_nonblocking, nb_read, nb_write

from tools.harness import engines, processes
from tools.harness.fake_kernel.codec import Function, Symbol
from tools.harness.kernels import make_kernel
from tools.harness.server import ServerProcess, pool
from tools.harness.waiting import wait_gone

#: Reals of a packed list, and its bytes.
REALS = 2_500_000
SIZE = 8 * REALS
EVALUATIONS = 40

ABORT = 3

#: As many bytes as `EvaluatePacket` of a small number has in a frame of the agent's stream.
LINE = b"x" * 35 + b"\n"


class Cat:
    """`cat` behind a launcher."""

    def __init__(self, launcher, environment):
        self.process = subprocess.Popen(
            [*launcher, "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
        )
        for pipe in (self.process.stdin, self.process.stdout):
            make_nonblocking(pipe.fileno())
        for _ in range(10):
            self.round_trip()

    def round_trip(self):
        """The seconds that a line takes."""
        out, back = self.process.stdin.fileno(), self.process.stdout.fileno()
        began = time.perf_counter()
        left = nb_write(out, LINE)
        while left:
            left -= len(nb_read(back, 1 << 16))
        return time.perf_counter() - began

    def close(self):
        self.process.kill()
        self.process.wait()


def cat_rate(launcher, environment, file):
    """Bytes in a second from a file there, counted from the first of them on."""
    command = [*launcher, "cat", os.fspath(file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        got = first = len(os.read(process.stdout.fileno(), 1 << 18))
        began = time.perf_counter()
        while data := os.read(process.stdout.fileno(), 1 << 18):
            got += len(data)
        return (got - first) / (time.perf_counter() - began)


def round_trip(link, value):
    """The seconds that an evaluation takes."""
    began = time.perf_counter()
    link.evaluate(value)
    return time.perf_counter() - began


def list_rate(link):
    link.put("EvaluatePacket", Symbol("x"))
    first = len(link.data.recv(1 << 18))
    began, got, last = time.perf_counter(), first, b""
    while got < SIZE or last != b"\n]":
        data = link.data.recv(1 << 18)
        got, last = got + len(data), (last + data[-2:])[-2:]
    return (got - first) / (time.perf_counter() - began)


def measure(rounds):
    """(median round trip in seconds, median rate in bytes a second) by the name of the way, its cat and its limit."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("slurm", "ssh"):
            (folder / part).mkdir()
        with engines.Slurm(folder / "slurm") as slurm, engines.SshServer(folder / "ssh") as ssh:
            return _measure(folder, slurm, ssh, rounds)


def _measure(folder, slurm, ssh, rounds):
    kernel = make_kernel(folder)
    file = folder / "list"
    file.write_bytes(os.urandom(SIZE))
    environment = slurm.environment
    srun = ["srun", "-n1", "-w", "node1"]
    keys = {"KernelAgent": engines.interpreter(), "MinimumKernelNumber": 1}
    launchers = {"ssh": ssh.command, "srun": srun}
    pools = {
        "this machine": pool(kernel, MinimumKernelNumber=1),
        "tcp": pool(kernel, KernelLauncher="env", KernelTransport="tcp", **keys),
        **{way: pool(kernel, KernelLauncher=shlex.join(words), **keys) for way, words in launchers.items()},
    }
    root = {"EnableAutomaticKernelConnection": False, "KernelTransportInterface": "127.0.0.1"}
    trips, rates, links, cats = {}, {}, {}, {}
    with ServerProcess(folder, {"Pools": pools, **root}, environment=slurm.environment) as server:
        for way in pools:
            links[way] = server.connect(timeout=60.0)
            assert "Success" in links[way].command("ConnectKernel", way)
            links[way].get_packet()
            links[way].evaluate(Function("Set", Symbol("x"), Function("MakeArray", REALS)))
        cats = {way: Cat(words, environment) for way, words in launchers.items()}
        for _ in range(rounds):
            for way, link in links.items():
                rates.setdefault(way, []).append(list_rate(link))
                times = [round_trip(link, value) for value in range(EVALUATIONS)]
                trips.setdefault(way, []).append(statistics.median(times))
            for way, cat in cats.items():
                rates.setdefault(f"{way} cat", []).append(cat_rate(launchers[way], environment, file))

                pairs = [(round_trip(links["this machine"], value), cat.round_trip()) for value in range(EVALUATIONS)]
                trips.setdefault(f"{way} cat", []).append(statistics.median(line for _, line in pairs))
                trips.setdefault(f"{way} limit", []).append(statistics.median(map(sum, pairs)))
        for each in (*cats.values(), *links.values()):
            each.close()
    return {way: (statistics.median(trips[way]), statistics.median(rates.get(way, [0.0]))) for way in trips}


def table(found):
    here, here_rate = found["this machine"]
    heads = ["way", "p50 of an evaluation", "limit", "of the limit", "added", "`cat`", "`cat` / added"]
    heads += ["packed list", "`cat`", "of the limit"]
    lines = [f"| {' | '.join(heads)} |", "| --- |" + " ---: |" * 9]
    for way in ("this machine", "tcp", "ssh", "srun"):
        trip, rate = found[way]
        cat, most = found.get(f"{way} cat", (0.0, here_rate))
        limit, _ = found.get(f"{way} limit", (0.0, 0.0))
        cells = [f"{trip * 1e6:.0f} µs", *([f"{limit * 1e6:.0f} µs", f"{limit / trip:.2f}"] if limit else ["-", "-"])]
        cells += [f"{(trip - here) * 1e6:.0f} µs" if trip is not here else "-"]
        cells += [f"{cat * 1e6:.0f} µs", f"{cat / (trip - here):.2f}"] if cat else ["-", "-"]
        cells += [f"{rate / 1e6:.0f} MB/s"]
        cells += [f"{most / 1e6:.0f} MB/s" if cat else "-", f"{rate / min(most, here_rate):.2f}"]
        lines.append(f"| {' | '.join([way, *cells])} |")
    return "\n".join(lines)


# -- ends and aborts ---------------------------------------------------------------------------------------------------


class Kernel:
    """A kernel that is a job of Slurm, with a client, and its processes."""

    def __init__(self, server, slurm, pool_name):
        self.slurm, self.pool_name = slurm, pool_name
        self.link = server.connect(timeout=90.0)
        assert "Success" in self.link.command("ConnectKernel", pool_name)
        self.link.get_packet()
        self.kernel = self.link.evaluate(Function("KernelProcess"))
        told = json.loads(self.link.command("GetServerInformation"))["result"]["Pools"][pool_name]["Kernels"]
        (facts,) = [each for each in told if each["HostProcessID"] == self.kernel]
        self.agent = processes.parent(self.kernel)
        self.connector = facts["ProcessID"]
        (self.launcher,) = processes.children(self.connector)
        self.job = slurm.jobs()[f"{pool_name}-{facts['ID']}"][0]

    def time_end(self, end):
        """(seconds from what is done, and from the end of the launcher, to the notice, the notice)."""
        launcher = os.pidfd_open(self.launcher)
        closed = []

        def watch():
            select.select([launcher], [], [])
            closed.append(time.perf_counter())

        watching = threading.Thread(target=watch)
        watching.start()
        began = time.perf_counter()
        end(self)
        packet = self.link.get_packet()
        told = time.perf_counter()
        self.link.close()
        watching.join()
        os.close(launcher)
        for pid in (self.kernel, self.agent, self.connector):
            wait_gone(pid, 90.0)
        return told - began, told - closed[0], packet[1]


def _abort_seconds(link):
    """From an abort to the answer, while 100 MB of text are under way."""
    link.put("EvaluatePacket", Function("Flood", 10_000, 10_000))
    for _ in range(200):
        link.get_packet()
    began = time.perf_counter()
    link.send_message(ABORT)
    while link.get_packet()[0] == "TextPacket":
        pass
    return time.perf_counter() - began


ENDS = {
    "`scancel`": lambda kernel: kernel.slurm.run("scancel", str(kernel.job)),
    "SIGKILL of srun": lambda kernel: os.kill(kernel.launcher, signal.SIGKILL),
    "SIGKILL of the agent": lambda kernel: os.kill(kernel.agent, signal.SIGKILL),
    "SIGKILL of the kernel": lambda kernel: os.kill(kernel.kernel, signal.SIGKILL),
    "SIGKILL of slurmd": lambda kernel: kernel.slurm.nodes["node3"].kill(),
}


def ends(rounds):
    """The table of what a client waits for when its kernel ends, and when it aborts."""
    with tempfile.TemporaryDirectory() as name, engines.Slurm(name) as slurm:
        folder = Path(name)
        launcher = "srun -n1 --job-name={pool}-{id}"
        keys = {"KernelAgent": engines.interpreter(), "MinimumKernelNumber": 1, "KeepAlive": False}
        kernel = make_kernel(folder)
        pools = {
            "Main": pool(kernel, KernelLauncher=f"{launcher} -w node1", **keys),
            "Apart": pool(kernel, KernelLauncher=f"{launcher} -w node3 -p apart", **keys),
        }
        configuration = {"Pools": pools, "EnableAutomaticKernelConnection": False}
        lines = ["| what | told after | after the end of srun | the kernel died: |"]
        lines.append("| --- | ---: | ---: | --- |")
        with ServerProcess(folder, configuration, environment=slurm.environment) as server:
            for what, end in ENDS.items():
                pool_name, times = ("Apart", 1) if "slurmd" in what else ("Main", rounds)
                found = [Kernel(server, slurm, pool_name).time_end(end) for _ in range(times)]
                begun, closed = (max(each[index] for each in found) for index in (0, 1))
                after = f"{closed:.2f} s" if closed > 0 else "before"
                text = found[-1][2].partition("died: ")[2].partition("; its last output")[0].strip()
                lines.append(f"| {what} | {begun:.2f} s | {after} | {text} |")
            link = Kernel(server, slurm, "Main").link
            longest = max(_abort_seconds(link) for _ in range(rounds))
            link.close()
        lines.append(f"| an abort while 100 MB are under way | {longest:.2f} s | | |")
        return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--write", metavar="PAGE", help="put the table between <!-- elsewhere --> and <!-- end -->")
    parser.add_argument("--ends", action="store_true", help="measure when a client is told that its kernel has ended")
    options = parser.parse_args()
    shown = ends(options.rounds) if options.ends else table(measure(options.rounds))
    name = "ends elsewhere" if options.ends else "elsewhere"
    print(shown)
    if options.write:
        page = Path(options.write)
        text = re.sub(
            rf"(<!-- {name} -->\n).*?(<!-- end -->)",
            lambda match: f"{match[1]}{time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime())}, load average"
            f" {os.getloadavg()[1]:.1f}\n\n{shown}\n{match[2]}",
            page.read_text(), flags=re.DOTALL,
        )  # fmt: skip
        page.write_text(text)


if __name__ == "__main__":
    main()
