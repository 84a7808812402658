"""Kernels on other machines against what their engines do by themselves: a real sshd and a real Slurm on this machine.

    tools/bench-elsewhere [--rounds N] [--write docs/performance.md]

All ways take turns in one run. What an engine allows is measured with `cat` behind the same launcher: a round trip is
that of a line through a `cat` that runs on, the throughput that of `cat FILE` with as many bytes as the list has.

The line is as long as a small evaluation is in the stream of the agent, it is sent by a process that waits in a loop of
gevent as the server does, and each one follows an evaluation of a kernel of this machine: a machine that does nothing
else passes lines to and fro in half of the time, because nobody sleeps and everything stays in the caches.

An evaluation elsewhere cannot be faster than one of a kernel of this machine and one round trip of the engine together:
what it takes longer is compared with the round trip. A packed list, which the kernel has already, cannot be faster than
`cat` of the engine, nor than the same list of a kernel of this machine.
"""
import argparse
import os
import re
import shlex
import statistics
import subprocess
import tempfile
import time
from functools import partial
from pathlib import Path

from gevent.os import make_nonblocking, nb_read, nb_write

from tools.harness import engines
from tools.harness.fake_kernel.codec import Function, Symbol
from tools.harness.kernels import make_kernel
from tools.harness.server import ServerProcess, pool

#: Reals of a packed list, and its bytes.
REALS = 2_500_000
SIZE = 8 * REALS
EVALUATIONS = 40

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
                rates.setdefault(way, []).append(list_rate(link))
                trips.setdefault(way, []).append(_median(partial(round_trip, link)))
            for way, cat in cats.items():
                rates.setdefault(f"{way} cat", []).append(cat_rate(launchers[way], environment, file))

                def evaluate_and_pass_a_line(value, cat=cat):
                    links["this machine"].evaluate(value)
                    return cat.round_trip()

                trips.setdefault(f"{way} cat", []).append(_median(evaluate_and_pass_a_line))
        for each in (*cats.values(), *links.values()):
            each.close()
    return {way: (statistics.median(trips[way]), statistics.median(rates[way])) for way in trips}


def _median(once):
    return statistics.median(once(value) for value in range(EVALUATIONS))


def table(found):
    here, here_rate = found["this machine"]
    lines = ["| way | p50 of an evaluation | added | `cat` | `cat` / added | packed list | `cat` | of the limit |"]
    lines += ["| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"]
    for way in ("this machine", "tcp", "ssh", "srun"):
        trip, rate = found[way]
        cat, most = found.get(f"{way} cat", (0.0, here_rate))
        cells = [f"{trip * 1e6:.0f} µs"]
        cells += [f"{(trip - here) * 1e6:.0f} µs" if trip is not here else "-"]
        cells += [f"{cat * 1e6:.0f} µs", f"{cat / (trip - here):.2f}"] if cat else ["-", "-"]
        cells += [f"{rate / 1e6:.0f} MB/s"]
        cells += [f"{most / 1e6:.0f} MB/s" if cat else "-", f"{rate / min(most, here_rate):.2f}"]
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
