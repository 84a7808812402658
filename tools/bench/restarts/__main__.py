"""Restarts a server again and again while many clients evaluate without a pause, and checks that nothing is lost.

Every answer is compared with what it must be. Kernels, clients and the process of the server must be the same after
each restart as before. The longest pause is the longest time that an evaluation took, so it includes whatever else the
machine does.
"""
import argparse
import json
import signal
import sys
import time

from tools.bench.load.engine import Engine, Load
from tools.bench.load.target import OwnServer
from tools.harness.waiting import wait_for

#: What the log says of each restart: kernels, clients, seconds without service.
RESTARTED = r"Restarted with (\d+) kernels? and (\d+) clients?: nobody was served for ([\d.]+) s"


def main(arguments=None):
    """Returns the exit code: 0 if nothing was lost and no pause was longer than --longest."""
    parser = argparse.ArgumentParser(prog="python -m tools.bench.restarts", description=__doc__.split("\n\n")[0])
    parser.add_argument("--clients", type=int, default=300, help="at the same time (default 300)")
    parser.add_argument("--restarts", type=int, default=20, help="one after the other (default 20)")
    parser.add_argument("--size", type=int, default=0, help="bytes that an evaluation carries (0: it adds two numbers)")
    parser.add_argument("--rate", type=float, default=0.0,
        help="evaluations begun each second by all clients together (default: each when the one before is answered)")
    parser.add_argument("--longest", type=float, default=1.0, help="seconds that no pause may exceed (1)")
    options = parser.parse_args(arguments)
    found = run(options.clients, options.restarts, options.size, options.rate)
    print(json.dumps(found, indent=2))
    lost = found["errors"] or found["kernels lost or added"] or found["clients lost"]
    return 0 if not lost and found["longest pause in seconds"] < options.longest else 1


def run(clients, restarts, size=0, rate=0.0):
    """Restart a server with light kernels; returns the figures."""
    with OwnServer(clients) as own:
        load = Load(port=own.port, clients=clients, evaluations=10**9, size=size, rate=rate, limit=600.0)
        before = sorted(own.server.processes())
        with Engine(load) as engine:
            engine.wait_until(lambda result: result.answers > clients, 60.0)
            reported, evaluated = [], []
            for number in range(restarts):
                answers = engine.result.answers
                own.server.process.send_signal(signal.SIGUSR2)
                reported.append(_restarted(own.server, engine, number))
                # each is to meet clients that are at work again
                engine.wait_until(lambda result, least=answers + 2 * clients: result.answers > least, 60.0)
                evaluated.append(engine.result.answers)
            began = time.monotonic()
            engine.stop()
            while engine.read(0.1) and time.monotonic() < began + 60.0:
                pass
            result = engine.result
        wait_for(lambda: sorted(own.server.processes()) == before, 20.0, "the kernels to be those of the beginning")
        return {
            "clients": clients,
            "restarts": restarts,
            "correct answers": result.answers,
            "errors": dict(result.errors),
            "clients lost": sum(clients != int(count) for _, count, _ in reported),
            "kernels lost or added": sum(clients != int(count) for count, _, _ in reported),
            "without service in seconds": sorted(float(seconds) for _, _, seconds in reported),
            "longest pause in seconds": result.evaluation.longest / 1e9,
        }


def _restarted(server, engine, number):
    """Wait for the entry about one more restart; the groups of RESTARTED."""
    import re

    end = time.monotonic() + 60.0
    while time.monotonic() < end:
        engine.read(0.02)
        found = re.findall(RESTARTED, server.log)
        if len(found) > number:
            return found[number]
    raise TimeoutError(f"restart {number + 1} did not come to its end; the log:\n{server.log[-5000:]}")


if __name__ == "__main__":
    sys.exit(main())
