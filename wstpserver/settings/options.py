"""The one table of options.

Everything that knows about options reads it: validation, defaults, the settings dataclasses (a test
holds their fields to it), ``conf.example`` and ``docs/configuration.md``. Rows stand in the order of the
documentation, extensions after the documented keys.
"""

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

POOL_OPTIONS: tuple[Option, ...] = (
    Option(
        "Default", Level.POOL, Kind.BOOLEAN, AUTOMATIC,
        "whether this pool is the default for new clients",
        "Exactly one pool is the default pool.",
        automatic="true for the first pool, unless another pool says true or this one false",
        sample="true",
    ),
    Option(
        "KernelPath", Level.POOL, Kind.TEXT, AUTOMATIC,
        "path to the kernel executable that the kernels of the pool run",
        "A name without a folder is looked for on PATH, a relative path from the folder of the configuration "
        "file; a ~ at the beginning is your home folder.",
        automatic="discovered; when no kernel is found KernelPath becomes required",
        sample='"/usr/local/Wolfram/Mathematica/13.2/Executables/WolframKernel"',
    ),
    Option(
        "InitializationCode", Level.POOL, Kind.TEXT, "",
        "initialization code to run in the kernels of the pool",
        sample='"x=2+2"',
    ),
    Option(
        "InitializationFile", Level.POOL, Kind.TEXT, "",
        "initialization file to run in the kernels of the pool, before InitializationCode",
        sample='"/path/to/your/initialization/file.wl"',
    ),
    Option(
        "KernelOptions", Level.POOL, Kind.WORDS, (),
        "additional command-line options for the kernel executable",
        "The string is split into words as a shell splits them. The server adds -wstp and the options of "
        "the link; -wstp or -mathlink given here is not added again.",
        sample='"-yourkerneloption1 -yourkerneloption2"',
    ),
    Option(
        "KeepAlive", Level.POOL, Kind.BOOLEAN, True,
        "whether kernels are kept alive indefinitely or closed when they become unbridged",
        sample="true",
    ),
    Option(
        "MaximumKernelNumber", Level.POOL, Kind.INTEGER, AUTOMATIC,
        "the maximum number of running kernels the pool can contain",
        "Kernels that are starting count.",
        automatic="MinimumKernelNumber if that is greater than 0, otherwise 2",
        minimum=1, maximum=10_000, sample="4",
    ),
    Option(
        "MinimumKernelNumber", Level.POOL, Kind.INTEGER, 2,
        "the minimum number of running kernels the pool always contains",
        "So many kernels are started with the server. The default is lowered to MaximumKernelNumber where "
        "only that is given and it is smaller.",
        minimum=0, maximum=10_000, sample="2",
    ),
    Option(
        "ParallelKernelDefault", Level.POOL, Kind.BOOLEAN, AUTOMATIC,
        "whether this pool is the default for parallel computing",
        "At most one pool is.",
        automatic="true for the first pool with ParallelKernels true, unless another pool says true or "
        "this one false",
        sample="true",
    ),
    Option(
        "ParallelKernels", Level.POOL, Kind.BOOLEAN, False,
        "whether the kernels of the pool are configured for parallel computing",
        "Parallel is accepted as another name of this key.",
        sample="false",
    ),
    Option(
        "ReservePreviouslyConnectedKernels", Level.POOL, Kind.BOOLEAN, True,
        "whether previously bridged kernels can only be bridged again to clients that request them by their "
        "IDs",
        "With false previously bridged kernels are given out first, in the order in which they were "
        "unbridged. A kernel whose client connected to another one before it evaluated anything counts as never "
        "bridged.",
        sample="false",
    ),
    # Extensions.
    Option(
        "ParallelKernelOptions", Level.POOL, Kind.WORDS, ("-subkernel", "-noinit"),
        "command-line options that a kernel gets in addition where ParallelKernels is true",
        extension=True, sample='"-subkernel -noinit"',
    ),
    Option(
        "MaximumKernelUses", Level.POOL, Kind.INTEGER, 0,
        "after how many clients a free kernel is replaced by a fresh one; 0 for never",
        "A client that comes back to the kernel by its ID counts again. A reserved kernel is not free.",
        minimum=0, maximum=1_000_000_000, extension=True, sample="100",
    ),
    Option(
        "MaximumKernelEvaluations", Level.POOL, Kind.INTEGER, 0,
        "after how many evaluations a free kernel is replaced by a fresh one; 0 for never",
        "Evaluations of clients count, those of the server (such as InitializationCode) do not.",
        minimum=0, maximum=1_000_000_000, extension=True, sample="10000",
    ),
    Option(
        "MaximumKernelAge", Level.POOL, Kind.NUMBER, 0.0,
        "the age at which a free kernel is replaced by a fresh one; 0 for never",
        "The age counts from the moment at which the kernel is ready. Each kernel's own limit lies up to a tenth "
        "below, so that a pool is not replaced all at once.",
        unit="seconds", minimum=0, maximum=_YEAR, extension=True, sample="86400",
    ),
    Option(
        "KernelMemoryLimit", Level.POOL, Kind.INTEGER, 0,
        "the resident memory beyond which a kernel is closed; 0 for any",
        "A free kernel is closed and replaced; the client of a bridged one is told first. What counts is the "
        "largest process of the kernel, looked at once a second. An embedded kernel shares some hundred megabytes "
        "with the others, which count for each of them. A kernel that is too large as soon as it is ready counts as "
        "one that failed to start.",
        unit="bytes", minimum=0, maximum=_TIB, extension=True, sample="4294967296",
    ),
    Option(
        "ReservedKernelTimeout", Level.POOL, Kind.NUMBER, 0.0,
        "how long a reserved kernel that nobody is bridged to is kept; 0 for ever",
        "A kernel that is still busy is not closed: its time begins when its evaluation has ended.",
        unit="seconds", minimum=0, maximum=_YEAR, extension=True, sample="86400",
    ),
    Option(
        "EvaluationTimeLimit", Level.POOL, Kind.NUMBER, 0.0,
        "how long one evaluation may take; 0 for any time",
        "A longer one is aborted, whether a client is bridged or not; a kernel that has not answered 5 seconds "
        "later is closed. The client is told of both. The time of dialogs and questions to the client counts.",
        unit="seconds", minimum=0, maximum=_YEAR, extension=True, sample="3600",
    ),
    Option(
        "ResetCode", Level.POOL, Kind.TEXT, "",
        "code to run in a kernel after it was unbridged, before it is given to another client",
        "It runs as soon as the kernel is free and idle, at most KernelStartTimeout seconds. What it prints goes to "
        "the log, and what the kernel wrote while no client was bridged to it is dropped. If it returns $Failed or "
        "$Aborted, or does not finish, the kernel is closed. It does not run in a reserved kernel, nor when a client "
        "takes over a bridged or busy kernel by its ID: whoever names the ID wants the session as it is.",
        extension=True, sample='"ClearAll[\\"Global`*\\"]"',
    ),
)

# fmt: on

OPTIONS: tuple[Option, ...] = ROOT_OPTIONS + POOL_OPTIONS

ROOT_BY_KEY: dict[str, Option] = {option.key: option for option in ROOT_OPTIONS}
POOL_BY_KEY: dict[str, Option] = {option.key: option for option in POOL_OPTIONS}

#: Other names of pool keys: the documentation's parallel example writes "Parallel" for "ParallelKernels".
POOL_ALIASES: dict[str, str] = {"Parallel": "ParallelKernels"}
