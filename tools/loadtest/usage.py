"""What the run costs the server: processor time and memory of its process, from /proc."""
import time

from tests.support import processes


class Usage:
    """Looks at the process `pid` now and whenever `sample` is called; all zero if the process is not to be seen."""

    def __init__(self, pid):
        self._pid = pid
        self._begin = time.monotonic()
        self._processor = processes.processor_seconds(pid) or 0.0
        self._first = self._peak = self._last = self._resident()

    def _resident(self):
        try:
            return processes.resident_bytes(self._pid)
        except OSError:
            return 0

    def sample(self):
        self._last = self._resident()
        self._peak = max(self._peak, self._last)

    def figures(self):
        """Processor seconds, per cent of one processor, resident megabytes before, at the peak and now."""
        self.sample()
        used = (processes.processor_seconds(self._pid) or self._processor) - self._processor
        elapsed = time.monotonic() - self._begin
        return {
            "processor seconds": used,
            "processor per cent": 100.0 * used / elapsed if elapsed else 0.0,
            "resident MB before": self._first / 1e6,
            "resident MB peak": self._peak / 1e6,
            "resident MB after": self._last / 1e6,
        }
