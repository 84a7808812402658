"""How long the programs of a user take from their start to their first answer, with a pool whose kernels are ready.

    python -m tools.bench.cold [--runs N] [--against FOLDER]

    wstpscript                `wstpscript -code 1`, from its start to its end
    wstpserver-kernel, link   from its start to the first prompt on the link of its parent
    wstpserver-kernel, text   from its start to the end of `1` on a pipe
    wolframclient's session   `WolframLanguageSession(".../wstpserver-kernel").start()`, of the official client

The programs take turns, each for this checkout and for another one (`--against`), if there is one, and a bare Python
beside them. Before each run the pool has free kernels again. Processor time is that of the program (user and system),
which a machine that has nothing else to do needs at least.
"""
import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tools.bench.figures import percentile, table
from tools.harness.server import ROOT, ServerProcess, pool
from tools.harness.waiting import wait_for
from wstpserver.client import Session, connect, listen
from wstpserver.client.commands import server_information
from wstpserver.wire.packets import packet

#: Kernels that are ready before each run.
READY = 4
DEADLINE = 120.0
MODULES = ("wstpserver.cli.script.main", "wstpserver.cli.kernel")


class Tree:
    """The programs of one checkout, as pip writes them, but for the path of the package."""

    def __init__(self, name, root, folder, address):
        self.name = name
        environment = {"PYTHONPATH": os.fspath(root), "WSTPSERVER": address}
        self.environment = {**os.environ, **environment}
        self.script, self.kernel = (self._write(Path(folder) / f"{module.rpartition('.')[2]}-{name}", module)
                                    for module in MODULES)  # fmt: skip

    def _write(self, path, module):
        path.write_text(f"#!{sys.executable}\nimport sys\nfrom {module} import main\nsys.exit(main())\n")
        path.chmod(0o755)
        return str(path)

    def measure(self, process, until=None):
        """Seconds until the process has ended, or until `until()` returns, and its seconds of processor time."""
        if until is not None:
            until()
            taken = time.perf_counter() - self.begun
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if until is None:
            taken = time.perf_counter() - self.begun
        return taken, used.ru_utime + used.ru_stime

    def start(self, *words, **options):
        self.begun = time.perf_counter()
        return subprocess.Popen(words, env=self.environment, stderr=subprocess.DEVNULL, **options)

    def bare(self):
        return self.measure(self.start(sys.executable, "-c", "pass"))

    def wstpscript(self):
        process = self.start(self.script, "-code", "1", stdout=subprocess.PIPE)
        found = self.measure(process)
        assert process.stdout.read() == b"1\n"
        process.stdout.close()
        return found

    def link(self):
        with listen("0@127.0.0.1") as listener:
            words = ["-linkmode", "connect", "-linkprotocol", "TCPIP", "-linkoptions", "4"]
            process = self.start(self.kernel, "-wstp", *words, "-linkname", listener.link_name)

            def prompted():
                with listener.accept(DEADLINE) as link:
                    assert link.get(DEADLINE) == packet("InputNamePacket", "In[1]:= ")

            return self.measure(process, prompted)

    def text(self):
        process = self.start(self.kernel, "-noprompt", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        process.stdin.write(b"1\n")
        process.stdin.close()
        found = self.measure(process)
        assert process.stdout.read().strip() == b"1"
        process.stdout.close()
        return found

    def wolframclient(self):
        from wolframclient.evaluation import WolframLanguageSession

        os.environ.update({key: self.environment[key] for key in ("PYTHONPATH", "WSTPSERVER")})
        session = WolframLanguageSession(self.kernel, STARTUP_TIMEOUT=DEADLINE)
        before = os.times()
        begun = time.perf_counter()
        session.start()
        taken = time.perf_counter() - begun
        assert session.evaluate("1") == 1
        session.stop()
        after = os.times()
        return taken, sum(after[:4]) - sum(before[:4])


PROGRAMS = {
    "a bare Python": Tree.bare,
    "wstpscript -code 1": Tree.wstpscript,
    "wstpserver-kernel, link": Tree.link,
    "wstpserver-kernel, text": Tree.text,
    "wolframclient's session": Tree.wolframclient,
}


def make_embedded_kernel(folder):
    """The embedded kernel of this tree, for KernelPath."""
    path = Path(folder) / "wstpkernel"
    path.write_text(f'#!/bin/sh\nexec {sys.executable} -m wstpserver.embedded.main "$@"\n')
    path.chmod(0o755)
    return path


def pool_is_ready(address):
    """Wait until enough kernels are free and none is being started or ended."""

    def calm():
        with Session(connect(address, DEADLINE, without_kernel=True)) as session:
            states = [kernel.state for kernel in server_information(session).pools["Main"].kernels]
        return states.count("free") >= READY and set(states) == {"free"}

    wait_for(calm, DEADLINE, "free kernels")


def measure(trees, address, runs):
    """{program: {tree: [(seconds, seconds of processor time)]}}."""
    taken = {program: {tree.name: [] for tree in trees} for program in PROGRAMS}
    for number in range(runs + 1):
        for program, run in PROGRAMS.items():
            for tree in trees if number % 2 else reversed(trees):
                pool_is_ready(address)
                found = run(tree)
                if number:  # the first one compiles, and fills the system's cache of files
                    taken[program][tree.name].append(found)
    return taken


def rows(taken):
    for program, by_tree in taken.items():
        for tree, runs in by_tree.items():
            seconds = sorted(1000 * each for each, _ in runs)
            used = sorted(1000 * each for _, each in runs)
            yield (
                program, tree, seconds[0], percentile(seconds, 50), percentile(seconds, 90), used[0],
                percentile(used, 50),
            )  # fmt: skip


def main(words=None):
    parser = argparse.ArgumentParser(prog="python -m tools.bench.cold", description=__doc__.split("\n\n")[0])
    parser.add_argument("--runs", type=int, default=15, help="of each program (default 15)")
    parser.add_argument("--against", metavar="FOLDER", help="another checkout, with its C module, that takes turns")
    options = parser.parse_args(words)
    roots = {"this": ROOT} | ({"other": Path(options.against).resolve()} if options.against else {})
    with tempfile.TemporaryDirectory(prefix="cold-") as folder:
        settings = pool(make_embedded_kernel(folder), MinimumKernelNumber=READY, MaximumKernelNumber=3 * READY)
        with ServerProcess(folder, {"Pools": {"Main": settings}}) as server:
            server.wait_for_log("Pool Main is ready", DEADLINE)
            address = f"{server.port}@127.0.0.1"
            trees = [Tree(name, root, folder, address) for name, root in roots.items()]
            taken = measure(trees, address, options.runs)
    print(table(("milliseconds", "tree", "min", "median", "p90", "CPU min", "CPU median"), list(rows(taken))))


if __name__ == "__main__":
    main()
