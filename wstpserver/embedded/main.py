"""The program `wstpkernel`: its command line, the packages it needs, and the choice of what to run.

A server appends link options to the options the user configured, which were often written for another kernel.
Therefore only the known options are read and all others are accepted. Options are compared without regard to case, as
Wolfram kernels do.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, NoReturn

from wstpserver.embedded.process import (
    EXIT_OK,
    EXIT_SOFTWARE,
    EXIT_UNAVAILABLE,
    EXIT_USAGE,
    PreforkChildren,
    PreforkParent,
    PreforkSocket,
    ServerGone,
    end_process,
    open_kernel_link,
    prepare_environment,
    report_failure,
)

if TYPE_CHECKING:
    from wstpserver.embedded.engine import Engine

#: Options that make a kernel speak over a link instead of a terminal.
LINK_SWITCHES = frozenset({"-wstp", "-mathlink"})
#: Each of these names a link.
LINK_PLACES = frozenset({"-linkname", "-linkconnect", "-linkcreate", "-linkmode", "-linklaunch"})

#: Packages the kernel imports. Mathics imports `packaging` without declaring it; without it number theory fails to
#: load, and a line on stdout is the only sign.
REQUIRED_PACKAGES = ("mathics", "mathics_scanner", "packaging")

#: Names of the one protocol this kernel has.
TCP_PROTOCOLS = ("tcpip", "tcp")

#: A program that launches a kernel without naming a protocol asks for SharedMemory.
NO_PROTOCOL = (
    "this kernel has no link protocol {}. Launch it with -linkprotocol TCPIP, for example: "
    "-linkmode launch -linkprotocol TCPIP -linkname 'wstpkernel -wstp'"
)

USAGE = """\
wstpkernel - a Wolfram Language kernel on Mathics3 that speaks WSTP

usage: wstpkernel [-wstp | -mathlink] [kernel options] LINK OPTIONS
       wstpkernel --warm-parent FD
       wstpkernel --version | --help

A WSTPServer or another WSTP client starts this program, which talks over the link it is
given; it has no prompt of its own. Link options are those of WSOpenArgcArgv, for example

    wstpkernel -wstp -linkprotocol TCPIP -linkconnect -linkname 44761@127.0.0.1,40319@127.0.0.1
    wstpkernel -wstp -linkmode connect -linkprotocol TCPIP -linkname 31415@127.0.0.1 -linkoptions 4

Other options of kernels (-noprompt, -noinit, -subkernel, -pwpath DIR ...) are accepted and ignored.
--warm-parent FD waits for launch requests on an inherited socket and forks a ready kernel for each.
"""


@dataclass(frozen=True)
class KernelArguments:
    """The command line, parsed.

    Attributes:
        action: "kernel", "warm-parent", "version", "help", "usage" for a command line that names no link, or "refused"
            for a link this kernel cannot open.
        link_options: The whole command line, for `client.open_link`.
        warm_descriptor: The number after --warm-parent.
        problem: For "usage" and "refused": why the command line cannot be served.
    """

    action: str
    link_options: tuple[str, ...] = ()
    warm_descriptor: int = -1
    problem: str = ""


def parse_arguments(words: Sequence[str]) -> KernelArguments:
    """Parse the words after the program's name. Errors are reported in `KernelArguments.problem`, never raised."""
    lowered = [word.lower() for word in words]
    if "--help" in lowered or "-h" in lowered:
        return KernelArguments("help")
    if "--version" in lowered:
        return KernelArguments("version")
    if "--warm-parent" in lowered:
        return _warm_parent(words, lowered.index("--warm-parent"))
    if not LINK_PLACES.intersection(lowered):
        link = "only half of a link" if LINK_SWITCHES.intersection(lowered) else "no link"
        return KernelArguments("usage", problem=f"the command line names {link}: -linkname is missing")
    protocol = _value_after(words, lowered, "-linkprotocol")
    if protocol and protocol.lower() not in TCP_PROTOCOLS:
        return KernelArguments("refused", tuple(words), problem=NO_PROTOCOL.format(protocol))
    return KernelArguments("kernel", link_options=tuple(words))


def _value_after(words: Sequence[str], lowered: Sequence[str], option: str) -> str:
    """The word after the last `option`; "" if there is none."""
    places = [place for place, word in enumerate(lowered[:-1]) if word == option]
    return words[places[-1] + 1] if places else ""


def _warm_parent(words: Sequence[str], place: int) -> KernelArguments:
    number = words[place + 1] if place + 1 < len(words) else ""
    if not number.isdecimal():
        return KernelArguments("usage", problem="--warm-parent needs the number of an inherited socket")
    return KernelArguments("warm-parent", warm_descriptor=int(number))


