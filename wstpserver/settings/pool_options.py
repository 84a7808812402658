"""The rows of the table of options that stand in each pool of the configuration; see `options`."""

from __future__ import annotations

from wstpserver.settings.option import AUTOMATIC, Kind, Level, Option

_YEAR = 365 * 86400.0
_TIB = 1 << 40

# fmt: off
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
