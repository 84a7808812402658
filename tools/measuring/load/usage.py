"""What a run costs the server: processor time, memory and descriptors of its process, from /proc."""
import contextlib
import time

from tests.support import processes


class Usage:
    """Looks at the process `pid` now and whenever `sample` is called; all zero if the process is not to be seen."""

    def __init__(self, pid):
        self._pid = pid
        self._begin = time.monotonic()
        self._processor = processes.processor_seconds(pid) or 0.0
        #: [seconds since the start, resident bytes, processor seconds since the start]
        self.samples = []
        self.sample()

    def sample(self):
        resident = 0
        with contextlib.suppress(OSError):
            resident = processes.resident_bytes(self._pid)
        used = (processes.processor_seconds(self._pid) or self._processor) - self._processor
        self.samples.append([round(time.monotonic() - self._begin, 3), resident, used])

    def figures(self):
        """Processor seconds, per cent of one processor, resident megabytes before, at the peak and now."""
        self.sample()
        elapsed, last, used = self.samples[-1]
        return {
            "processor seconds": used,
            "processor per cent": 100.0 * used / elapsed if elapsed else 0.0,
            "resident MB before": self.samples[0][1] / 1e6,
            "resident MB peak": max(resident for _, resident, _ in self.samples) / 1e6,
            "resident MB after": last / 1e6,
        }