def missing_packages() -> list[str]:
    """The required packages that cannot be found. Nothing is imported."""
    return [name for name in REQUIRED_PACKAGES if find_spec(name) is None]


def explain_missing(names: Sequence[str]) -> str:
    """The message for the user, in one line, that names missing packages and how to install them."""
    return (
        f"wstpkernel: the embedded kernel needs {' and '.join(names)}, which is not installed for this Python. "
        "Install it with: pip install 'wstpserver[mathics]'"
    )


def version_text() -> str:
    """One line: the versions of this package and of Mathics."""
    from importlib.metadata import PackageNotFoundError, version

    from wstpserver.version import VERSION

    try:
        engine = f"Mathics3 {version('Mathics3')}"
    except PackageNotFoundError:
        engine = "Mathics3 is not installed"
    return f"wstpkernel {VERSION} ({engine})"


def main(words: Sequence[str] | None = None) -> int:
    """Run the program.

    Args:
        words: The command line without the program's name; `sys.argv` by default.

    Returns:
        The exit code. After a kernel ran, the process ends instead.
    """
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
    if arguments.action == "refused":
        return _refuse(arguments, f"wstpkernel: {arguments.problem}")
    missing = missing_packages()
    if missing:
        return _refuse(arguments, explain_missing(missing))
    return _run(arguments)


def _refuse(arguments: KernelArguments, reason: str) -> int:
    """Report on stderr why there is no kernel; tell the server, or end the link of the program that waits for one."""
    print(reason, file=sys.stderr, flush=True)
    if arguments.action == "warm-parent":
        report_failure(arguments.warm_descriptor, reason)
    else:
        from wstpserver.client.connecting import refuse_launch

        refuse_launch(arguments.link_options)
    return EXIT_UNAVAILABLE


def _run(arguments: KernelArguments) -> int:
    prepare_environment()  # before the imports below: Mathics and NumPy read it once
    if arguments.action == "warm-parent":
        return _run_warm_parent(arguments.warm_descriptor)
    return _run_cold_kernel(arguments.link_options)


def _run_warm_parent(descriptor: int) -> int:
    """Load Mathics, then start kernels on request until the server is gone.

    Args:
        descriptor: The inherited socket.

    Returns:
        The exit code.
    """
    try:
        prefork_socket = open_prefork_socket(descriptor)
    except OSError as error:
        print(f"wstpkernel: descriptor {descriptor} is no socket of a server: {error}", file=sys.stderr)
        return EXIT_USAGE
    try:
        from wstpserver.embedded.engine import Engine

        engine = Engine()
        engine.load_definitions()
    except Exception as error:
        reason = f"Mathics cannot be loaded: {type(error).__name__}: {error}"
        print(f"wstpkernel: {reason}", file=sys.stderr)
        try:
            prefork_socket.send(event="failed", reason=reason)
        except ServerGone:
            pass
        return EXIT_SOFTWARE
    return serve_requests(engine, prefork_socket)


def open_prefork_socket(descriptor: int) -> PreforkSocket:
    """Take over the socket of a warm parent, which from now on ends with it alone: signals for a terminal do not count.

    Args:
        descriptor: The inherited socket.

    Raises:
        OSError: It is no socket.
    """
    prefork_socket = PreforkSocket(descriptor)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    return prefork_socket


def serve_requests(engine: Engine, prefork_socket: PreforkSocket) -> int:
    """Say that the engine is loaded, and start kernels on request until the server is gone.

    Args:
        engine: The engine of all kernels.
        prefork_socket: Of `open_prefork_socket`.

    Returns:
        The exit code.
    """
    from wstpserver.embedded.session import serve

    def run_kernel(arguments: Sequence[str]) -> int:
        return serve(engine, open_kernel_link(arguments))

    try:
        prefork_socket.send(event="ready")
    except ServerGone:
        return EXIT_OK
    return PreforkParent(prefork_socket, PreforkChildren(run_kernel)).run()


def _run_cold_kernel(link_options: Sequence[str]) -> NoReturn:
    """Open the link, load Mathics (4-8 s), serve the link, and end the process.

    The link comes first, so that the peer sees at once that the program started, and an error of the link does not
    wait for Mathics.
    """
    link = open_kernel_link(link_options)
    try:
        from wstpserver.embedded.engine import Engine

        engine = Engine()
    except Exception as error:
        print(f"wstpkernel: Mathics cannot be loaded: {type(error).__name__}: {error}", file=sys.stderr)
        link.close()
        end_process(EXIT_SOFTWARE)
    from wstpserver.embedded.session import serve

    end_process(serve(engine, link))


if __name__ == "__main__":
    sys.exit(main())
