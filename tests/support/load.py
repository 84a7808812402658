"""Many clients at once: tools/loadtest as a program."""
import json
import subprocess
import sys

from tools.harness.server import ROOT


def run_load(port, clients, evaluations, *words, seconds=100):
    """What tools/loadtest reports of so many clients of a server on this machine, each with so many evaluations.

    `words` are further options of it. The clients give up after `seconds`.
    """
    command = [
        sys.executable, "-m", "tools.bench.load", "--json", "--server", f"{port}@127.0.0.1", f"--clients={clients}",
        f"--evaluations={evaluations}", "--timeout=60", f"--seconds={seconds}", *words,
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=seconds + 30)
    assert done.stdout, done.stderr
    return json.loads(done.stdout)
