"""The program ``wstpkernel``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from wstpserver.kernel.arguments import USAGE, KernelArguments, parse_arguments
from wstpserver.kernel.exits import EXIT_OK, EXIT_UNAVAILABLE, EXIT_USAGE
from wstpserver.kernel.requirements import explain_missing, missing_packages


def main(words: Sequence[str] | None = None) -> int:
    """Run the program; returns the exit code. A kernel that ran ends its process itself and does not return."""
    arguments = parse_arguments(sys.argv[1:] if words is None else words)
    if arguments.action == "help":
        print(USAGE, end="")
        return EXIT_OK
    if arguments.action == "version":
        print(version_text())
        return EXIT_OK
    if arguments.action == "usage":
        print(f"wstpkernel: {arguments.problem}\n\n{USAGE}", end="", file=sys.stderr)
        return EXIT_USAGE
    missing = missing_packages()
    if missing:
        print(explain_missing(missing), file=sys.stderr)
        if arguments.action == "warm-parent":
            _tell_server_of_failure(arguments, explain_missing(missing))
        return EXIT_UNAVAILABLE
    return _run(arguments)


def version_text() -> str:
    """One line: this package's version and that of Mathics, if it is there."""
    from importlib.metadata import PackageNotFoundError, version

    from wstpserver.version import VERSION

    try:
        engine = f"Mathics3 {version('Mathics3')}"
    except PackageNotFoundError:
        engine = "Mathics3 is not installed"
    return f"wstpkernel {VERSION} ({engine})"


def _tell_server_of_failure(arguments: KernelArguments, reason: str) -> None:
    from wstpserver.kernel.warm_socket import report_failure

    report_failure(arguments.warm_descriptor, reason)


def _run(arguments: KernelArguments) -> int:
    # Settings that Mathics and NumPy read once, when they are imported.
    from wstpserver.kernel.process import prepare_environment

    prepare_environment()
    if arguments.action == "warm-parent":
        from wstpserver.kernel.warm import run_warm_parent

        return run_warm_parent(arguments.warm_descriptor)
    from wstpserver.kernel.cold import run_cold_kernel

    return run_cold_kernel(arguments.link_options)


if __name__ == "__main__":
    sys.exit(main())
