"""The ways between client and kernel that are compared. All lead to the same kernels."""
import subprocess
from pathlib import Path

from tests.support import processes
from tests.support.server import ServerProcess, pool
from tools.measuring.ending import QuietStack
from tools.measuring.ends import LightEnds, VendorEnds


class Leg(QuietStack):
    """A way to the kernels of `ends`: clients connect to `port` in UUID mode once `open` has returned.

    `kernels`: how many clients there will be at the same time. `pid`: the process in between, None if there is none.
    """

    name = "?"
    #: What it can bear without a measurement taking minutes.
    most_clients = 10_000
    most_connections = 10_000
    most_megabytes = 1e9
    most_transfers = 200
    #: The kinds of ends that it can lie between.
    between = (LightEnds, VendorEnds)

    def __init__(self, ends, folder, kernels=8):
        super().__init__()
        self.ends, self.folder, self.kernels = ends, folder, kernels
        self.port = self.pid = None

    @classmethod
    def missing(cls):
        """What this leg needs and this machine lacks, with the package to install; None if nothing."""
        return None  # noqa: RET501  (the subclasses return something)

    def open(self):
        raise NotImplementedError

    def pids(self):
        """The processes in between."""
        return [self.pid] if self.pid else []

    def resident(self):
        """Resident bytes of what is in between."""
        return sum(map(processes.resident_bytes, self.pids()))

    def forget_peak(self):
        """`peak` begins anew."""
        for pid in self.pids():
            Path(f"/proc/{pid}/clear_refs").write_text("5")

    def peak(self):
        """The most resident bytes of what is in between since `forget_peak`."""
        lines = [line for pid in self.pids() for line in Path(f"/proc/{pid}/status").read_text().splitlines()]
        return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))

    def processor(self):
        """Processor seconds that what is in between has used."""
        return sum(processes.processor_seconds(pid) or 0.0 for pid in self.pids())

    def _start(self, command, **options):
        process = self.enter_context(
            subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, **options)
        )
        self.callback(process.kill)
        self.pid = process.pid
        return process


class Direct(Leg):
    """The client connects to the kernels' own port."""

    name = "direct"

    def open(self):
        self.port = self.ends.port


class DirectWithoutNagle(Leg):
    """The same on the vendor's library with Nagle's algorithm switched off at both ends, which no user can do: what the
    ends need by themselves."""

    name = "direct without Nagle"
    between = (VendorEnds,)

    def open(self):
        self.ends = VendorEnds(self, nagle=False)
        self.port = self.ends.port


class Server(Leg):
    """One wstpserver process, whose pool has kernels of this kind, all running before the first client comes."""

    name = "wstpserver"

    def open(self):
        settings = pool(
            self.ends.kernel, KernelOptions=self.ends.options, MinimumKernelNumber=self.kernels,
            MaximumKernelNumber=self.kernels + 50, ReservePreviouslyConnectedKernels=False,
        )  # fmt: skip
        configuration = {"KernelStartConcurrency": 16, "MaximumUnpairedConnections": 20000, "Pools": {"P": settings}}
        server = self.enter_context(ServerProcess(self.folder, configuration, stop_deadline=120))
        server.wait_for_log(r"Pool P is ready with", 120 + 0.1 * self.kernels)
        self.port, self.pid = server.port, server.pid
