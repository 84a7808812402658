"""Progress on stderr: a bar on a terminal, a line each second elsewhere."""
import sys
import time


class Progress:
    """How far a load has come."""

    def __init__(self, load):
        self._load = load
        self._bar = sys.stderr.isatty()
        self._next = time.monotonic() + (0.1 if self._bar else 1.0)

    def show(self, result):
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + (0.1 if self._bar else 1.0)
        text = (f"{result.prompted} of {self._load.clients} clients, {result.answers} answers, "
                f"{sum(result.errors.values())} errors")  # fmt: skip
        if self._bar:
            print(f"\r{self._drawn(result)} {text} ", end="", file=sys.stderr, flush=True)
        else:
            print(text, file=sys.stderr, flush=True)

    def _drawn(self, result, width=30):
        steps = self._load.clients * (1 + self._load.evaluations)
        done = int(width * (result.prompted + result.answers) / steps)
        return f"[{'#' * done}{'.' * (width - done)}]"

    def end(self):
        if self._bar:
            print(file=sys.stderr)
