"""The command line of ``wstpkernel``.

A server appends link options to whatever options the user configured, and those are written for the kernels of
others; so only what is known is looked at, and everything else is tolerated. Options are compared without regard to
case, as kernels do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

#: Options that make a kernel speak over a link instead of a terminal.
LINK_SWITCHES = frozenset({"-wstp", "-mathlink"})
#: Any of these says where the link is.
LINK_PLACES = frozenset({"-linkname", "-linkconnect", "-linkcreate", "-linkmode", "-linklaunch"})

USAGE = """\
wstpkernel - a Wolfram Language kernel on Mathics3 that speaks WSTP

usage: wstpkernel [-wstp | -mathlink] [kernel options] LINK OPTIONS
       wstpkernel --warm-parent FD
       wstpkernel --version | --help

This program is started by a WSTPServer or by a WSTP client and talks over the link it is
given; it has no prompt of its own. Link options are those of WSOpenArgcArgv, for example

    wstpkernel -wstp -linkprotocol TCPIP -linkconnect -linkname 44761@127.0.0.1,40319@127.0.0.1
    wstpkernel -wstp -linkmode connect -linkprotocol TCPIP -linkname 31415@127.0.0.1 -linkoptions 4

Other options of kernels (-noprompt, -noinit, -subkernel, -pwpath DIR ...) are accepted and ignored.
--warm-parent FD waits for launch requests on an inherited socket and forks a ready kernel for each.
"""


@dataclass(frozen=True)
class KernelArguments:
    """What the command line asks for. `link_options` is the whole command line, for `client.open_link`."""

    action: str  # "kernel", "warm-parent", "version", "help" or "usage"
    link_options: tuple[str, ...] = ()
    warm_descriptor: int = -1
    #: Why the command line cannot be served, for "usage".
    problem: str = ""


def parse_arguments(words: Sequence[str]) -> KernelArguments:
    """Understand the words after the program's name. Never raises: see `KernelArguments.problem`."""
    lowered = [word.lower() for word in words]
    if "--help" in lowered or "-h" in lowered:
        return KernelArguments("help")
    if "--version" in lowered:
        return KernelArguments("version")
    if "--warm-parent" in lowered:
        return _warm_parent(words, lowered.index("--warm-parent"))
    if not LINK_PLACES.intersection(lowered):
        what = "only half of a link" if LINK_SWITCHES.intersection(lowered) else "no link"
        return KernelArguments("usage", problem=f"the command line names {what}: -linkname is missing")
    return KernelArguments("kernel", link_options=tuple(words))


def _warm_parent(words: Sequence[str], place: int) -> KernelArguments:
    number = words[place + 1] if place + 1 < len(words) else ""
    if not number.isdecimal():
        return KernelArguments("usage", problem="--warm-parent needs the number of an inherited socket")
    return KernelArguments("warm-parent", warm_descriptor=int(number))
