"""Which server a load test is for: a running one, or one of its own with light kernels."""
import tempfile
from pathlib import Path

from tools.bench.cleanup import QuietStack
from tools.bench.ends import LightEnds
from tools.harness.server import ServerProcess, pool


def parse_address(text):
    """(host, port) of "31415", "31415@host" or "host:port". Raises ValueError."""
    if "@" in text:
        port, _, host = text.partition("@")
    elif ":" in text:
        host, _, port = text.rpartition(":")
    else:
        host, port = "127.0.0.1", text
    if not port.isdecimal() or not host:
        raise ValueError(f"{text!r} is no address such as 31415@localhost")
    return host, int(port)


class OwnServer(QuietStack):
    """A wstpserver on a free port of this machine with that many light kernels; ends with the context.

    `arguments` are those of the program, `keys` those of its configuration.
    """

    def __init__(self, kernels, *arguments, **keys):
        super().__init__()
        with QuietStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="server-")))
            self.ends = LightEnds(stack)
            settings = pool(
                self.ends.kernel, KernelOptions=self.ends.options, MinimumKernelNumber=kernels,
                MaximumKernelNumber=kernels + kernels // 10 + 10, ReservePreviouslyConnectedKernels=False,
            )  # fmt: skip
            self.configuration = {
                "KernelStartConcurrency": 16, "MaximumUnpairedConnections": 20000, "Pools": {"Light": settings},
                "KernelsOutliveServer": 60,  # as users have it, where tests do not
                **keys,
            }  # fmt: skip
            self.server = stack.enter_context(
                ServerProcess(folder, self.configuration, *arguments, stop_deadline=60 + kernels / 10)
            )
            self.server.wait_for_log(r"Pool Light is ready with", 60 + kernels / 5)
            self.push(stack.pop_all().__exit__)
        self.port, self.pid = self.server.port, self.server.pid
