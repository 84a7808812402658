"""The rows of the table of options that stand at the top of the configuration; see `options`."""

from __future__ import annotations

from wstpserver.settings.option import AUTOMATIC, Kind, Level, Option

_DAY = 86400.0
_YEAR = 365 * _DAY
_MIB = 1 << 20
_TIB = 1 << 40

# fmt: off
ROOT_OPTIONS: tuple[Option, ...] = (
    Option(
        "AllowStealingKernels", Level.ROOT, Kind.BOOLEAN, True,
        "whether a client can use a kernel ID to bridge to a kernel already bridged to another client",
        "With true you can move to another computer and keep the session without first unbridging it "
        "on the computer you left.",
        sample="false",
    ),
    Option(
        "AllowSilentKernelReplacement", Level.ROOT, Kind.BOOLEAN, False,
        "whether a new kernel silently takes the place of a bridged kernel that dies, without closing the "
        "client's link",
        "Kernels that the server itself closed (for instance because KeepAlive is false) are not replaced. "
        "With false the client's link is closed when its kernel dies.",
        sample="false",
    ),
    Option(
        "EnableAutomaticKernelConnection", Level.ROOT, Kind.BOOLEAN, True,
        "whether a kernel of the default pool is bridged to a client as soon as the client connects; with "
        "false, only when its first expression that is no WSCommandPacket arrives",
        sample="true",
    ),
    Option(
        "SendInputNamePacketUponKernelConnection", Level.ROOT, Kind.BOOLEAN, True,
        "whether the client is sent an InputNamePacket when it is bridged to a kernel later than at its "
        "connection",
        "At the automatic connection it is always sent.",
        sample="true",
    ),
    Option(
        "Pools", Level.ROOT, Kind.POOLS, AUTOMATIC,
        "the kernel pools, each under its name",
        "At least one pool is required. The order counts where a rule speaks of the first pool. A name must "
        "not look like a kernel ID (xxxx-xxxx-xxxx).",
        required=True,
    ),
    # Extensions.
    Option(
        "Port", Level.ROOT, Kind.INTEGER, 31415,
        "the port to listen on",
        "--port and WSTPSERVER_PORT go before it. With 0 the system chooses a free port; the log says which.",
        minimum=0, maximum=65535, reloadable=False, extension=True, sample="31415",
    ),
    Option(
        "Interface", Level.ROOT, Kind.TEXT, "",
        "the interface to listen on: a host name or an address; empty for all",
        "--interface and WSTPSERVER_INTERFACE go before it. With localhost the server cannot be reached from "
        "other computers.",
        reloadable=False, extension=True, sample='"localhost"',
    ),
    Option(
        "KernelStartTimeout", Level.ROOT, Kind.NUMBER, 60.0,
        "how long a kernel may take from its launch to the end of its initialisation",
        "A kernel that is slower is stopped, and the log shows the last lines it wrote.",
        unit="seconds", minimum=0.1, maximum=_DAY, extension=True, sample="60",
    ),
    Option(
        "KernelWaitTimeout", Level.ROOT, Kind.NUMBER, 60.0,
        "how long a client waits for a kernel when its pool is full",
        "A client whose wait is over is told why and its link is closed. With 0 it does not wait.",
        unit="seconds", minimum=0, maximum=_YEAR, extension=True, sample="60",
    ),
    Option(
        "KernelStartConcurrency", Level.ROOT, Kind.INTEGER, AUTOMATIC,
        "how many kernels may be starting at the same time",
        automatic="the number of processors, at least 2",
        minimum=1, maximum=1024, extension=True, sample="2",
    ),
    Option(
        "MissedOutputLimit", Level.ROOT, Kind.INTEGER, 16 * _MIB,
        "how much of what a kernel writes while no client is bridged to it is kept",
        "The oldest frames are dropped first. WSCommandPacket[GetMissedOutput[]] returns what was kept.",
        unit="bytes for each kernel", minimum=0, maximum=_TIB, extension=True, sample="16777216",
    ),
    Option(
        "EvaluationQueueLimit", Level.ROOT, Kind.INTEGER, 16 * _MIB,
        "how much a client may have sent ahead in evaluations that wait for its kernel, before the server "
        "stops reading from it",
        unit="bytes for each client", minimum=1, maximum=_TIB, extension=True, sample="16777216",
    ),
    Option(
        "MaximumClients", Level.ROOT, Kind.INTEGER, 0,
        "how many clients may be connected at the same time; 0 for any number",
        "A further client is told so and its link is closed.",
        minimum=0, maximum=1_000_000, extension=True, sample="100",
    ),
    Option(
        "GreetingTimeout", Level.ROOT, Kind.NUMBER, 10.0,
        "how long a new connection may take until its link is established",
        unit="seconds", minimum=0.1, maximum=_DAY, extension=True, sample="10",
    ),
    Option(
        "MaximumUnpairedConnections", Level.ROOT, Kind.INTEGER, 1024,
        "how many connections that are not established links yet are held open at the same time",
        "The oldest is closed to make room.",
        minimum=1, maximum=1_000_000, extension=True, sample="1024",
    ),
    Option(
        "AdvertisedServiceType", Level.ROOT, Kind.TEXT, "_wstpserver._tcp.local.",
        "the DNS-SD service type that --advertise registers the server under",
        "Clients that discover the server must look for the same type.",
        pattern=r"_(?=[^.]{1,15}\.)[A-Za-z0-9]+(?:-[A-Za-z0-9]+)*\._tcp\.local\.",
        pattern_meaning='a service type such as "_wstpserver._tcp.local."',
        reloadable=False, extension=True, sample='"_wstpserver._tcp.local."',
    ),
)
