"""Kernels on other machines against what their engines do by themselves: a real sshd and a real Slurm on this machine.

    tools/bench-elsewhere [--rounds N] [--write docs/performance.md]

All ways take turns in one run. What an engine allows is measured with `cat` behind the same launcher: a round trip is
that of a line through a `cat` that runs on, the throughput that of `cat FILE` with as many bytes as the list has.

An evaluation elsewhere cannot be faster than one of a kernel of this machine and one round trip of the engine together:
that is its limit. A packed list, which the kernel has already, cannot be faster than `cat` of the engine, nor than the
same list of a kernel of this machine.
"""
import argparse
import os
import re
import shlex
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from tools.harness import engines
from tools.harness.fake_kernel.codec import Function, Symbol
from tools.harness.kernels import make_kernel
from tools.harness.server import ServerProcess, pool

#: Reals of a packed list, and its bytes.
REALS = 2_500_000
SIZE = 8 * REALS
EVALUATIONS = 40


class Cat:
    """`cat` behind a launcher."""

    def __init__(self, launcher, environment):
        self.process = subprocess.Popen(
            [*launcher, "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
        )
        self.round_trips(10)

    def round_trips(self, number):
        out, back = self.process.stdin.fileno(), self.process.stdout.fileno()
        for _ in range(number):
            began = time.perf_counter()
            left = os.write(out, b"x" * 60 + b"\n")
            while left:
                left -= len(os.read(back, left))
            yield time.perf_counter() - began

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


def round_trips(link, number):
    for value in range(number):
        began = time.perf_counter()
        link.evaluate(value)
        yield time.perf_counter() - began


def list_rate(link):
    link.put("EvaluatePacket", Symbol("x"))
    first = len(link.data.recv(1 << 18))
    began, got, last = time.perf_counter(), first, b""
    while got < SIZE or last != b"\n]":
        data = link.data.recv(1 << 18)
        got, last = got + len(data), (last + data[-2:])[-2:]
    return (got - first) / (time.perf_counter() - began)


def measure(rounds):
    """(median round trip in seconds, median rate in bytes a second) by the name of the way."""
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
                trips.setdefault(way, []).extend(round_trips(link, EVALUATIONS))
                rates.setdefault(way, []).append(list_rate(link))
            for way, cat in cats.items():
                trips.setdefault(f"{way} cat", []).extend(cat.round_trips(EVALUATIONS))
                rates.setdefault(f"{way} cat", []).append(cat_rate(launchers[way], environment, file))
        for each in (*cats.values(), *links.values()):
            each.close()
    return {way: (statistics.median(trips[way]), statistics.median(rates[way])) for way in trips}


def table(found):
    here, here_rate = found["this machine"]
    lines = ["| way | p50 of an evaluation | added | `cat` | of the limit | packed list | `cat` | of the limit |"]
    lines += ["| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"]
    for way in ("this machine", "tcp", "ssh", "srun"):
        trip, rate = found[way]
        cells = [f"{trip * 1e6:.0f} µs", f"{(trip - here) * 1e6:.0f} µs"]
        cat, most = found.get(f"{way} cat", (0.0, here_rate))
        measured = f"{way} cat" in found
        cells += [f"{cat * 1e6:.0f} µs" if measured else "-", f"{(here + cat) / trip:.2f}", f"{rate / 1e6:.0f} MB/s"]
        cells += [f"{most / 1e6:.0f} MB/s" if measured else "-", f"{rate / min(most, here_rate):.2f}"]
        lines.append(f"| {' | '.join([way, *cells])} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--write", metavar="PAGE", help="put the table between <!-- elsewhere --> and <!-- end -->")
    options = parser.parse_args()
    shown = table(measure(options.rounds))
    print(shown)
    if options.write:
        page = Path(options.write)
        text = re.sub(
            r"(<!-- elsewhere -->\n).*?(<!-- end -->)",
            lambda match: f"{match[1]}{time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime())}, load average"
            f" {os.getloadavg()[1]:.1f}\n\n{shown}\n{match[2]}",
            page.read_text(), flags=re.DOTALL,
        )  # fmt: skip
        page.write_text(text)


if __name__ == "__main__":
    main()
